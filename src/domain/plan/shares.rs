//! Which steps belong to a share of the visitors, and how many visitors are where.

use std::collections::{BTreeMap, BTreeSet};

use super::{Direction, Flip, StepParams, Want};
use crate::domain::{
    job::{Step, StepState},
    names::Name,
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

/// The steps of a promotion that `promote_fully` leaves out now: bakes, the checks during them, and shares that nobody has
/// begun to give, as far as it is their turn. What comes before a step comes before it also when it is left out: else
/// everything behind it would run at once. Gates, hooks and all other checks stay.
pub fn skipped_by_promoting_fully(steps: &[Step], round: i32) -> BTreeSet<i32> {
    let mut skipped = BTreeSet::new();
    // By position: what a step comes after has a smaller one.
    for step in steps {
        if step.round != round || step.direction != Direction::Forward || step.state.is_end() {
            continue;
        }
        let is_left_out = match &step.params {
            StepParams::Bake { .. } => true,
            StepParams::Check(run) => run.bake.is_some(),
            StepParams::EdgeTtl { flip, .. } | StepParams::Invalidate { flip: Some(flip), .. } => {
                skipped.contains(flip)
            }
            // One that has begun may have written already.
            params => step.state == StepState::Pending && shift(params).is_some_and(|shift| shift.candidate.is_some()),
        };
        let has_ended = |position: &i32| {
            let mut others = steps.iter();
            skipped.contains(position) || others.any(|other| other.position == *position && other.state.is_end())
        };
        if is_left_out && step.after.iter().all(has_ended) {
            skipped.insert(step.position);
        }
    }
    skipped
}

/// Where the flips of one component have got.
#[derive(Default)]
struct Reached {
    /// Its visitors are shared before everyone is moved.
    is_shared: bool,
    /// The last share given.
    share: u32,
    everyone: bool,
}

/// Percent of the visitors that the flips done so far in this round have put on the release: 100 when every component has
/// moved everyone, until then the least share of those that give one.
pub fn served(steps: &[Step], round: i32) -> u32 {
    let mut components: BTreeMap<&Name, Reached> = BTreeMap::new();
    let current = steps
        .iter()
        .filter(|step| step.round == round && step.direction == Direction::Forward);
    for (step, shift) in current.filter_map(|step| Some((step, shift(&step.params)?))) {
        let Some(component) = &step.component else { continue };
        let reached = components.entry(component).or_default();
        let done = step.state == StepState::Succeeded;
        if shift.candidate.is_some() {
            reached.is_shared = true;
            if done {
                reached.share = shift.weight;
            }
        } else {
            reached.everyone = done;
        }
    }
    if !components.is_empty() && components.values().all(|reached| reached.everyone) {
        return 100;
    }
    let shared = components.values().filter(|reached| reached.is_shared);
    shared.map(|reached| reached.share).min().unwrap_or(0)
}
