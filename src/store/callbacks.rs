//! Calls of webhooks that may be answered later: the hash of each token that was sent along, and what came back.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;

/// A call as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Callback {
    pub position: i32,
    #[sqlx(rename = "try")]
    pub attempt: i32,
    /// Of the token that was sent last.
    pub hash: Vec<u8>,
    /// Of those before it.
    pub earlier: Vec<Vec<u8>>,
    /// `pass`, `fail` or `inconclusive`; `None`: not answered yet.
    pub verdict: Option<String>,
    pub message: Option<String>,
}

/// Stores a call before it is made. One that is repeated has another token, and the ones before stay good: its receiver
/// may have taken the first, and do the work but once.
pub async fn expect(connection: &mut PgConnection, job: Uuid, position: i32, attempt: i32, hash: &[u8]) -> Result<()> {
    sqlx::query(
        "INSERT INTO callbacks (job_id, position, try, hash) VALUES ($1, $2, $3, $4)
         ON CONFLICT (job_id, position, try)
             DO UPDATE SET hash = excluded.hash, earlier = (callbacks.hash || callbacks.earlier)[1:8],
                           created_at = now()
             WHERE callbacks.verdict IS NULL",
    )
    .bind(job)
    .bind(position)
    .bind(attempt)
    .bind(hash)
    .execute(connection)
    .await?;
    Ok(())
}

/// Seconds since a call was made, by the database's clock.
pub async fn age(connection: &mut PgConnection, job: Uuid, position: i32, attempt: i32) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar(
        "SELECT extract(epoch FROM now() - created_at)::float8 FROM callbacks
         WHERE job_id = $1 AND position = $2 AND try = $3",
    )
    .bind(job)
    .bind(position)
    .bind(attempt)
    .fetch_optional(connection)
    .await?)
}

/// The latest answer to any call of a step since this one was made: to an earlier try, too, whose receiver does the
/// same work but once.
pub async fn answered_since(
    connection: &mut PgConnection,
    job: Uuid,
    position: i32,
    attempt: i32,
) -> Result<Option<Callback>> {
    Ok(sqlx::query_as(
        "SELECT position, try, hash, earlier, verdict, message FROM callbacks
         WHERE job_id = $1 AND position = $2
           AND answered_at >= (SELECT created_at FROM callbacks WHERE job_id = $1 AND position = $2 AND try = $3)
         ORDER BY try = $3 DESC, answered_at DESC LIMIT 1",
    )
    .bind(job)
    .bind(position)
    .bind(attempt)
    .fetch_optional(connection)
    .await?)
}

/// One call.
pub async fn get(connection: &mut PgConnection, job: Uuid, position: i32, attempt: i32) -> Result<Option<Callback>> {
    Ok(sqlx::query_as(
        "SELECT position, try, hash, earlier, verdict, message FROM callbacks
         WHERE job_id = $1 AND position = $2 AND try = $3",
    )
    .bind(job)
    .bind(position)
    .bind(attempt)
    .fetch_optional(connection)
    .await?)
}

/// Records an answer. False: there is one.
pub async fn answer(
    connection: &mut PgConnection,
    job: Uuid,
    (position, attempt): (i32, i32),
    verdict: &str,
    message: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE callbacks SET verdict = $4, message = $5, answered_at = now()
         WHERE job_id = $1 AND position = $2 AND try = $3 AND verdict IS NULL",
    )
    .bind(job)
    .bind(position)
    .bind(attempt)
    .bind(verdict)
    .bind(message)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
