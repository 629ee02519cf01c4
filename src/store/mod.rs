//! PostgreSQL: the only room with SQL. One module an aggregate; functions take a connection, so that
//! callers decide what is one transaction.
//!
//! **Invariant:** no transaction spans network I/O to anything but the database. Guarded updates check
//! the number of rows they changed. All times are the database's own `now()`.

pub mod approvals;
pub mod apps;
pub mod audit;
pub mod blocks;
pub mod callbacks;
pub mod clock;
pub mod deployments;
pub mod environments;
pub mod events;
pub mod idempotency;
pub mod jobs;
pub mod leases;
pub mod locks;
pub mod manifests;
mod news;
pub mod pointers;
pub mod progress;
pub mod releases;
pub mod rows;
pub mod steps;
pub mod tokens;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use news::News;
use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

/// Channel on which workers hear that something can be claimed.
pub const WORK_CHANNEL: &str = "greenlight_work";
/// Channel on which readers hear that a job has changed; the payload is its id.
pub const JOBS_CHANNEL: &str = "greenlight_jobs";

/// Channel on which the worker of a job hears that somebody has said something to it; the payload is its id.
pub const SIGNALS_CHANNEL: &str = "greenlight_signals";

/// How long a request may wait for a connection, before it is told that the database can't be reached.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What can go wrong in here.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused, or could not be reached.
    #[error("the database did not do what it was asked")]
    Database(#[from] sqlx::Error),
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row that no code of this version can have written.
    #[error("a stored {what} cannot be read: {why}")]
    Corrupt { what: &'static str, why: String },
    /// Somebody else recorded it between the caller's look and its write: look again.
    #[error("another {0} was recorded meanwhile")]
    Raced(&'static str),
    #[error("DATABASE_URL cannot be read: {0}")]
    Url(String),
}

impl StoreError {
    pub fn corrupt(what: &'static str, why: impl ToString) -> Self {
        Self::Corrupt {
            what,
            why: why.to_string(),
        }
    }

    /// True when a unique constraint of this name refused a row.
    pub fn is_unique_violation(&self, constraint: &str) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                error.is_unique_violation() && error.constraint() == Some(constraint)
            }
            _ => false,
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A pool of connections to Greenlight's database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    news: News,
    probe: Option<Arc<dyn CommitProbe>>,
}

/// Hears of each of a worker's commits, right after it: the place where tests stop a worker.
pub trait CommitProbe: Send + Sync + fmt::Debug {
    /// `what` names the write. The worker goes on when the future ends.
    fn committed(&self, job: Uuid, what: &'static str) -> BoxFuture<'_, ()>;
}

impl Store {
    /// Connects with at most `connections` at once. Lazily: a database that is down is an error of the
    /// first query, not of this call.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be read; its password is never part of the message.
    pub fn connect(url: &str, connections: u32) -> Result<Self> {
        let options = Self::options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            news: News::default(),
            probe: None,
        })
    }

    /// The same store, telling `probe` of each commit of a worker.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn CommitProbe>) -> Self {
        self.probe = Some(probe);
        self
    }

    fn options(url: &str) -> Result<PgConnectOptions> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url("expected postgres://user:password@host:port/database".to_owned()))?;
        Ok(options.application_name("greenlight").options([
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]))
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_as("BEGIN").await
    }

    /// A transaction that only reads, and reads one moment: what several queries say fits together.
    pub async fn snapshot(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_as("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// In a task of its own, which ends also when the caller is cancelled (a client that hangs up, a
    /// worker whose lease is gone): sqlx 0.9 gives a connection whose `BEGIN` was cancelled half-way back
    /// to the pool with the transaction open, and the next user's statements end up in it.
    async fn begin_as(&self, statement: &'static str) -> Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        match tokio::spawn(async move { pool.begin_with(statement).await }).await {
            Ok(begun) => Ok(begun?),
            // The runtime is going down, and with it whoever asked.
            Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }

    /// Brings the schema up to date. Replicas that start together take turns: sqlx holds an advisory
    /// lock while it migrates. On a connection of its own, so that no statement timeout applies.
    pub async fn migrate(url: &str) -> Result<()> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url("expected postgres://user:password@host:port/database".to_owned()))?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options.application_name("greenlight migrate"))
            .await?;
        MIGRATIONS.run(&pool).await?;
        pool.close().await;
        Ok(())
    }

    /// True when the database answers and every migration of this version is there.
    pub async fn is_migrated(&self) -> Result<bool> {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let there: Option<bool> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await?;
        if there != Some(true) {
            return Ok(false);
        }
        let last: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.pool)
            .await?;
        Ok(last.unwrap_or(0) >= known)
    }
}

/// Tells whoever drives a job, at commit, to look at it again.
pub async fn notify_signal(connection: &mut PgConnection, job: Uuid) -> Result<()> {
    sqlx::query("SELECT pg_notify('greenlight_signals', $1::text)")
        .bind(job)
        .execute(connection)
        .await?;
    Ok(())
}

/// Tells workers, at commit, that something can be claimed.
pub async fn notify_work(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("SELECT pg_notify('greenlight_work', '')")
        .execute(connection)
        .await?;
    Ok(())
}
