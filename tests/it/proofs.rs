//! The three generic proofs, over every job kind: repeat each step, fail each step at each point, stop
//! the worker after each of its writes. After each, traffic is where the job says it is.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use greenlight::{
    sandbox::double::{Fault, FaultAction},
    store::CommitProbe,
};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use crate::support::{API_PARAMETER, ENVIRONMENT, REGION, TestApp, TestAppOptions, api_and_web, web_with};

const PATIENCE: Duration = Duration::from_secs(20);

/// A kind of job to prove things about, started on an environment where 1.0.0 and 1.1.0 have served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Promotion,
    Rollback,
    /// A promotion that is aborted half-way: the undo is what is proven.
    Undo,
}

const KINDS: [Kind; 3] = [Kind::Promotion, Kind::Rollback, Kind::Undo];

impl Kind {
    /// The release that is active when all goes well.
    fn target(self) -> &'static str {
        match self {
            Kind::Promotion => "1.2.0",
            Kind::Rollback => "1.0.0",
            Kind::Undo => "1.1.0",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Kind::Undo => "aborted",
            _ => "succeeded",
        }
    }

    /// Starts the job. For an undo: up to the request to abort, made while the last flip's TTL runs.
    async fn start(self, app: &TestApp) -> String {
        match self {
            Kind::Promotion => app.promote("1.2.0").await,
            Kind::Rollback => app.roll_back().await,
            Kind::Undo => {
                let id = app.promote("1.2.0").await;
                while !has_flipped(&app.job(&id).await, "web") {
                    app.to_the_next_timer().await;
                }
                app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
                id
            }
        }
    }
}

fn has_flipped(job: &Value, component: &str) -> bool {
    job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["kind"] == "flip" && step["component"] == component && step["state"] == "succeeded")
}

fn two_components() -> Value {
    let mut document = api_and_web();
    for at in 0..2 {
        document["components"][at]["router"]["edge_ttl_seconds"] = json!(5);
    }
    document
}

