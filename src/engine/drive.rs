//! One worker drives one job, from its claim until it waits, ends, or is somebody else's.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Done, Engine, Outcome, StepContext, StepError,
    backoff::{self, MAX_ATTEMPTS, MAX_THROTTLED_ATTEMPTS},
};
use crate::{
    domain::{
        error::{JobError, Retry, Warning},
        job::{Job, JobEvent, JobState, Step, StepState},
        names::Name,
        plan::{self, Direction, StepParams},
        schedule::{self, Next},
    },
    store::{
        Result, StoreError, jobs,
        leases::{self, Claimed, Lease},
        pointers,
        progress::{End, Fenced},
        steps,
    },
};

type StepResult = (i32, std::result::Result<Outcome, StepError>);

struct Drive<'a> {
    engine: &'a Engine,
    lease: Lease,
    job: Job,
    steps: Vec<Step>,
    in_flight: Vec<i32>,
    /// It is recorded that everybody is on the release the job moves to.
    shifted: bool,
}

/// What became of one look at the job.
enum Turn {
    /// These steps start now.
    Go(Vec<i32>),
    /// Nothing left for this worker.
    Leave,
}

/// Drives a claimed job. `stop`: hand it over once no step is in the middle of something. `lost`: the
/// lease is gone.
///
/// # Errors
/// The database's: the job stays as it is, and is claimed again when its lease has run out.
pub async fn drive(
    engine: &Engine,
    claimed: Claimed,
    stop: &CancellationToken,
    lost: &CancellationToken,
) -> Result<()> {
    let lease = claimed.lease;
    let mut connection = engine.store.pool().acquire().await?;
    let Some(job) = jobs::get(&mut connection, lease.job).await? else {
        return Ok(());
    };
    if job.state.is_end() {
        return leases::let_go(&engine.store, lease).await;
    }
    if job.state == JobState::Queued {
        drop(connection);
        return engine.activator.activate(&job, lease).await;
    }
    let steps = steps::list(&mut connection, lease.job).await?;
    drop(connection);
    if job.started_at.is_some() && steps.iter().all(|step| step.state == StepState::Pending) {
        let Job {
            kind,
            app,
            environment,
            release,
            ..
        } = &job;
        let release = release.as_ref().map(|version| version.as_str());
        tracing::info!(job.id = %lease.job, %kind, %app, %environment, release, "a job begins");
    }
    let shifted = job.traffic_shifted_at.is_some();
    let drive = Drive {
        engine,
        lease,
        job,
        steps,
        in_flight: Vec::new(),
        shifted,
    };
    drive.run(claimed.taken_over, stop, lost).await
}

