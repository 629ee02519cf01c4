//! `edge_ttl`: waits until every edge has let go of the pointer it held.
//!
//! Edge code keeps the pointer for its TTL. An invalidation before that has passed lets stale edges
//! refill the cache with the old release, for good: so the flip, then this, then the invalidation. The
//! time counts from the last region's verified write, on the database's clock.

use async_trait::async_trait;
use serde_json::json;

use super::{FlipOutput, wrong_params};
use crate::{
    domain::{
        job::{Step, StepState},
        plan::StepParams,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{StoreError, steps},
};

/// Waits after a flip.
pub struct EdgeTtl;

#[async_trait]
impl StepRunner for EdgeTtl {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::EdgeTtl { flip, seconds } = &context.step.params else {
            return Err(wrong_params(context));
        };
        if !moved_traffic(context, *flip) {
            return Ok(Outcome::Skip(
                json!({"because": "the pointer said so already, and nobody had changed it"}),
            ));
        }
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let passed = steps::seconds_since_end(&mut connection, context.job.id, *flip)
            .await?
            .unwrap_or(0.0);
        let left = f64::from(*seconds) - passed;
        if left <= 0.0 {
            return Ok(Outcome::Done(Done::new(json!({"seconds": seconds}))));
        }
        let name = context.component()?.name.clone();
        Ok(Outcome::wait(
            left,
            format!("{name}: every edge may hold the old pointer for {seconds} s after the last write"),
        ))
    }
}

/// False when no flip of this component has meant to write, in this job or in one whose place it took: then
/// no edge and no cache can hold anything else.
pub(super) fn moved_traffic(context: &StepContext, flip: i32) -> bool {
    let component = context.step.component.as_ref();
    let touched_before = component.is_some_and(|name| context.job.inherited.found.contains_key(name));
    let wrote = |step: &Step| {
        let written = FlipOutput::of(step)
            .targets
            .values()
            .any(|target| target.outcome == "written");
        written || !step.wanted.is_empty()
    };
    // Earlier rounds too: a write that got no answer then may have landed after that round's invalidation.
    let flips = context.steps.iter().filter(|s| s.component.as_ref() == component);
    let mut flips = flips.filter(|step| matches!(step.params, StepParams::Flip(_)));
    let failed = context.other(flip).is_none_or(|step| step.state == StepState::Failed);
    touched_before || failed || flips.any(wrote)
}
