//! The plan of a promotion that is not started.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        environment::Strategy,
        names::{Name, Version},
        plan::{PlannedStep, StepParams},
    },
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
    /// How traffic would be moved.
    pub strategy: Strategy,
    /// Edge TTLs and bakes: what it takes at least. Invalidations, checks, hooks and approvals come on top.
    #[schema(example = 610)]
    pub takes_at_least_seconds: u64,
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
            takes_at_least_seconds: takes_at_least(&plan.steps),
            strategy: plan.strategy,
            steps: plan.steps.into_iter().map(PlanStepView::from).collect(),
        }
    }
}

/// The longest way through what waits for a fixed time.
fn takes_at_least(steps: &[PlannedStep]) -> u64 {
    let mut ends: BTreeMap<i32, u64> = BTreeMap::new();
    for step in steps {
        let begins = step
            .after
            .iter()
            .filter_map(|position| ends.get(position))
            .max()
            .copied()
            .unwrap_or(0);
        let takes = match step.params {
            StepParams::EdgeTtl { seconds, .. } | StepParams::Bake { seconds, .. } => u64::from(seconds),
            _ => 0,
        };
        ends.insert(step.position, begins + takes);
    }
    ends.into_values().max().unwrap_or(0)
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
