//! API tokens. Only the hash of the secret half is stored.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Result, StoreError};
use crate::domain::role::Role;

/// A token as it is stored.
#[derive(Debug, Clone)]
pub struct StoredToken {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    pub hash: Vec<u8>,
    /// By the database's clock, now.
    pub expired: bool,
}

/// Inserts one that is valid for `valid_seconds`, or for ever.
pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    name: &str,
    role: Role,
    hash: &[u8],
    valid_seconds: Option<i64>,
) -> Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar(
        "INSERT INTO tokens (id, name, role, hash, expires_at)
         VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5)) RETURNING expires_at",
    )
    .bind(id)
    .bind(name)
    .bind(role.as_str())
    .bind(hash)
    .bind(valid_seconds.map(|seconds| seconds as f64))
    .fetch_one(connection)
    .await?)
}

pub async fn get(connection: &mut PgConnection, id: Uuid) -> Result<Option<StoredToken>> {
    let row: Option<(Uuid, String, String, Vec<u8>, bool)> =
        sqlx::query_as("SELECT id, name, role, hash, coalesce(expires_at <= now(), false) FROM tokens WHERE id = $1")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    row.map(|(id, name, role, hash, expired)| {
        let role = role.parse().map_err(|why: String| StoreError::corrupt("token", why))?;
        Ok(StoredToken {
            id,
            name,
            role,
            hash,
            expired,
        })
    })
    .transpose()
}
