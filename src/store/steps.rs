//! Steps: inserted with a plan, read in order. Their progress is written in [`super::progress`].

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Result,
    rows::{self, StepRow},
};
use crate::domain::{
    job::Step,
    plan::{self, PlannedStep},
};

/// Appends the steps of a plan.
pub async fn insert(connection: &mut PgConnection, job: Uuid, round: i32, plan: &[PlannedStep]) -> Result<()> {
    for step in plan {
        sqlx::query(
            "INSERT INTO steps (job_id, position, round, direction, stage, kind, component, params, after,
                                on_failure, token, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pending')",
        )
        .bind(job)
        .bind(step.position)
        .bind(round)
        .bind(rows::direction(step.direction))
        .bind(&step.stage)
        .bind(step.params.kind())
        .bind(step.component.as_ref().map(|name| name.as_str()))
        .bind(Json(&step.params))
        .bind(&step.after)
        .bind(rows::on_failure(step.on_failure))
        .bind(plan::token(job, step.position, step.direction, round))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The steps of a job, by position.
pub async fn list(connection: &mut PgConnection, job: Uuid) -> Result<Vec<Step>> {
    Ok(of_jobs(connection, &[job]).await?.remove(&job).unwrap_or_default())
}

/// The steps of several jobs.
pub async fn of_jobs(connection: &mut PgConnection, jobs: &[Uuid]) -> Result<BTreeMap<Uuid, Vec<Step>>> {
    let rows: Vec<StepRow> = sqlx::query_as(
        "SELECT job_id, position, round, direction, stage, component, params, after, on_failure, token, state,
                attempts, found, wanted, record, output, error, waiting_for, wake_at,
                coalesce(wake_at <= now(), true) AS due, started_at, finished_at
         FROM steps WHERE job_id = ANY($1) ORDER BY job_id, position",
    )
    .bind(jobs)
    .fetch_all(connection)
    .await?;
    let mut steps: BTreeMap<Uuid, Vec<Step>> = BTreeMap::new();
    for row in rows {
        let job = row.job_id;
        steps.entry(job).or_default().push(row.try_into()?);
    }
    Ok(steps)
}

/// Seconds until the first of a job's waiting steps is due; `None`: none waits.
pub async fn seconds_to_next(connection: &mut PgConnection, job: Uuid) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar(
        "SELECT extract(epoch FROM min(wake_at) - now())::float8 FROM steps WHERE job_id = $1 AND state = 'waiting'",
    )
    .bind(job)
    .fetch_one(connection)
    .await?)
}

/// Seconds since a step ended, by the database's clock.
pub async fn seconds_since_end(connection: &mut PgConnection, job: Uuid, position: i32) -> Result<Option<f64>> {
    let row: Option<Option<f64>> = sqlx::query_scalar(
        "SELECT extract(epoch FROM now() - finished_at)::float8 FROM steps WHERE job_id = $1 AND position = $2",
    )
    .bind(job)
    .bind(position)
    .fetch_optional(connection)
    .await?;
    Ok(row.flatten())
}

/// Seconds since a step first started, by the database's clock.
pub async fn seconds_since_start(connection: &mut PgConnection, job: Uuid, position: i32) -> Result<Option<f64>> {
    let row: Option<Option<f64>> = sqlx::query_scalar(
        "SELECT extract(epoch FROM now() - started_at)::float8 FROM steps WHERE job_id = $1 AND position = $2",
    )
    .bind(job)
    .bind(position)
    .fetch_optional(connection)
    .await?;
    Ok(row.flatten())
}
