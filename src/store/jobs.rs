//! Jobs as people make, read and signal them. What a worker writes is in [`super::progress`].

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Result,
    rows::{JobRow, job_columns},
};
use crate::domain::{
    environment::EnvironmentDocument,
    error::JobError,
    job::{Inherited, Job, JobKind, JobRequest, JobState},
    names::{Name, Version},
};

/// Assignments that have a step look again: at once if it waits, or as soon as it wants to.
macro_rules! wake {
    () => {
        "woken = true, wake_at = CASE WHEN steps.state = 'waiting' THEN now() ELSE steps.wake_at END"
    };
}

/// A step that may still hear something.
macro_rules! open {
    () => {
        "steps.state IN ('running', 'waiting')"
    };
}

pub(super) use {open, wake};

/// A job to insert, `queued`; [`activate`] gives it its environment.
#[derive(Debug)]
pub struct NewJob<'a> {
    pub id: Uuid,
    pub kind: JobKind,
    pub environment_id: Uuid,
    pub app: &'a Name,
    pub environment: &'a Name,
    pub release: Option<&'a Version>,
    pub from_release: Option<&'a Version>,
    pub request: &'a JobRequest,
    pub reason: Option<&'a str>,
    pub by: &'a str,
}

pub async fn insert(connection: &mut PgConnection, new: &NewJob<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO jobs (id, kind, environment_id, app, environment, release, from_release, request, state,
                           reason, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $10)",
    )
    .bind(new.id)
    .bind(new.kind.as_str())
    .bind(new.environment_id)
    .bind(new.app.as_str())
    .bind(new.environment.as_str())
    .bind(new.release.map(Version::as_str))
    .bind(new.from_release.map(Version::as_str))
    .bind(Json(new.request))
    .bind(new.reason)
    .bind(new.by)
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a queued job its environment: it holds it from now on (unless it is a purge), and can be claimed.
pub async fn activate(
    connection: &mut PgConnection,
    id: Uuid,
    from_release: Option<&Version>,
    snapshot: &EnvironmentDocument,
    inherited: &Inherited,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET state = 'running', holds = (kind <> 'invalidation'), from_release = $2, snapshot = $3, inherited = $4,
                         activated_at = now(), claimable_at = now(), lease_owner = NULL,
                         waiting_for = NULL, waiting_reason = NULL
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(id)
    .bind(from_release.map(Version::as_str))
    .bind(Json(snapshot))
    .bind(Json(inherited))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts a queued job to wait for its environment.
pub async fn wait_for_environment(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET claimable_at = NULL, lease_owner = NULL, waiting_for = 'environment',
                         waiting_reason = 'another job holds the environment'
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the next queued job of an environment be claimed, when nobody holds it.
pub async fn wake_next_queued(connection: &mut PgConnection, environment: Uuid) -> Result<()> {
    // FOR UPDATE: whoever is aborting the first in line right now is waited for, and then passed over.
    let woken = sqlx::query(
        "UPDATE jobs SET claimable_at = now() WHERE id =
             (SELECT id FROM jobs WHERE environment_id = $1 AND state = 'queued' ORDER BY seq LIMIT 1 FOR UPDATE)
         AND state = 'queued' AND NOT EXISTS (SELECT 1 FROM jobs WHERE environment_id = $1 AND holds)",
    )
    .bind(environment)
    .execute(&mut *connection)
    .await?;
    if woken.rows_affected() > 0 {
        super::notify_work(connection).await?;
    }
    Ok(())
}

pub async fn get(connection: &mut PgConnection, id: Uuid) -> Result<Option<Job>> {
    sqlx::query_as::<_, JobRow>(concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1"))
        .bind(id)
        .fetch_optional(connection)
        .await?
        .map(Job::try_from)
        .transpose()
}

/// Reads it and locks its row.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<Option<Job>> {
    sqlx::query_as::<_, JobRow>(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE id = $1 FOR UPDATE"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?
    .map(Job::try_from)
    .transpose()
}

/// The job that holds an environment, its row locked.
pub async fn lock_holder(connection: &mut PgConnection, environment: Uuid) -> Result<Option<Job>> {
    sqlx::query_as::<_, JobRow>(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE environment_id = $1 AND holds FOR UPDATE"
    ))
    .bind(environment)
    .fetch_optional(connection)
    .await?
    .map(Job::try_from)
    .transpose()
}

/// The job that holds an environment.
pub async fn holder(connection: &mut PgConnection, environment: Uuid) -> Result<Option<Job>> {
    sqlx::query_as::<_, JobRow>(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE environment_id = $1 AND holds"
    ))
    .bind(environment)
    .fetch_optional(connection)
    .await?
    .map(Job::try_from)
    .transpose()
}

/// An unfinished job of the environment, queued ones and purges included.
pub async fn any_unfinished(connection: &mut PgConnection, environment: Uuid) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM jobs WHERE environment_id = $1
           AND (holds OR state IN ('queued', 'running', 'waiting', 'unwinding')) ORDER BY holds DESC, seq LIMIT 1",
    )
    .bind(environment)
    .fetch_optional(connection)
    .await?)
}

