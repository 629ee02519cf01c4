//! Hooks in plans: which are called where, and which are owed to be taken back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Direction, StepParams};
use crate::domain::{
    environment::{Hook, HookWhen},
    job::{Step, StepState},
    names::Version,
};

/// In a hook step's record: it was, or may have been, called.
pub const CALLED: &str = "called";

/// A hook, and for which promotion it is called: a job that takes another's place takes that one's hooks back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    pub hook: Hook,
    pub release: Version,
    pub from_release: Option<Version>,
    /// Percent of the visitors on the release when it was called.
    pub weight: u32,
    /// The token of the step whose call is taken back; `None`: the call itself.
    #[serde(default)]
    pub undoes: Option<String>,
}

/// The hooks of an environment that are called at one place of the plan, in their order. `weights`: what the share grows
/// from and to; whatever lies between is passed.
pub(super) fn at(hooks: &[Hook], when: HookWhen, (from, to): (u32, u32)) -> impl Iterator<Item = &Hook> {
    let is_passed = move |hook: &Hook| hook.weight.is_some_and(|weight| from < weight && weight <= to);
    hooks.iter().filter(move |hook| {
        hook.when == when && (!matches!(when, HookWhen::BeforeWeight | HookWhen::AfterWeight) || is_passed(hook))
    })
}

/// The calls among `steps` and `inherited` that have to be taken back and have not been: the latest first.
pub fn owed(steps: &[Step], inherited: &[HookRun]) -> Vec<HookRun> {
    let hooks = || {
        steps.iter().filter_map(|step| match &step.params {
            StepParams::Hook(run) => Some((step, run)),
            _ => None,
        })
    };
    let taken_back: BTreeSet<&str> = hooks()
        .filter(|(step, _)| step.state == StepState::Succeeded)
        .filter_map(|(_, run)| run.undoes.as_deref())
        .collect();
    let called = hooks()
        .filter(|(step, run)| run.undoes.is_none() && run.hook.undo.is_some() && step.direction == Direction::Forward)
        .filter(|(step, _)| step.state != StepState::Undone && step.record[CALLED] == true)
        .map(|(step, run)| HookRun {
            undoes: Some(step.token.clone()),
            ..run.clone()
        });
    let mut owed: Vec<HookRun> = inherited.iter().cloned().chain(called).collect();
    owed.retain(|run| run.undoes.as_deref().is_some_and(|token| !taken_back.contains(token)));
    owed.reverse();
    owed
}
