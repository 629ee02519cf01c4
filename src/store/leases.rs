//! Leases: who works on a job, until when, and with which epoch. All on the database's clock.
//!
//! `claimable_at` is the one column a worker looks at: for a waiting job its timer, for a leased job the
//! end of the lease. Ten thousand waiting jobs cost one look at an index.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Result, Store};

/// The right to write to a job: gone as soon as its epoch is not the job's any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub job: Uuid,
    pub owner: Uuid,
    pub epoch: i64,
}

/// A lease just taken.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    pub lease: Lease,
    /// Another worker held it and did not come back.
    pub taken_over: bool,
}

/// Of an owner, a lease in seconds, and a limit.
pub const CLAIM: &str = "WITH due AS (
     SELECT id, lease_owner IS NOT NULL AS taken_over FROM jobs
     WHERE claimable_at <= now() ORDER BY claimable_at LIMIT $3 FOR UPDATE SKIP LOCKED)
 UPDATE jobs SET lease_owner = $1, lease_epoch = lease_epoch + 1,
        claimable_at = now() + make_interval(secs => $2),
        state = CASE WHEN state = 'waiting' THEN 'running' ELSE state END,
        waiting_for = NULL, waiting_reason = NULL,
        started_at = CASE WHEN state = 'queued' THEN started_at ELSE coalesce(started_at, now()) END
 FROM due WHERE jobs.id = due.id
 RETURNING jobs.id, jobs.lease_epoch, due.taken_over";

pub const SECONDS_TO_NEXT: &str =
    "SELECT extract(epoch FROM min(claimable_at) - now())::float8 FROM jobs WHERE claimable_at IS NOT NULL";

/// Claims up to `limit` jobs that may go on.
pub async fn claim(connection: &mut PgConnection, owner: Uuid, lease_secs: f64, limit: i64) -> Result<Vec<Claimed>> {
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(CLAIM)
        .bind(owner)
        .bind(lease_secs)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(job, epoch, taken_over)| Claimed {
            lease: Lease { job, owner, epoch },
            taken_over,
        })
        .collect())
}

/// Seconds until something can be claimed; `None`: nothing waits for a time.
pub async fn seconds_to_next(connection: &mut PgConnection) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar(SECONDS_TO_NEXT).fetch_one(connection).await?)
}

/// Extends the leases of `owner`. Returns those that are still its own.
pub async fn heartbeat(store: &Store, owner: Uuid, jobs: &[Uuid], lease_secs: f64) -> Result<Vec<Lease>> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "UPDATE jobs SET claimable_at = now() + make_interval(secs => $3)
         WHERE lease_owner = $1 AND id = ANY($2) RETURNING id, lease_epoch",
    )
    .bind(owner)
    .bind(jobs)
    .bind(lease_secs)
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(job, epoch)| Lease { job, owner, epoch })
        .collect())
}

/// Gives a lease back, so that another worker can go on, at once or after so many seconds.
pub async fn hand_over(store: &Store, lease: Lease, after_secs: f64) -> Result<()> {
    let mut tx = store.begin().await?;
    let done = sqlx::query(
        "UPDATE jobs SET lease_owner = NULL, claimable_at = now() + make_interval(secs => $4)
         WHERE id = $1 AND lease_owner = $2 AND lease_epoch = $3",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.epoch)
    .bind(after_secs)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() > 0 {
        super::notify_work(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Gives up a lease on a job that has ended: there is nothing to claim.
pub async fn let_go(store: &Store, lease: Lease) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET lease_owner = NULL, claimable_at = NULL
         WHERE id = $1 AND lease_owner = $2 AND lease_epoch = $3",
    )
    .bind(lease.job)
    .bind(lease.owner)
    .bind(lease.epoch)
    .execute(store.pool())
    .await?;
    Ok(())
}