/// A job of the environment that got it after the job `seq`. A purge decides nothing about traffic.
pub async fn follower(connection: &mut PgConnection, environment: Uuid, seq: i64) -> Result<Option<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM jobs WHERE environment_id = $1 AND activated_at >
             (SELECT coalesce(activated_at, created_at) FROM jobs WHERE seq = $2) AND seq <> $2
           AND kind <> 'invalidation'
         ORDER BY activated_at LIMIT 1",
    )
    .bind(environment)
    .bind(seq)
    .fetch_optional(connection)
    .await?)
}

/// What a list of jobs is narrowed to.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub app: Option<&'a Name>,
    pub environment: Option<&'a Name>,
    pub state: Option<JobState>,
    pub kind: Option<JobKind>,
}

/// A page, newest first, before the job `before`.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Job>> {
    sqlx::query_as::<_, JobRow>(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE ($1::text IS NULL OR app = $1) AND ($2::text IS NULL OR environment = $2)
          AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR kind = $4)
          AND ($5::bigint IS NULL OR seq < $5) ORDER BY seq DESC LIMIT $6"
    ))
    .bind(filter.app.map(Name::as_str))
    .bind(filter.environment.map(Name::as_str))
    .bind(filter.state.map(JobState::as_str))
    .bind(filter.kind.map(JobKind::as_str))
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Job::try_from)
    .collect()
}

/// Ends a job that another takes the place of. Its epoch rises: whoever works on it can write no more.
pub async fn supersede(connection: &mut PgConnection, id: Uuid, by: Uuid) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET state = 'aborted', holds = false, superseded_by = $2, lease_epoch = lease_epoch + 1,
                         lease_owner = NULL, claimable_at = NULL, waiting_for = NULL, waiting_reason = NULL,
                         finished_at = now()
         WHERE id = $1 AND (holds OR state = 'queued')",
    )
    .bind(id)
    .bind(by)
    .execute(&mut *connection)
    .await?;
    super::notify_signal(connection, id).await?;
    sqlx::query(
        "UPDATE steps SET state = 'skipped', waiting_for = NULL, wake_at = NULL
         WHERE job_id = $1 AND state IN ('pending', 'running', 'waiting')",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The queued jobs of an environment, oldest first.
pub async fn queued(connection: &mut PgConnection, environment: Uuid) -> Result<Vec<Uuid>> {
    Ok(
        sqlx::query_scalar(
            "SELECT id FROM jobs WHERE environment_id = $1 AND state = 'queued' ORDER BY seq FOR UPDATE",
        )
        .bind(environment)
        .fetch_all(connection)
        .await?,
    )
}

/// Ends a queued job.
pub async fn end_queued(
    connection: &mut PgConnection,
    id: Uuid,
    state: JobState,
    error: Option<&JobError>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET state = $2, error = $3, claimable_at = NULL, lease_owner = NULL, waiting_for = NULL,
                         waiting_reason = NULL, finished_at = now()
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(id)
    .bind(state.as_str())
    .bind(error.map(Json))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes when the public URL of every component of this round that is asked has named the release. Called with the
/// result of each; only the last one's call changes anything.
pub async fn converged(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET converged_at = now()
         WHERE id = $1 AND NOT EXISTS (
             SELECT 1 FROM steps s
             WHERE s.job_id = jobs.id AND s.round = jobs.round AND s.direction = 'forward' AND s.kind = 'converge'
               AND (s.state <> 'succeeded' OR NOT coalesce((s.output ->> 'converged')::boolean, false)))",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Asks an unfinished job to abort, and lets a waiting one be claimed at once.
pub async fn request_abort(connection: &mut PgConnection, id: Uuid, by: &str) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET abort_requested_at = coalesce(abort_requested_at, now()),
                         abort_requested_by = coalesce(abort_requested_by, $2)
         WHERE id = $1",
    )
    .bind(id)
    .bind(by)
    .execute(&mut *connection)
    .await?;
    tell(connection, id).await
}

/// Pauses a job.
pub async fn pause(connection: &mut PgConnection, id: Uuid, by: &str, reason: Option<&str>) -> Result<()> {
    sqlx::query("UPDATE jobs SET paused_at = now(), paused_by = $2, paused_reason = $3 WHERE id = $1")
        .bind(id)
        .bind(by)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    tell(connection, id).await
}

/// Lets a paused job go on.
pub async fn resume(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query("UPDATE jobs SET paused_at = NULL, paused_by = NULL, paused_reason = NULL WHERE id = $1")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    // A bake that is over was held open.
    sqlx::query(concat!(
        "UPDATE steps SET ",
        wake!(),
        " WHERE job_id = $1 AND kind = 'bake' AND ",
        open!()
    ))
    .bind(id)
    .execute(&mut *connection)
    .await?;
    tell(connection, id).await
}

/// Has a job skip its bakes and shares.
pub async fn promote_fully(connection: &mut PgConnection, id: Uuid, by: &str, reason: &str) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET promoted_fully_at = now(), promoted_fully_by = $2, promoted_fully_reason = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(by)
    .bind(reason)
    .execute(&mut *connection)
    .await?;
    tell(connection, id).await
}

