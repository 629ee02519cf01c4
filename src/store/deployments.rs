//! The history of an environment: what was active, from when to when, by whom.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{Result, StoreError};
use crate::domain::{
    deployment,
    names::{Name, Version},
    pointer::Values,
};

/// A deployment as people see it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeploymentRow {
    pub id: i64,
    pub release: Option<String>,
    pub kind: String,
    pub job_id: Option<Uuid>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub rolled_back_at: Option<DateTime<Utc>>,
    pub created_by: String,
}

/// The whole history, oldest first, for deciding where a rollback goes.
pub async fn history(connection: &mut PgConnection, environment: Uuid) -> Result<Vec<deployment::Deployment>> {
    let rows: Vec<(i64, Option<String>, bool, bool)> = sqlx::query_as(
        "SELECT id, release, rolled_back_at IS NOT NULL, ended_at IS NULL FROM deployments
         WHERE environment_id = $1 ORDER BY id",
    )
    .bind(environment)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, release, rolled_back, open)| {
            let release = release
                .map(|text| Version::parse(&text))
                .transpose()
                .map_err(|why| StoreError::corrupt("deployment", why))?;
            Ok(deployment::Deployment {
                id,
                release,
                rolled_back,
                open,
            })
        })
        .collect()
}

/// A page, newest first, before `before`.
pub async fn list(
    connection: &mut PgConnection,
    environment: Uuid,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<DeploymentRow>> {
    Ok(sqlx::query_as(
        "SELECT id, release, kind, job_id, started_at, ended_at, rolled_back_at, created_by FROM deployments
         WHERE environment_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(environment)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await?)
}

/// The values taken over by deployment 0.
pub async fn taken_over(connection: &mut PgConnection, environment: Uuid) -> Result<BTreeMap<Name, Values>> {
    let found: Option<Json<BTreeMap<Name, Values>>> = sqlx::query_scalar(
        "SELECT found FROM deployments
         WHERE environment_id = $1 AND kind = 'taken_over' AND found IS NOT NULL ORDER BY id LIMIT 1",
    )
    .bind(environment)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|Json(found)| found).unwrap_or_default())
}

/// A new state of an environment.
#[derive(Debug, Clone)]
pub struct NewDeployment<'a> {
    pub environment: Uuid,
    pub release: Option<&'a Version>,
    pub kind: &'static str,
    pub job: Uuid,
    pub by: &'a str,
}

/// Records deployment 0, ended at once; when the environment has one, what was taken over since joins it.
pub async fn add_taken_over(
    connection: &mut PgConnection,
    environment: Uuid,
    found: &BTreeMap<Name, Values>,
    by: &str,
) -> Result<()> {
    let mut all = taken_over(connection, environment).await?;
    for (component, values) in found {
        all.entry(component.clone()).or_default().extend(values.clone());
    }
    let updated = sqlx::query("UPDATE deployments SET found = $2 WHERE environment_id = $1 AND kind = 'taken_over'")
        .bind(environment)
        .bind(Json(&all))
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO deployments (environment_id, release, kind, found, ended_at, created_by)
             VALUES ($1, NULL, 'taken_over', $2, now(), $3)",
        )
        .bind(environment)
        .bind(Json(&all))
        .bind(by)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Ends what is active and opens the new deployment; nothing happens when that very release is active.
pub async fn open(connection: &mut PgConnection, new: &NewDeployment<'_>) -> Result<()> {
    let release = new.release.map(Version::as_str);
    let same: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM deployments
         WHERE environment_id = $1 AND ended_at IS NULL AND release IS NOT DISTINCT FROM $2)",
    )
    .bind(new.environment)
    .bind(release)
    .fetch_one(&mut *connection)
    .await?;
    if same {
        return Ok(());
    }
    sqlx::query("UPDATE deployments SET ended_at = now() WHERE environment_id = $1 AND ended_at IS NULL")
        .bind(new.environment)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO deployments (environment_id, release, kind, job_id, started_at, created_by)
         VALUES ($1, $2, $3, $4, now(), $5)",
    )
    .bind(new.environment)
    .bind(release)
    .bind(new.kind)
    .bind(new.job)
    .bind(new.by)
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks every release that served after `to` last did as rolled back from: a further rollback goes on
/// backwards, also when this one skipped some.
pub async fn mark_rolled_back(connection: &mut PgConnection, environment: Uuid, to: Option<&Version>) -> Result<()> {
    sqlx::query(
        "UPDATE deployments SET rolled_back_at = coalesce(rolled_back_at, now())
         WHERE environment_id = $1 AND release IS NOT NULL AND release IS DISTINCT FROM $2
           AND release IN (SELECT release FROM deployments WHERE environment_id = $1 AND id >
                              (SELECT max(id) FROM deployments
                               WHERE environment_id = $1 AND release IS NOT DISTINCT FROM $2))",
    )
    .bind(environment)
    .bind(to.map(Version::as_str))
    .execute(connection)
    .await?;
    Ok(())
}
