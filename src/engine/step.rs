//! What a step is to the engine: something that runs, waits, or fails, and says which.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;

use super::EngineConfig;
use crate::{
    domain::{
        environment::{Component, EnvironmentDocument},
        error::{JobError, Retry, Warning},
        job::{Job, Step},
        plan::{Direction, PlannedStep},
    },
    store::{Result as StoreResult, Store, StoreError, events::NewEvent, leases::Lease, progress::Fenced},
};

/// Runs one kind of step.
#[async_trait]
pub trait StepRunner: Send + Sync {
    /// Runs it, or goes on with it. Safe to repeat: a crash makes another worker call it again with the
    /// same step and whatever of it was stored.
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError>;
}

/// How a step's run ended well.
pub enum Outcome {
    Done(Done),
    /// Not this time: nothing to do. The value says why.
    Skip(Value),
    /// Run it again later. Burns no attempt, survives restarts, frees the worker.
    Wait(Wait),
}

impl Outcome {
    /// Waits so many seconds, and keeps the step's notes as they are.
    pub fn wait(secs: f64, reason: impl Into<String>) -> Self {
        Self::Wait(Wait {
            secs,
            reason: reason.into(),
            record: None,
            events: Vec::new(),
        })
    }
}

/// How long, why, and what is kept in the same transaction.
pub struct Wait {
    pub secs: f64,
    pub reason: String,
    /// The step's notes, if they have changed.
    pub record: Option<Value>,
    pub events: Vec<NewEvent>,
}

/// A change of rows that belongs into the transaction of the step's result.
pub type Effect = Box<dyn for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, StoreResult<()>> + Send>;

/// A step's result.
#[derive(Default)]
pub struct Done {
    pub output: Value,
    pub warnings: Vec<Warning>,
    pub effects: Vec<Effect>,
    /// Steps to append to the plan.
    pub append: Vec<PlannedStep>,
    /// Told before the step's own end.
    pub events: Vec<NewEvent>,
    /// The job shall pause, and why: somebody has to look.
    pub pause: Option<String>,
}

impl Done {
    pub fn new(output: Value) -> Self {
        Self {
            output,
            ..Self::default()
        }
    }
}

/// Why a step's run did not end well.
pub enum StepError {
    /// The step failed, and knows whether that can change.
    Failed {
        error: JobError,
        retry: Retry,
        output: Value,
        warnings: Vec<Warning>,
        /// Told before the step's own end.
        events: Vec<NewEvent>,
    },
    /// The lease is gone: stop quietly.
    LeaseLost,
    /// The database did not answer: the job is given back as it is.
    Store(StoreError),
}

impl StepError {
    pub fn fatal(error: JobError) -> Self {
        Self::failed(error, Retry::No)
    }

    pub fn failed(error: JobError, retry: Retry) -> Self {
        Self::Failed {
            error,
            retry,
            output: Value::Object(serde_json::Map::new()),
            warnings: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The runners by kind of step.
#[derive(Default)]
pub struct Steps {
    runners: BTreeMap<&'static str, Arc<dyn StepRunner>>,
}

impl Steps {
    #[must_use]
    pub fn with(mut self, kind: &'static str, runner: Arc<dyn StepRunner>) -> Self {
        self.runners.insert(kind, runner);
        self
    }

    pub fn get(&self, kind: &str) -> Option<&Arc<dyn StepRunner>> {
        self.runners.get(kind)
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.runners.keys()).finish()
    }
}

/// What a step sees and may do while it runs.
pub struct StepContext {
    pub job: Arc<Job>,
    pub step: Step,
    /// All steps of the job as they were when this one started.
    pub steps: Arc<Vec<Step>>,
    pub store: Store,
    pub lease: Lease,
    pub config: EngineConfig,
    /// Nothing new may begin: a bake stays open.
    pub held: bool,
}

impl StepContext {
    /// The environment as it was when the plan was made.
    ///
    /// # Errors
    /// Fatal when the job has none: a plan without a snapshot was not made by this code.
    pub fn environment(&self) -> Result<&EnvironmentDocument, StepError> {
        self.job
            .snapshot
            .as_ref()
            .ok_or_else(|| broken_plan("the job has no snapshot of its environment"))
    }

    /// The component this step works on.
    ///
    /// # Errors
    /// Fatal when the plan names none, or one the environment does not have.
    pub fn component(&self) -> Result<&Component, StepError> {
        let environment = self.environment()?;
        self.step
            .component
            .as_ref()
            .and_then(|name| environment.component(name))
            .ok_or_else(|| broken_plan("the step names no component of its environment"))
    }

    /// Another step of the job.
    pub fn other(&self, position: i32) -> Option<&Step> {
        self.steps.iter().find(|step| step.position == position)
    }

    /// The steps of the same round and direction.
    pub fn siblings(&self) -> impl Iterator<Item = &Step> {
        let (round, direction): (i32, Direction) = (self.step.round, self.step.direction);
        self.steps
            .iter()
            .filter(move |step| step.round == round && step.direction == direction)
    }

    /// A transaction under the lease.
    ///
    /// # Errors
    /// [`StepError::LeaseLost`] when the lease is not ours any more.
    pub async fn fence(&self) -> Result<Fenced, StepError> {
        self.store.fence(self.lease).await?.ok_or(StepError::LeaseLost)
    }
}

fn broken_plan(why: &str) -> StepError {
    StepError::fatal(
        JobError::new("plan_broken", format!("The stored plan cannot be run: {why}."))
            .hint("Start a new promotion, and report this."),
    )
}
