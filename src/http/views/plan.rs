//! The plan of a promotion that is not started.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::names::{Name, Version},
    domain::plan::PlannedStep,
    service::promotions::DryRun,
};

/// What a promotion would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// Always true.
    pub dry_run: bool,
    pub release: Version,
    /// What is active now; null before the first promotion.
    pub from_release: Option<Version>,
    pub steps: Vec<PlanStepView>,
}

/// A step that would be done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanStep)]
pub struct PlanStepView {
    pub position: i32,
    #[schema(example = "traffic:web")]
    pub stage: String,
    #[schema(example = "flip")]
    pub kind: String,
    #[schema(example = "web")]
    pub component: Option<Name>,
    /// One line for a person.
    pub does: String,
    /// The positions of the steps that end before it begins.
    pub after: Vec<i32>,
}

impl From<DryRun> for PlanView {
    fn from(plan: DryRun) -> Self {
        Self {
            dry_run: true,
            release: plan.release,
            from_release: plan.from_release,
            steps: plan.steps.into_iter().map(PlanStepView::from).collect(),
        }
    }
}

impl From<PlannedStep> for PlanStepView {
    fn from(step: PlannedStep) -> Self {
        Self {
            position: step.position,
            kind: step.params.kind().to_owned(),
            does: step.params.describe(),
            stage: step.stage,
            component: step.component,
            after: step.after,
        }
    }
}
