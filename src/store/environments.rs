//! Environments.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{Result, StoreError};
use crate::domain::{environment::EnvironmentDocument, names::Name};

/// An environment as it is stored.
#[derive(Debug, Clone)]
pub struct Environment {
    pub id: Uuid,
    pub app: Name,
    pub name: Name,
    pub document: EnvironmentDocument,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

type Row = (
    Uuid,
    String,
    String,
    Json<EnvironmentDocument>,
    DateTime<Utc>,
    DateTime<Utc>,
);

fn environment((id, app, name, Json(document), created_at, updated_at): Row) -> Result<Environment> {
    let parse = |text: &str| Name::parse(text).map_err(|why| StoreError::corrupt("environment", why));
    Ok(Environment {
        id,
        app: parse(&app)?,
        name: parse(&name)?,
        document,
        created_at,
        updated_at,
    })
}

pub async fn get(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<Option<Environment>> {
    sqlx::query_as::<_, Row>(
        "SELECT id, app, name, document, created_at, updated_at FROM environments WHERE app = $1 AND name = $2",
    )
    .bind(app.as_str())
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?
    .map(environment)
    .transpose()
}

/// Reads it and locks its row: whoever changes who holds the environment does so under this lock. Not so hard that a worker
/// could not record what is active now: it has the job's row by then, for which the holder of this lock may be waiting.
pub async fn lock(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<Option<Environment>> {
    sqlx::query_as::<_, Row>(
        "SELECT id, app, name, document, created_at, updated_at FROM environments
         WHERE app = $1 AND name = $2 FOR NO KEY UPDATE",
    )
    .bind(app.as_str())
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?
    .map(environment)
    .transpose()
}

/// Like [`lock`], by id.
pub async fn lock_by_id(connection: &mut PgConnection, id: Uuid) -> Result<Option<Environment>> {
    sqlx::query_as::<_, Row>(
        "SELECT id, app, name, document, created_at, updated_at FROM environments WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?
    .map(environment)
    .transpose()
}

/// A page by name, after `after`.
pub async fn list(connection: &mut PgConnection, app: &Name, after: &str, limit: i64) -> Result<Vec<Environment>> {
    sqlx::query_as::<_, Row>(
        "SELECT id, app, name, document, created_at, updated_at FROM environments
         WHERE app = $1 AND name > $2 ORDER BY name LIMIT $3",
    )
    .bind(app.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(environment)
    .collect()
}

/// Inserts one; with the constraint `environments_app_name_key` when it was made meanwhile.
pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    app: &Name,
    name: &Name,
    document: &EnvironmentDocument,
) -> Result<()> {
    sqlx::query("INSERT INTO environments (id, app, name, document) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(app.as_str())
        .bind(name.as_str())
        .bind(Json(document))
        .execute(connection)
        .await?;
    Ok(())
}

pub async fn update(connection: &mut PgConnection, id: Uuid, document: &EnvironmentDocument) -> Result<()> {
    sqlx::query("UPDATE environments SET document = $2, updated_at = now() WHERE id = $1")
        .bind(id)
        .bind(Json(document))
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes it with its history. It must have no unfinished job.
pub async fn delete(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    for sql in [
        "DELETE FROM pointers WHERE environment_id = $1",
        "DELETE FROM deployments WHERE environment_id = $1",
        "UPDATE jobs SET superseded_by = NULL WHERE environment_id = $1",
        "DELETE FROM jobs WHERE environment_id = $1",
        "DELETE FROM environments WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut *connection).await?;
    }
    Ok(())
}
