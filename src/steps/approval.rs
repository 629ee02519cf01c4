//! `approval`: waits until enough people have agreed, one has refused, or the time is over. The last two abort the job.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::wrong_params;
use crate::{
    domain::{error::JobError, plan::StepParams},
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{
        StoreError,
        approvals::{self, Approval},
        steps,
    },
};

/// Waits for people.
pub struct ApprovalStep;

#[async_trait]
impl StepRunner for ApprovalStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Approval { policy, .. } = &context.step.params else {
            return Err(wrong_params(context));
        };
        let (job, position) = (context.job.id, context.step.position);
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let decisions = approvals::of_gate(&mut connection, job, position).await?;
        let age = steps::seconds_since_start(&mut connection, job, position).await?;
        drop(connection);
        if let Some(no) = decisions.iter().find(|decision| !decision.approved) {
            let words = no
                .comment
                .as_ref()
                .map_or_else(|| ".".to_owned(), |comment| format!(": {comment}"));
            return Err(StepError::fatal(
                JobError::new(
                    "approval_rejected",
                    format!("{} rejected the promotion{words}", no.name),
                )
                .hint("Talk to them; start a new promotion when you agree."),
            ));
        }
        let (have, need) = (decisions.len(), usize::try_from(policy.required).unwrap_or(usize::MAX));
        if have >= need {
            let shown: Vec<Value> = decisions.iter().map(shown).collect();
            return Ok(Outcome::Done(Done::new(json!({"approvals": shown}))));
        }
        let left = f64::from(policy.expires_after_seconds) - age.unwrap_or(0.0);
        if left <= 0.0 {
            let message = format!(
                "{have} of {need} approvals had come when the {} s of the gate were over.",
                policy.expires_after_seconds
            );
            return Err(StepError::fatal(
                JobError::new("approval_expired", message)
                    .hint("Start a new promotion when somebody is there to approve it."),
            ));
        }
        Ok(Outcome::wait(
            left,
            format!(
                "waiting for approval: {have} of {need}, of role {} or greater, not of {}",
                policy.role, context.job.created_by
            ),
        ))
    }
}

fn shown(decision: &Approval) -> Value {
    json!({"by": decision.name, "role": decision.role, "comment": decision.comment, "at": decision.at})
}
