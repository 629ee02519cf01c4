//! A job, its steps, and the state machine they follow.
//!
//! ```text
//!            activate                      complete
//!   queued ───────────▶ running ◀──▶ waiting ───────▶ succeeded
//!     │                    │  wait/wake │
//!     │ abort, supersede   ├────────────┤ fail or abort, something was touched
//!     ▼                    ▼            ▼
//!   aborted ◀───────── unwinding ──────────▶ failed
//!                          │ undo fails for good
//!                          ▼
//!                        stuck ──retry──▶ unwinding (undo) or running (rollback)
//! ```
//! A supersede ends every unfinished state, `stuck` included, as `aborted`. `retry` takes a `failed` job
//! back to `running`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    environment::{EnvironmentDocument, Strategy},
    error::{JobError, Warning},
    names::{Name, Version},
    plan::{Direction, HookRun, OnFailure, StepParams},
    pointer::Values,
};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Promotion,
    Rollback,
    /// A purge without a flip. It moves no traffic, so it runs beside whatever holds the environment.
    Invalidation,
}

/// Where a job is. The last four but `unwinding` are ends; only `stuck` keeps its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its environment; has no plan yet.
    Queued,
    Running,
    /// A timer, an approval or a pause: `waiting_for` says which.
    Waiting,
    /// Undoing what it did.
    Unwinding,
    Succeeded,
    /// Undone: traffic is as before.
    Failed,
    /// Undone likewise; with `superseded_by`, the successor decides where traffic goes.
    Aborted,
    /// Could not finish undoing or rolling back. Holds the environment until retried or rolled back.
    Stuck,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Pending,
    Running,
    Waiting,
    Succeeded,
    Failed,
    Skipped,
    /// It did something, and that has been taken back.
    Undone,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// It got its environment and its plan.
    Activate,
    /// Nothing to do until a time or a signal.
    Wait,
    /// A worker goes on with it.
    Wake,
    /// Every step is done, the new state recorded.
    Complete,
    /// It failed before anything was touched.
    FailClean,
    /// It was aborted before anything was touched.
    AbortClean,
    /// It failed or was aborted, and something was touched.
    Unwind,
    /// The undo of a failure is done.
    UndoneFailure,
    /// The undo of an abort is done.
    UndoneAbort,
    /// An undo or a rollback failed for good.
    GetStuck,
    /// A person asks again for the unfinished undo of a promotion.
    RetryUndo,
    /// A person asks again for a failed promotion or a stuck rollback.
    RetryForward,
    /// A later job takes its place.
    Supersede,
}

/// An event that a state does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {state} job knows no {event:?}")]
pub struct InvalidTransition {
    pub state: JobState,
    pub event: JobEvent,
}

impl JobState {
    pub const ALL: [JobState; 8] = [
        JobState::Queued,
        JobState::Running,
        JobState::Waiting,
        JobState::Unwinding,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Aborted,
        JobState::Stuck,
    ];

    /// The state after `event`.
    ///
    /// # Errors
    /// [`InvalidTransition`] when this state does not know the event.
    pub fn transition(self, event: JobEvent) -> Result<JobState, InvalidTransition> {
        use JobEvent as E;
        use JobState as S;
        let next = match (self, event) {
            (S::Queued, E::Activate) => S::Running,
            (S::Queued, E::FailClean) => S::Failed,
            (S::Queued, E::AbortClean) => S::Aborted,

            (S::Running, E::Wait) => S::Waiting,
            (S::Running | S::Waiting, E::Wake) => S::Running,
            (S::Running, E::Complete) => S::Succeeded,
            (S::Running, E::FailClean) => S::Failed,
            (S::Running | S::Waiting, E::AbortClean) => S::Aborted,
            (S::Running | S::Waiting, E::Unwind) => S::Unwinding,
            (S::Running, E::GetStuck) => S::Stuck,

            // Waiting while unwinding stays unwinding: a reader must see which way it goes.
            (S::Unwinding, E::Wait | E::Wake) => S::Unwinding,
            (S::Unwinding, E::UndoneFailure) => S::Failed,
            (S::Unwinding, E::UndoneAbort) => S::Aborted,
            (S::Unwinding, E::GetStuck) => S::Stuck,

            (S::Stuck, E::RetryUndo) => S::Unwinding,
            (S::Stuck | S::Failed, E::RetryForward) => S::Running,

            (S::Queued | S::Running | S::Waiting | S::Unwinding | S::Stuck, E::Supersede) => S::Aborted,
            (state, event) => return Err(InvalidTransition { state, event }),
        };
        Ok(next)
    }

    /// True when nothing more will happen by itself.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Stuck)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Unwinding => "unwinding",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Stuck => "stuck",
        }
    }
}

impl StepState {
    pub const ALL: [StepState; 7] = [
        StepState::Pending,
        StepState::Running,
        StepState::Waiting,
        StepState::Succeeded,
        StepState::Failed,
        StepState::Skipped,
        StepState::Undone,
    ];

    /// True when it will not run again.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Undone)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Undone => "undone",
        }
    }
}

impl JobKind {
    pub const ALL: [JobKind; 3] = [JobKind::Promotion, JobKind::Rollback, JobKind::Invalidation];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promotion => "promotion",
            Self::Rollback => "rollback",
            Self::Invalidation => "invalidation",
        }
    }
}

/// A text that names no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not known here")]
pub struct UnknownWord(pub String);

