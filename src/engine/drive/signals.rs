//! What people have said to a job that is being driven: pauses, and bakes that are left out.

use serde_json::json;

use super::Drive;
use crate::{
    domain::{
        job::{JobEvent, JobKind, JobState, Step, StepState},
        plan::{self, StepParams},
    },
    store::{Result, progress::Fenced},
};

/// How often a job that is held by the lock on everything looks whether it was lifted: that is said by a notification,
/// but another transaction may have held the job meanwhile.
const LOCK_LOOK_SECS: f64 = 60.0;

impl Drive<'_> {
    /// Stops what is in flight, as far as `may` says yes. What was stopped counts as not in flight any more.
    pub(super) fn interrupt(&mut self, may: impl Fn(&Step) -> bool) {
        let (steps, handles) = (&self.steps, &mut self.handles);
        self.in_flight.retain(|position| {
            let interruptible = steps.iter().any(|step| step.position == *position && may(step));
            if interruptible && let Some(handle) = handles.remove(position) {
                handle.abort();
            }
            !interruptible
        });
    }

    /// Leaves out what somebody had the job leave out.
    pub(super) async fn leave_out(&mut self, fenced: &mut Fenced) -> Result<()> {
        if !self.signals.promote_fully || self.job.state == JobState::Unwinding || self.job.kind != JobKind::Promotion {
            return Ok(());
        }
        let skipped = plan::skipped_by_promoting_fully(&self.steps, self.job.round);
        if skipped.is_empty() {
            return Ok(());
        }
        self.interrupt(|step| skipped.contains(&step.position));
        let positions: Vec<i32> = skipped.into_iter().collect();
        let output = json!({"because": "the promotion was told to go on fully"});
        fenced.skip_steps(&positions, &output).await?;
        for position in positions {
            let step = self.step_mut(position);
            step.state = StepState::Skipped;
            step.output = output.clone();
            fenced.event("step.skipped", json!({"position": position, "output": output}));
        }
        Ok(())
    }

    /// Nothing holds the job any more: its bakes look again, also one that began to wait for that just now.
    pub(super) async fn wake_bakes(&mut self, fenced: &mut Fenced) -> Result<()> {
        let mut bakes = Vec::new();
        for step in &mut self.steps {
            if matches!(step.params, StepParams::Bake { .. }) && !step.state.is_end() {
                step.due = step.state == StepState::Waiting;
                bakes.push(step.position);
            }
        }
        fenced.wake_steps(&bakes).await
    }

    /// Gives the job back until something is due, or somebody says something.
    pub(super) async fn wait(&mut self, fenced: &mut Fenced) -> Result<()> {
        let state = self.to(JobEvent::Wait)?;
        let next = self
            .steps
            .iter()
            .filter(|step| step.state == StepState::Waiting)
            .min_by_key(|step| step.wake_at);
        let held = self.position().is_held();
        let paused = "somebody paused it: resume it to go on";
        let (waiting_for, reason) = match next {
            _ if held && self.signals.pause => ("pause", Some(paused)),
            _ if held => (
                "pause",
                Some("everything is locked: it goes on when the lock is lifted"),
            ),
            Some(step) if matches!(step.params, StepParams::Approval { .. }) => {
                ("approval", step.waiting_for.as_deref())
            }
            Some(step) => ("timer", step.waiting_for.as_deref()),
            None => ("timer", None),
        };
        let look_after = (held && self.signals.lock).then_some(LOCK_LOOK_SECS);
        fenced.job_waits(state, waiting_for, reason, look_after).await
    }
}