async fn served(options: TestAppOptions) -> TestApp {
    let app = TestApp::with(options).await;
    app.set_up(two_components(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    app
}

fn releases(app: &TestApp) -> [Option<String>; 2] {
    let api = app.double.parameter(REGION, API_PARAMETER).map(|(value, _)| {
        serde_json::from_str::<Value>(&value).unwrap()["active"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    [api, app.active()]
}

#[track_caller]
fn assert_everywhere(app: &TestApp, release: &str, about: &str) {
    assert_eq!(
        releases(app),
        [Some(release.to_owned()), Some(release.to_owned())],
        "{about}"
    );
}

/// Since `before`, every invalidation step that was done has sent exactly one, and nobody else any.
#[track_caller]
fn assert_one_invalidation_each(app: &TestApp, job: &Value, before: usize, about: &str) {
    app.assert_one_invalidation_per_step();
    let sent: Vec<String> = app
        .invalidations()
        .into_iter()
        .skip(before)
        .map(|sent| sent.caller_reference)
        .collect();
    let steps = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["kind"] == "invalidate");
    let tokens: Vec<(&str, &str)> = steps
        .map(|step| (step["token"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect();
    assert!(!sent.is_empty(), "{about}: {tokens:?}");
    for reference in &sent {
        assert!(
            tokens.iter().any(|(token, _)| token == reference),
            "{about}: {reference} is of no step"
        );
    }
    for (token, state) in &tokens {
        assert!(
            *state != "succeeded" || sent.iter().any(|reference| reference == token),
            "{about}: {token} sent none"
        );
    }
}

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
#[tokio::test]
async fn stopped_after_each_database_write_another_worker_finishes_the_job() {
    let mut points = 0;
    for kind in KINDS {
        for at in 0.. {
            let probe = StopAt::new();
            let options = TestAppOptions {
                probe: Some(probe.clone()),
                ..TestAppOptions::default()
            };
            let mut app = served(options).await;
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
            assert_everywhere(&app, kind.target(), &about);
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
#[tokio::test]
async fn stopped_after_each_aws_call_another_worker_finishes_the_job() {
    let mut points = 0;
    for kind in KINDS {
        for skip in 0.. {
            let mut app = served(TestAppOptions::default()).await;
            let before = app.invalidations().len();
            let id = kind.start(&app).await;
            let hang = app
                .double
                .faults()
                .add(Fault::on_any(FaultAction::HangAfterEffect).skip(skip).once());
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
            assert_everywhere(&app, kind.target(), &about);
            assert_one_invalidation_each(&app, &job, before, &about);
            if !stopped {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 15, "the proof stops at every call: {points}");
}

/// Each call of a job fails for good, or its answer is lost: the promotion is undone and explained.
#[tokio::test]
async fn failing_at_each_call_leaves_traffic_as_before_and_explains_itself() {
    let mut failures = 0;
    for skip in 0.. {
        let app = served(TestAppOptions::default()).await;
        let id = app.promote("1.2.0").await;
        let denied = app
            .double
            .faults()
            .add(Fault::on_any(FaultAction::AccessDenied).skip(skip).once());
        let job = app.finish(&id).await;
        if denied.hits() == 0 {
            assert_eq!(job["state"], "succeeded");
            break;
        }
        failures += 1;
        let about = format!("call {skip} is denied: {job:#}");
        assert_eq!(job["state"], "failed", "{about}");
        assert_everywhere(&app, "1.1.0", &about);
        let error = &job["error"];
        assert_eq!(error["code"], "aws_access_denied", "{about}");
        assert!(
            error["step"].is_string() && error["hint"].as_str().unwrap().contains("Grant"),
            "{about}"
        );
        app.assert_one_invalidation_per_step();
        let environment = app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&json!("1.1.0"), &Value::Null),
            "{about}"
        );
    }
    assert!(failures >= 8, "the proof fails every call: {failures}");
}

/// A rollback whose calls fail for good is stuck and says why; a retry or a rollback ends it.
#[tokio::test]
async fn a_rollback_failing_at_each_call_is_stuck_explained_and_finished_by_a_retry() {
    let mut failures = 0;
    for skip in 0.. {
        let app = served(TestAppOptions::default()).await;
        let id = app.roll_back().await;
        let denied = app
            .double
            .faults()
            .add(Fault::on_any(FaultAction::AccessDenied).skip(skip).once());
        let job = app.finish(&id).await;
        if denied.hits() == 0 {
            assert_eq!(job["state"], "succeeded");
            break;
        }
        failures += 1;
        let about = format!("call {skip} is denied: {job:#}");
        assert_eq!(job["state"], "stuck", "{about}");
        assert_eq!(job["error"]["code"], "rollback_incomplete", "{about}");
        app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
        app.finish_as(&id, "succeeded").await;
        assert_everywhere(&app, "1.0.0", &about);
        app.assert_one_invalidation_per_step();
    }
    assert!(failures >= 6, "the proof fails every call: {failures}");
}

/// Losing the answer, or the request, of each call changes nothing but the time it takes.
#[tokio::test]
async fn each_call_repeated_changes_nothing() {
    let mut repeats = 0;
    for kind in KINDS {
        for action in [
            FaultAction::LoseAnswer,
            FaultAction::LoseRequest,
            FaultAction::Unavailable,
        ] {
            for skip in 0.. {
                let app = served(TestAppOptions::default()).await;
                let before = app.invalidations().len();
                let id = kind.start(&app).await;
                let fault = app.double.faults().add(Fault::on_any(action.clone()).skip(skip).once());
                let job = app.finish(&id).await;
                let about = format!("{kind:?}, {action:?} of call {skip}: {job:#}");
                assert_eq!(job["state"], kind.end(), "{about}");
                assert_everywhere(&app, kind.target(), &about);
                assert_one_invalidation_each(&app, &job, before, &about);
                app.assert_one_invalidation_per_step();
                if fault.hits() == 0 {
                    break;
                }
                repeats += 1;
            }
        }
    }
    assert!(repeats > 50, "the proof loses every call: {repeats}");
}

/// A second round of the very same job: everything is already as it shall be.
#[tokio::test]
async fn a_flip_to_what_is_already_there_writes_nothing() {
    let app = TestApp::start().await;
    app.double
        .put_parameter(REGION, crate::support::PARAMETER, "1.0.0")
        .unwrap();
    app.set_up(web_with(json!({"format": "plain"})), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert!(!app.double.calls().iter().any(|call| call.operation == "PutParameter"));
    assert_eq!(
        app.invalidations().len(),
        0,
        "nothing changed, so nothing is cached wrongly"
    );
    assert_eq!(job["steps"][2]["state"], "skipped", "{job:#}");
    assert_eq!(
        app.get(&format!("{ENVIRONMENT}/deployments")).await.expect(200).json()["items"][0]["release"],
        "1.0.0"
    );
}
