//! Releases that may not be promoted, and why.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Result, rows::remark};
use crate::domain::{
    job::Remark,
    names::{Name, Version},
};

/// Why a release may not be promoted; `None`: it may.
pub async fn get(connection: &mut PgConnection, app: &Name, version: &Version) -> Result<Option<Remark>> {
    let mut found = of_versions(connection, app, &[version]).await?;
    Ok(found.remove(version.as_str()))
}

/// The blocks of these releases, by version.
pub async fn of_versions(
    connection: &mut PgConnection,
    app: &Name,
    versions: &[&Version],
) -> Result<BTreeMap<String, Remark>> {
    let versions: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
    let rows: Vec<(String, String, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT version, blocked_by, reason, blocked_at FROM release_blocks WHERE app = $1 AND version = ANY($2)",
    )
    .bind(app.as_str())
    .bind(versions)
    .fetch_all(connection)
    .await?;
    let block = |(version, by, reason, at)| Some((version, remark(Some(by), Some(reason), Some(at))?));
    Ok(rows.into_iter().filter_map(block).collect())
}

/// Blocks a release. One that is blocked keeps since when.
pub async fn put(connection: &mut PgConnection, app: &Name, version: &Version, by: &str, reason: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO release_blocks (app, version, reason, blocked_by) VALUES ($1, $2, $4, $3)
         ON CONFLICT (app, version) DO UPDATE SET reason = excluded.reason, blocked_by = excluded.blocked_by",
    )
    .bind(app.as_str())
    .bind(version.as_str())
    .bind(by)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn delete(connection: &mut PgConnection, app: &Name, version: &Version) -> Result<bool> {
    let done = sqlx::query("DELETE FROM release_blocks WHERE app = $1 AND version = $2")
        .bind(app.as_str())
        .bind(version.as_str())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
