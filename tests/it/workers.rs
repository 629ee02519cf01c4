//! Several workers on one database: leases, fences, hand-over, waking.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use greenlight::{
    domain::names::Name,
    engine::{EngineConfig, Hub, Worker},
    sandbox::double::{Fault, FaultAction},
    store::environments,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{TestApp, TestAppOptions, probe::PauseAfterIntents, web, web_with};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_paused_workers_late_write_is_put_right_and_its_result_is_not_stored() {
    let probe = Arc::new(PauseAfterIntents::default());
    let options = TestAppOptions::stalling(probe.clone());
    let app = TestApp::with(options).await;
    app.set_up(web_with(json!({"format": "plain"})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;

    probe.armed.store(true, Ordering::SeqCst);
    let promotion = app.promote("1.1.0").await;
    timeout(PATIENCE, probe.paused.notified()).await.unwrap();
    // The rollback takes the promotion's place; the other worker writes at once and then watches.
    let rollback = app.roll_back().await;
    app.job_until(&rollback, |job| job["state"] == "waiting").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    let before = without_times(app.job(&promotion).await);

    // The paused worker goes on within the time in which it may still sign: SSM has no fence.
    probe.go_on.notify_one();
    let landed = app
        .double
        .wait_for_call(|call| call.details["value"] == "1.1.0" && call.outcome.took_effect());
    timeout(PATIENCE, landed).await.unwrap();
    let job = app.finish_as(&rollback, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    assert!(job["warnings"].to_string().contains("late_write_landed"), "{job:#}");
    let ended = app.job(&promotion).await;
    assert_eq!(ended["state"], "aborted");
    assert_eq!(without_times(ended), before, "a worker without a lease changes no row");
}

/// A request locks the environment's row and then waits for the job's, which the worker has: it must not need the other.
#[tokio::test]
async fn a_job_settles_while_a_request_has_the_row_of_its_environment() {
    let mut app = TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let mut request = app.store.begin().await.unwrap();
    let (name, environment) = (Name::parse("storefront").unwrap(), Name::parse("production").unwrap());
    let locked = environments::lock(&mut request, &name, &environment).await.unwrap();
    assert!(locked.is_some());
    app.start_worker();
    app.job_until(&id, |job| job["state"] == "succeeded").await;
    let other = async {
        let mut other = app.store.begin().await.unwrap();
        environments::lock(&mut other, &name, &environment).await.unwrap()
    };
    assert!(
        timeout(Duration::from_millis(300), other).await.is_err(),
        "two requests do not have it at once"
    );
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_loses_the_job_to_another() {
    let probe = Arc::new(PauseAfterIntents::default());
    let options = TestAppOptions::stalling(probe.clone());
    let app = TestApp::with(options).await;
    app.set_up(web(), &["1.0.0"]).await;
    probe.armed.store(true, Ordering::SeqCst);
    let id = app.promote("1.0.0").await;
    timeout(PATIENCE, probe.paused.notified()).await.unwrap();
    app.advance(Duration::from_secs(31)).await;
    app.finish_as(&id, "succeeded").await;
    let kinds = app.event_kinds(&id).await;
    assert!(kinds.contains(&"job.taken_over".to_owned()), "{kinds:?}");
    probe.go_on.notify_one();
    app.promote_and_check(&id).await;
}

/// The same without its times: tests move them.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_at"));
            for field in fields.values_mut() {
                *field = without_times(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_times(item.take());
            }
        }
        _ => {}
    }
    value
}

impl TestApp {
    /// The ended job stays as it is, and the environment goes on.
    async fn promote_and_check(&self, ended: &str) {
        let before = without_times(self.job(ended).await);
        self.register("1.1.0").await;
        let next = self.promote("1.1.0").await;
        self.finish_as(&next, "succeeded").await;
        assert_eq!(self.active().as_deref(), Some("1.1.0"));
        assert_eq!(without_times(self.job(ended).await), before);
    }
}

#[tokio::test]
async fn a_stopped_worker_hands_its_jobs_over_at_once() {
    let app = TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web(), &["1.0.0"]).await;
    let slow = app.double.faults().add(Fault::on(
        "PutParameter",
        FaultAction::Delay(Duration::from_millis(300)),
    ));
    let hub = Hub::default();
    let stop = CancellationToken::new();
    tokio::spawn(hub.clone().listen(app.store.clone(), stop.clone()));
    let first = Worker::new(app.engine_with(app.engine.clone()), hub);
    let working = tokio::spawn(first.run(stop.clone()));
    let id = app.promote("1.0.0").await;
    timeout(PATIENCE, slow.wait_hit(1)).await.unwrap();
    stop.cancel();
    timeout(PATIENCE, working)
        .await
        .expect("it ends after the write in flight")
        .unwrap();
    let job = app.job(&id).await;
    assert_eq!(job["state"], "running", "{job:#}");
    assert_eq!(
        job["steps"][1]["state"], "succeeded",
        "the write in flight was ended and stored"
    );

    let mut app = app;
    let from = Instant::now();
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    assert!(
        from.elapsed() < Duration::from_secs(10),
        "the lease was given back, not waited out"
    );
    let kinds = app.event_kinds(&id).await;
    assert!(!kinds.contains(&"job.taken_over".to_owned()), "{kinds:?}");
    assert_eq!(
        app.double
            .calls()
            .iter()
            .filter(|call| call.operation == "PutParameter")
            .count(),
        1
    );
}

#[tokio::test]
async fn waiting_jobs_are_left_alone() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 3600})), &["1.0.0"])
        .await;
    let id = app.promote("1.0.0").await;
    let waiting = app.job_until(&id, |job| job["state"] == "waiting").await;
    let events = app.event_kinds(&id).await.len();
    app.double.clear_calls();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(app.event_kinds(&id).await.len(), events);
    assert_eq!(app.job(&id).await, waiting);
    assert!(app.double.calls().is_empty());
}

