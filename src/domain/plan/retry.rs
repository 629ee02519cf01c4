//! A new round: fresh copies of steps that did not end well.

use std::collections::{BTreeMap, BTreeSet};

use super::{Direction, PlannedStep, StepParams};
use crate::domain::job::{Step, StepState};

/// The last round that has forward steps: a retry of an undo has none.
pub fn forward_round(steps: &[Step]) -> i32 {
    steps
        .iter()
        .filter(|s| s.direction == Direction::Forward)
        .map(|s| s.round)
        .max()
        .unwrap_or(1)
}

/// Fresh copies of what of the last round did not end well, and of all that comes after it.
/// `all`: of every step, whatever became of it.
pub fn retry(steps: &[Step], round: i32, direction: Direction, all: bool) -> Vec<PlannedStep> {
    let mut current: Vec<&Step> = steps
        .iter()
        .filter(|s| s.round == round && s.direction == direction)
        .collect();
    if all
        && let Some(end) = current
            .iter()
            .position(|step| matches!(step.params, StepParams::Settle { .. }))
    {
        // What came after the first settle put a late write of that round right: it is no part of the plan.
        current.truncate(end + 1);
    }
    let mut again: BTreeSet<i32> = BTreeSet::new();
    for step in &current {
        let ended_well = matches!(step.state, StepState::Succeeded | StepState::Skipped);
        if all || !ended_well || step.after.iter().any(|position| again.contains(position)) {
            again.insert(step.position);
        }
    }
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let moved: BTreeMap<i32, i32> = again.iter().copied().zip(first..).collect();
    let to = |position: &i32| moved.get(position).copied().unwrap_or(*position);
    current
        .into_iter()
        .filter(|step| again.contains(&step.position))
        .map(|step| PlannedStep {
            position: to(&step.position),
            direction,
            stage: step.stage.clone(),
            component: step.component.clone(),
            params: move_references(&step.params, &to),
            after: step.after.iter().map(to).collect(),
            on_failure: step.on_failure,
        })
        .collect()
}

fn move_references(params: &StepParams, to: &impl Fn(&i32) -> i32) -> StepParams {
    let mut params = params.clone();
    match &mut params {
        StepParams::EdgeTtl { flip, .. } => *flip = to(flip),
        StepParams::Invalidate { flip, .. } => *flip = flip.as_ref().map(to),
        StepParams::Check(run) => run.bake = run.bake.as_ref().map(to),
        StepParams::Settle { flips, .. } => *flips = flips.iter().map(to).collect(),
        StepParams::Preflight { .. }
        | StepParams::Flip(_)
        | StepParams::Converge { .. }
        | StepParams::Bake { .. }
        | StepParams::Approval { .. }
        | StepParams::Hook(_) => {}
    }
    params
}
