//! Blocks: releases that may not be promoted. A rollback looks at none.

use serde_json::json;
use sqlx::PgConnection;

use super::{Actor, Code, Result, ServiceError, locks::sentence, releases};
use crate::{
    domain::{
        job::Remark,
        names::{Name, Version},
    },
    store::{
        audit::{self, Subject},
        blocks,
    },
};

/// # Errors
/// [`Code::ReleaseBlocked`], with who, why and since when.
pub async fn check(connection: &mut PgConnection, app: &Name, version: &Version) -> Result<()> {
    let Some(block) = blocks::get(connection, app, version).await? else {
        return Ok(());
    };
    let detail = format!(
        "Release {version} was blocked by {} on {}: {} Promote another one, or DELETE its block.",
        block.by,
        block.at.format("%Y-%m-%dT%H:%M:%SZ"),
        sentence(block.reason.as_deref().unwrap_or_default()),
    );
    Err(ServiceError::new(Code::ReleaseBlocked, detail).with("block", json!(block)))
}

/// Blocks a release. True: it was not blocked. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn put(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    version: &Version,
    reason: &str,
) -> Result<(Remark, bool)> {
    releases::get(connection, app, version).await?;
    let was = blocks::get(connection, app, version).await?;
    blocks::put(connection, app, version, &actor.name, reason).await?;
    record(
        connection,
        actor,
        "release.block",
        app,
        json!({"release": version, "reason": reason}),
    )
    .await?;
    let block = blocks::get(connection, app, version).await?;
    let block = block.ok_or_else(|| ServiceError::new(Code::InternalError, "The block can't be read back."))?;
    Ok((block, was.is_none()))
}

/// Lets a release be promoted again. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn delete(connection: &mut PgConnection, actor: &Actor, app: &Name, version: &Version) -> Result<()> {
    releases::get(connection, app, version).await?;
    if blocks::delete(connection, app, version).await? {
        record(connection, actor, "release.unblock", app, json!({"release": version})).await?;
    }
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    actor: &Actor,
    action: &str,
    app: &Name,
    data: serde_json::Value,
) -> Result<()> {
    let subject = Subject {
        app: Some(app),
        ..Subject::default()
    };
    audit::record(connection, &actor.name, action, subject, &data).await?;
    Ok(())
}
