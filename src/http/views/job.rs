//! Jobs, their steps and events: what a person reads while a promotion runs, and after it failed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{
        error::{JobError, Warning},
        job::{BreakGlass, Job, JobKind, JobState, Remark, Step, StepState},
        names::{Name, Version},
        plan::{self, Direction},
    },
    service::JobWithSteps,
    store::events::Event,
};

/// A promotion, a rollback, or a purge.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    pub id: Uuid,
    pub kind: JobKind,
    pub app: Name,
    #[schema(example = "production")]
    pub environment: Name,
    /// Where traffic goes; null: to what was there before the first promotion.
    pub release: Option<Version>,
    /// Where traffic comes from.
    #[schema(example = "1.42.0")]
    pub from_release: Option<Version>,
    pub state: JobState,
    pub progress: Progress,
    /// Percent of the visitors that the job has put on `release` so far; null when it does not move them there: queued,
    /// on its way back, not ended well, or back to what was there before the first promotion.
    #[schema(example = 10, maximum = 100)]
    pub weight: Option<u32>,
    /// What it waits for: `timer`, `approval`, `pause` or `environment`; null when it does not wait.
    #[schema(example = "timer")]
    pub waiting_for: Option<String>,
    /// Why it waits, in words.
    pub waiting_reason: Option<String>,
    /// Until when it waits, if that is known.
    pub waiting_until: Option<DateTime<Utc>>,
    /// Set while somebody has it paused.
    pub paused: Option<Remark>,
    /// Who had it skip its bakes, and why.
    pub promoted_fully: Option<Remark>,
    /// Who passed locks and blocks with it, and why.
    pub break_glass: Option<BreakGlass>,
    /// 1, and one more with each `retry`.
    pub round: i32,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    /// When every pointer had been written and every edge and cache had been told: everybody is on the release.
    pub traffic_shifted_at: Option<DateTime<Utc>>,
    /// When the public URL of every component that is asked (`edge.converge`) named the release; null when none is.
    pub converged_at: Option<DateTime<Utc>>,
    /// From `created_at` to `converged_at`.
    #[schema(example = 6.42)]
    pub converged_after_seconds: Option<f64>,
    /// When the new state was proven and recorded.
    pub settled_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The name of the token that started it.
    #[schema(example = "ci")]
    pub created_by: String,
    #[schema(example = "weekly release")]
    pub reason: Option<String>,
    /// Why it failed, and what to do.
    pub error: Option<JobError>,
    /// What it got through, but somebody should know.
    pub warnings: Vec<Warning>,
    /// The job that took its place: that one decides where traffic goes.
    pub superseded_by: Option<Uuid>,
    /// What it does, in order; undoing and retrying append to it.
    pub steps: Vec<StepView>,
}

/// How far the current round is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// Steps that have ended.
    pub done: usize,
    /// Steps of this round, those included that undo.
    pub total: usize,
}

/// One step of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    pub position: i32,
    #[schema(example = "traffic:web")]
    pub stage: String,
    /// `preflight`, `flip`, `edge_ttl`, `invalidate`, `converge`, `check`, `bake`, `approval`, `hook` or `settle`.
    #[schema(example = "flip")]
    pub kind: &'static str,
    #[schema(example = "web")]
    pub component: Option<Name>,
    pub state: StepState,
    /// One line for a person: what it does.
    pub does: String,
    /// `forward` or `undo`.
    #[schema(example = "forward")]
    pub direction: &'static str,
    pub round: i32,
    /// The operation token, which AWS gets where it takes one: the same in every attempt.
    pub token: String,
    pub attempts: i32,
    /// Why it waits, in words; null when it does not wait.
    pub waiting_for: Option<String>,
    /// When it goes on.
    pub wake_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// What it found and did.
    #[schema(value_type = Object)]
    pub output: Value,
    pub error: Option<JobError>,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            position: step.position,
            kind: step.params.kind(),
            does: step.params.describe(),
            stage: step.stage,
            component: step.component,
            state: step.state,
            direction: match step.direction {
                Direction::Forward => "forward",
                Direction::Undo => "undo",
            },
            round: step.round,
            token: step.token,
            attempts: step.attempts,
            waiting_for: step.waiting_for,
            wake_at: step.wake_at,
            started_at: step.started_at,
            finished_at: step.finished_at,
            output: step.output,
            error: step.error,
        }
    }
}

impl Progress {
    fn of(job: &Job, steps: &[Step]) -> Self {
        let current = || steps.iter().filter(|step| step.round == job.round);
        Self {
            done: current().filter(|step| step.state.is_end()).count(),
            total: current().count(),
        }
    }
}

impl From<JobWithSteps> for JobView {
    fn from(JobWithSteps { job, steps }: JobWithSteps) -> Self {
        let progress = Progress::of(&job, &steps);
        // Undone or taken over, its own flips do not say any more who is where.
        let undone = matches!(
            job.state,
            JobState::Unwinding | JobState::Failed | JobState::Aborted | JobState::Stuck
        );
        let moves = job.snapshot.is_some() && job.release.is_some() && job.kind != JobKind::Invalidation;
        let weight = (moves && !undone).then(|| plan::served(&steps, job.round));
        // A claimable time is a wait only while something is waited for.
        let waiting_until = job.waiting_until.filter(|_| job.waiting_for.is_some());
        Self {
            id: job.id,
            kind: job.kind,
            app: job.app,
            environment: job.environment,
            release: job.release,
            from_release: job.from_release,
            state: job.state,
            progress,
            weight,
            waiting_for: job.waiting_for,
            waiting_reason: job.waiting_reason,
            waiting_until,
            paused: job.paused,
            promoted_fully: job.promoted_fully,
            break_glass: job.request.break_glass,
            round: job.round,
            created_at: job.created_at,
            started_at: job.started_at,
            traffic_shifted_at: job.traffic_shifted_at,
            converged_at: job.converged_at,
            converged_after_seconds: job.converged_at.map(|at| seconds_between(job.created_at, at)),
            settled_at: job.settled_at,
            finished_at: job.finished_at,
            created_by: job.created_by,
            reason: job.reason,
            error: job.error,
            warnings: job.warnings,
            superseded_by: job.superseded_by,
            steps: steps.into_iter().map(StepView::from).collect(),
        }
    }
}

fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    to.signed_duration_since(from).as_seconds_f64()
}

/// Something that happened to a job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Ascends within a job.
    pub id: i64,
    pub at: DateTime<Utc>,
    #[schema(example = "job.created")]
    pub kind: String,
    #[schema(value_type = Object)]
    pub data: Value,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            kind: event.kind,
            data: event.data.0,
        }
    }
}
