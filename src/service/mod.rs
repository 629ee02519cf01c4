//! The use-cases, knowing nothing of HTTP: register a release, start a promotion, roll back, signal a job.
//!
//! Each takes a connection inside its caller's transaction, so that the effect, its audit entry and the
//! idempotency record are one commit. Errors carry a stable code ([`error::Code`]).

pub mod activation;
pub mod apps;
pub mod blocks;
pub mod callbacks;
pub mod environments;
pub mod error;
pub mod gates;
pub mod invalidations;
pub mod locks;
pub mod pauses;
pub mod previews;
pub mod promotions;
pub mod releases;
pub mod rollbacks;
pub mod signals;
pub mod takeover;
pub mod tokens;

use uuid::Uuid;

pub use error::{Code, ServiceError};

use crate::{
    domain::{
        job::{Job, Step},
        role::Role,
    },
    store::{
        events::{self, Event},
        jobs, steps,
    },
};

pub type Result<T> = std::result::Result<T, ServiceError>;

/// Who calls.
#[derive(Debug, Clone)]
pub struct Actor {
    pub token: Uuid,
    pub name: String,
    pub role: Role,
}

/// A job with its steps, as readers see it.
#[derive(Debug, Clone)]
pub struct JobWithSteps {
    pub job: Job,
    pub steps: Vec<Step>,
}

/// Reads a job.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn job(connection: &mut sqlx::PgConnection, id: Uuid) -> Result<JobWithSteps> {
    let job = jobs::get(connection, id)
        .await?
        .ok_or_else(|| ServiceError::not_found("job", id))?;
    let steps = steps::list(connection, id).await?;
    Ok(JobWithSteps { job, steps })
}

/// A page of jobs with their steps, newest first, before the job `before`.
pub async fn list_jobs(
    connection: &mut sqlx::PgConnection,
    filter: &jobs::Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<JobWithSteps>> {
    let found = jobs::list(connection, filter, before, limit).await?;
    let ids: Vec<Uuid> = found.iter().map(|job| job.id).collect();
    let mut steps = steps::of_jobs(connection, &ids).await?;
    Ok(found
        .into_iter()
        .map(|job| JobWithSteps {
            steps: steps.remove(&job.id).unwrap_or_default(),
            job,
        })
        .collect())
}

/// Events of a job after `after`, oldest first, and whether the job had ended before they were read.
///
/// # Errors
/// [`Code::NotFound`].
pub async fn events(
    connection: &mut sqlx::PgConnection,
    id: Uuid,
    after: i64,
    limit: i64,
) -> Result<(Vec<Event>, bool)> {
    let job = jobs::get(connection, id)
        .await?
        .ok_or_else(|| ServiceError::not_found("job", id))?;
    Ok((events::list(connection, id, after, limit).await?, job.state.is_end()))
}

fn check_reason(field: &str, reason: Option<&str>) -> Result<()> {
    if reason.is_some_and(|reason| reason.chars().count() > 1000) {
        return Err(ServiceError::invalid(field, "at most 1000 characters"));
    }
    Ok(())
}
