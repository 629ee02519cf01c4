//! Durable execution: claims jobs, runs their steps, writes every result under the lease.
//!
//! It knows no step and no road: what a step does is behind [`StepRunner`], found by kind in
//! [`Steps`]. What comes next is decided by [`crate::domain::schedule`].
//!
//! ```text
//! NOTIFY or poll ─▶ claim (SKIP LOCKED, epoch + 1) ─▶ drive:
//!     one fenced transaction: results in, next steps marked running ─▶ run them side by side ─▶ again
//!     nothing to run ─▶ the job's timer is stored, the worker is free
//! ```
//! **Invariant:** a worker that lost its lease changes no row and starts no write.

pub mod backoff;
pub mod drive;
pub mod hub;
pub mod step;
pub mod worker;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
pub use hub::Hub;
pub use step::{Done, Effect, Outcome, StepContext, StepError, StepRunner, Steps, Wait};
pub use worker::Worker;

use crate::{
    domain::job::Job,
    store::{Result, Store, leases::Lease},
};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How long a job belongs to a worker that says nothing.
    pub lease: Duration,
    /// The safety net under NOTIFY.
    pub poll: Duration,
    /// Jobs at once.
    pub concurrency: usize,
    /// How long one call to AWS that writes may take, from intent to answer. Well below `lease`.
    pub write_timeout: Duration,
    /// How long after its signing a write may still land. AWS accepts a signature for five minutes
    /// (IAM User Guide, "Signature Version 4 signing process").
    pub late_write_watch: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(10),
            concurrency: 64,
            write_timeout: Duration::from_secs(10),
            late_write_watch: Duration::from_secs(300),
        }
    }
}

/// Gives a queued job its plan, when it is its turn: a use-case, so it lives elsewhere.
#[async_trait]
pub trait Activate: Send + Sync {
    /// In one transaction of its own. Safe to repeat.
    async fn activate(&self, job: &Job, lease: Lease) -> Result<()>;
}

/// Everything a worker needs.
#[derive(Clone)]
pub struct Engine {
    pub store: Store,
    pub steps: Arc<Steps>,
    pub activator: Arc<dyn Activate>,
    pub config: EngineConfig,
}