impl FromStr for JobState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl FromStr for StepState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl FromStr for JobKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a job takes over from those it superseded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inherited {
    /// The superseded jobs, oldest first: what they intended to write is ours.
    #[serde(default)]
    pub jobs: Vec<Uuid>,
    /// By component: what its pointers said before the first of them wrote; only pointers that were touched.
    #[serde(default)]
    pub found: BTreeMap<Name, Values>,
    /// Hooks that they called and that have to be taken back, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobRequest {
    #[serde(default)]
    pub on_drift: OnDrift,
    #[serde(default)]
    pub expected_active: Option<Version>,
    /// Instead of the environment's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// It passed locks and blocks: kept for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

impl JobRequest {
    /// The strategy that the job follows in this environment.
    pub fn strategy<'a>(&'a self, environment: &'a EnvironmentDocument) -> &'a Strategy {
        self.strategy.as_ref().unwrap_or(&environment.strategy)
    }
}

/// Who passed locks and blocks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakGlass {
    #[schema(example = "alice")]
    pub by: String,
    #[schema(example = "hotfix for the outage of last night")]
    pub reason: String,
}

/// What somebody said of a job, or of something that stands in promotions' way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Remark {
    #[schema(example = "alice")]
    pub by: String,
    #[schema(example = "incident 4711")]
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

/// What a promotion does about a pointer that somebody else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// Fails in preflight with `pointer_drifted`, and touches nothing.
    #[default]
    Reject,
    /// Writes over it, and says what it found.
    Overwrite,
}

/// A job as it is stored.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: Uuid,
    pub seq: i64,
    pub kind: JobKind,
    pub environment_id: Uuid,
    pub app: Name,
    pub environment: Name,
    pub release: Option<Version>,
    pub from_release: Option<Version>,
    pub request: JobRequest,
    pub snapshot: Option<EnvironmentDocument>,
    pub inherited: Inherited,
    pub state: JobState,
    pub holds: bool,
    pub round: i32,
    pub waiting_for: Option<String>,
    pub waiting_reason: Option<String>,
    pub waiting_until: Option<DateTime<Utc>>,
    pub lease_epoch: i64,
    pub abort_requested: bool,
    /// Somebody paused it: nothing new begins.
    pub paused: Option<Remark>,
    /// Somebody had it skip its bakes.
    pub promoted_fully: Option<Remark>,
    pub error: Option<JobError>,
    /// Why the job was turned round.
    pub cause: Option<JobError>,
    pub warnings: Vec<Warning>,
    pub reason: Option<String>,
    pub superseded_by: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub started_at: Option<DateTime<Utc>>,
    pub traffic_shifted_at: Option<DateTime<Utc>>,
    pub converged_at: Option<DateTime<Utc>>,
    pub settled_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// A step as it is stored.
#[derive(Debug, Clone)]
pub struct Step {
    pub position: i32,
    pub round: i32,
    pub direction: Direction,
    pub stage: String,
    pub component: Option<Name>,
    pub params: StepParams,
    pub after: Vec<i32>,
    pub on_failure: OnFailure,
    /// (job, step, direction, round): kept by a crash's re-run, new in a person's retry.
    pub token: String,
    pub state: StepState,
    pub attempts: i32,
    pub found: Values,
    pub wanted: Values,
    pub record: Value,
    pub output: Value,
    pub error: Option<JobError>,
    pub waiting_for: Option<String>,
    pub wake_at: Option<DateTime<Utc>>,
    /// Its wake time has passed, by the database's clock at loading.
    pub due: bool,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [JobEvent; 13] = [
        JobEvent::Activate,
        JobEvent::Wait,
        JobEvent::Wake,
        JobEvent::Complete,
        JobEvent::FailClean,
        JobEvent::AbortClean,
        JobEvent::Unwind,
        JobEvent::UndoneFailure,
        JobEvent::UndoneAbort,
        JobEvent::GetStuck,
        JobEvent::RetryUndo,
        JobEvent::RetryForward,
        JobEvent::Supersede,
    ];

    /// Every state × event, one character each: the state it leads to, or `.` where it is refused.
    #[test]
    fn the_state_machine_as_a_table() {
        let letter = |state: JobState| match state {
            JobState::Queued => 'q',
            JobState::Running => 'r',
            JobState::Waiting => 'w',
            JobState::Unwinding => 'u',
            JobState::Succeeded => 's',
            JobState::Failed => 'f',
            JobState::Aborted => 'a',
            JobState::Stuck => 'k',
        };
        // Activate Wait Wake Complete FailClean AbortClean Unwind UndoneFailure UndoneAbort GetStuck
        // RetryUndo RetryForward Supersede
        let table = [
            (JobState::Queued, "r...fa......a"),
            (JobState::Running, ".wrsfau..k..a"),
            (JobState::Waiting, "..r..au.....a"),
            (JobState::Unwinding, ".uu....fak..a"),
            (JobState::Succeeded, "............."),
            (JobState::Failed, "...........r."),
            (JobState::Aborted, "............."),
            (JobState::Stuck, "..........ura"),
        ];
        assert_eq!(table.map(|row| row.0), JobState::ALL);
        for (state, row) in table {
            let actual: String = EVENTS
                .map(|event| state.transition(event).map_or('.', letter))
                .iter()
                .collect();
            assert_eq!(actual, row, "{state}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for state in StepState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("done".parse::<JobState>().is_err());
    }
}
