//! The real binary over real HTTP: what a user of `greenlight serve` sees, and what becomes of a job when
//! its process is killed, stopped, or loses its database.

mod commands;
mod crashes;
mod database;
mod flow;
mod lifecycle;

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use greenlight::{
    sandbox::{
        double::{AwsDouble, DoubleOptions, Fault, FaultAction},
        postgres::{PrivatePostgres, PrivatePostgresOptions},
    },
    store::Store,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::folder::Folder;
use crate::support::{
    DISTRIBUTION, ENVIRONMENT, PARAMETER, REGION,
    process::{Api, PATIENCE, Replica, Site, create_token, empty_database, eventually, has_ended, printed, run, serve},
    time, web, web_with,
};

/// A moment after the lease of `Site`'s replicas.
const AFTER_THE_LEASE: Duration = Duration::from_secs(16);
/// Well below the lease: whoever is done within it has not waited the lease out.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A site whose AWS is the strict double, and whose time can be moved.
struct Stage {
    site: Site,
    store: Store,
    double: AwsDouble,
}

impl Stage {
    async fn start() -> Self {
        Self::with(Duration::ZERO).await
    }

    /// Invalidations take so long, by the double's clock.
    async fn with(invalidation_duration: Duration) -> Self {
        let options = DoubleOptions {
            invalidation_duration,
            ..DoubleOptions::default()
        };
        let double = AwsDouble::start(options).await.unwrap();
        double.add_distribution(DISTRIBUTION);
        let site = Site::new(&double.endpoint_url()).await;
        // One connection, which `gone` leaves out.
        let store = Store::connect(&site.database_url, 1).unwrap();
        Self { site, store, double }
    }

    fn fault(&self, fault: Fault) -> greenlight::sandbox::double::FaultHandle {
        self.double.faults().add(fault)
    }

    /// `kill -9`, until the database has nothing of it in hand either. Only for the one replica there is.
    async fn kill(&self, mut replica: Replica) {
        replica.process.kill();
        eventually("the database has noticed", async || {
            let others: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .fetch_one(self.store.pool())
            .await
            .unwrap();
            (others == 0).then_some(())
        })
        .await;
    }

    async fn advance(&self, by: Duration) {
        time::advance(&self.store, &self.double, by).await;
    }

    /// Moves time on from timer to timer until the job has ended so.
    async fn finish_as(&self, api: &Api, id: &str, state: &str) -> Value {
        let job = eventually("the job ends", async || {
            let job = api.job(id).await;
            if has_ended(&job) {
                return Some(job);
            }
            time::to_the_next_timer(&self.store, &self.double).await;
            None
        })
        .await;
        assert_eq!(job["state"], state, "{job:#}");
        job
    }

    /// Which release the JSON pointer names.
    fn active(&self) -> String {
        self.active_at(PARAMETER)
    }

    fn active_at(&self, parameter: &str) -> String {
        let (value, _) = self.double.parameter(REGION, parameter).unwrap();
        let value: Value = serde_json::from_str(&value).unwrap();
        value["active"].as_str().unwrap().to_owned()
    }

    fn calls(&self, operation: &str) -> usize {
        self.double
            .calls()
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }

    fn invalidations(&self) -> usize {
        self.double.invalidations(DISTRIBUTION).len()
    }

    /// The job's invalidation went out once, under the reference of its step.
    #[track_caller]
    fn assert_one_invalidation(&self, job: &Value) {
        let steps = job["steps"].as_array().unwrap();
        let tokens: Vec<&str> = steps
            .iter()
            .filter(|s| s["kind"] == "invalidate")
            .map(|s| s["token"].as_str().unwrap())
            .collect();
        let [token] = tokens[..] else {
            panic!("one step invalidates: {job:#}")
        };
        let sent = self.double.invalidations(DISTRIBUTION);
        assert_eq!(
            sent.iter().filter(|sent| sent.caller_reference == token).count(),
            1,
            "{sent:#?}"
        );
    }
}
