//! The plan of a promotion.

use super::{Direction, Flip, OnFailure, OnForeign, PlannedStep, Record, StepParams, Want, builder::Builder};
use crate::domain::{environment::EnvironmentDocument, job::OnDrift, names::Version, pointer::Shift};

/// The plan of a promotion of `release` from `previous`.
pub fn promotion(
    environment: &EnvironmentDocument,
    release: &Version,
    previous: Option<&Version>,
    on_drift: OnDrift,
) -> Vec<PlannedStep> {
    let mut plan = Builder::new(environment, Direction::Forward, OnFailure::Unwind, 1);
    let mut after: Vec<i32> = environment
        .components
        .iter()
        .map(|component| {
            plan.push(
                "preflight",
                Some(&component.name),
                StepParams::Preflight { on_drift },
                vec![],
            )
        })
        .collect();
    let on_foreign = match on_drift {
        OnDrift::Reject => OnForeign::Refuse,
        OnDrift::Overwrite => OnForeign::Overwrite,
    };
    let mut flips = Vec::new();
    for component in &environment.components {
        let shift = Shift {
            active: release.clone(),
            previous: previous.cloned(),
            candidate: None,
            weight: 0,
        };
        let flip = Flip {
            want: Want::Shift(shift),
            on_foreign,
            raise_epoch: false,
        };
        let (position, last) = plan.chain(&component.name, flip, None, after);
        flips.push(position);
        after = vec![last];
    }
    plan.settle(
        flips,
        Record::Promoted {
            release: release.clone(),
        },
        after,
    )
}