impl Drive<'_> {
    async fn run(mut self, taken_over: bool, stop: &CancellationToken, lost: &CancellationToken) -> Result<()> {
        // Tasks of their own: a step may hold the job's row while this one waits for it. Dropping the set
        // ends them.
        let mut running: JoinSet<StepResult> = JoinSet::new();
        let mut results: Vec<StepResult> = Vec::new();
        let mut first = true;
        loop {
            let Some(mut fenced) = self.engine.store.fence(self.lease).await? else {
                tracing::info!(job.id = %self.lease.job, "the lease is gone: stopping quietly");
                return Ok(());
            };
            self.job.abort_requested = fenced.abort_requested;
            if std::mem::take(&mut first) && taken_over {
                fenced.event(
                    "job.taken_over",
                    json!({"message": "the worker before did not come back"}),
                );
            }
            for (position, result) in results.drain(..) {
                self.in_flight.retain(|p| *p != position);
                match result {
                    Ok(outcome) => self.apply(&mut fenced, position, outcome).await?,
                    Err(StepError::LeaseLost) => return Ok(()),
                    Err(StepError::Store(error)) => return Err(error),
                    Err(StepError::Failed {
                        error,
                        retry,
                        output,
                        warnings,
                    }) => {
                        self.apply_failure(&mut fenced, position, error, retry, output, &warnings)
                            .await?;
                    }
                }
            }
            let stopping = stop.is_cancelled();
            if stopping && self.in_flight.is_empty() {
                // What has just settled is ended here: between the two it could still be aborted.
                if self.next() == Next::Complete {
                    self.complete(&mut fenced).await?;
                    return fenced.commit("leave").await;
                }
                fenced.commit("hand_over").await?;
                return leases::hand_over(&self.engine.store, self.lease, 0.0).await;
            }
            let turn = if stopping {
                Turn::Go(Vec::new())
            } else {
                self.turn(&mut fenced).await?
            };
            match turn {
                Turn::Leave => return fenced.commit("leave").await,
                Turn::Go(positions) => {
                    fenced.commit("turn").await?;
                    for position in positions {
                        self.in_flight.push(position);
                        self.start(position, &mut running);
                    }
                }
            }
            tokio::select! {
                Some(result) = running.join_next() => match result {
                    Ok(result) => results.push(result),
                    Err(_) => {
                        tracing::error!(job.id = %self.lease.job, "a step panicked: the job is given back");
                        return Err(StoreError::corrupt("step", "its code panicked"));
                    }
                },
                () = lost.cancelled() => {
                    tracing::info!(job.id = %self.lease.job, "the lease is gone: stopping quietly");
                    return Ok(());
                }
            }
        }
    }

    /// Ends the job, and says so once.
    async fn end(&mut self, fenced: &mut Fenced, event: JobEvent, error: Option<&JobError>) -> Result<()> {
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
        let error = error.map(|error| error.message.as_str());
        if state == JobState::Stuck {
            tracing::error!(job.id = %id, %kind, %app, %environment, release, error, "a job is stuck: somebody should act");
        } else {
            tracing::info!(job.id = %id, %kind, %app, %environment, release, %state, error, "a job has ended");
        }
        Ok(())
    }

    fn next(&self) -> Next {
        let job = &self.job;
        schedule::next(
            job.kind,
            job.state,
            job.round,
            job.abort_requested,
            &self.steps,
            &self.in_flight,
        )
    }

    /// Decides what is next and stores it.
    async fn turn(&mut self, fenced: &mut Fenced) -> Result<Turn> {
        loop {
            match self.next() {
                Next::InFlight => return Ok(Turn::Go(Vec::new())),
                Next::Run(positions) => {
                    self.start_steps(fenced, &positions).await?;
                    return Ok(Turn::Go(positions));
                }
                Next::Wait => {
                    let reason = self
                        .steps
                        .iter()
                        .filter(|step| step.state == StepState::Waiting)
                        .min_by_key(|step| step.wake_at)
                        .and_then(|step| step.waiting_for.as_deref());
                    let state = self.to(JobEvent::Wait)?;
                    fenced.job_waits(state, reason).await?;
                    return Ok(Turn::Leave);
                }
                Next::Unwind { aborting } => {
                    if self.unwind(fenced, aborting).await? {
                        continue;
                    }
                    return Ok(Turn::Leave);
                }
                Next::Complete => {
                    self.complete(fenced).await?;
                    return Ok(Turn::Leave);
                }
                Next::GetStuck => {
                    let error = self.stuck_error();
                    self.end(fenced, JobEvent::GetStuck, Some(&error)).await?;
                    return Ok(Turn::Leave);
                }
            }
        }
    }

    fn to(&self, event: JobEvent) -> Result<JobState> {
        self.job
            .state
            .transition(event)
            .map_err(|why| StoreError::corrupt("job", why))
    }

    fn step_mut(&mut self, position: i32) -> &mut Step {
        self.steps
            .iter_mut()
            .find(|step| step.position == position)
            .expect("positions come from the job's own steps")
    }

    async fn start_steps(&mut self, fenced: &mut Fenced, positions: &[i32]) -> Result<()> {
        for position in positions {
            let step = self.step_mut(*position);
            let began = step.state == StepState::Pending;
            step.state = StepState::Running;
            let shifted = plan_marks_shift(step);
            if began {
                fenced.event(
                    "step.started",
                    json!({"position": position, "stage": step.stage, "step": step.params.kind(),
                           "component": step.component, "does": step.params.describe()}),
                );
            }
            if shifted && began && !self.shifted && self.traffic_is_shifted() {
                self.shifted = true;
                fenced.traffic_shifted().await?;
            }
        }
        fenced.start_steps(positions).await
    }

    /// True unless a step of this round has failed: then it is not everybody who has been moved.
    fn traffic_is_shifted(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| step.round == self.job.round && step.state == StepState::Failed)
    }

    fn start(&self, position: i32, running: &mut JoinSet<StepResult>) {
        let step = self.steps.iter().find(|step| step.position == position).cloned();
        let step = step.expect("positions come from the job's own steps");
        let kind = step.params.kind();
        let runner = self.engine.steps.get(kind).cloned();
        let span = tracing::info_span!(
            "step", job.id = %self.job.id, step.kind = kind, step.position = position,
            component = step.component.as_ref().map(Name::as_str), attempt = step.attempts + 1
        );
        let context = StepContext {
            job: Arc::new(self.job.clone()),
            step,
            steps: Arc::new(self.steps.clone()),
            store: self.engine.store.clone(),
            lease: self.lease,
            config: self.engine.config.clone(),
        };
        let run = async move {
            let Some(runner) = runner else {
                let error = JobError::new("step_unknown", format!("No code here runs steps of kind {kind}."))
                    .hint("Let a worker of the version that made the plan finish the job.");
                return (position, Err(StepError::fatal(error)));
            };
            (position, runner.run(&context).await)
        };
        running.spawn(run.instrument(span));
    }

    async fn apply(&mut self, fenced: &mut Fenced, position: i32, outcome: Outcome) -> Result<()> {
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
            Outcome::Wait { secs, reason } => {
                let step = self.step_mut(position);
                let repeated = step.waiting_for.as_deref() == Some(&reason);
                step.state = StepState::Waiting;
                step.due = false;
                step.waiting_for = Some(reason.clone());
                // It got an answer: failures before it don't add up with those to come.
                step.attempts = 0;
                fenced.wait_step(position, secs, &reason, 0, None).await?;
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
        for effect in done.effects {
            effect(fenced.connection()).await?;
        }
        fenced.warn(&done.warnings).await?;
        fenced.event("step.succeeded", json!({"position": position, "output": done.output}));
        if !done.append.is_empty() {
            fenced.append_steps(self.job.round, &done.append).await?;
            self.steps = steps::list(fenced.connection(), self.job.id).await?;
        }
        Ok(())
    }

    async fn apply_failure(
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
            fenced
                .wait_step(position, secs, &reason, attempts, Some(&error))
                .await?;
            fenced.event(
                "step.retrying",
                json!({"position": position, "attempt": attempts, "error": error}),
            );
            tracing::warn!(job.id = %self.job.id, step.position = position, attempt = attempts, error = %error.message,
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
            tracing::warn!(job.id = %self.job.id, step.position = position, attempt = attempts, error = %error.message,
                "a step failed");
        }
        Ok(())
    }

    /// Turns the job round. False: there was nothing to undo, and it has ended.
    async fn unwind(&mut self, fenced: &mut Fenced, aborting: bool) -> Result<bool> {
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
        let plan = plan::undo(&environment, &self.steps, &self.job.inherited.found, &taken);
        if plan.is_empty() {
            let event = if aborting {
                JobEvent::AbortClean
            } else {
                JobEvent::FailClean
            };
            // An abort may meet a waiting job; a failure is always found by a running one.
            let state = self.to(event)?;
            fenced
                .end_job(&End {
                    state,
                    error: Some(&error),
                    settled: false,
                })
                .await?;
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

    async fn complete(&mut self, fenced: &mut Fenced) -> Result<()> {
        if self.job.state != JobState::Unwinding {
            return self.end(fenced, JobEvent::Complete, None).await;
        }
        let error = self.job.cause.clone();
        let aborted = error.as_ref().is_some_and(|error| error.code == "aborted");
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
    fn stuck_error(&self) -> JobError {
        let all: Vec<&str> = self.failures().map(|error| error.message.as_str()).collect();
        let undoing = self.job.state == JobState::Unwinding;
        let (code, what) = if undoing {
            (
                "undo_incomplete",
                "The promotion failed and could not be undone completely.",
            )
        } else {
            ("rollback_incomplete", "The rollback could not be completed.")
        };
        let before = self
            .job
            .cause
            .as_ref()
            .filter(|_| undoing)
            .map(|e| format!(" It failed because: {}", e.message));
        let mut error = JobError::new(code, format!("{what} {}{}", all.join(" "), before.unwrap_or_default()))
            .hint("Remove the cause, then POST /v1/jobs/{id}/retry; or POST a rollback, which takes this job's place.");
        error.step = self.failures().next().and_then(|error| error.step.clone());
        error
    }
}

/// The step that comes when all traffic has been moved.
fn plan_marks_shift(step: &Step) -> bool {
    step.direction == Direction::Forward && matches!(step.params, StepParams::Settle { .. })
}
