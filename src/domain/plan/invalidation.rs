//! The plan of a purge without a flip.

use std::collections::BTreeSet;

use super::{Direction, OnFailure, PlannedStep, StepParams, builder::Builder};
use crate::domain::{
    environment::{EnvironmentDocument, InvalidatePaths, OnTimeout},
    names::Name,
};

/// Invalidates `paths` on the distribution of `component`, or on every one of the environment, side by side. Empty when
/// there is no distribution.
pub fn invalidation(environment: &EnvironmentDocument, component: Option<&Name>, paths: &[String]) -> Vec<PlannedStep> {
    let mut plan = Builder::new(environment, Direction::Forward, OnFailure::GoOn, 1);
    let mut seen = BTreeSet::new();
    for one in environment
        .components
        .iter()
        .filter(|c| component.is_none_or(|name| c.name == *name))
    {
        let Some(cdn) = &one.cdn else { continue };
        if !seen.insert(&cdn.distribution_id) {
            continue;
        }
        let timeout_seconds = one.invalidation().map_or_else(
            || InvalidatePaths::default().timeout_seconds,
            |(_, settings)| settings.timeout_seconds,
        );
        let params = StepParams::Invalidate {
            flip: None,
            distribution_id: cdn.distribution_id.clone(),
            paths: paths.to_vec(),
            timeout_seconds,
            // It is all that was asked for: a late one is no success.
            on_timeout: OnTimeout::Fail,
        };
        plan.push("invalidation", Some(&one.name), params, vec![]);
    }
    plan.finish()
}