/// Has a step that waits look again now.
pub async fn wake_step(connection: &mut PgConnection, id: Uuid, position: i32) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE steps SET ",
        wake!(),
        " WHERE job_id = $1 AND position = $2 AND ",
        open!()
    ))
    .bind(id)
    .bind(position)
    .execute(&mut *connection)
    .await?;
    tell(connection, id).await
}

/// Lets a job that waits be claimed at once, and tells whoever drives it to look.
async fn tell(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query("UPDATE jobs SET claimable_at = now() WHERE id = $1 AND lease_owner IS NULL")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    super::notify_signal(connection, id).await?;
    super::notify_work(connection).await
}

/// Lets every promotion that was held by the lock on everything go on: it is lifted. One that is being driven is told.
pub async fn wake_held(connection: &mut PgConnection) -> Result<()> {
    // The rows of those that are driven are locked too: who is about to let one wait has to be done with it.
    let held: Vec<(Uuid, bool)> = sqlx::query_as(
        "UPDATE jobs SET claimable_at = CASE WHEN lease_owner IS NULL THEN now() ELSE claimable_at END
         WHERE kind = 'promotion' AND state IN ('running', 'waiting')
           AND (lease_owner IS NOT NULL OR waiting_for = 'pause')
         RETURNING id, lease_owner IS NOT NULL",
    )
    .fetch_all(&mut *connection)
    .await?;
    let jobs: Vec<Uuid> = held.iter().map(|(job, _)| *job).collect();
    sqlx::query(concat!(
        "UPDATE steps SET ",
        wake!(),
        " WHERE steps.job_id = ANY($1) AND steps.kind = 'bake' AND ",
        open!()
    ))
    .bind(&jobs)
    .execute(&mut *connection)
    .await?;
    for (job, _) in held.iter().filter(|(_, driven)| *driven) {
        super::notify_signal(connection, *job).await?;
    }
    super::notify_work(connection).await
}

/// Opens a new round of an ended job: it holds its environment and can be claimed. A job that goes on undoing
/// keeps why.
pub async fn reopen(connection: &mut PgConnection, id: Uuid, state: JobState, round: i32) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET state = $2, round = $3, holds = (kind <> 'invalidation'), claimable_at = now(),
                         lease_owner = NULL,
                         lease_epoch = lease_epoch + 1, abort_requested_at = NULL,
                         error = CASE WHEN $2 = 'unwinding' THEN cause END,
                         cause = CASE WHEN $2 = 'unwinding' THEN cause END,
                         abort_requested_by = NULL, traffic_shifted_at = NULL, converged_at = NULL,
                         paused_at = NULL, paused_by = NULL, paused_reason = NULL,
                         promoted_fully_at = NULL, promoted_fully_by = NULL, promoted_fully_reason = NULL,
                         finished_at = NULL
         WHERE id = $1",
    )
    .bind(id)
    .bind(state.as_str())
    .bind(round)
    .execute(&mut *connection)
    .await?;
    super::notify_work(connection).await
}
