//! Stored answers of POSTs, by token, route and key; written in the transaction of their effect.

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::Result;

/// Hours an answer is kept.
pub const KEPT_HOURS: i32 = 24;

/// An answer that was given before.
#[derive(Debug, Clone)]
pub struct StoredAnswer {
    pub request_hash: Vec<u8>,
    pub status: u16,
    pub location: Option<String>,
    pub body: Value,
}

type Row = (Vec<u8>, i16, Option<String>, Json<Value>);

/// Takes the key until the transaction ends. False: another request holds it.
pub async fn try_lock(connection: &mut PgConnection, token: Uuid, route: &str, key: &str) -> Result<bool> {
    Ok(
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 7))")
            .bind(format!("{token} {route} {key}"))
            .fetch_one(connection)
            .await?,
    )
}

/// The answer kept under a key, unless it is too old.
pub async fn get(connection: &mut PgConnection, token: Uuid, route: &str, key: &str) -> Result<Option<StoredAnswer>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT request_hash, status, location, body FROM idempotency_keys
         WHERE token_id = $1 AND route = $2 AND key = $3 AND created_at > now() - make_interval(hours => $4)",
    )
    .bind(token)
    .bind(route)
    .bind(key)
    .bind(KEPT_HOURS)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(request_hash, status, location, Json(body))| StoredAnswer {
        request_hash,
        status: u16::try_from(status).unwrap_or(200),
        location,
        body,
    }))
}

/// Keeps an answer.
pub async fn put(
    connection: &mut PgConnection,
    token: Uuid,
    route: &str,
    key: &str,
    answer: &StoredAnswer,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO idempotency_keys (token_id, route, key, request_hash, status, location, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (token_id, route, key) DO UPDATE SET request_hash = excluded.request_hash,
             status = excluded.status, location = excluded.location, body = excluded.body, created_at = now()",
    )
    .bind(token)
    .bind(route)
    .bind(key)
    .bind(&answer.request_hash)
    .bind(i16::try_from(answer.status).unwrap_or(200))
    .bind(&answer.location)
    .bind(Json(&answer.body))
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets answers that are too old. Returns how many.
pub async fn forget_old(connection: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query("DELETE FROM idempotency_keys WHERE created_at <= now() - make_interval(hours => $1)")
        .bind(KEPT_HOURS)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
