//! The plan of a promotion that is not started.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        environment::{Strategy, router::Limits},
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
    /// What the road of each component can do with a share of the visitors.
    pub shares: Vec<ShareLimitsView>,
    pub steps: Vec<PlanStepView>,
}

/// What a component's road can do with a share of the visitors.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShareLimits)]
pub struct ShareLimitsView {
    #[schema(example = "web")]
    pub component: Name,
    /// The greatest share that can be on another release than the rest, in percent; 0: all or nobody.
    #[schema(example = 99)]
    pub max_weight: u32,
    /// A visitor stays on one side while the weight stands, and changes at most once while it grows.
    pub sticky: bool,
    /// How long a new weight takes to reach every visitor.
    #[schema(example = 5)]
    pub takes_seconds: u32,
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
            shares: plan.limits.into_iter().map(ShareLimitsView::from).collect(),
            steps: plan.steps.into_iter().map(PlanStepView::from).collect(),
        }
    }
}

impl From<(Name, Limits)> for ShareLimitsView {
    fn from((component, limits): (Name, Limits)) -> Self {
        Self {
            component,
            max_weight: limits.max_share,
            sticky: limits.sticky,
            takes_seconds: limits.takes_seconds,
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
