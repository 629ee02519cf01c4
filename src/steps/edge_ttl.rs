//! `edge_ttl`: waits until every edge has let go of the pointer it held.
//!
//! Edge code keeps the pointer for its TTL. An invalidation before that has passed lets stale edges
//! refill the cache with the old release, for good: so the flip, then this, then the invalidation. The
//! time counts from the last region's verified write, on the database's clock.

use async_trait::async_trait;
use serde_json::json;

use super::{FlipOutput, wrong_params};
use crate::{
    domain::plan::StepParams,
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
        Ok(Outcome::Wait {
            secs: left,
            reason: format!("{name}: every edge may hold the old pointer for {seconds} s after the last write"),
        })
    }
}

/// False when the flip of this component changed nothing, and no superseded job had either: then no edge
/// and no cache can hold anything else.
pub(super) fn moved_traffic(context: &StepContext, flip: i32) -> bool {
    let touched_before = context
        .step
        .component
        .as_ref()
        .is_some_and(|name| context.job.inherited.found.contains_key(name));
    let Some(step) = context.other(flip) else { return true };
    let already = FlipOutput::of(step)
        .targets
        .values()
        .all(|target| target.outcome != "written");
    touched_before || !already || !step.wanted.is_empty() || step.state == crate::domain::job::StepState::Failed
}
