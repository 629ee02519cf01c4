//! `bake`: lets a share stand for so long, while the checks beside it look. A pause holds it open.

use async_trait::async_trait;
use serde_json::json;

use super::wrong_params;
use crate::{
    domain::plan::StepParams,
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{StoreError, steps},
};

/// How often a bake that is held open looks whether it still is, although whoever lets it go says so.
const HELD_SECS: f64 = 600.0;

/// Waits.
pub struct Bake;

#[async_trait]
impl StepRunner for Bake {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Bake { seconds, weight } = &context.step.params else {
            return Err(wrong_params(context));
        };
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let age = steps::seconds_since_start(&mut connection, context.job.id, context.step.position).await?;
        drop(connection);
        let left = f64::from(*seconds) - age.unwrap_or(0.0);
        if left > 0.0 {
            let reason = match weight {
                100 => format!("watching for {seconds} s with everyone on the release"),
                weight => format!("watching for {seconds} s with {weight} % of the visitors on the release"),
            };
            return Ok(Outcome::wait(left, reason));
        }
        if context.held {
            return Ok(Outcome::wait(HELD_SECS, "the bake is held open by a pause"));
        }
        Ok(Outcome::Done(Done::new(json!({"seconds": seconds, "weight": weight}))))
    }
}
