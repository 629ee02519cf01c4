//! What happened to a job, in order. Ids ascend by one within a job: writers hold its row lock.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::Result;

/// An event before it has an id.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub kind: &'static str,
    pub data: Value,
}

impl NewEvent {
    pub fn new(kind: &'static str, data: Value) -> Self {
        Self { kind, data }
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Event {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub data: Json<Value>,
}

/// Appends events and tells readers when the transaction commits. The caller holds the job's row lock.
///
/// For what people do: a worker, whose commits are many, [inserts](insert) and tells afterwards.
pub async fn append(connection: &mut PgConnection, job: Uuid, events: &[NewEvent]) -> Result<()> {
    insert(&mut *connection, job, events).await?;
    sqlx::query("SELECT pg_notify('greenlight_jobs', $1::text)")
        .bind(job)
        .execute(connection)
        .await?;
    Ok(())
}

/// Appends events, and tells nobody. The caller holds the job's row lock.
pub(super) async fn insert(connection: &mut PgConnection, job: Uuid, events: &[NewEvent]) -> Result<()> {
    let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
    let data: Vec<Json<&Value>> = events.iter().map(|event| Json(&event.data)).collect();
    sqlx::query(
        "INSERT INTO job_events (job_id, id, kind, data)
         SELECT $1, coalesce((SELECT max(id) FROM job_events WHERE job_id = $1), 0) + n, kind, data
         FROM unnest($2::text[], $3::jsonb[]) WITH ORDINALITY AS new (kind, data, n)",
    )
    .bind(job)
    .bind(kinds)
    .bind(data)
    .execute(connection)
    .await?;
    Ok(())
}

/// Events after `after`, oldest first.
pub async fn list(connection: &mut PgConnection, job: Uuid, after: i64, limit: i64) -> Result<Vec<Event>> {
    Ok(
        sqlx::query_as("SELECT id, at, kind, data FROM job_events WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3")
            .bind(job)
            .bind(after)
            .bind(limit)
            .fetch_all(connection)
            .await?,
    )
}
