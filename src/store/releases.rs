//! Releases: inserted, read, never changed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use super::{Result, StoreError, manifests::Summary};
use crate::domain::{
    job::Remark,
    names::{Name, Version},
    release::{Artifact, NewRelease},
};

/// A release as it is stored.
#[derive(Debug, Clone)]
pub struct Release {
    pub app: Name,
    pub version: Version,
    pub commit: Option<String>,
    pub artifacts: BTreeMap<Name, Artifact>,
    pub metadata: Map<String, Value>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// Of its artifacts that a promotion has seen, by component and location.
    pub manifests: Vec<Summary>,
    /// Why it may not be promoted; `None`: it may.
    pub block: Option<Remark>,
}

type Row = (
    String,
    String,
    Option<String>,
    Json<BTreeMap<Name, Artifact>>,
    Json<Map<String, Value>>,
    DateTime<Utc>,
    String,
    Json<Vec<Summary>>,
    Option<Json<Remark>>,
);

/// What makes a [`Row`]; the files of the manifests are not read.
macro_rules! columns {
    () => {
        "app, version, commit, artifacts, metadata, created_at, created_by,
         (SELECT coalesce(jsonb_agg(jsonb_build_object('component', component, 'location', location,
                     'objects', objects, 'bytes', bytes, 'recorded_at', recorded_at) ORDER BY component, location), '[]')
          FROM manifests WHERE manifests.app = releases.app AND manifests.version = releases.version),
         (SELECT jsonb_build_object('by', blocked_by, 'reason', reason, 'at', blocked_at)
          FROM release_blocks b WHERE b.app = releases.app AND b.version = releases.version)"
    };
}

fn release(row: Row) -> Result<Release> {
    let (app, version, commit, Json(artifacts), Json(metadata), created_at, created_by, Json(manifests), block) = row;
    Ok(Release {
        app: Name::parse(&app).map_err(|why| StoreError::corrupt("release", why))?,
        version: Version::parse(&version).map_err(|why| StoreError::corrupt("release", why))?,
        commit,
        artifacts,
        metadata,
        created_at,
        created_by,
        manifests,
        block: block.map(|Json(block)| block),
    })
}

/// Inserts it unless the version is there. True: it was inserted.
pub async fn insert(connection: &mut PgConnection, app: &Name, new: &NewRelease, by: &str) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO releases (app, version, commit, artifacts, metadata, created_by)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app, version) DO NOTHING",
    )
    .bind(app.as_str())
    .bind(new.version.as_str())
    .bind(&new.commit)
    .bind(Json(&new.artifacts))
    .bind(Json(&new.metadata))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// In what a stored release differs from one with its version. Compared by the database: it keeps numbers
/// in its own form.
pub async fn differences(connection: &mut PgConnection, app: &Name, new: &NewRelease) -> Result<Vec<&'static str>> {
    let (commit, artifacts, metadata): (bool, bool, bool) = sqlx::query_as(
        "SELECT commit IS DISTINCT FROM $3, artifacts <> $4, metadata <> $5
         FROM releases WHERE app = $1 AND version = $2",
    )
    .bind(app.as_str())
    .bind(new.version.as_str())
    .bind(&new.commit)
    .bind(Json(&new.artifacts))
    .bind(Json(&new.metadata))
    .fetch_one(connection)
    .await?;
    let all = [(commit, "commit"), (artifacts, "artifacts"), (metadata, "metadata")];
    Ok(all
        .into_iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, name)| name)
        .collect())
}

pub async fn get(connection: &mut PgConnection, app: &Name, version: &Version) -> Result<Option<Release>> {
    sqlx::query_as::<_, Row>(concat!(
        "SELECT ",
        columns!(),
        " FROM releases WHERE app = $1 AND version = $2"
    ))
    .bind(app.as_str())
    .bind(version.as_str())
    .fetch_optional(connection)
    .await?
    .map(release)
    .transpose()
}

/// A page, newest first, before the release of that time and version.
pub async fn list(
    connection: &mut PgConnection,
    app: &Name,
    before: Option<(DateTime<Utc>, &str)>,
    limit: i64,
) -> Result<Vec<Release>> {
    let (at, version) = before.unzip();
    sqlx::query_as::<_, Row>(concat!(
        "SELECT ",
        columns!(),
        " FROM releases
         WHERE app = $1 AND ($2::timestamptz IS NULL OR (created_at, version) < ($2, $3))
         ORDER BY created_at DESC, version DESC LIMIT $4",
    ))
    .bind(app.as_str())
    .bind(at)
    .bind(version)
    .bind(limit)
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(release)
    .collect()
}
