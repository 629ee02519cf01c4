//! Pauses: nothing new begins until somebody resumes. And the opposite: going on without the remaining bakes.

use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Actor, Code, JobWithSteps, Result, ServiceError, check_reason, job, promotions::Reason, signals};
use crate::{
    domain::job::{Job, JobKind, JobState},
    store::{
        events::{self, NewEvent},
        jobs,
    },
};

/// A pause as it is asked for.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// Why; at most 1000 characters.
    #[schema(example = "looking at the error rate")]
    pub reason: Option<String>,
}

/// Pauses a promotion: what has begun goes on, bakes stay open, nothing new begins. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`], [`Code::NotPausable`].
pub async fn pause(
    connection: &mut PgConnection,
    actor: &Actor,
    id: Uuid,
    request: &PauseRequest,
) -> Result<JobWithSteps> {
    check_reason("reason", request.reason.as_deref())?;
    let found = signals::lock(connection, id).await?;
    check_running(&found, Code::NotPausable)?;
    if found.paused.is_none() {
        let reason = request.reason.as_deref();
        jobs::pause(connection, id, &actor.name, reason).await?;
        tell(connection, actor, ("job.paused", "job.pause"), &found, reason).await?;
    }
    job(connection, id).await
}

/// Lets a paused promotion go on. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`], [`Code::NotPausable`].
pub async fn resume(
    connection: &mut PgConnection,
    actor: &Actor,
    id: Uuid,
    request: &PauseRequest,
) -> Result<JobWithSteps> {
    check_reason("reason", request.reason.as_deref())?;
    let found = signals::lock(connection, id).await?;
    check_running(&found, Code::NotPausable)?;
    if found.paused.is_some() {
        jobs::resume(connection, id).await?;
        tell(
            connection,
            actor,
            ("job.resumed", "job.resume"),
            &found,
            request.reason.as_deref(),
        )
        .await?;
    }
    job(connection, id).await
}

/// Has a promotion skip its remaining shares and bakes. Gates, hooks and other checks stay. Safe to repeat.
///
/// # Errors
/// [`Code::NotFound`], [`Code::ValidationFailed`] without a reason, [`Code::NotPromotable`].
pub async fn promote_fully(
    connection: &mut PgConnection,
    actor: &Actor,
    id: Uuid,
    request: &Reason,
) -> Result<JobWithSteps> {
    let reason = request.check("reason")?;
    let found = signals::lock(connection, id).await?;
    check_running(&found, Code::NotPromotable)?;
    if found.promoted_fully.is_none() {
        jobs::promote_fully(connection, id, &actor.name, reason).await?;
        tell(
            connection,
            actor,
            ("job.promoted_fully", "job.promote_fully"),
            &found,
            Some(reason),
        )
        .await?;
    }
    job(connection, id).await
}

fn check_running(job: &Job, code: Code) -> Result<()> {
    let why = match (job.kind, job.state) {
        (JobKind::Promotion, JobState::Running | JobState::Waiting) => return Ok(()),
        (JobKind::Promotion, JobState::Queued) => "It waits for its environment and has not begun. Abort it instead.",
        (JobKind::Promotion, JobState::Unwinding) => "It is on its way back, and that is not held up.",
        (JobKind::Promotion, _) => "The job has ended.",
        (JobKind::Rollback, _) => "A rollback is never held up, and has no bakes.",
        (JobKind::Invalidation, _) => "An invalidation is under way at CloudFront, and has no bakes.",
    };
    Err(ServiceError::new(code, why))
}

async fn tell(
    connection: &mut PgConnection,
    actor: &Actor,
    (event, action): (&'static str, &str),
    found: &Job,
    reason: Option<&str>,
) -> Result<()> {
    let data = json!({"by": actor.name, "reason": reason});
    events::append(connection, found.id, &[NewEvent::new(event, data.clone())]).await?;
    signals::record_with(connection, actor, action, found, data).await
}
