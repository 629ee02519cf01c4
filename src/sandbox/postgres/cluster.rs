//! A cluster's folder: its lock, its files, and the way to a server that can be started on them.
//!
//! ```text
//! <data_dir>/          ours; others may pass through it when we are root and PostgreSQL is not
//!   lock               held with flock by the process that uses the folder
//!   cluster/           PostgreSQL's own data, made whole or not at all
//!   cluster.new/       what an interrupted initdb left; removed by the next start
//!   run/               the server's socket, if its path is short enough
//!   socket-dir         else: where the socket was put, to be removed by whoever comes next
//!   postgres.log       what the server said since its last start
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, test_kill_process};

use super::{
    PORT, PrivatePostgresOptions, USER,
    binaries::{Binaries, Search},
    child::command,
    error::{Doing, PrivatePostgresError},
    socket::{self, SocketDir},
    user::RunAs,
};
use crate::sandbox::folder_lock::{FolderLock, LockRefused};

/// How long the server of a killed run may take to end before the folder counts as occupied.
const ORPHAN_DEADLINE: Duration = Duration::from_secs(15);
const ORPHAN_POLL: Duration = Duration::from_millis(10);
/// How much of the server's log an error shows.
const LOG_END_BYTES: u64 = 4096;
const LOG_END_LINES: usize = 15;

/// A folder that is locked, initialised and ready for a server.
#[derive(Debug)]
pub(super) struct Cluster {
    data_dir: PathBuf,
    run_as: RunAs,
    binaries: Binaries,
    socket_dir: SocketDir,
    /// Unlocked when closed, so it is kept until the server has ended.
    _lock: FolderLock,
}

impl Cluster {
    /// Locks the folder, makes the cluster if there is none, and removes what a killed run left.
    pub(super) fn prepare(options: &PrivatePostgresOptions) -> Result<Self, PrivatePostgresError> {
        let asked = &options.data_dir;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(asked)
            .doing("make the folder", asked)?;
        let data_dir = asked.canonicalize().doing("resolve", asked)?;
        let lock = lock(&data_dir)?;
        let place = data_dir.join("cluster");
        let run_as = RunAs::choose(&place)?;
        if let RunAs::Other { .. } = run_as {
            let mode = fs::metadata(&data_dir).doing("look at", &data_dir)?.mode();
            fs::set_permissions(&data_dir, Permissions::from_mode(mode & 0o7777 | 0o011))
                .doing("open the way through", &data_dir)?;
            run_as.require_way_to(&data_dir)?;
        }
        let major = existing_major(&place)?;
        let binaries = Search::from_environment(options.bin_dir.clone())
            .find(&run_as, major.map(|major| (major, data_dir.as_path())))?;
        let unfinished = data_dir.join("cluster.new");
        remove_all(&unfinished)?;
        if major.is_none() {
            initdb(&binaries, &run_as, &unfinished, options.durable)?;
            fs::rename(&unfinished, &place).doing("put the new cluster in place at", &place)?;
        }
        end_of_orphan(&place)?;
        let socket_dir = SocketDir::make(&data_dir, &run_as)?;
        Ok(Self {
            data_dir,
            run_as,
            binaries,
            socket_dir,
            _lock: lock,
        })
    }

    /// Starts the server. It says nothing about whether it takes connections yet.
    pub(super) fn spawn(&self, options: &PrivatePostgresOptions) -> Result<Child, PrivatePostgresError> {
        let place = self.data_dir.join("cluster");
        let log_path = self.log_path();
        let log = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&log_path)
            .doing("open", &log_path)?;
        let copy = log.try_clone().doing("open", &log_path)?;
        let postgres = self.binaries.postgres();
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            format!(
                "unix_socket_directories={}",
                quoted(&self.socket_dir.path().to_string_lossy())
            ),
            "unix_socket_permissions=0700".to_owned(),
            format!("port={PORT}"),
            format!("max_connections={}", options.max_connections),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
        ];
        if !options.durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
        }
        // SIGQUIT is PostgreSQL's immediate shutdown: nothing of a killed run may linger.
        let mut server = command(&postgres, &self.run_as, &place, Signal::QUIT);
        server.arg("-D").arg(&place);
        for setting in settings {
            server.arg("-c").arg(setting);
        }
        server.stdout(log).stderr(copy).spawn().doing("start", postgres)
    }

    pub(super) fn socket_dir(&self) -> &Path {
        self.socket_dir.path()
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    /// Removes the socket's folder if it lies elsewhere, and unlocks. Call when the server has ended.
    pub(super) fn release(self) {
        self.socket_dir.remove();
    }
}

/// Takes the folder for this process.
fn lock(data_dir: &Path) -> Result<FolderLock, PrivatePostgresError> {
    FolderLock::take(data_dir).map_err(|refused| match refused {
        LockRefused::InUse { holder } => PrivatePostgresError::InUse {
            data_dir: data_dir.into(),
            holder,
        },
        LockRefused::Io(source) => PrivatePostgresError::Io {
            what: "lock",
            path: data_dir.into(),
            source,
        },
    })
}

