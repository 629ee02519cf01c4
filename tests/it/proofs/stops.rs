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

use super::{KINDS, Kind, PATIENCE, Roads, assert_everywhere, assert_one_invalidation_each, assert_recorded, served};
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
    for kind in [Kind::Promotion, Kind::Rollback, Kind::Undo] {
        for at in 0.. {
            let probe = StopAt::new();
            let options = TestAppOptions {
                probe: Some(probe.clone()),
                ..TestAppOptions::default()
            };
            let mut app = served(roads, options).await;
            let before = app.invalidations().len();
            // What is proven of an undo begins with the abort, so only then is it armed.
            if kind != Kind::Undo {
                probe.arm(at);
            }
            let id = kind.start(&app).await;
            if kind == Kind::Undo {
                probe.arm(at);
            }
            let stopped = run_until_stopped(&app, &id, &probe).await;
            if stopped {
                app.kill_worker(0).await;
                probe.arm(usize::MAX);
                // The lease runs out on the database's clock; nobody waits for it.
                app.advance(Duration::from_secs(31)).await;
                app.start_worker();
            }
            let about = format!(
                "{kind:?}, stopped after write {at} of {:?}",
                probe.names.lock().unwrap()
            );
            let job = app.finish(&id).await;
            assert_eq!(job["state"], kind.end(), "{about}: {job:#}");
            assert_everywhere(&app, roads, kind.target(), &about);
            assert_recorded(&app, roads, kind, &about).await;
            assert_one_invalidation_each(&app, &job, before, &about);
            assert_eq!(app.environment().await["drift"], Value::Null, "{about}");
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
        for skip in 0.. {
            let mut app = served(roads, TestAppOptions::default()).await;
            let before = app.invalidations().len();
            let id = kind.start(&app).await;
            let hang = app
                .double
                .faults()
                .add(roads.fault(FaultAction::HangAfterEffect).skip(skip).once());
            let mut stopped = false;
            loop {
                let job = app.job(&id).await;
                if hang.hits() > 0 {
                    stopped = true;
                    break;
                }
                if job["finished_at"].is_string() {
                    break;
                }
                app.to_the_next_timer().await;
            }
            if stopped {
                app.kill_worker(0).await;
                app.advance(Duration::from_secs(31)).await;
                app.start_worker();
            }
            let about = format!("{kind:?}, stopped after call {skip}");
            let job = app.finish(&id).await;
            assert_eq!(job["state"], kind.end(), "{about}: {job:#}");
            assert_everywhere(&app, roads, kind.target(), &about);
            assert_recorded(&app, roads, kind, &about).await;
            assert_one_invalidation_each(&app, &job, before, &about);
            if !stopped {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 15, "the proof stops at every call: {points}");
}
