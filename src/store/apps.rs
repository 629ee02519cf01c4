//! Applications.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Result, StoreError};
use crate::domain::names::Name;

/// An application as it is stored.
#[derive(Debug, Clone)]
pub struct App {
    pub name: Name,
    pub description: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

type Row = (String, Option<String>, DateTime<Utc>, DateTime<Utc>);

fn app((name, description, created_at, updated_at): Row) -> Result<App> {
    let name = Name::parse(&name).map_err(|why| StoreError::corrupt("application", why))?;
    Ok(App {
        name,
        description,
        created_at,
        updated_at,
    })
}

/// Creates or changes one. True: it is new.
pub async fn put(connection: &mut PgConnection, name: &Name, description: Option<&str>) -> Result<bool> {
    let created: bool = sqlx::query_scalar(
        "INSERT INTO apps (name, description) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET description = excluded.description, updated_at = now()
         RETURNING xmax = 0",
    )
    .bind(name.as_str())
    .bind(description)
    .fetch_one(connection)
    .await?;
    Ok(created)
}

pub async fn get(connection: &mut PgConnection, name: &Name) -> Result<Option<App>> {
    sqlx::query_as::<_, Row>("SELECT name, description, created_at, updated_at FROM apps WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?
        .map(app)
        .transpose()
}

/// A page by name, after `after`.
pub async fn list(connection: &mut PgConnection, after: &str, limit: i64) -> Result<Vec<App>> {
    sqlx::query_as::<_, Row>(
        "SELECT name, description, created_at, updated_at FROM apps WHERE name > $1 ORDER BY name LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(app)
    .collect()
}

/// Locks the row against a concurrent deletion. False: there is none.
pub async fn share(connection: &mut PgConnection, name: &Name) -> Result<bool> {
    let row: Option<i32> = sqlx::query_scalar("SELECT 1 FROM apps WHERE name = $1 FOR SHARE")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Locks the row for its deletion. False: there is none.
pub async fn lock(connection: &mut PgConnection, name: &Name) -> Result<bool> {
    let row: Option<i32> = sqlx::query_scalar("SELECT 1 FROM apps WHERE name = $1 FOR UPDATE")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// True when it has environments.
pub async fn has_environments(connection: &mut PgConnection, name: &Name) -> Result<bool> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM environments WHERE app = $1)")
            .bind(name.as_str())
            .fetch_one(connection)
            .await?,
    )
}

/// Deletes it with its releases. It must have no environments.
pub async fn delete(connection: &mut PgConnection, name: &Name) -> Result<()> {
    sqlx::query("DELETE FROM releases WHERE app = $1")
        .bind(name.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM apps WHERE name = $1")
        .bind(name.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
