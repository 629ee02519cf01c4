//! The steps that take a job's changes back, or put a late write right: appended to its plan.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Direction, Flip, HookRun, OnFailure, OnForeign, PlannedStep, Record, StepParams, Want, builder::Builder, owed,
};
use crate::domain::{
    environment::{EnvironmentDocument, OnTimeout},
    job::{Inherited, Step, StepState},
    names::Name,
    pointer::Values,
};

/// True when the last settle of all rounds has recorded the new state. (One that put a late write right has another one
/// behind it.)
pub fn is_settled(steps: &[Step]) -> bool {
    let mut settles = steps
        .iter()
        .rev()
        .filter(|step| step.direction == Direction::Forward && matches!(step.params, StepParams::Settle { .. }));
    settles.next().is_some_and(|step| step.state == StepState::Succeeded)
}

/// What the flips among `steps` have touched and not taken back, with what each pointer said before;
/// added to what superseded jobs had `inherited`. What was found first wins.
pub fn touched(steps: &[Step], inherited: &BTreeMap<Name, Values>) -> BTreeMap<Name, Values> {
    let mut found = inherited.clone();
    let flips = steps
        .iter()
        .filter(|step| step.direction == Direction::Forward && step.state != StepState::Undone)
        .filter(|step| matches!(step.params, StepParams::Flip(_)) && !step.wanted.is_empty());
    for step in flips {
        let Some(component) = &step.component else { continue };
        let values = found.entry(component.clone()).or_default();
        for target in step.wanted.keys() {
            let before = step.found.get(target).cloned().unwrap_or_default();
            values.entry(target.clone()).or_insert(before);
        }
    }
    found
}

/// The steps that take back what `steps` and superseded jobs have touched, hooks included. `taken`: components whose
/// pointer was ours before; the others get their bytes back exactly. Empty when nothing was touched.
pub fn undo(
    environment: &EnvironmentDocument,
    steps: &[Step],
    inherited: &Inherited,
    taken: &BTreeSet<Name>,
) -> Vec<PlannedStep> {
    let mut found = touched(steps, &inherited.found);
    found.retain(|_, values| !values.is_empty());
    let (amid, before): (Vec<HookRun>, Vec<HookRun>) = owed(steps, &inherited.hooks)
        .into_iter()
        .partition(|run| run.hook.is_amid_traffic());
    if found.is_empty() && amid.is_empty() && before.is_empty() {
        return Vec::new();
    }
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let mut plan = Builder::new(environment, Direction::Undo, OnFailure::GoOn, first);
    // Traffic waits for no hook.
    plan.take_back(amid, vec![]);
    let (mut flips, mut after) = (Vec::new(), Vec::new());
    for component in environment.components.iter().rev() {
        let Some(values) = found.remove(&component.name) else {
            continue;
        };
        let want = if taken.contains(&component.name) {
            Want::Restore(values)
        } else {
            Want::Exactly(values)
        };
        let flip = Flip {
            want,
            on_foreign: OnForeign::Leave,
            raise_epoch: true,
        };
        let (position, last) = plan.chain(&component.name, flip, Some(OnTimeout::Continue), after);
        flips.push(position);
        after = vec![last];
    }
    let settle = plan.settle(flips, Record::Undone, after);
    plan.take_back(before, vec![settle]);
    plan.finish()
}

/// The steps that rewrite pointers on which a late write landed: the same chain again, then settle.
pub fn put_right(
    environment: &EnvironmentDocument,
    steps: &[Step],
    settle: &Step,
    wrong: &BTreeMap<Name, Values>,
) -> Vec<PlannedStep> {
    let StepParams::Settle { flips, record } = &settle.params else {
        return Vec::new();
    };
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let mut plan = Builder::new(environment, settle.direction, settle.on_failure, first);
    let (mut again, mut ends) = (flips.clone(), vec![settle.position]);
    for (component, values) in wrong {
        let flip = Flip {
            want: Want::Exactly(values.clone()),
            on_foreign: OnForeign::Overwrite,
            raise_epoch: false,
        };
        let (position, last) = plan.chain(component, flip, Some(OnTimeout::Continue), vec![settle.position]);
        again.push(position);
        ends.push(last);
    }
    plan.settle(again, record.clone(), ends);
    plan.finish()
}
