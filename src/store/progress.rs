//! What a worker writes: always in one transaction that first proves the lease.
//!
//! [`Fenced`] locks the job's row if the lease's epoch is still the job's. Otherwise there is nothing to
//! write to: the caller stops quietly. Events are appended at commit, and readers told right after it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction, types::Json};
use uuid::Uuid;

use super::{
    Result, Store,
    events::{self, NewEvent},
    jobs::{self, open, wake},
    leases::Lease,
    pointers::{self, NewWrite},
    steps,
};
use crate::domain::{
    error::{JobError, Warning},
    job::{JobState, StepState},
    plan::PlannedStep,
    pointer::Values,
    schedule::Signals,
};

/// A transaction under a proven lease.
#[derive(Debug)]
pub struct Fenced {
    tx: Transaction<'static, Postgres>,
    lease: Lease,
    environment: Uuid,
    /// What people have said to the job.
    pub signals: Signals,
    events: Vec<NewEvent>,
    store: Store,
}

impl Store {
    /// Opens a transaction for the holder of `lease`. `None`: the lease is lost.
    pub async fn fence(&self, lease: Lease) -> Result<Option<Fenced>> {
        let mut tx = self.begin().await?;
        let row: Option<(bool, bool, bool, bool, Uuid)> = sqlx::query_as(
            "SELECT abort_requested_at IS NOT NULL, paused_at IS NOT NULL, promoted_fully_at IS NOT NULL,
                    NOT request ? 'break_glass' AND EXISTS (SELECT 1 FROM global_lock), environment_id
             FROM jobs WHERE id = $1 AND lease_owner = $2 AND lease_epoch = $3 FOR UPDATE OF jobs",
        )
        .bind(lease.job)
        .bind(lease.owner)
        .bind(lease.epoch)
        .fetch_optional(&mut *tx)
        .await?;
        Ok(row.map(|(abort, pause, promote_fully, lock, environment)| Fenced {
            tx,
            lease,
            environment,
            signals: Signals {
                abort,
                pause,
                lock,
                promote_fully,
            },
            events: Vec::new(),
            store: self.clone(),
        }))
    }
}

/// How long a step waits, and what is kept meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepWait<'a> {
    pub secs: f64,
    pub reason: &'a str,
    pub attempts: i32,
    /// What a retry waits after.
    pub error: Option<&'a JobError>,
    /// The step's notes, if they have changed.
    pub record: Option<&'a Value>,
}

/// How a job ends.
#[derive(Debug, Clone)]
pub struct End<'a> {
    pub state: JobState,
    pub error: Option<&'a JobError>,
    /// The new state is recorded and proven.
    pub settled: bool,
}

