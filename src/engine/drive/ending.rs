//! How a job is turned round, and how it ends.

use std::collections::BTreeSet;

use serde_json::json;

use super::Drive;
use crate::{
    domain::{
        error::JobError,
        job::{Job, JobEvent, JobKind, JobState, StepState},
        names::Name,
        plan::{self, Direction},
    },
    store::{
        Result, StoreError, pointers,
        progress::{End, Fenced},
        steps,
    },
};

impl Drive<'_> {
    /// Ends the job, and says so once.
    pub(super) async fn end(&mut self, fenced: &mut Fenced, event: JobEvent, error: Option<&JobError>) -> Result<()> {
        let state = self.to(event)?;
        fenced
            .end_job(&End {
                state,
                error,
                settled: event == JobEvent::Complete,
            })
            .await?;
        let Job {
            id,
            kind,
            app,
            environment,
            release,
            ..
        } = &self.job;
        let release = release.as_ref().map(|version| version.as_str());
        // The message of one that is stuck has those of all that led there.
        let quotes = state == JobState::Stuck && self.job.cause.iter().chain(self.failures()).any(JobError::quotes);
        let error = error.map(|error| {
            if quotes {
                error.code.as_str()
            } else {
                error.for_the_log()
            }
        });
        if state == JobState::Stuck {
            tracing::error!(job.id = %id, %kind, %app, %environment, release, error, "a job is stuck: somebody should act");
        } else {
            tracing::info!(job.id = %id, %kind, %app, %environment, release, %state, error, "a job has ended");
        }
        Ok(())
    }

    /// Turns the job round. False: there was nothing to undo, and it has ended.
    pub(super) async fn unwind(&mut self, fenced: &mut Fenced, aborting: bool) -> Result<bool> {
        let error = if aborting {
            JobError::new("aborted", "The job was aborted; what it had done is taken back.")
                .hint("Nothing to do: start a new promotion when you are ready.")
        } else {
            self.first_failure()
        };
        let Some(environment) = self.job.snapshot.clone() else {
            return Err(StoreError::corrupt("job", "a job with steps has no snapshot"));
        };
        // What the steps found and wanted was written by themselves: read it back before planning.
        self.steps = steps::list(fenced.connection(), self.job.id).await?;
        let known = pointers::of_environment(fenced.connection(), self.job.environment_id).await?;
        let taken: BTreeSet<Name> = known.iter().filter(|p| p.taken).map(|p| p.component.clone()).collect();
        let plan = plan::undo(&environment, &self.steps, &self.job.inherited, &taken);
        if plan.is_empty() {
            let event = if error.is_abort() {
                JobEvent::AbortClean
            } else {
                JobEvent::FailClean
            };
            self.end(fenced, event, Some(&error)).await?;
            return Ok(false);
        }
        let state = self.to(JobEvent::Unwind)?;
        fenced.unwind(state, &error).await?;
        fenced.append_steps(self.job.round, &plan).await?;
        fenced.event("job.unwinding", json!({"error": error, "steps": plan.len()}));
        self.job.state = state;
        self.job.error = Some(error.clone());
        self.job.cause = Some(error);
        self.steps = steps::list(fenced.connection(), self.job.id).await?;
        Ok(true)
    }

    pub(super) async fn complete(&mut self, fenced: &mut Fenced) -> Result<()> {
        if self.job.state != JobState::Unwinding {
            return self.end(fenced, JobEvent::Complete, None).await;
        }
        let error = self.job.cause.clone();
        let aborted = error.as_ref().is_some_and(JobError::is_abort);
        fenced.mark_undone().await?;
        self.end(
            fenced,
            if aborted {
                JobEvent::UndoneAbort
            } else {
                JobEvent::UndoneFailure
            },
            error.as_ref(),
        )
        .await
    }

    fn failures(&self) -> impl Iterator<Item = &JobError> {
        let direction = if self.job.state == JobState::Unwinding {
            Direction::Undo
        } else {
            Direction::Forward
        };
        self.steps
            .iter()
            .filter(move |s| s.round == self.job.round && s.direction == direction && s.state == StepState::Failed)
            .filter_map(|step| step.error.as_ref())
    }

    fn first_failure(&self) -> JobError {
        self.failures()
            .next()
            .cloned()
            .unwrap_or_else(|| JobError::new("failed", "A step failed."))
    }

    /// Everything that failed, in one message: the steps carry each observed value.
    pub(super) fn stuck_error(&self) -> JobError {
        let all: Vec<&str> = self.failures().map(|error| error.message.as_str()).collect();
        let undoing = self.job.state == JobState::Unwinding;
        let (code, what) = if undoing {
            (
                "undo_incomplete",
                "The promotion failed and could not be undone completely.",
            )
        } else {
            match self.job.kind {
                JobKind::Rollback => ("rollback_incomplete", "The rollback could not be completed."),
                // Settled; what it took over from another promotion is not finished.
                JobKind::Promotion | JobKind::Invalidation => (
                    "promotion_incomplete",
                    "Traffic is on the release, but what another promotion had begun could not be taken back.",
                ),
            }
        };
        let cause = self.job.cause.as_ref().filter(|_| undoing);
        let before = cause.map(|e| format!(" It failed because: {}", e.message));
        let mut error = JobError::new(code, format!("{what} {}{}", all.join(" "), before.unwrap_or_default()))
            .hint("Remove the cause, then POST /v1/jobs/{id}/retry; or POST a rollback, which takes this job's place.");
        // A check's verdict stays on the job with what it saw, and what a hook answered that could not be taken back.
        error.evidence = cause
            .into_iter()
            .chain(self.failures())
            .find_map(|error| error.evidence.clone());
        error.step = self.failures().next().and_then(|error| error.step.clone());
        error
    }
}
