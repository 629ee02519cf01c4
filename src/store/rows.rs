//! Rows of jobs and steps, and how they become the domain's types.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Result, StoreError};
use crate::domain::{
    environment::EnvironmentDocument,
    error::{JobError, Warning},
    job::{Inherited, Job, JobRequest, Remark, Step},
    names::{Name, Version},
    plan::{Direction, OnFailure, StepParams},
    pointer::Values,
};

/// `SELECT` list of a job.
macro_rules! job_columns {
    () => {
        "id, seq, kind, environment_id, app, environment, release, from_release, request, snapshot, inherited, \
         state, holds, round, waiting_for, waiting_reason, \
         CASE WHEN lease_owner IS NULL THEN claimable_at END AS waiting_until, \
         lease_epoch, abort_requested_at IS NOT NULL AS abort_requested, paused_at, paused_by, paused_reason, \
         promoted_fully_at, promoted_fully_by, promoted_fully_reason, error, cause, warnings, reason, superseded_by, \
         created_at, created_by, started_at, traffic_shifted_at, converged_at, settled_at, finished_at"
    };
}
pub(super) use job_columns;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct JobRow {
    id: Uuid,
    seq: i64,
    kind: String,
    environment_id: Uuid,
    app: String,
    environment: String,
    release: Option<String>,
    from_release: Option<String>,
    request: Json<JobRequest>,
    snapshot: Option<Json<EnvironmentDocument>>,
    inherited: Json<Inherited>,
    state: String,
    holds: bool,
    round: i32,
    waiting_for: Option<String>,
    waiting_reason: Option<String>,
    waiting_until: Option<DateTime<Utc>>,
    lease_epoch: i64,
    abort_requested: bool,
    paused_at: Option<DateTime<Utc>>,
    paused_by: Option<String>,
    paused_reason: Option<String>,
    promoted_fully_at: Option<DateTime<Utc>>,
    promoted_fully_by: Option<String>,
    promoted_fully_reason: Option<String>,
    error: Option<Json<JobError>>,
    cause: Option<Json<JobError>>,
    warnings: Json<Vec<Warning>>,
    reason: Option<String>,
    superseded_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    created_by: String,
    started_at: Option<DateTime<Utc>>,
    traffic_shifted_at: Option<DateTime<Utc>>,
    converged_at: Option<DateTime<Utc>>,
    settled_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Job> {
        let corrupt = |why: &dyn std::fmt::Display| StoreError::corrupt("job", why);
        let name = |text: &str| Name::parse(text).map_err(|why| corrupt(&why));
        let version = |text: Option<String>| {
            text.map(|text| Version::parse(&text))
                .transpose()
                .map_err(|why| corrupt(&why))
        };
        Ok(Job {
            id: row.id,
            seq: row.seq,
            kind: row.kind.parse().map_err(|why| corrupt(&why))?,
            environment_id: row.environment_id,
            app: name(&row.app)?,
            environment: name(&row.environment)?,
            release: version(row.release)?,
            from_release: version(row.from_release)?,
            request: row.request.0,
            snapshot: row.snapshot.map(|Json(snapshot)| snapshot),
            inherited: row.inherited.0,
            state: row.state.parse().map_err(|why| corrupt(&why))?,
            holds: row.holds,
            round: row.round,
            waiting_for: row.waiting_for,
            waiting_reason: row.waiting_reason,
            waiting_until: row.waiting_until,
            lease_epoch: row.lease_epoch,
            abort_requested: row.abort_requested,
            paused: remark(row.paused_by, row.paused_reason, row.paused_at),
            promoted_fully: remark(row.promoted_fully_by, row.promoted_fully_reason, row.promoted_fully_at),
            error: row.error.map(|Json(error)| error),
            cause: row.cause.map(|Json(cause)| cause),
            warnings: row.warnings.0,
            reason: row.reason,
            superseded_by: row.superseded_by,
            created_at: row.created_at,
            created_by: row.created_by,
            started_at: row.started_at,
            traffic_shifted_at: row.traffic_shifted_at,
            converged_at: row.converged_at,
            settled_at: row.settled_at,
            finished_at: row.finished_at,
        })
    }
}

/// What somebody said, from its three columns.
pub(super) fn remark(by: Option<String>, reason: Option<String>, at: Option<DateTime<Utc>>) -> Option<Remark> {
    Some(Remark {
        by: by?,
        reason,
        at: at?,
    })
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct StepRow {
    pub(super) job_id: Uuid,
    position: i32,
    round: i32,
    direction: String,
    stage: String,
    component: Option<String>,
    params: Json<StepParams>,
    after: Vec<i32>,
    on_failure: String,
    token: String,
    state: String,
    attempts: i32,
    found: Json<Values>,
    wanted: Json<Values>,
    record: Json<Value>,
    output: Json<Value>,
    error: Option<Json<JobError>>,
    waiting_for: Option<String>,
    wake_at: Option<DateTime<Utc>>,
    due: bool,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<StepRow> for Step {
    type Error = StoreError;

    fn try_from(row: StepRow) -> Result<Step> {
        let corrupt = |why: &dyn std::fmt::Display| StoreError::corrupt("step", why);
        Ok(Step {
            position: row.position,
            round: row.round,
            direction: match row.direction.as_str() {
                "forward" => Direction::Forward,
                "undo" => Direction::Undo,
                other => return Err(corrupt(&other)),
            },
            stage: row.stage,
            component: row
                .component
                .map(|text| Name::parse(&text))
                .transpose()
                .map_err(|why| corrupt(&why))?,
            params: row.params.0,
            after: row.after,
            on_failure: match row.on_failure.as_str() {
                "unwind" => OnFailure::Unwind,
                "go_on" => OnFailure::GoOn,
                other => return Err(corrupt(&other)),
            },
            token: row.token,
            state: row.state.parse().map_err(|why| corrupt(&why))?,
            attempts: row.attempts,
            found: row.found.0,
            wanted: row.wanted.0,
            record: row.record.0,
            output: row.output.0,
            error: row.error.map(|Json(error)| error),
            waiting_for: row.waiting_for,
            wake_at: row.wake_at,
            due: row.due,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Undo => "undo",
    }
}

pub(super) fn on_failure(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Unwind => "unwind",
        OnFailure::GoOn => "go_on",
    }
}
