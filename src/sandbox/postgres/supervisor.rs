//! The thread that starts the server, waits for its end and cleans up behind it.
//!
//! ```text
//! PrivatePostgres::start ──spawns──> supervisor thread
//!        │                             Cluster::prepare   lock, initdb, stale pid file, socket folder
//!        │<──────── Server ────────────  spawn postgres    (dies with this thread: see `child`)
//!        │                             waitid
//!   signal(), ended() ···············>   reap; release socket folder and lock; tell everyone
//! ```
//!
//! A signal is sent only while the child has not been reaped, under one mutex, so that it can never
//! reach another process that was given the same number.

use std::{
    path::PathBuf,
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

use super::{
    PrivatePostgresOptions,
    cluster::Cluster,
    error::{Doing, PrivatePostgresError},
};

/// How long a server that was told to end at once may take before it is killed.
const IMMEDIATE_STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running server. Dropping it stops the server at once and waits for its end.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) pid: Pid,
    pub(super) socket_dir: PathBuf,
    pub(super) log_path: PathBuf,
    running: Arc<Running>,
    phase: watch::Receiver<Phase>,
    thread: Option<JoinHandle<()>>,
}

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Gone, and everything behind it is cleaned up. The status is missing where the operating
    /// system keeps it to itself (it does when our own parent had us ignore SIGCHLD).
    Ended(Option<ExitStatus>),
}

/// Whether the child still has to be reaped; its number is ours as long as it has.
#[derive(Debug)]
struct Running {
    running: Mutex<bool>,
    changed: Condvar,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares the cluster and starts its server, on a thread of its own.
///
/// When this is cancelled the thread ends the server, if it has come so far.
pub(super) async fn start(options: PrivatePostgresOptions) -> Result<Server, PrivatePostgresError> {
    let (started, server) = oneshot::channel();
    let data_dir = options.data_dir.clone();
    let thread = thread::Builder::new()
        .name("private-postgres".into())
        .spawn(move || supervise(options, started))
        .doing("start a thread to look after", data_dir)?;
    let mut server = server.await.map_err(|_| PrivatePostgresError::SupervisorLost)??;
    server.thread = Some(thread);
    Ok(server)
}

fn supervise(options: PrivatePostgresOptions, started: oneshot::Sender<Result<Server, PrivatePostgresError>>) {
    let prepared = Cluster::prepare(&options).and_then(|cluster| {
        let child = cluster.spawn(&options)?;
        Ok((cluster, child))
    });
    let (cluster, child) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // Nobody listens any more when the start was cancelled; there is nothing to end yet.
            let _ = started.send(Err(error));
            return;
        }
    };
    let running = Arc::new(Running {
        running: Mutex::new(true),
        changed: Condvar::new(),
    });
    let (end, phase) = watch::channel(Phase::Running);
    let server = Server {
        pid: Pid::from_child(&child),
        socket_dir: cluster.socket_dir().to_owned(),
        log_path: cluster.log_path(),
        running: Arc::clone(&running),
        phase,
        thread: None,
    };
    // A start that was cancelled in the meantime gives the server back; dropping it tells it to end.
    drop(started.send(Ok(server)));
    let status = wait(child, &running);
    cluster.release();
    end.send_replace(Phase::Ended(status));
}

/// Waits for the child's end and reaps it.
fn wait(mut child: Child, running: &Running) -> Option<ExitStatus> {
    let pid = Pid::from_child(&child);
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    let mut still = running.lock();
    let status = child.wait();
    *still = false;
    running.changed.notify_all();
    status.ok()
}

impl Server {
    /// Sends a signal, unless the server has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let running = self.running.lock();
        if *running {
            // The child is there, if only as a zombie; it may have changed nothing we could be refused for.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits for the server's end; the exit status, if it is known.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        let mut phase = self.phase.clone();
        let ended = phase
            .wait_for(|phase| *phase != Phase::Running)
            .await
            .map(|phase| *phase);
        match ended {
            Ok(Phase::Ended(status)) => status,
            // The thread is gone, and with it the server.
            Ok(Phase::Running) | Err(_) => None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        // The thread can't be gone while the server runs: the kernel would have ended the server.
        if self.phase.has_changed().is_err() {
            Phase::Ended(None)
        } else {
            *self.phase.borrow()
        }
    }

    fn wait_until_reaped(&self, at_most: Duration) -> bool {
        let running = self.running.lock();
        let (running, _) = self
            .running
            .changed
            .wait_timeout_while(running, at_most, |running| *running)
            .unwrap_or_else(PoisonError::into_inner);
        !*running
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::QUIT);
        // Without a thread the start was cancelled, and this may be that very thread: nothing to wait for.
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !self.wait_until_reaped(IMMEDIATE_STOP_DEADLINE) {
            self.signal(Signal::KILL);
        }
        // A panic over there has nothing left to clean up that we could do better.
        let _ = thread.join();
    }
}
