//! Environments: the whole document at once, and what is true of them now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Actor, Code, Result, ServiceError,
    locks::{self, Lock},
    promotions::refuse_strategy,
};
use crate::{
    domain::{
        deployment::{self, Target},
        environment::EnvironmentDocument,
        job::{Job, JobKind},
        names::{Name, Version},
    },
    store::{
        apps,
        audit::{self, Subject},
        deployments::{self, DeploymentRow},
        environments::{self, Environment},
        jobs,
        pointers::{self, Pointer},
    },
};

/// An environment and what is true of it, from PostgreSQL alone.
#[derive(Debug, Clone)]
pub struct Status {
    pub environment: Environment,
    pub active: Option<Version>,
    /// Where a rollback would go now; the inner `None` is deployment 0.
    pub target: Option<Option<Version>>,
    pub candidate: Option<Version>,
    pub current_job: Option<Uuid>,
    pub pointers: Vec<Pointer>,
    /// What stands in promotions' way.
    pub lock: Option<Lock>,
}

/// # Errors
/// [`Code::NotFound`].
pub async fn get(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<Environment> {
    match environments::get(connection, app, name).await? {
        Some(environment) => Ok(environment),
        None => Err(missing(connection, app, name).await?),
    }
}

/// Reads it and locks its row.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn lock(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<Environment> {
    match environments::lock(connection, app, name).await? {
        Some(environment) => Ok(environment),
        None => Err(missing(connection, app, name).await?),
    }
}

async fn missing(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<ServiceError> {
    Ok(match apps::get(connection, app).await? {
        None => ServiceError::not_found("application", app),
        Some(_) => ServiceError::not_found("environment", format!("{app}/{name}")),
    })
}

/// What is true of an environment.
pub async fn status(connection: &mut PgConnection, environment: Environment) -> Result<Status> {
    let history = deployments::history(connection, environment.id).await?;
    let holder = jobs::holder(connection, environment.id).await?;
    let target = rollback_target(&history, holder.as_ref()).map(|target| target.release().cloned());
    Ok(Status {
        active: deployment::active(&history).flatten().cloned(),
        target,
        candidate: holder
            .as_ref()
            .filter(|job| job.kind == JobKind::Promotion)
            .and_then(|job| job.release.clone()),
        current_job: holder.map(|job| job.id),
        pointers: pointers::of_environment(connection, environment.id).await?,
        lock: locks::get(connection, environment.id).await?,
        environment,
    })
}

/// What is true of the environment of that name.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn look(connection: &mut PgConnection, app: &Name, name: &Name) -> Result<Status> {
    let environment = get(connection, app, name).await?;
    status(connection, environment).await
}

/// A page of an application's environments by name, after `after`, with what is true of each.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn list(connection: &mut PgConnection, app: &Name, after: Option<&Name>, limit: i64) -> Result<Vec<Status>> {
    super::apps::get(connection, app).await?;
    let mut found = Vec::new();
    for environment in environments::list(connection, app, after.map_or("", Name::as_str), limit).await? {
        found.push(status(connection, environment).await?);
    }
    Ok(found)
}

/// A page of what was active, newest first, before the deployment `before`.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn history(
    connection: &mut PgConnection,
    app: &Name,
    name: &Name,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<DeploymentRow>> {
    let environment = get(connection, app, name).await?;
    Ok(deployments::list(connection, environment.id, before, limit).await?)
}

/// Where a rollback without `to` goes: the running promotion's `from_release`, the running rollback's own
/// target, else the latest earlier settled release that was not itself rolled back from.
pub fn rollback_target(history: &[deployment::Deployment], holder: Option<&Job>) -> Option<Target> {
    let of = |release: &Option<Version>| release.clone().map_or(Target::TakenOver, Target::Release);
    match holder {
        Some(job) if job.kind == JobKind::Promotion => Some(of(&job.from_release)),
        Some(job) => Some(of(&job.release)),
        None => deployment::previous(history),
    }
}

