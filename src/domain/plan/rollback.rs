//! The plan of a rollback.

use std::collections::BTreeMap;

use super::{Direction, Flip, HookRun, OnFailure, OnForeign, PlannedStep, Record, Want, builder::Builder};
use crate::domain::{
    environment::{EnvironmentDocument, OnTimeout},
    names::{Name, Version},
    pointer::{Shift, Values},
};

/// The plan of a rollback to `release`, whose pointer names `left` as previous; or to the values of deployment 0
/// in `restore`. `owed`: hooks of jobs whose place it takes, taken back when traffic is where it shall be.
pub fn rollback(
    environment: &EnvironmentDocument,
    release: Option<&Version>,
    left: Option<&Version>,
    restore: &BTreeMap<Name, Values>,
    owed: &[HookRun],
) -> Vec<PlannedStep> {
    let mut plan = Builder::new(environment, Direction::Forward, OnFailure::GoOn, 1);
    let (mut flips, mut ends) = (Vec::new(), Vec::new());
    for component in environment.components.iter().rev() {
        let want = match release {
            Some(release) => Want::Shift(Shift {
                active: release.clone(),
                previous: left.cloned(),
                candidate: None,
                weight: 0,
            }),
            // A component without a found value was not there to be taken over: nothing to put back.
            None => match restore.get(&component.name) {
                Some(values) => Want::Exactly(values.clone()),
                None => continue,
            },
        };
        let flip = Flip {
            want,
            on_foreign: OnForeign::Overwrite,
            raise_epoch: true,
        };
        let (position, last) = plan.chain(&component.name, flip, Some(OnTimeout::Continue), vec![]);
        flips.push(position);
        ends.push(last);
    }
    let record = Record::RolledBack {
        release: release.cloned(),
    };
    let settle = plan.settle(flips, record, ends);
    plan.take_back(owed.iter().cloned(), vec![settle]);
    plan.finish()
}
