//! The database's clock: the one that every replica shares.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Result;

/// The time in so many seconds.
pub async fn in_seconds(connection: &mut PgConnection, seconds: u32) -> Result<DateTime<Utc>> {
    Ok(
        sqlx::query_scalar("SELECT date_trunc('second', now()) + make_interval(secs => $1)")
            .bind(f64::from(seconds))
            .fetch_one(connection)
            .await?,
    )
}
