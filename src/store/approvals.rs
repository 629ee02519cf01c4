//! What people decided at the gates of promotions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::domain::role::Role;

/// A decision.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Approval {
    pub name: String,
    pub role: String,
    /// False: rejected.
    pub approved: bool,
    pub comment: Option<String>,
    pub at: DateTime<Utc>,
}

/// The decisions at one gate, oldest first.
pub async fn of_gate(connection: &mut PgConnection, job: Uuid, position: i32) -> Result<Vec<Approval>> {
    Ok(sqlx::query_as(
        "SELECT name, role, approved, comment, at FROM approvals WHERE job_id = $1 AND position = $2 ORDER BY at, name",
    )
    .bind(job)
    .bind(position)
    .fetch_all(connection)
    .await?)
}

/// Records a decision. Who has decided already can only turn an approval into a rejection.
pub async fn decide(
    connection: &mut PgConnection,
    job: Uuid,
    position: i32,
    (name, role): (&str, Role),
    approved: bool,
    comment: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO approvals AS a (job_id, position, name, role, approved, comment) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (job_id, position, name) DO UPDATE
             SET approved = false, comment = excluded.comment, role = excluded.role, at = now()
             WHERE a.approved AND NOT excluded.approved",
    )
    .bind(job)
    .bind(position)
    .bind(name)
    .bind(role.as_str())
    .bind(approved)
    .bind(comment)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}
