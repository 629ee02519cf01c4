//! Locks: on one environment, and on everything. A rollback looks at neither.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Result, rows::remark};
use crate::domain::job::Remark;

type Row = (Option<String>, Option<String>, Option<DateTime<Utc>>);

fn lock((by, reason, at): Row) -> Option<Remark> {
    remark(by, reason, at)
}

/// The lock on an environment.
pub async fn of_environment(connection: &mut PgConnection, environment: Uuid) -> Result<Option<Remark>> {
    let row: Option<Row> = sqlx::query_as("SELECT locked_by, lock_reason, locked_at FROM environments WHERE id = $1")
        .bind(environment)
        .fetch_optional(connection)
        .await?;
    Ok(row.and_then(lock))
}

/// Locks an environment. One that is locked keeps since when.
pub async fn lock_environment(connection: &mut PgConnection, environment: Uuid, by: &str, reason: &str) -> Result<()> {
    sqlx::query(
        "UPDATE environments SET locked_by = $2, lock_reason = $3, locked_at = coalesce(locked_at, now()) WHERE id = $1",
    )
    .bind(environment)
    .bind(by)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn unlock_environment(connection: &mut PgConnection, environment: Uuid) -> Result<()> {
    sqlx::query("UPDATE environments SET locked_by = NULL, lock_reason = NULL, locked_at = NULL WHERE id = $1")
        .bind(environment)
        .execute(connection)
        .await?;
    Ok(())
}

/// The lock on everything.
pub async fn of_everything(connection: &mut PgConnection) -> Result<Option<Remark>> {
    let row: Option<Row> = sqlx::query_as("SELECT locked_by, reason, locked_at FROM global_lock")
        .fetch_optional(connection)
        .await?;
    Ok(row.and_then(lock))
}

/// Locks everything. True: it was not locked.
pub async fn lock_everything(connection: &mut PgConnection, by: &str, reason: &str) -> Result<bool> {
    // xmax is 0 for a row that was inserted, not updated.
    Ok(sqlx::query_scalar(
        "INSERT INTO global_lock (reason, locked_by) VALUES ($2, $1)
         ON CONFLICT (only_one) DO UPDATE SET reason = excluded.reason, locked_by = excluded.locked_by
         RETURNING xmax = 0",
    )
    .bind(by)
    .bind(reason)
    .fetch_one(connection)
    .await?)
}

/// Lifts it. False: there was none.
pub async fn unlock_everything(connection: &mut PgConnection) -> Result<bool> {
    let done = sqlx::query("DELETE FROM global_lock").execute(connection).await?;
    Ok(done.rows_affected() > 0)
}
