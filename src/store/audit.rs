//! Who did what.

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::Result;
use crate::domain::names::Name;

/// What an entry speaks of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    pub app: Option<&'a Name>,
    pub environment: Option<&'a Name>,
    pub job: Option<Uuid>,
}

/// Records that `actor` did `action`, in the transaction of its effect.
pub async fn record(
    connection: &mut PgConnection,
    actor: &str,
    action: &str,
    subject: Subject<'_>,
    data: &Value,
) -> Result<()> {
    sqlx::query("INSERT INTO audit (actor, action, app, environment, job_id, data) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(actor)
        .bind(action)
        .bind(subject.app.map(Name::as_str))
        .bind(subject.environment.map(Name::as_str))
        .bind(subject.job)
        .bind(Json(data))
        .execute(connection)
        .await?;
    Ok(())
}
