//! Which steps belong to a share of the visitors, and how many visitors are where.

use std::collections::BTreeSet;

use super::{Direction, Flip, StepParams, Want};
use crate::domain::{
    environment::EnvironmentDocument,
    job::{Step, StepState},
    pointer::Shift,
};

fn shift(params: &StepParams) -> Option<&Shift> {
    match params {
        StepParams::Flip(Flip {
            want: Want::Shift(shift),
            ..
        }) => Some(shift),
        _ => None,
    }
}

/// The steps of a promotion that `promote_fully` leaves out: bakes, the checks during them, and shares that nobody has
/// begun to give. Gates, hooks and all other checks stay.
pub fn skipped_by_promoting_fully(steps: &[Step], round: i32) -> BTreeSet<i32> {
    let current = || {
        steps
            .iter()
            .filter(|step| step.round == round && step.direction == Direction::Forward && !step.state.is_end())
    };
    let mut skipped: BTreeSet<i32> = current()
        .filter(|step| match &step.params {
            StepParams::Bake { .. } => true,
            StepParams::Check(run) => run.bake.is_some(),
            // One that has begun may have written already.
            params => step.state == StepState::Pending && shift(params).is_some_and(|shift| shift.candidate.is_some()),
        })
        .map(|step| step.position)
        .collect();
    let follows = |step: &&Step| match &step.params {
        StepParams::EdgeTtl { flip, .. } => skipped.contains(flip),
        StepParams::Invalidate { flip: Some(flip), .. } => skipped.contains(flip),
        _ => false,
    };
    let following: Vec<i32> = current().filter(follows).map(|step| step.position).collect();
    skipped.extend(following);
    skipped
}

/// Percent of the visitors that the flips done so far in the last round have put on the release: the least of all
/// components that take part. `None`: no flip was done.
pub fn served(environment: &EnvironmentDocument, steps: &[Step], round: i32) -> Option<u32> {
    let mut least = None;
    let done = |step: &&Step| {
        step.round == round && step.direction == Direction::Forward && step.state == StepState::Succeeded
    };
    for component in &environment.components {
        let mut flips = steps
            .iter()
            .filter(|step| step.component.as_ref() == Some(&component.name));
        let planned = flips.clone().filter_map(|step| shift(&step.params));
        // One that flips only when everyone is moved has no say before that.
        let partial = planned.clone().any(|shift| shift.candidate.is_some());
        let last = flips
            .by_ref()
            .filter(done)
            .filter_map(|step| shift(&step.params))
            .next_back();
        let weight = last.map(|shift| if shift.candidate.is_some() { shift.weight } else { 100 });
        let anybody = steps
            .iter()
            .filter_map(|step| shift(&step.params))
            .any(|shift| shift.candidate.is_some());
        if partial || !anybody || weight.is_some() {
            least = Some(least.map_or(weight.unwrap_or(0), |least: u32| least.min(weight.unwrap_or(0))));
        }
    }
    least
}
