//! Applications.

use serde_json::json;
use sqlx::PgConnection;

use super::{Actor, Code, Result, ServiceError};
use crate::{
    domain::names::Name,
    store::{
        apps::{self, App},
        audit::{self, Subject},
    },
};

/// Creates or changes one. True: it is new.
pub async fn put(
    connection: &mut PgConnection,
    actor: &Actor,
    name: &Name,
    description: Option<&str>,
) -> Result<(App, bool)> {
    if description.is_some_and(|text| text.chars().count() > 1000) {
        return Err(ServiceError::invalid("description", "at most 1000 characters"));
    }
    let created = apps::put(connection, name, description).await?;
    let subject = Subject {
        app: Some(name),
        ..Subject::default()
    };
    audit::record(
        connection,
        &actor.name,
        "app.put",
        subject,
        &json!({"created": created}),
    )
    .await?;
    Ok((get(connection, name).await?, created))
}

/// # Errors
/// [`Code::NotFound`].
pub async fn get(connection: &mut PgConnection, name: &Name) -> Result<App> {
    apps::get(connection, name)
        .await?
        .ok_or_else(|| ServiceError::not_found("application", name))
}

/// A page by name, after `after`.
pub async fn list(connection: &mut PgConnection, after: Option<&Name>, limit: i64) -> Result<Vec<App>> {
    Ok(apps::list(connection, after.map_or("", Name::as_str), limit).await?)
}

/// Deletes one with its releases.
///
/// # Errors
/// [`Code::NotFound`], [`Code::AppNotEmpty`].
pub async fn delete(connection: &mut PgConnection, actor: &Actor, name: &Name) -> Result<()> {
    if !apps::lock(connection, name).await? {
        return Err(ServiceError::not_found("application", name));
    }
    if apps::has_environments(connection, name).await? {
        return Err(ServiceError::new(
            Code::AppNotEmpty,
            format!("Application {name} still has environments. Delete them first."),
        ));
    }
    apps::delete(connection, name).await?;
    let subject = Subject {
        app: Some(name),
        ..Subject::default()
    };
    audit::record(connection, &actor.name, "app.delete", subject, &json!({})).await?;
    Ok(())
}
