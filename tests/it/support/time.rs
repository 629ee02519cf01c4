//! Moving time: everything in the database has happened that much longer ago, and the double's clock
//! goes on by as much. Nothing sleeps.

use std::time::{Duration, Instant};

use greenlight::{sandbox::double::AwsDouble, store::Store};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::OnceCell;

use super::TestApp;

/// How long a condition may take to come true, in real time.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// Moves the time of database and double.
pub async fn advance(store: &Store, double: &AwsDouble, by: Duration) {
    double.clock().advance(by);
    // The same in every database of these tests, and slow to look up.
    static COLUMNS: OnceCell<Vec<(String, String)>> = OnceCell::const_new();
    let columns = COLUMNS.get_or_init(|| columns(store)).await;
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

/// By table, the assignments that move each of its times.
async fn columns(store: &Store) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT table_name::text, string_agg(format('%1$I = %1$I - $1', column_name), ', ')
         FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' AND table_name NOT LIKE '\\_sqlx%'
         GROUP BY table_name
         ORDER BY array_position(ARRAY['environments', 'jobs'], table_name::text) NULLS LAST",
    )
    .fetch_all(store.pool())
    .await
    .unwrap()
}

/// The seconds to the next stored timer, if nobody is working: from then on nothing changes until time moves or
/// somebody says something. Nobody's decision is overtaken: a gate expires only where a test moves time so far.
async fn at_rest(store: &Store) -> Option<f64> {
    let (working, wait): (bool, Option<f64>) = sqlx::query_as(
        "SELECT coalesce(bool_or(lease_owner IS NOT NULL OR claimable_at <= now()), false),
                extract(epoch FROM min(claimable_at) - now())::float8
         FROM jobs WHERE claimable_at IS NOT NULL AND (waiting_for IS DISTINCT FROM 'approval' OR claimable_at <= now())",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    wait.filter(|secs| !working && *secs > 0.0)
}

/// Moves time to the next stored timer, if nobody is working; else gives the workers a moment.
pub async fn to_the_next_timer(store: &Store, double: &AwsDouble) {
    go_on(store, double, at_rest(store).await).await;
}

async fn go_on(store: &Store, double: &AwsDouble, wait: Option<f64>) {
    match wait {
        Some(secs) => advance(store, double, Duration::from_secs_f64(secs + 0.001)).await,
        None => tokio::time::sleep(LOOK_EVERY).await,
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

    /// Moves time on to each next timer until the job's JSON is as wanted, and not one timer further: the job is read
    /// after it was seen to be at rest.
    pub async fn timers_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let wait = at_rest(&self.store).await;
            let job = self.job(id).await;
            if wanted(&job) {
                return job;
            }
            assert!(
                job["finished_at"].is_null(),
                "the job ended before it was as wanted: {job:#}"
            );
            assert!(Instant::now() < deadline, "the job does not become as wanted: {job:#}");
            go_on(&self.store, &self.double, wait).await;
        }
    }

    /// Waits, in real time, until nobody is working and what is due has been done.
    pub async fn rest(&self) {
        let deadline = Instant::now() + PATIENCE;
        while at_rest(&self.store).await.is_none() {
            assert!(Instant::now() < deadline, "the workers do not come to rest");
            tokio::time::sleep(LOOK_EVERY).await;
        }
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
