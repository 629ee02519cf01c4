//! Locks: they stop promotions, never rollbacks.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Actor, Code, Result, ServiceError, environments};
use crate::{
    domain::{job::Remark, names::Name},
    store::{
        audit::{self, Subject},
        jobs, locks,
    },
};

/// What a lock is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Environment,
    Everything,
}

/// Who locked what, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Lock {
    pub scope: Scope,
    #[schema(example = "alice")]
    pub by: String,
    #[schema(example = "incident 4711")]
    pub reason: String,
    pub at: DateTime<Utc>,
}

impl Lock {
    fn new(scope: Scope, remark: Remark) -> Self {
        Self {
            scope,
            by: remark.by,
            reason: remark.reason.unwrap_or_default(),
            at: remark.at,
        }
    }
}

/// What stands in the way of promotions here: the environment's own lock before the one on everything.
pub async fn get(connection: &mut PgConnection, environment: Uuid) -> Result<Option<Lock>> {
    if let Some(remark) = locks::of_environment(connection, environment).await? {
        return Ok(Some(Lock::new(Scope::Environment, remark)));
    }
    of_everything(connection).await
}

/// The lock on everything.
pub async fn of_everything(connection: &mut PgConnection) -> Result<Option<Lock>> {
    let remark = locks::of_everything(connection).await?;
    Ok(remark.map(|remark| Lock::new(Scope::Everything, remark)))
}

/// # Errors
/// [`Code::EnvironmentLocked`], with who, why and since when.
pub async fn check(connection: &mut PgConnection, environment: Uuid) -> Result<()> {
    let Some(lock) = get(connection, environment).await? else {
        return Ok(());
    };
    let what = match lock.scope {
        Scope::Environment => "The environment is",
        Scope::Everything => "Everything is",
    };
    let detail = format!(
        "{what} locked by {} since {}: {} Wait until it is unlocked; a rollback passes, and an admin with break_glass.",
        lock.by,
        lock.at.format("%Y-%m-%dT%H:%M:%SZ"),
        sentence(&lock.reason),
    );
    Err(ServiceError::new(Code::EnvironmentLocked, detail).with("lock", json!(lock)))
}

/// A reason as the end of a sentence.
pub(super) fn sentence(reason: &str) -> String {
    let reason = reason.trim_end();
    if reason.ends_with(['.', '!', '?']) {
        reason.to_owned()
    } else {
        format!("{reason}.")
    }
}

/// Locks an environment: promotions are refused, what runs goes on. True: it was not locked. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn lock_environment(
    connection: &mut PgConnection,
    actor: &Actor,
    (app, name): (&Name, &Name),
    reason: &str,
) -> Result<(Lock, bool)> {
    let environment = environments::lock(connection, app, name).await?;
    let was = locks::of_environment(connection, environment.id).await?;
    locks::lock_environment(connection, environment.id, &actor.name, reason).await?;
    record(connection, actor, "environment.lock", Some((app, name)), Some(reason)).await?;
    let lock = locks::of_environment(connection, environment.id).await?;
    let lock = lock.ok_or_else(|| ServiceError::new(Code::InternalError, "The lock can't be read back."))?;
    Ok((Lock::new(Scope::Environment, lock), was.is_none()))
}

/// Unlocks an environment. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn unlock_environment(connection: &mut PgConnection, actor: &Actor, app: &Name, name: &Name) -> Result<()> {
    let environment = environments::lock(connection, app, name).await?;
    if locks::of_environment(connection, environment.id).await?.is_some() {
        locks::unlock_environment(connection, environment.id).await?;
        record(connection, actor, "environment.unlock", Some((app, name)), None).await?;
    }
    Ok(())
}

/// Locks everything: promotions are refused, and those that run begin nothing new. True: it was not locked.
pub async fn lock_everything(connection: &mut PgConnection, actor: &Actor, reason: &str) -> Result<(Lock, bool)> {
    let created = locks::lock_everything(connection, &actor.name, reason).await?;
    record(connection, actor, "everything.lock", None, Some(reason)).await?;
    let lock = of_everything(connection).await?;
    let lock = lock.ok_or_else(|| ServiceError::new(Code::InternalError, "The lock can't be read back."))?;
    Ok((lock, created))
}

/// Lifts the lock on everything; what it held goes on. Safe to repeat.
pub async fn unlock_everything(connection: &mut PgConnection, actor: &Actor) -> Result<()> {
    if locks::unlock_everything(connection).await? {
        jobs::wake_held(connection).await?;
        record(connection, actor, "everything.unlock", None, None).await?;
    }
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    actor: &Actor,
    action: &str,
    environment: Option<(&Name, &Name)>,
    reason: Option<&str>,
) -> Result<()> {
    let subject = Subject {
        app: environment.map(|(app, _)| app),
        environment: environment.map(|(_, name)| name),
        job: None,
    };
    let data = json!({"reason": reason});
    audit::record(connection, &actor.name, action, subject, &data).await?;
    Ok(())
}
