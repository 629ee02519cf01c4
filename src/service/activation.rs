//! A queued job gets its environment: its preconditions are looked at, and its plan is made, now.

use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    Code, ServiceError, blocks, locks,
    promotions::{self, Planned, check_active, check_fit},
    releases,
};
use crate::{
    domain::{
        error::JobError,
        job::{Inherited, Job, JobState},
    },
    engine::Activate,
    store::{
        Result, Store, StoreError, environments,
        environments::Environment,
        events::{self, NewEvent},
        jobs,
        leases::Lease,
    },
};

/// Activates queued promotions.
#[derive(Debug, Clone)]
pub struct Activator {
    pub store: Store,
}

#[async_trait]
impl Activate for Activator {
    async fn activate(&self, job: &Job, lease: Lease) -> Result<()> {
        let mut tx = self.store.begin().await?;
        // The environment's row first, then the job's: the order in which everybody takes them.
        let Some(environment) = environments::lock_by_id(&mut tx, job.environment_id).await? else {
            return Ok(());
        };
        let Some(current) = jobs::lock(&mut tx, job.id).await? else {
            return Ok(());
        };
        if current.state != JobState::Queued || current.lease_epoch != lease.epoch {
            return Ok(());
        }
        if jobs::holder(&mut tx, environment.id).await?.is_some() {
            jobs::wait_for_environment(&mut tx, job.id).await?;
        } else if let Err(error) = begin(&mut tx, &current, &environment).await {
            if let (Code::InternalError | Code::DatabaseUnavailable, Some(source)) = (error.code, error.source) {
                return Err(source);
            }
            let error = JobError::new(error.code.as_str(), error.detail).hint(
                "It waited in line, and this was true when its turn came. Start a new promotion if you still want it.",
            );
            jobs::end_queued(&mut tx, job.id, JobState::Failed, Some(&error)).await?;
            events::append(&mut tx, job.id, &[NewEvent::new("job.failed", json!({"error": error}))]).await?;
            jobs::wake_next_queued(&mut tx, environment.id).await?;
        }
        tx.commit().await.map_err(StoreError::from)
    }
}

async fn begin(
    connection: &mut PgConnection,
    job: &Job,
    environment: &Environment,
) -> std::result::Result<(), ServiceError> {
    let Some(version) = &job.release else {
        return Err(ServiceError::new(Code::InternalError, "A queued job names no release."));
    };
    let release = releases::get(connection, &job.app, version).await?;
    if job.request.break_glass.is_none() {
        locks::check(connection, environment.id).await?;
        blocks::check(connection, &job.app, version).await?;
    }
    check_fit(&environment.document, &release)?;
    let active = promotions::active(connection, environment).await?;
    check_active(version, job.request.expected_active.as_ref(), active.as_ref())?;
    let inherited = Inherited::default();
    let planned = Planned {
        environment,
        release: version,
        from: active.as_ref(),
        strategy: job.request.strategy.as_ref(),
        on_drift: job.request.on_drift,
        inherited: &inherited,
    };
    promotions::activate(connection, job.id, &planned).await
}