impl Fenced {
    /// The transaction's connection, for effects that belong to a step's result.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    pub fn event(&mut self, kind: &'static str, data: Value) {
        self.events.push(NewEvent::new(kind, data));
    }

    /// Commits, and tells whoever listens if there is something to tell. `what` names the write for a
    /// [`super::CommitProbe`].
    pub async fn commit(mut self, what: &'static str) -> Result<()> {
        let job = self.lease.job;
        if !self.events.is_empty() {
            events::insert(&mut self.tx, job, &self.events).await?;
        }
        self.tx.commit().await?;
        if !self.events.is_empty() {
            self.store.news.tell(&self.store.pool, job);
        }
        if let Some(probe) = &self.store.probe {
            probe.committed(job, what).await;
        }
        Ok(())
    }

    /// Extends the lease, so that a write to AWS ends well within it.
    pub async fn extend(&mut self, lease_secs: f64) -> Result<()> {
        sqlx::query("UPDATE jobs SET claimable_at = now() + make_interval(secs => $2) WHERE id = $1")
            .bind(self.lease.job)
            .bind(lease_secs)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Marks steps as running.
    pub async fn start_steps(&mut self, positions: &[i32]) -> Result<()> {
        sqlx::query(
            "UPDATE steps SET state = 'running', started_at = coalesce(started_at, now()), wake_at = NULL,
                              waiting_for = NULL, woken = false
             WHERE job_id = $1 AND position = ANY($2) AND state IN ('pending', 'running', 'waiting')",
        )
        .bind(self.lease.job)
        .bind(positions)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Stores what a step found and wants, for targets that have none yet: the first one wins.
    pub async fn found_and_wanted(&mut self, position: i32, found: &Values, wanted: &Values) -> Result<()> {
        sqlx::query("UPDATE steps SET found = $3 || found, wanted = $4 || wanted WHERE job_id = $1 AND position = $2")
            .bind(self.lease.job)
            .bind(position)
            .bind(Json(found))
            .bind(Json(wanted))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Stores an intent to write a pointer. Returns its id.
    pub async fn intend(&mut self, position: i32, write: &NewWrite<'_>, sign_within_secs: f64) -> Result<i64> {
        pointers::intend(&mut self.tx, self.lease.job, position, write, sign_within_secs).await
    }

    /// Keeps a step's notes for its next attempt.
    pub async fn note(&mut self, position: i32, record: &Value) -> Result<()> {
        sqlx::query("UPDATE steps SET record = $3 WHERE job_id = $1 AND position = $2")
            .bind(self.lease.job)
            .bind(position)
            .bind(Json(record))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Ends a step.
    pub async fn end_step(
        &mut self,
        position: i32,
        state: StepState,
        attempts: i32,
        output: &Value,
        error: Option<&JobError>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE steps SET state = $3, attempts = $4, output = $5, error = $6, wake_at = NULL,
                              waiting_for = NULL, finished_at = now()
             WHERE job_id = $1 AND position = $2",
        )
        .bind(self.lease.job)
        .bind(position)
        .bind(state.as_str())
        .bind(attempts)
        .bind(Json(output))
        .bind(error.map(Json))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Puts a step to wait.
    pub async fn wait_step(&mut self, position: i32, wait: &StepWait<'_>) -> Result<()> {
        let StepWait {
            secs,
            reason,
            attempts,
            error,
            record,
        } = *wait;
        sqlx::query(
            "UPDATE steps SET state = 'waiting', waiting_for = $4, attempts = $5, error = $6,
                              wake_at = now() + make_interval(secs => CASE WHEN woken THEN 0 ELSE $3 END),
                              record = coalesce($7, record)
             WHERE job_id = $1 AND position = $2",
        )
        .bind(self.lease.job)
        .bind(position)
        .bind(secs)
        .bind(reason)
        .bind(attempts)
        .bind(error.map(Json))
        .bind(record.map(Json))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Lets steps that wait go on at once; those that run, as soon as they would wait.
    pub async fn wake_steps(&mut self, positions: &[i32]) -> Result<()> {
        sqlx::query(concat!(
            "UPDATE steps SET ",
            wake!(),
            " WHERE job_id = $1 AND position = ANY($2) AND ",
            open!()
        ))
        .bind(self.lease.job)
        .bind(positions)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Pauses the job: a check could not tell.
    pub async fn pause(&mut self, by: &str, reason: &str) -> Result<()> {
        sqlx::query("UPDATE jobs SET paused_at = now(), paused_by = $2, paused_reason = $3 WHERE id = $1")
            .bind(self.lease.job)
            .bind(by)
            .bind(reason)
            .execute(&mut *self.tx)
            .await?;
        self.event("job.paused", json!({"by": by, "reason": reason}));
        Ok(())
    }

    /// Ends steps that somebody had the job leave out.
    pub async fn skip_steps(&mut self, positions: &[i32], output: &Value) -> Result<()> {
        sqlx::query(
            "UPDATE steps SET state = 'skipped', output = $3, wake_at = NULL, waiting_for = NULL, finished_at = now()
             WHERE job_id = $1 AND position = ANY($2)",
        )
        .bind(self.lease.job)
        .bind(positions)
        .bind(Json(output))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Appends steps to the plan.
    pub async fn append_steps(&mut self, round: i32, plan: &[PlannedStep]) -> Result<()> {
        steps::insert(&mut self.tx, self.lease.job, round, plan).await
    }

    /// Gives the worker back until the first of the waiting steps is due; without one, until somebody says something.
    /// `look_after_secs`: look again by then at the latest.
    pub async fn job_waits(
        &mut self,
        state: JobState,
        waiting_for: &str,
        reason: Option<&str>,
        look_after_secs: Option<f64>,
    ) -> Result<()> {
        // least() passes over what is null.
        sqlx::query(
            "UPDATE jobs SET state = $2, waiting_for = $3, waiting_reason = $4, lease_owner = NULL,
                    claimable_at = least((SELECT min(wake_at) FROM steps WHERE job_id = $1 AND state = 'waiting'),
                                         now() + make_interval(secs => $5))
             WHERE id = $1",
        )
        .bind(self.lease.job)
        .bind(state.as_str())
        .bind(waiting_for)
        .bind(reason)
        .bind(look_after_secs)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Turns the job round: what has not begun is skipped, what follows is the undo.
    pub async fn unwind(&mut self, state: JobState, error: &JobError) -> Result<()> {
        sqlx::query("UPDATE jobs SET state = $2, error = $3, cause = $3 WHERE id = $1")
            .bind(self.lease.job)
            .bind(state.as_str())
            .bind(Json(error))
            .execute(&mut *self.tx)
            .await?;
        self.skip_unfinished("forward").await
    }

    async fn skip_unfinished(&mut self, direction: &str) -> Result<()> {
        sqlx::query(
            "UPDATE steps SET state = 'skipped', wake_at = NULL, waiting_for = NULL
             WHERE job_id = $1 AND direction = $2 AND state IN ('pending', 'waiting', 'running')",
        )
        .bind(self.lease.job)
        .bind(direction)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Marks what was touched as taken back.
    pub async fn mark_undone(&mut self) -> Result<()> {
        sqlx::query(
            "UPDATE steps SET state = 'undone'
             WHERE job_id = $1 AND direction = 'forward'
               AND (wanted <> '{}'::jsonb OR (kind = 'hook' AND (record -> 'called') = 'true'::jsonb))",
        )
        .bind(self.lease.job)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Every visitor is on the release that the job moves to.
    pub async fn traffic_shifted(&mut self) -> Result<()> {
        sqlx::query("UPDATE jobs SET traffic_shifted_at = coalesce(traffic_shifted_at, now()) WHERE id = $1")
            .bind(self.lease.job)
            .execute(&mut *self.tx)
            .await?;
        self.event("job.traffic_shifted", json!({}));
        Ok(())
    }

    pub async fn warn(&mut self, warnings: &[Warning]) -> Result<()> {
        if warnings.is_empty() {
            return Ok(());
        }
        sqlx::query("UPDATE jobs SET warnings = warnings || $2 WHERE id = $1")
            .bind(self.lease.job)
            .bind(Json(warnings))
            .execute(&mut *self.tx)
            .await?;
        for warning in warnings {
            self.event("job.warning", json!(warning));
        }
        Ok(())
    }

    /// Records that pointers of the environment say what nobody of ours wrote.
    pub async fn set_drift(&mut self, drift: &BTreeMap<String, Value>) -> Result<()> {
        pointers::set_drift(&mut self.tx, drift).await
    }

    /// Ends the job, gives the environment back (unless it is stuck), and wakes who waits for it.
    pub async fn end_job(&mut self, end: &End<'_>) -> Result<()> {
        sqlx::query(
            "UPDATE jobs SET state = $2, error = $3, holds = ($2 = 'stuck'), lease_owner = NULL, claimable_at = NULL,
                             waiting_for = NULL, waiting_reason = NULL, finished_at = now(),
                             settled_at = CASE WHEN $4 THEN now() ELSE settled_at END
             WHERE id = $1",
        )
        .bind(self.lease.job)
        .bind(end.state.as_str())
        .bind(end.error.map(Json))
        .bind(end.settled)
        .execute(&mut *self.tx)
        .await?;
        for direction in ["forward", "undo"] {
            self.skip_unfinished(direction).await?;
        }
        if end.settled {
            self.event("job.settled", json!({}));
        }
        let kind = match end.state {
            JobState::Succeeded => "job.succeeded",
            JobState::Failed => "job.failed",
            JobState::Aborted => "job.aborted",
            _ => "job.stuck",
        };
        self.event(kind, json!({"error": end.error}));
        if end.state != JobState::Stuck {
            jobs::wake_next_queued(&mut self.tx, self.environment).await?;
        }
        Ok(())
    }
}