#[tokio::test]
async fn without_notifications_the_slow_poll_finds_the_work() {
    let app = TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 1})), &["1.0.0"]).await;
    // A hub that nobody feeds: every notification is lost.
    let config = EngineConfig {
        poll: Duration::from_millis(50),
        ..app.engine.clone()
    };
    let worker = Worker::new(app.engine_with(config), Hub::default());
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "succeeded").await;
    stop.cancel();
    timeout(PATIENCE, working).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_workers_share_many_environments_and_each_job_runs_once() {
    let app = TestApp::with(TestAppOptions {
        workers: 2,
        ..TestAppOptions::default()
    })
    .await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    app.register("1.0.0").await;
    let mut jobs = Vec::new();
    for n in 0..20 {
        let mut document = web();
        document["components"][0]["router"]["parameter"] = json!(format!("/storefront/{n}/release"));
        let environment = format!("/v1/apps/storefront/environments/e{n}");
        app.put(&environment, document).await.expect(201);
        let body = json!({"release": "1.0.0"});
        jobs.push(
            app.post(&format!("{environment}/promotions"), body)
                .await
                .expect(202)
                .id(),
        );
    }
    for id in &jobs {
        app.finish_as(id, "succeeded").await;
    }
    let writes = app
        .double
        .calls()
        .into_iter()
        .filter(|call| call.operation == "PutParameter")
        .count();
    assert_eq!(writes, 20);
    assert_eq!(app.invalidations().len(), 20);
    let listed = app.get("/v1/jobs?limit=200&state=succeeded").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 20);
    assert_eq!(listed["next_cursor"], Value::Null);
}

/// A write that was seen in AWS, although its answer was lost with the worker, is waited for by nobody.
#[tokio::test]
async fn a_lost_answer_whose_write_was_seen_costs_the_next_job_no_watch() {
    let mut app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let lost = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HangAfterEffect).once());
    let id = app.promote("1.0.0").await;
    timeout(PATIENCE, lost.wait_hit(1)).await.unwrap();
    app.kill_worker(0).await;
    app.advance(Duration::from_secs(31)).await;
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    let next = app.promote("1.1.0").await;
    let job = app
        .job_until(&next, |job| job["finished_at"].is_string() || job["state"] == "waiting")
        .await;
    assert_eq!(
        job["state"], "succeeded",
        "no time was moved, and nothing waited: {job:#}"
    );
    assert_eq!(
        app.double
            .calls()
            .iter()
            .filter(|call| call.operation == "PutParameter")
            .count(),
        2
    );
}
