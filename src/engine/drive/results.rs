//! What a step's run did to the job: done, skipped, waiting, to be tried again, failed.

use serde_json::{Value, json};

use super::{
    super::{
        Done, Outcome, Wait,
        backoff::{self, MAX_ATTEMPTS, MAX_THROTTLED_ATTEMPTS},
    },
    Drive,
};
use crate::{
    domain::{
        error::{JobError, Retry, Warning},
        job::StepState,
        plan::StepParams,
    },
    store::{
        Result,
        progress::{Fenced, StepWait},
        steps,
    },
};

impl Drive<'_> {
    pub(super) async fn apply(&mut self, fenced: &mut Fenced, position: i32, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Done(done) => self.apply_done(fenced, position, done).await,
            Outcome::Skip(output) => {
                let step = self.step_mut(position);
                step.state = StepState::Skipped;
                let attempts = step.attempts;
                fenced
                    .end_step(position, StepState::Skipped, attempts, &output, None)
                    .await?;
                fenced.event("step.skipped", json!({"position": position, "output": output}));
                Ok(())
            }
            Outcome::Wait(wait) => {
                let Wait {
                    secs,
                    reason,
                    record,
                    events,
                } = wait;
                let step = self.step_mut(position);
                let repeated = step.waiting_for.as_deref() == Some(&reason);
                if let Some(record) = &record {
                    step.record = record.clone();
                }
                step.state = StepState::Waiting;
                step.due = false;
                step.waiting_for = Some(reason.clone());
                // It got an answer: failures before it don't add up with those to come.
                step.attempts = 0;
                let wait = StepWait {
                    secs,
                    reason: &reason,
                    record: record.as_ref(),
                    ..StepWait::default()
                };
                fenced.wait_step(position, &wait).await?;
                for event in events {
                    fenced.event(event.kind, event.data);
                }
                if !repeated {
                    fenced.event("step.waiting", json!({"position": position, "reason": reason}));
                }
                Ok(())
            }
        }
    }

    async fn apply_done(&mut self, fenced: &mut Fenced, position: i32, done: Done) -> Result<()> {
        let step = self.step_mut(position);
        step.state = StepState::Succeeded;
        step.attempts += 1;
        step.output = done.output.clone();
        let attempts = step.attempts;
        fenced
            .end_step(position, StepState::Succeeded, attempts, &done.output, None)
            .await?;
        self.wake_checks(fenced, position).await?;
        for effect in done.effects {
            effect(fenced.connection()).await?;
        }
        fenced.warn(&done.warnings).await?;
        for event in done.events {
            fenced.event(event.kind, event.data);
        }
        if let Some(reason) = &done.pause
            && !self.signals.pause
        {
            fenced.pause("greenlight", reason).await?;
            self.signals.pause = true;
        }
        fenced.event("step.succeeded", json!({"position": position, "output": done.output}));
        if !done.append.is_empty() {
            fenced.append_steps(self.job.round, &done.append).await?;
            self.steps = steps::list(fenced.connection(), self.job.id).await?;
        }
        Ok(())
    }

    /// A bake that ends wakes the checks beside it: one that a pause held open may have gone on for longer than they
    /// thought, and what comes next waits for their last try.
    async fn wake_checks(&mut self, fenced: &mut Fenced, ended: i32) -> Result<()> {
        let mut beside = Vec::new();
        for step in &mut self.steps {
            let StepParams::Check(run) = &step.params else {
                continue;
            };
            if run.bake == Some(ended) && !step.state.is_end() {
                step.due = step.state == StepState::Waiting;
                beside.push(step.position);
            }
        }
        if beside.is_empty() {
            return Ok(());
        }
        fenced.wake_steps(&beside).await
    }

    pub(super) async fn apply_failure(
        &mut self,
        fenced: &mut Fenced,
        position: i32,
        error: JobError,
        retry: Retry,
        output: Value,
        warnings: &[Warning],
    ) -> Result<()> {
        let step = self.step_mut(position);
        step.attempts += 1;
        let attempts = step.attempts;
        let error = error.in_step(&step.stage, step.params.kind());
        step.error = Some(error.clone());
        let allowed = match retry {
            Retry::No => 0,
            Retry::Backoff => MAX_ATTEMPTS,
            Retry::Throttled => MAX_THROTTLED_ATTEMPTS,
        };
        if attempts < allowed {
            let secs = backoff::delay_secs(attempts);
            let reason = format!("trying again after: {}", error.message);
            step.state = StepState::Waiting;
            step.due = false;
            step.waiting_for = Some(reason.clone());
            let wait = StepWait {
                secs,
                reason: &reason,
                attempts,
                error: Some(&error),
                record: None,
            };
            fenced.wait_step(position, &wait).await?;
            fenced.event(
                "step.retrying",
                json!({"position": position, "attempt": attempts, "error": error}),
            );
            tracing::warn!(job.id = %self.job.id, step.position = position, attempt = attempts, error = error.for_the_log(),
                "a step failed and will be tried again");
        } else {
            step.state = StepState::Failed;
            step.output = output.clone();
            fenced
                .end_step(position, StepState::Failed, attempts, &output, Some(&error))
                .await?;
            fenced.warn(warnings).await?;
            fenced.event(
                "step.failed",
                json!({"position": position, "attempt": attempts, "error": error}),
            );
            tracing::warn!(job.id = %self.job.id, step.position = position, attempt = attempts, error = error.for_the_log(),
                "a step failed");
        }
        Ok(())
    }
}
