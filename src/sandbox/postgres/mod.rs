//! A private PostgreSQL: a server of our own, from the machine's binaries, that nobody has to set up.
//!
//! [`PrivatePostgres::start`] finds the binaries, makes a cluster if the folder has none, starts a
//! server that listens on a Unix socket in a private folder and nowhere else, and waits until it
//! takes connections. The server ends with the handle, and with our process however that ends,
//! `kill -9` included. One process at a time uses a folder.
//!
//! Linux only: it is the kernel's parent-death signal that makes the promise about `kill -9`.
//!
//! | file | owns |
//! |---|---|
//! | `binaries` | where `initdb` and `postgres` are |
//! | `user` | as whom they run; root has to drop to somebody |
//! | `cluster` | the folder: lock, `initdb`, what a killed run left |
//! | `socket` | the socket's folder |
//! | `child` | starting a program that can't outlive us |
//! | `supervisor` | the thread that starts the server and waits for its end |
//! | `error` | everything that can go wrong, in words |

mod binaries;
mod child;
mod cluster;
mod error;
mod socket;
mod supervisor;
mod user;

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};

pub use self::error::{LookedAt, PrivatePostgresError};
use self::{
    cluster::log_end,
    supervisor::{Phase, Server},
};

/// The superuser every connection uses.
const USER: &str = "greenlight";
/// Only part of the socket's name; said in every URL, because clients take PGPORT otherwise.
const PORT: u16 = 5432;
/// The database that is always there.
const MAINTENANCE_DATABASE: &str = "postgres";

/// Recovery after a hard end may take a while; a start usually takes 0.2 s.
const START_DEADLINE: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a fast shutdown may take before the server is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What [`PrivatePostgres::start`] is to do.
#[derive(Debug, Clone)]
pub struct PrivatePostgresOptions {
    /// Everything lies below this folder; made if it isn't there.
    pub data_dir: PathBuf,
    /// Whether data is to survive a crash of the machine. Without, tests are several times faster.
    pub durable: bool,
    /// Where `initdb` and `postgres` are, when they shall not be searched.
    pub bin_dir: Option<PathBuf>,
    /// PostgreSQL's `max_connections`.
    pub max_connections: u32,
}

impl PrivatePostgresOptions {
    /// Durable, 100 connections, binaries to be searched.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            durable: true,
            bin_dir: None,
            max_connections: 100,
        }
    }
}

/// A running private PostgreSQL. Dropping it ends the server at once; [`stop`](Self::stop) does so
/// in good order.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Server,
}

impl PrivatePostgres {
    /// Starts a server on the folder and waits until it takes connections. If the future is dropped
    /// before, so is the server.
    ///
    /// # Errors
    /// [`PrivatePostgresError`]: no binaries, a folder that is in use or out of reach, a server that
    /// ends or takes no connection (with the end of its log).
    pub async fn start(options: PrivatePostgresOptions) -> Result<Self, PrivatePostgresError> {
        let postgres = Self {
            server: supervisor::start(options).await?,
        };
        postgres.wait_until_ready().await?;
        Ok(postgres)
    }

    /// Removes everything that [`start`](Self::start) made in the folder, so that the next start is a
    /// first one. The folder itself and what others keep in it stay.
    ///
    /// # Errors
    /// [`PrivatePostgresError::InUse`], or what the operating system refused.
    pub fn erase(data_dir: &Path) -> Result<(), PrivatePostgresError> {
        cluster::erase(data_dir)
    }

    async fn wait_until_ready(&self) -> Result<(), PrivatePostgresError> {
        let started = Instant::now();
        let log_path = || self.server.log_path.clone();
        loop {
            let refusal = match timeout(CONNECT_DEADLINE, self.connect(MAINTENANCE_DATABASE)).await {
                Ok(Ok(connection)) => {
                    // It has served its purpose, whatever its goodbye says.
                    let _ = connection.close().await;
                    return Ok(());
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            tokio::select! {
                () = sleep(START_POLL) => {}
                _ = self.server.ended() => {}
            }
            if let Phase::Ended(status) = self.server.phase() {
                let log = log_end(&self.server.log_path);
                return Err(PrivatePostgresError::Died {
                    status: in_words(status),
                    log_path: log_path(),
                    log,
                });
            }
            let waited = started.elapsed();
            if waited > START_DEADLINE {
                let log = log_end(&self.server.log_path);
                return Err(PrivatePostgresError::NotReady {
                    waited,
                    log_path: log_path(),
                    log,
                    source: refusal,
                });
            }
        }
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.socket_dir())
            .port(PORT)
            .username(USER)
            .database(database);
        PgConnection::connect_with(&options).await
    }

    /// Where to connect, for sqlx and for libpq (`psql`) alike.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host = percent_encoded(&self.socket_dir().to_string_lossy());
        format!(
            "postgres://{USER}@localhost:{PORT}/{}?host={host}",
            percent_encoded(database)
        )
    }

    /// Makes an empty database, unless there is one of that name; says whether it made it.
    ///
    /// # Errors
    /// [`PrivatePostgresError::DatabaseName`], [`PrivatePostgresError::Database`].
    pub async fn create_database(&self, name: &str) -> Result<bool, PrivatePostgresError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(allowed) {
            return Err(PrivatePostgresError::DatabaseName(name.to_owned()));
        }
        let refused = |source| PrivatePostgresError::Database {
            what: format!("create the database `{name}`"),
            source,
        };
        let mut connection = self.connect(MAINTENANCE_DATABASE).await.map_err(refused)?;
        // The name was checked above: there is nothing in it that could end the quotes.
        let made = connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
            .await;
        let goodbye = connection.close().await;
        match made {
            Ok(_) => goodbye.map(|()| true).map_err(refused),
            Err(sqlx::Error::Database(error)) if already_there(error.code().as_deref()) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// The folder with the server's socket (what `psql -h` takes).
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.server.socket_dir
    }

    /// What the server said since its start.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.server.log_path
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid.as_raw_pid().cast_unsigned()
    }

    /// Waits until the server ends, by whatever cause; the answer is a sentence for the log.
    pub async fn ended(&self) -> String {
        let status = in_words(self.server.ended().await);
        let said = log_end(&self.server.log_path);
        format!(
            "PostgreSQL ended ({status}). The end of {}:\n{said}",
            self.server.log_path.display()
        )
    }

    /// Ends the server in good order (a fast shutdown: open transactions are rolled back, everything
    /// is written) and returns when it is gone. One that doesn't end in time is killed.
    pub async fn stop(self) {
        self.server.signal(Signal::INT);
        if timeout(STOP_DEADLINE, self.server.ended()).await.is_err() {
            tracing::warn!(pid = self.pid(), "PostgreSQL does not shut down, so it is killed");
            self.server.signal(Signal::KILL);
            self.server.ended().await;
        }
    }
}

fn in_words(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "status unknown".to_owned(), |status| status.to_string())
}

/// `duplicate_database`; or a unique violation, which is how two at the same time learn of each
/// other (PostgreSQL's *Error Codes*).
fn already_there(code: Option<&str>) -> bool {
    matches!(code, Some("42P04" | "23505"))
}

/// RFC 3986's unreserved characters and the slash as they are, everything else encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            // Writing into a String can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_for_a_url() {
        assert_eq!(percent_encoded("/var/tmp/a b&c+d"), "/var/tmp/a%20b%26c%2Bd");
        assert_eq!(percent_encoded("/tmp/ü"), "/tmp/%C3%BC");
    }
}
