//! Signals to a job: abort, retry. Gates are in [`super::gates`], pauses in [`super::pauses`].

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Actor, Code, JobWithSteps, Result, ServiceError, blocks, job, locks, promotions};
use crate::{
    domain::{
        job::{Job, JobEvent, JobKind, JobState},
        plan::{self, Direction},
        role::Role,
    },
    store::{
        StoreError,
        audit::{self, Subject},
        environments,
        events::{self, NewEvent},
        jobs, steps,
    },
};

/// Aborts a promotion: what it did is taken back. A queued one ends at once. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`]; [`Code::NotAbortable`] for a rollback, and for a job that has ended.
pub async fn abort(connection: &mut PgConnection, actor: &Actor, id: Uuid) -> Result<JobWithSteps> {
    let before = jobs::get(connection, id)
        .await?
        .ok_or_else(|| ServiceError::not_found("job", id))?;
    // Who changes who holds the environment, or who is next, locks its row first, here as everywhere.
    environments::lock_by_id(connection, before.environment_id).await?;
    let found = lock(connection, id).await?;
    let refuse = |why: &str| Err(ServiceError::new(Code::NotAbortable, why.to_owned()));
    match (found.kind, found.state) {
        (JobKind::Rollback, state) if !state.is_end() => {
            return refuse("A rollback is never undone. Let it finish, then promote what you want.");
        }
        (_, JobState::Stuck) => {
            return refuse("The job is stuck: POST its retry, or a rollback, which takes its place.");
        }
        (_, JobState::Aborted) if found.superseded_by.is_none() => return job(connection, id).await,
        (_, state) if state.is_end() => {
            return refuse(&format!("The job has ended ({state}). To go back, POST a rollback."));
        }
        (_, JobState::Queued) => {
            jobs::end_queued(connection, id, JobState::Aborted, None).await?;
            let data = json!({"by": actor.name});
            events::append(connection, id, &[NewEvent::new("job.aborted", data)]).await?;
            jobs::wake_next_queued(connection, found.environment_id).await?;
        }
        // Already on its way back.
        (_, JobState::Unwinding) => return job(connection, id).await,
        _ => {
            jobs::request_abort(connection, id, &actor.name).await?;
            if !found.abort_requested {
                let data = json!({"by": actor.name});
                events::append(connection, id, &[NewEvent::new("job.abort_requested", data)]).await?;
            }
        }
    }
    record(connection, actor, "job.abort", &found).await?;
    job(connection, id).await
}

/// Takes up a stuck or failed job's unfinished work in a new round, with new operation tokens.
///
/// # Errors
/// [`Code::NotFound`], [`Code::NotRetryable`], [`Code::JobSuperseded`], [`Code::JobInProgress`],
/// [`Code::ActiveChanged`], [`Code::EnvironmentLocked`], [`Code::ReleaseBlocked`].
pub async fn retry(connection: &mut PgConnection, actor: &Actor, id: Uuid) -> Result<JobWithSteps> {
    let before = jobs::get(connection, id)
        .await?
        .ok_or_else(|| ServiceError::not_found("job", id))?;
    // Who changes who holds the environment locks its row first, here as everywhere.
    let environment = environments::lock_by_id(connection, before.environment_id)
        .await?
        .ok_or_else(|| ServiceError::not_found("environment of job", id))?;
    let found = lock(connection, id).await?;
    let refuse = |why: String| Err(ServiceError::new(Code::NotRetryable, why));
    if let Some(successor) = found.superseded_by {
        return Err(superseded(id, successor));
    }
    if !matches!(found.state, JobState::Stuck | JobState::Failed) {
        return refuse(format!(
            "The job is {}. Only a stuck or a failed job can be retried.",
            found.state
        ));
    }
    let Some(snapshot) = &found.snapshot else {
        return refuse("The job never got its environment. Start a new promotion.".to_owned());
    };
    if found.kind != JobKind::Invalidation
        && let Some(follower) = jobs::follower(connection, found.environment_id, found.seq).await?
    {
        return Err(superseded(id, follower));
    }
    let round = found.round + 1;
    let all_steps = steps::list(connection, id).await?;
    let undoing = all_steps
        .iter()
        .any(|s| s.round == found.round && s.direction == Direction::Undo);
    let (event, plan) = if found.kind == JobKind::Invalidation {
        let plan = plan::retry(&all_steps, found.round, Direction::Forward, false);
        (JobEvent::RetryForward, plan)
    } else if found.state == JobState::Stuck {
        let direction = if undoing { Direction::Undo } else { Direction::Forward };
        let event = if undoing {
            JobEvent::RetryUndo
        } else {
            JobEvent::RetryForward
        };
        (event, plan::retry(&all_steps, found.round, direction, false))
    } else {
        if let Some(holder) = jobs::lock_holder(connection, found.environment_id).await? {
            return Err(ServiceError::job_in_progress(
                holder.id,
                "Wait for it, or start a new promotion.",
            ));
        }
        if snapshot.identities() != environment.document.identities() || snapshot.aws != environment.document.aws {
            return refuse(
                "The environment's pointers or distributions have changed since. Start a new promotion.".to_owned(),
            );
        }
        // The glass is broken for whoever may break it, and not for whoever comes after.
        let passes = found.request.break_glass.is_some() && actor.role >= Role::Admin;
        if let Some(release) = &found.release
            && !passes
        {
            locks::check(connection, environment.id).await?;
            blocks::check(connection, &found.app, release).await?;
        }
        let active = promotions::active(connection, &environment).await?;
        if active != found.from_release {
            return Err(ServiceError::new(
                Code::ActiveChanged,
                "Another release is active than when the job began. Start a new promotion.",
            )
            .with("active", json!(active)));
        }
        (
            JobEvent::RetryForward,
            plan::retry(&all_steps, plan::forward_round(&all_steps), Direction::Forward, true),
        )
    };
    let state = found
        .state
        .transition(event)
        .map_err(|why| StoreError::corrupt("job", why))?;
    jobs::reopen(connection, id, state, round).await?;
    steps::insert(connection, id, round, &plan).await?;
    let data = json!({"by": actor.name, "round": round, "steps": plan.len()});
    events::append(connection, id, &[NewEvent::new("job.retried", data)]).await?;
    record(connection, actor, "job.retry", &found).await?;
    job(connection, id).await
}

pub(super) async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<Job> {
    jobs::lock(connection, id)
        .await?
        .ok_or_else(|| ServiceError::not_found("job", id))
}

fn superseded(id: Uuid, by: Uuid) -> ServiceError {
    ServiceError::new(
        Code::JobSuperseded,
        format!("Job {id} was followed by a later one, which decided where traffic goes. Start a new promotion."),
    )
    .with("superseded_by", json!(by))
}

async fn record(connection: &mut PgConnection, actor: &Actor, action: &str, job: &Job) -> Result<()> {
    record_with(connection, actor, action, job, json!({})).await
}

/// The audit entry of a signal, with what was said.
pub(super) async fn record_with(
    connection: &mut PgConnection,
    actor: &Actor,
    action: &str,
    job: &Job,
    data: serde_json::Value,
) -> Result<()> {
    let subject = Subject {
        app: Some(&job.app),
        environment: Some(&job.environment),
        job: Some(job.id),
    };
    audit::record(connection, &actor.name, action, subject, &data).await?;
    Ok(())
}
