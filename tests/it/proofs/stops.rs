//! The worker is stopped: after each write to the database, and after each call to AWS.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use greenlight::{sandbox::double::FaultAction, store::CommitProbe};
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::{KINDS, Kind, PATIENCE, Roads, stage::Stage};
use crate::support::{TestApp, TestAppOptions};

/// Stops whoever commits the `at`th time, and says so.
struct StopAt {
    at: AtomicUsize,
    commits: AtomicUsize,
    stopped: Notify,
    names: Mutex<Vec<&'static str>>,
}

impl StopAt {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            at: AtomicUsize::new(usize::MAX),
            commits: AtomicUsize::new(0),
            stopped: Notify::new(),
            names: Mutex::new(Vec::new()),
        })
    }

    /// From now on, stop at the `at`th commit (from 0).
    fn arm(&self, at: usize) {
        self.commits.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    /// What the commits were.
    fn names(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.names.lock().unwrap())
    }
}

impl fmt::Debug for StopAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopAt")
    }
}

impl CommitProbe for StopAt {
    fn committed(&self, _job: Uuid, what: &'static str) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.names.lock().unwrap().push(what);
            if self.commits.fetch_add(1, Ordering::SeqCst) == self.at.load(Ordering::SeqCst) {
                self.stopped.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

/// The process is stopped after each database write of each kind of job; another worker finishes it.
pub async fn after_each_database_write(roads: Roads) {
    let mut points = 0;
    for kind in KINDS {
        let probe = StopAt::new();
        let options = TestAppOptions {
            probe: Some(probe.clone()),
            ..TestAppOptions::default()
        };
        let mut stage = Stage::with(roads, options).await;
        for at in 0.. {
            let ready = stage.ready(kind).await;
            // What is proven of an undo begins with the abort, so only then is it armed.
            if kind != Kind::Undo {
                probe.arm(at);
            }
            let id = stage.begin(&ready).await;
            if kind == Kind::Undo {
                probe.arm(at);
            }
            let stopped = run_until_stopped(&stage.app, &id, &probe).await;
            probe.arm(usize::MAX);
            if stopped {
                stage.another_worker().await;
            }
            let about = format!("{kind:?}, stopped after write {at} of {:?}", probe.names());
            let job = stage.app.finish(&id).await;
            stage.assert_done(&ready, &job, &about).await;
            if !stopped {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 30, "the proof stops at every write: {points}");
}

/// True when the probe has stopped the worker; false when the job has ended before.
async fn run_until_stopped(app: &TestApp, id: &str, probe: &StopAt) -> bool {
    let end = async {
        loop {
            let job = app.job(id).await;
            if job["finished_at"].is_string() {
                return;
            }
            app.to_the_next_timer().await;
        }
    };
    timeout(PATIENCE, async {
        tokio::select! {
            biased;
            () = probe.stopped.notified() => true,
            () = end => {
                // The last commit of all may be the one that stopped it.
                timeout(Duration::from_millis(20), probe.stopped.notified()).await.is_ok()
            }
        }
    })
    .await
    .expect("the job goes on or is stopped")
}

/// The process is stopped after each call to AWS took effect, before it hears the answer.
pub async fn after_each_aws_call(roads: Roads) {
    let mut points = 0;
    for kind in KINDS {
        let mut stage = Stage::with(roads, TestAppOptions::default()).await;
        for skip in 0.. {
            let ready = stage.ready(kind).await;
            let id = stage.begin(&ready).await;
            let hang = stage.fault(FaultAction::HangAfterEffect, skip);
            let hangs = |job: &Value| hang.hits() > 0 || job["finished_at"].is_string();
            stage.app.timers_until(&id, hangs).await;
            let stopped = hang.hits() > 0;
            if stopped {
                stage.another_worker().await;
            }
            let about = format!("{kind:?}, stopped after call {skip}");
            let job = stage.app.finish(&id).await;
            stage.assert_done(&ready, &job, &about).await;
            if !stopped {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 15, "the proof stops at every call: {points}");
}
