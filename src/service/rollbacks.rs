//! Starting a rollback. It always gets through: neither a running nor a stuck job stops it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Actor, Code, JobWithSteps, Result, ServiceError, blocks, check_reason,
    environments::{self, rollback_target},
    job,
    promotions::check_expected,
    releases, takeover,
};
use crate::{
    domain::{
        deployment::{self, Target},
        job::{Inherited, JobKind, JobRequest, JobState},
        names::{Name, Version},
        plan,
        pointer::Values,
    },
    store::{
        self,
        audit::{self, Subject},
        deployments,
        events::{self, NewEvent},
        jobs::{self, NewJob},
        pointers, steps,
    },
};

/// A rollback as it is asked for.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackRequest {
    /// A release that has served here. Left out: where the running promotion came from, else the release before.
    pub to: Option<Version>,
    /// Refuse unless this release is active (or being promoted).
    pub expected_active: Option<Version>,
    /// Why; at most 1000 characters.
    #[schema(example = "checkout fails")]
    pub reason: Option<String>,
    /// Also block the release that is left, so that the next CI run can't bring it back.
    pub block: bool,
}

/// Starts a rollback, in the place of whatever holds or waits for the environment. Called again while one
/// runs to the same target, it answers with that job.
///
/// # Errors
/// [`Code::NotFound`], [`Code::NotARollbackTarget`], [`Code::NothingToRollBackTo`],
/// [`Code::AlreadyActive`], [`Code::ActiveChanged`].
pub async fn start(
    connection: &mut PgConnection,
    actor: &Actor,
    app: &Name,
    name: &Name,
    request: &RollbackRequest,
) -> Result<JobWithSteps> {
    check_reason("reason", request.reason.as_deref())?;
    let environment = environments::lock(connection, app, name).await?;
    let holder = jobs::lock_holder(connection, environment.id).await?;
    let history = deployments::history(connection, environment.id).await?;
    let active = deployment::active(&history).flatten().cloned();

    let target = match &request.to {
        Some(to) => {
            releases::get(connection, app, to).await?;
            if !deployment::has_settled(&history, to) {
                return Err(ServiceError::new(
                    Code::NotARollbackTarget,
                    format!("Release {to} never served in {app}/{name}. Promote it instead."),
                ));
            }
            Target::Release(to.clone())
        }
        None => rollback_target(&history, holder.as_ref()).ok_or_else(|| {
            ServiceError::new(
                Code::NothingToRollBackTo,
                format!("Nothing has served in {app}/{name} before what is active now."),
            )
        })?,
    };
    // What is left: the release being promoted, else the active one.
    let candidate = holder
        .as_ref()
        .filter(|job| job.kind == JobKind::Promotion)
        .and_then(|job| job.release.clone());
    if let Some(expected) = &request.expected_active
        && candidate.as_ref() != Some(expected)
    {
        check_expected(expected, active.as_ref())?;
    }
    let left = match &holder {
        Some(holder) if holder.kind == JobKind::Rollback => holder.from_release.clone(),
        _ => candidate.clone().or_else(|| active.clone()),
    };
    if request.block
        && let Some(left) = &left
        && Some(left) != target.release()
    {
        let reason = request.reason.clone().filter(|reason| !reason.trim().is_empty());
        let reason = reason.unwrap_or_else(|| format!("rolled back from in {app}/{name}"));
        blocks::put(connection, actor, app, left, &reason).await?;
    }
    if let Some(running) = &holder
        && running.kind == JobKind::Rollback
        && running.state != JobState::Stuck
        && running.release.as_ref() == target.release()
    {
        return job(connection, running.id).await;
    }
    // A pointer that somebody else changed can be put back by a rollback to what is active.
    let drifted = pointers::of_environment(connection, environment.id)
        .await?
        .iter()
        .any(|p| p.drift.is_some());
    if holder.is_none() && target.release() == active.as_ref() && !history.is_empty() && !drifted {
        let what = active.map_or_else(
            || "what was there before".to_owned(),
            |version| format!("release {version}"),
        );
        return Err(ServiceError::new(
            Code::AlreadyActive,
            format!("In {app}/{name}, {what} is active already."),
        ));
    }
    let id = Uuid::now_v7();
    let stored = JobRequest {
        expected_active: request.expected_active.clone(),
        ..JobRequest::default()
    };
    let new = NewJob {
        id,
        kind: JobKind::Rollback,
        environment_id: environment.id,
        app,
        environment: name,
        release: target.release(),
        from_release: left.as_ref(),
        request: &stored,
        reason: request.reason.as_deref(),
        by: &actor.name,
    };
    jobs::insert(connection, &new).await?;
    let created = json!({"kind": "rollback", "release": target.release(), "from_release": left,
                         "by": actor.name, "reason": request.reason});
    events::append(connection, id, &[NewEvent::new("job.created", created.clone())]).await?;
    let inherited = match &holder {
        Some(holder) => takeover::supersede(connection, holder, id).await?,
        None => Inherited::default(),
    };
    takeover::abort_queue(connection, environment.id, id).await?;

    let restore = restore(connection, environment.id, &inherited).await?;
    // Put back to what is active, the pointer's `previous` is the release before it, not itself.
    let before = deployment::previous(&history).and_then(|before| before.release().cloned());
    let previous = if left.as_ref() == target.release() {
        before
    } else {
        left.clone()
    };
    let owed = plan::owed(&[], &inherited.hooks);
    let plan = plan::rollback(
        &environment.document,
        target.release(),
        previous.as_ref(),
        &restore,
        &owed,
    );
    jobs::activate(connection, id, left.as_ref(), &environment.document, &inherited).await?;
    steps::insert(connection, id, 1, &plan).await?;
    let activated = json!({"steps": plan.len(), "from_release": left, "superseded": inherited.jobs});
    events::append(connection, id, &[NewEvent::new("job.activated", activated)]).await?;
    store::notify_work(connection).await?;
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        job: Some(id),
    };
    audit::record(connection, &actor.name, "rollback.start", subject, &created).await?;
    job(connection, id).await
}

/// The values of deployment 0: recorded when a promotion through a pointer first settled; for pointers without
/// such a value, those found by the jobs whose place is taken.
async fn restore(
    connection: &mut PgConnection,
    environment: Uuid,
    inherited: &Inherited,
) -> Result<BTreeMap<Name, Values>> {
    let mut values = inherited.found.clone();
    for (component, recorded) in deployments::taken_over(connection, environment).await? {
        values.entry(component).or_default().extend(recorded);
    }
    Ok(values)
}