/// Removes the folder's cluster and everything else of ours, but not the folder.
///
/// # Errors
/// As [`Cluster::prepare`] for a folder that is in use.
pub(super) fn erase(data_dir: &Path) -> Result<(), PrivatePostgresError> {
    let data_dir = match data_dir.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        resolved => resolved.doing("resolve", data_dir)?,
    };
    let _lock = lock(&data_dir)?;
    let place = data_dir.join("cluster");
    end_of_orphan(&place)?;
    socket::remove_left_over(&data_dir)?;
    for folder in [place, data_dir.join("cluster.new"), data_dir.join("run")] {
        remove_all(&folder)?;
    }
    remove_file(&data_dir.join("postgres.log"))
}

/// The major version that made the cluster, or None where there is none yet.
fn existing_major(place: &Path) -> Result<Option<u32>, PrivatePostgresError> {
    let path = place.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "it holds no version")).doing("read", path),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", path),
    }
}

/// Makes a cluster in `place`: UTF-8, C.UTF-8 where the machine knows it, everyone on the socket trusted.
fn initdb(binaries: &Binaries, run_as: &RunAs, place: &Path, durable: bool) -> Result<(), PrivatePostgresError> {
    let mut attempt = run_initdb(binaries, run_as, place, durable, "C.UTF-8");
    if matches!(&attempt, Err(PrivatePostgresError::Initdb { output, .. }) if output.contains("locale")) {
        attempt = run_initdb(binaries, run_as, place, durable, "C");
    }
    attempt
}

fn run_initdb(
    binaries: &Binaries,
    run_as: &RunAs,
    place: &Path,
    durable: bool,
    locale: &str,
) -> Result<(), PrivatePostgresError> {
    remove_all(place)?;
    DirBuilder::new()
        .mode(0o700)
        .create(place)
        .doing("make the folder", place)?;
    run_as.own(place)?;
    let program = binaries.initdb();
    let mut initdb = command(&program, run_as, place, Signal::KILL);
    initdb
        .arg("-D")
        .arg(place)
        .args(["-U", USER, "--encoding=UTF8"])
        .arg(format!("--locale={locale}"));
    initdb.args(["--auth-local=trust", "--auth-host=reject"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let answer = initdb.output().doing("run", &program)?;
    if answer.status.success() {
        return Ok(());
    }
    let mut output = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
    if output.is_empty() {
        output = last_lines(&String::from_utf8_lossy(&answer.stdout));
    }
    Err(PrivatePostgresError::Initdb {
        status: answer.status,
        output,
    })
}

/// Waits for the server of a killed run to end, and removes a pid file that names nobody's server.
///
/// We hold the lock, so nothing of ours is meant to run here. PostgreSQL takes any process with the
/// number in `postmaster.pid` for a server of its own user's, and numbers come again: soon, in a container.
fn end_of_orphan(place: &Path) -> Result<(), PrivatePostgresError> {
    let path = place.join("postmaster.pid");
    let deadline = Instant::now() + ORPHAN_DEADLINE;
    loop {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).doing("read", path),
        };
        let number = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
        let server = number.and_then(Pid::from_raw).filter(|pid| serves(*pid, place));
        match server {
            None => return remove_file(&path),
            Some(pid) if Instant::now() >= deadline => {
                return Err(PrivatePostgresError::Occupied {
                    data_dir: place.into(),
                    pid: pid.as_raw_pid(),
                });
            }
            Some(_) => thread::sleep(ORPHAN_POLL),
        }
    }
}

/// Whether the process is a server on this cluster: it is there, and works in the cluster's folder.
fn serves(pid: Pid, place: &Path) -> bool {
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    // A zombie has no working folder, another user's process doesn't show it: neither is our server.
    fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid())).is_ok_and(|cwd| cwd == place)
}

fn remove_file(path: &Path) -> Result<(), PrivatePostgresError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

fn remove_all(path: &Path) -> Result<(), PrivatePostgresError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

/// An item of a PostgreSQL list of folders, which are separated by commas.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

/// The end of the server's log, or a word about why it can't be shown.
pub(super) fn log_end(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut log = File::open(path)?;
        let size = log.metadata()?.len();
        log.seek(SeekFrom::Start(size.saturating_sub(LOG_END_BYTES)))?;
        let mut end = Vec::new();
        log.read_to_end(&mut end)?;
        Ok(last_lines(&String::from_utf8_lossy(&end)))
    };
    match read() {
        Ok(end) if end.is_empty() => "(it is empty)".into(),
        Ok(end) => end,
        Err(error) => format!("(it can't be read: {error})"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(LOG_END_LINES)..].join("\n")
}
