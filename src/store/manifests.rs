//! Manifests: the files of a release's artifact as a promotion first saw them. Recorded once, never changed.
//!
//! What a promotion makes of a difference is decided in `steps/preflight/artifact.rs`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{Result, StoreError};
use crate::domain::names::{Name, Version};

/// One file, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct File {
    /// Below the location.
    pub path: String,
    /// In bytes.
    pub size: i64,
    pub etag: String,
    /// `None`: it was not looked at.
    pub content_type: Option<String>,
}

type Row = (String, i64, String, Option<String>);

impl From<Row> for File {
    fn from((path, size, etag, content_type): Row) -> Self {
        Self {
            path,
            size,
            etag,
            content_type,
        }
    }
}

impl From<File> for Row {
    fn from(file: File) -> Self {
        (file.path, file.size, file.etag, file.content_type)
    }
}

/// The files of a component's artifact at one place.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub app: Name,
    pub version: Version,
    pub component: Name,
    /// `s3://bucket/prefix/`
    pub location: String,
    /// In S3's order.
    pub files: Vec<File>,
}

/// A manifest without its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Summary {
    pub component: Name,
    pub location: String,
    pub objects: i64,
    pub bytes: i64,
    pub recorded_at: DateTime<Utc>,
}

impl Manifest {
    pub fn bytes(&self) -> i64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// Records it, unless there is one: the first one stays.
///
/// # Errors
/// [`StoreError::Raced`] when there is one with other files, which is only so if somebody recorded it since
/// the caller looked: look again.
pub async fn record(connection: &mut PgConnection, manifest: &Manifest) -> Result<()> {
    let Manifest {
        app,
        version,
        component,
        location,
        files,
    } = manifest;
    let listing = serde_json::to_string(files).map_err(|why| StoreError::corrupt("manifest", why))?;
    let is_ours: Option<bool> = sqlx::query_scalar(
        "WITH ours AS (
             INSERT INTO manifests (app, version, component, location, objects, bytes, listing)
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::json)
             ON CONFLICT (app, version, component, location) DO NOTHING RETURNING true AS ours
         )
         SELECT ours FROM ours
         UNION ALL
         SELECT listing::text = $7 FROM manifests WHERE app = $1 AND version = $2 AND component = $3 AND location = $4
         LIMIT 1",
    )
    .bind(app.as_str())
    .bind(version.as_str())
    .bind(component.as_str())
    .bind(location)
    .bind(i32::try_from(files.len()).unwrap_or(i32::MAX))
    .bind(manifest.bytes())
    .bind(&listing)
    .fetch_optional(connection)
    .await?;
    match is_ours {
        Some(true) => Ok(()),
        _ => Err(StoreError::Raced("manifest")),
    }
}

/// The files that were recorded, in the order in which they were.
pub async fn files(
    connection: &mut PgConnection,
    app: &Name,
    version: &Version,
    component: &Name,
    location: &str,
) -> Result<Option<Vec<File>>> {
    let listing: Option<String> = sqlx::query_scalar(
        "SELECT listing::text FROM manifests WHERE app = $1 AND version = $2 AND component = $3 AND location = $4",
    )
    .bind(app.as_str())
    .bind(version.as_str())
    .bind(component.as_str())
    .bind(location)
    .fetch_optional(connection)
    .await?;
    listing
        .map(|listing| serde_json::from_str(&listing).map_err(|why| StoreError::corrupt("manifest", why)))
        .transpose()
}