/// Creates it, or replaces its whole document. True: it is new.
///
/// # Errors
/// [`Code::NotFound`] (no such application), [`Code::ValidationFailed`], [`Code::StrategyImpossible`], [`Code::PointerInUse`],
/// [`Code::JobInProgress`] when a router's or distribution's identity changes under an unfinished job.
pub async fn put(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    name: &Name,
    document: &EnvironmentDocument,
) -> Result<(Status, bool)> {
    let problems = document.problems();
    if !problems.is_empty() {
        return Err(ServiceError::fields(Code::ValidationFailed, problems));
    }
    if let Some(impossible) = document.impossible(&document.strategy) {
        return Err(refuse_strategy(&impossible));
    }
    if !apps::share(connection, app).await? {
        return Err(ServiceError::not_found("application", app));
    }
    let before = environments::lock(connection, app, name).await?;
    let created = before.is_none();
    let id = match before {
        Some(before) => {
            refuse_change_under_a_job(connection, &before, document).await?;
            environments::update(connection, before.id, document).await?;
            before.id
        }
        None => {
            let id = Uuid::now_v7();
            match environments::insert(connection, id, app, name, document).await {
                Err(error) if error.is_unique_violation("environments_app_name_key") => {
                    return Err(ServiceError::new(
                        Code::VersionConflict,
                        format!("Environment {app}/{name} was created by another request just now. Send yours again."),
                    ));
                }
                other => other?,
            }
            id
        }
    };
    if let Err(key) = pointers::replace(connection, id, &document.pointers()).await? {
        let field = field_of(document, &key);
        let mut error = ServiceError::new(
            Code::PointerInUse,
            format!("Pointer {key} belongs to a component of another environment. One pointer has one owner."),
        );
        error.fields.push(crate::domain::error::FieldError::new(
            field,
            "another environment owns this pointer",
        ));
        return Err(error);
    }
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        ..Subject::default()
    };
    audit::record(
        connection,
        &actor.name,
        "environment.put",
        subject,
        &json!({"created": created}),
    )
    .await?;
    let environment = get(connection, app, name).await?;
    Ok((status(connection, environment).await?, created))
}

fn field_of(document: &EnvironmentDocument, key: &str) -> String {
    let mut fields = document.components.iter().enumerate().flat_map(|(at, component)| {
        let pointers = component.pointers(&document.aws).into_iter();
        pointers.map(move |pointer| (pointer.key, at, component.router.field_of(&pointer.target)))
    });
    fields.find(|(owned, _, _)| owned == key).map_or_else(
        || "components".to_owned(),
        |(_, at, name)| format!("components[{at}].router.{name}"),
    )
}

/// Pointers and distributions of an unfinished job stay what they are until it has ended.
async fn refuse_change_under_a_job(
    connection: &mut PgConnection,
    before: &Environment,
    document: &EnvironmentDocument,
) -> Result<()> {
    let (old, new): (BTreeMap<Name, BTreeSet<String>>, _) = (before.document.identities(), document.identities());
    let same_account = before.document.aws == document.aws;
    if old == new && same_account {
        return Ok(());
    }
    match jobs::any_unfinished(connection, before.id).await? {
        None => Ok(()),
        Some(job) => Err(ServiceError::job_in_progress(
            job,
            "Its account, pointers and distributions can't be changed until the job has ended.",
        )),
    }
}

/// Deletes it with its history.
///
/// # Errors
/// [`Code::NotFound`], [`Code::JobInProgress`].
pub async fn delete(connection: &mut PgConnection, actor: &Actor, app: &Name, name: &Name) -> Result<()> {
    let environment = lock(connection, app, name).await?;
    if let Some(job) = jobs::any_unfinished(connection, environment.id).await? {
        return Err(ServiceError::job_in_progress(
            job,
            "The environment can be deleted when it has ended.",
        ));
    }
    environments::delete(connection, environment.id).await?;
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        ..Subject::default()
    };
    audit::record(connection, &actor.name, "environment.delete", subject, &json!({})).await?;
    Ok(())
}
