//! Releases: registered once, never changed.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{Actor, Code, Result, ServiceError};
use crate::{
    domain::{
        names::{Name, Version},
        release::NewRelease,
    },
    store::{
        apps,
        audit::{self, Subject},
        releases::{self, Release},
    },
};

/// Registers a release. The same again is no new one: `false`.
///
/// # Errors
/// [`Code::NotFound`], [`Code::ValidationFailed`], [`Code::VersionConflict`] when the version exists with
/// other content.
pub async fn register(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    new: &NewRelease,
) -> Result<(Release, bool)> {
    let problems = new.problems();
    if !problems.is_empty() {
        return Err(ServiceError::fields(Code::ValidationFailed, problems));
    }
    if !apps::share(connection, app).await? {
        return Err(ServiceError::not_found("application", app));
    }
    let created = releases::insert(connection, app, new, &actor.name).await?;
    let stored = get(connection, app, &new.version).await?;
    if created {
        let subject = Subject {
            app: Some(app),
            ..Subject::default()
        };
        audit::record(
            connection,
            &actor.name,
            "release.register",
            subject,
            &json!({"version": new.version}),
        )
        .await?;
        return Ok((stored, true));
    }
    let differs = releases::differences(connection, app, new).await?;
    if differs.is_empty() {
        return Ok((stored, false));
    }
    Err(ServiceError::new(
        Code::VersionConflict,
        format!(
            "Release {} is registered with another {}. A release never changes: register a new version.",
            new.version,
            differs.join(" and ")
        ),
    ))
}

/// A page of an application's releases, newest first, before the release of that time and version.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn list(
    connection: &mut PgConnection,
    app: &Name,
    before: Option<(DateTime<Utc>, &Version)>,
    limit: i64,
) -> Result<Vec<Release>> {
    super::apps::get(connection, app).await?;
    Ok(releases::list(
        connection,
        app,
        before.map(|(at, version)| (at, version.as_str())),
        limit,
    )
    .await?)
}

/// # Errors
/// [`Code::NotFound`].
pub async fn get(connection: &mut PgConnection, app: &Name, version: &Version) -> Result<Release> {
    releases::get(connection, app, version)
        .await?
        .ok_or_else(|| ServiceError::not_found(&format!("release of {app},"), version))
}
