//! Moving time: everything in the database has happened that much longer ago, and the double's clock
//! goes on by as much. Nothing sleeps.

use std::time::{Duration, Instant};

use greenlight::{sandbox::double::AwsDouble, store::Store};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};

use super::TestApp;

/// How long a condition may take to come true, in real time.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// Moves the time of database and double.
pub async fn advance(store: &Store, double: &AwsDouble, by: Duration) {
    double.clock().advance(by);
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, string_agg(format('%1$I = %1$I - $1', column_name), ', ')
         FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' AND table_name NOT LIKE '\\_sqlx%'
         GROUP BY table_name
         ORDER BY array_position(ARRAY['environments', 'jobs'], table_name::text) NULLS LAST",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    let mut tx = store.begin().await.unwrap();
    for (table, assignments) in columns {
        let sql = format!("UPDATE {table} SET {assignments}");
        sqlx::query(AssertSqlSafe(sql))
            .bind(by)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    (&mut *tx)
        .execute("SELECT pg_notify('greenlight_work', '')")
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// Moves time to the next stored timer, if nobody is working; else gives the workers a moment. Nobody's decision is
/// overtaken: a gate expires only where a test moves time so far.
pub async fn to_the_next_timer(store: &Store, double: &AwsDouble) {
    let (working, wait): (bool, Option<f64>) = sqlx::query_as(
        "SELECT coalesce(bool_or(lease_owner IS NOT NULL OR claimable_at <= now()), false),
                extract(epoch FROM min(claimable_at) - now())::float8
         FROM jobs WHERE claimable_at IS NOT NULL AND (waiting_for IS DISTINCT FROM 'approval' OR claimable_at <= now())",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    match wait {
        Some(secs) if !working && secs > 0.0 => advance(store, double, Duration::from_secs_f64(secs + 0.001)).await,
        _ => tokio::time::sleep(LOOK_EVERY).await,
    }
}

impl TestApp {
    /// Moves the time of database and double.
    pub async fn advance(&self, by: Duration) {
        advance(&self.store, &self.double, by).await;
    }

    /// Moves time on to each next timer until the job has ended. Returns the job.
    pub async fn finish(&self, id: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.job(id).await;
            if ["succeeded", "failed", "aborted", "stuck"].contains(&job["state"].as_str().unwrap()) {
                return job;
            }
            assert!(Instant::now() < deadline, "the job does not end: {job:#}");
            self.to_the_next_timer().await;
        }
    }

    /// Like [`Self::finish`], and sees how it ended.
    pub async fn finish_as(&self, id: &str, state: &str) -> Value {
        let job = self.finish(id).await;
        assert_eq!(job["state"], state, "{job:#}");
        job
    }

    /// Moves time to the next stored timer, if nobody is working; else gives the workers a moment.
    pub async fn to_the_next_timer(&self) {
        to_the_next_timer(&self.store, &self.double).await;
    }

    /// Waits, in real time, until the job's JSON is as wanted.
    pub async fn job_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.job(id).await;
            if wanted(&job) {
                return job;
            }
            assert!(Instant::now() < deadline, "the job does not become as wanted: {job:#}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
