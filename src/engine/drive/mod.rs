//! One worker drives one job, from its claim until it waits, ends, or is somebody else's.

mod ending;
mod results;
mod signals;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    sync::broadcast,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Engine, Hub, Outcome, StepContext, StepError,
    hub::{News, heard},
};
use crate::{
    domain::{
        error::JobError,
        job::{Job, JobEvent, JobKind, JobState, Step, StepState},
        names::Name,
        plan::Direction,
        schedule::{self, Next, Position, Signals},
    },
    store::{
        Result, StoreError, jobs,
        leases::{self, Claimed, Lease},
        progress::Fenced,
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
    /// How to stop what is in flight.
    handles: HashMap<i32, AbortHandle>,
    signals: Signals,
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
    hub: &Hub,
    claimed: Claimed,
    stop: &CancellationToken,
    lost: &CancellationToken,
) -> Result<()> {
    let lease = claimed.lease;
    // Before the first look, so that nothing that is said falls between.
    let said = hub.signals();
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
        handles: HashMap::new(),
        signals: Signals::default(),
        shifted,
    };
    drive.run(claimed.taken_over, said, stop, lost).await
}

impl Drive<'_> {
    async fn run(
        mut self,
        taken_over: bool,
        mut said: broadcast::Receiver<News>,
        stop: &CancellationToken,
        lost: &CancellationToken,
    ) -> Result<()> {
        // Tasks of their own: a step may hold the job's row while this one waits for it. Dropping the set
        // ends them.
        let mut running: JoinSet<StepResult> = JoinSet::new();
        let mut results: Vec<StepResult> = Vec::new();
        let mut first = true;
        let mut look_again = false;
        let mut look_in;
        loop {
            let Some(mut fenced) = self.engine.store.fence(self.lease).await? else {
                tracing::info!(job.id = %self.lease.job, "the lease is gone: stopping quietly");
                return Ok(());
            };
            self.job.abort_requested = fenced.signals.abort;
            let was_held = self.position().is_held();
            self.signals = fenced.signals;
            if std::mem::take(&mut look_again) {
                // Somebody may have woken a step.
                self.steps = steps::list(fenced.connection(), self.job.id).await?;
            }
            if std::mem::take(&mut first) && taken_over {
                fenced.event(
                    "job.taken_over",
                    json!({"message": "the worker before did not come back"}),
                );
            }
            for (position, result) in results.drain(..) {
                // It was stopped, but had ended just before.
                if self.handles.remove(&position).is_none() {
                    continue;
                }
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
                        events,
                    }) => {
                        for event in events {
                            fenced.event(event.kind, event.data);
                        }
                        self.apply_failure(&mut fenced, position, error, retry, output, &warnings)
                            .await?;
                    }
                }
            }
            if was_held && !self.position().is_held() {
                self.wake_bakes(&mut fenced).await?;
            }
            let stopping = stop.is_cancelled();
            if stopping {
                // Only writes are waited for; the rest is run again by whoever takes the job over.
                self.interrupt(|step| step.params.is_interruptible());
            }
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
                    look_in = self.look_in(&mut fenced).await?;
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
                    // Stopped by us.
                    Err(error) if error.is_cancelled() => {}
                    Err(_) => {
                        tracing::error!(job.id = %self.lease.job, "a step panicked: the job is given back");
                        return Err(StoreError::corrupt("step", "its code panicked"));
                    }
                },
                () = heard(&mut said, self.job.id) => look_again = true,
                // A notification is a hint: what was said is looked for without one too.
                () = tokio::time::sleep(look_in) => look_again = true,
                () = stop.cancelled(), if !stopping => {}
                () = lost.cancelled() => {
                    tracing::info!(job.id = %self.lease.job, "the lease is gone: stopping quietly");
                    return Ok(());
                }
            }
        }
    }

    /// When to look at the job again although nothing in flight has ended: when the next waiting step is due.
    async fn look_in(&self, fenced: &mut Fenced) -> Result<Duration> {
        let poll = self.engine.config.poll;
        if !self.steps.iter().any(|step| step.state == StepState::Waiting) {
            return Ok(poll);
        }
        let secs = steps::seconds_to_next(fenced.connection(), self.job.id).await?;
        let due = secs.map(|secs| Duration::from_secs_f64(secs.max(0.0)));
        // Never quite zero: the steps in flight have to get on.
        Ok(due.map_or(poll, |due| due.clamp(Duration::from_millis(20), poll)))
    }

    fn next(&self) -> Next {
        schedule::next(&self.position())
    }

    fn position(&self) -> Position<'_> {
        Position {
            kind: self.job.kind,
            state: self.job.state,
            round: self.job.round,
            signals: self.signals,
            steps: &self.steps,
            in_flight: &self.in_flight,
        }
    }

    /// Decides what is next and stores it.
    async fn turn(&mut self, fenced: &mut Fenced) -> Result<Turn> {
        self.leave_out(fenced).await?;
        loop {
            let next = self.next();
            // Also when nothing more begins for now: a pause does not change that everybody is there.
            if !self.shifted && !matches!(next, Next::Unwind { .. } | Next::GetStuck) && self.traffic_is_shifted() {
                self.shifted = true;
                fenced.traffic_shifted().await?;
            }
            match next {
                Next::InFlight => return Ok(Turn::Go(Vec::new())),
                Next::Run(positions) => {
                    self.start_steps(fenced, &positions).await?;
                    return Ok(Turn::Go(positions));
                }
                Next::Wait => {
                    self.wait(fenced).await?;
                    return Ok(Turn::Leave);
                }
                Next::Unwind { aborting } => {
                    // At once: nobody waits for a bake or a slow check.
                    self.interrupt(|step| step.params.is_interruptible());
                    if !self.in_flight.is_empty() {
                        return Ok(Turn::Go(Vec::new()));
                    }
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
            if began {
                fenced.event(
                    "step.started",
                    json!({"position": position, "stage": step.stage, "step": step.params.kind(),
                           "component": step.component, "does": step.params.describe()}),
                );
            }
        }
        fenced.start_steps(positions).await
    }

    /// True when all that moves traffic has ended, and nothing has failed: everybody has been moved.
    fn traffic_is_shifted(&self) -> bool {
        let mut current = self.steps.iter().filter(|step| step.round == self.job.round);
        self.job.state != JobState::Unwinding
            && self.job.kind != JobKind::Invalidation
            && current.all(|step| {
                step.direction == Direction::Forward
                    && step.state != StepState::Failed
                    && (step.state.is_end() || !step.params.moves_traffic())
            })
    }

    fn start(&mut self, position: i32, running: &mut JoinSet<StepResult>) {
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
            held: self.position().is_held(),
        };
        let run = async move {
            let Some(runner) = runner else {
                let error = JobError::new("step_unknown", format!("No code here runs steps of kind {kind}."))
                    .hint("Let a worker of the version that made the plan finish the job.");
                return (position, Err(StepError::fatal(error)));
            };
            (position, runner.run(&context).await)
        };
        let handle = running.spawn(run.instrument(span));
        self.handles.insert(position, handle);
    }
}
