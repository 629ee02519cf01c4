//! `invalidate`: sends one invalidation and waits for it.
//!
//! Its `CallerReference` is the step's operation token, stored with the plan, so a repeated call gets the
//! invalidation AWS already has. Too many in progress, or throttled: it waits and goes on. Late: a
//! warning, or the end of the promotion, as the environment says.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{aws_step_error, edge_ttl::moved_traffic, wrong_params};
use crate::{
    aws::{
        Aws,
        cloudfront::Invalidation,
        error::{AwsError, Class},
    },
    cdn::schedule,
    domain::{
        environment::OnTimeout,
        error::{JobError, Warning},
        plan::StepParams,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{StoreError, steps},
};

/// Clears a distribution's cache.
pub struct Invalidate {
    pub aws: Aws,
}

/// The step's notes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Notes {
    #[serde(default)]
    invalidation_id: Option<String>,
}

#[async_trait]
impl StepRunner for Invalidate {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Invalidate {
            flip,
            distribution_id,
            paths,
            timeout_seconds,
            on_timeout,
        } = &context.step.params
        else {
            return Err(wrong_params(context));
        };
        if flip.is_some_and(|flip| !moved_traffic(context, flip)) {
            return Ok(Outcome::Skip(
                json!({"because": "the pointer said so already, and nobody had changed it"}),
            ));
        }
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let age = steps::seconds_since_start(&mut connection, context.job.id, context.step.position).await?;
        drop(connection);
        let age = age.unwrap_or(0.0);
        let late = age >= f64::from(*timeout_seconds);
        let notes: Notes = serde_json::from_value(context.step.record.clone()).unwrap_or_default();
        let cloudfront = self.aws.cloudfront(&context.environment()?.aws).await;

        let answer = match &notes.invalidation_id {
            Some(id) => cloudfront.invalidation(distribution_id, id).await,
            None => {
                cloudfront
                    .create_invalidation(distribution_id, &context.step.token, paths)
                    .await
            }
        };
        let invalidation = match answer {
            Ok(invalidation) => invalidation,
            Err(error) if error.class == Class::Throttled && !late => return Ok(wait_for_room(&error, age)),
            Err(error) if error.class == Class::Throttled || (error.class == Class::Ambiguous && late) => {
                let what = format!("On {distribution_id}, {error}");
                return too_late(&what, *on_timeout, *timeout_seconds);
            }
            // CloudFront's reads may be stale: it said the id itself.
            Err(error) if error.is_code("NoSuchInvalidation") && !late => {
                return Ok(Outcome::wait(
                    schedule::next_look_secs(age),
                    "CloudFront does not show the invalidation yet".to_owned(),
                ));
            }
            Err(error) => return Err(refused(&error)),
        };
        if notes.invalidation_id.is_none() {
            let notes = Notes {
                invalidation_id: Some(invalidation.id.clone()),
            };
            let mut fenced = context.fence().await?;
            fenced.note(context.step.position, &json!(notes)).await?;
            fenced.event(
                "invalidation.sent",
                json!({"position": context.step.position, "distribution_id": distribution_id,
                       "invalidation_id": invalidation.id, "caller_reference": context.step.token, "paths": paths}),
            );
            fenced.commit("invalidation").await?;
        }
        if invalidation.is_completed() {
            return Ok(Outcome::Done(Done::new(output(
                context,
                distribution_id,
                paths,
                &invalidation,
            ))));
        }
        if late {
            let what = format!(
                "Invalidation {} on {distribution_id} is still in progress.",
                invalidation.id
            );
            return too_late(&what, *on_timeout, *timeout_seconds);
        }
        Ok(Outcome::wait(
            schedule::next_look_secs(age),
            format!(
                "CloudFront has not completed invalidation {} on {distribution_id}",
                invalidation.id
            ),
        ))
    }
}

fn output(context: &StepContext, distribution: &str, paths: &[String], done: &Invalidation) -> serde_json::Value {
    json!({"distribution_id": distribution, "invalidation_id": done.id, "status": done.status,
           "caller_reference": context.step.token, "paths": paths})
}

fn wait_for_room(error: &AwsError, age: f64) -> Outcome {
    let why = if error.is_code("TooManyInvalidationsInProgress") {
        "CloudFront has too many invalidations in progress on this distribution"
    } else {
        "CloudFront limits the rate of calls"
    };
    Outcome::wait(schedule::next_try_secs(age), format!("{why}; trying again"))
}

fn too_late(what: &str, on_timeout: OnTimeout, timeout: u32) -> Result<Outcome, StepError> {
    match on_timeout {
        OnTimeout::Continue => {
            let mut done = Done::new(json!({"late": true, "message": what}));
            let message = format!(
                "{what} After {timeout} s the job went on without it: some visitors may still see \
                                   the release before, from CloudFront's cache."
            );
            done.warnings.push(Warning::new("invalidation_late", message));
            Ok(Outcome::Done(done))
        }
        OnTimeout::Fail => Err(StepError::fatal(
            JobError::new("invalidation_late", format!("{what} It was given {timeout} s."))
                .hint("Raise invalidate.timeout_seconds, or set invalidate.on_timeout to continue."),
        )),
    }
}

fn refused(error: &AwsError) -> StepError {
    if error.class == Class::NotFound {
        return StepError::fatal(
            JobError::new("distribution_not_found", error.to_string())
                .hint("Correct cdn.distribution_id in the environment's document."),
        );
    }
    aws_step_error(error)
}
