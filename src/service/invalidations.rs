//! A purge without a flip, as a tracked job. It moves no traffic, so it runs beside whatever holds the environment.

use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Actor, Code, JobWithSteps, Result, ServiceError, check_reason, environments, job};
use crate::{
    domain::{
        environment::{Cdn, Invalidate, InvalidatePaths},
        error::FieldError,
        job::{Inherited, JobKind, JobRequest},
        names::Name,
        plan,
    },
    store::{
        self,
        audit::{self, Subject},
        events::{self, NewEvent},
        jobs::{self, NewJob},
        steps,
    },
};

/// A purge as it is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidationRequest {
    /// Each begins with `/`; a `*` at the end is a wildcard. 1 to 3000, 15 wildcards at most.
    #[schema(example = json!(["/index.html", "/images/*"]))]
    pub paths: Vec<String>,
    /// Only the distribution of this component. Left out: every one of the environment.
    #[serde(default)]
    #[schema(example = "web")]
    pub component: Option<Name>,
    /// Why; at most 1000 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Starts a purge.
///
/// # Errors
/// [`Code::NotFound`], [`Code::ValidationFailed`], [`Code::NothingToInvalidate`].
pub async fn start(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    name: &Name,
    request: &InvalidationRequest,
) -> Result<JobWithSteps> {
    check_reason("reason", request.reason.as_deref())?;
    check_paths(&request.paths)?;
    let environment = environments::lock(connection, app, name).await?;
    if let Some(component) = &request.component
        && environment.document.component(component).is_none()
    {
        let why = format!("there is no component {component} in {app}/{name}");
        return Err(ServiceError::invalid("component", why));
    }
    let plan = plan::invalidation(&environment.document, request.component.as_ref(), &request.paths);
    if plan.is_empty() {
        return Err(ServiceError::new(
            Code::NothingToInvalidate,
            "No distribution is configured: give the component a cdn in the environment's document.",
        ));
    }
    let id = Uuid::now_v7();
    let new = NewJob {
        id,
        kind: JobKind::Invalidation,
        environment_id: environment.id,
        app,
        environment: name,
        release: None,
        from_release: None,
        request: &JobRequest::default(),
        reason: request.reason.as_deref(),
        by: &actor.name,
    };
    jobs::insert(connection, &new).await?;
    let created = json!({"kind": "invalidation", "paths": request.paths, "component": request.component,
                         "by": actor.name, "reason": request.reason});
    events::append(connection, id, &[NewEvent::new("job.created", created.clone())]).await?;
    jobs::activate(connection, id, None, &environment.document, &Inherited::default()).await?;
    steps::insert(connection, id, 1, &plan).await?;
    let activated = json!({"steps": plan.len()});
    events::append(connection, id, &[NewEvent::new("job.activated", activated)]).await?;
    store::notify_work(connection).await?;
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        job: Some(id),
    };
    audit::record(connection, &actor.name, "invalidation.start", subject, &created).await?;
    job(connection, id).await
}

/// The same limits as for what a flip invalidates.
fn check_paths(paths: &[String]) -> Result<()> {
    let cdn = Cdn {
        distribution_id: "E".to_owned(),
        invalidate: Some(Invalidate::Paths(InvalidatePaths {
            paths: paths.to_vec(),
            ..InvalidatePaths::default()
        })),
    };
    let problems: Vec<FieldError> = cdn
        .path_problems()
        .into_iter()
        .map(|why| FieldError::new("paths", why))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ServiceError::fields(Code::ValidationFailed, problems))
    }
}
