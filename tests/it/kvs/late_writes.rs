//! Writes that get no answer. A compare-and-swap that is answered ends every earlier one: nobody watches for
//! those. Where nothing could be swapped, the watch is still there.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use greenlight::sandbox::double::{Fault, FaultAction, Outcome};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{PATIENCE, codes, hit};
use crate::support::{KEY, TestApp, TestAppOptions, probe::PauseAfterIntents, web_in_kvs};

impl TestApp {
    /// The job ends by itself: nothing waits, so no time is moved.
    async fn ends_without_a_wait(&self, id: &str) -> Value {
        let job = self
            .job_until(id, |job| job["finished_at"].is_string() || job["state"] == "waiting")
            .await;
        assert_eq!(job["state"], "succeeded", "it waits for nothing: {job:#}");
        job
    }

    /// The held write reaches the store, and is refused.
    async fn lands_and_is_refused(&self, held: &greenlight::sandbox::double::FaultHandle) {
        assert_eq!(held.release(), 1);
        let refusal = Some("ConflictException".to_owned());
        let refused = Outcome::Released { error: refusal };
        let landed = self.double.wait_for_call(|call| call.outcome == refused);
        timeout(PATIENCE, landed).await.expect("it is refused");
    }
}

async fn served() -> TestApp {
    let app = TestApp::start().await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app
}

#[tokio::test]
async fn a_write_in_flight_is_fenced_by_the_rollbacks_own() {
    let app = served().await;
    let held = Fault::on("UpdateKeys", FaultAction::HoldEffect).once();
    let held = app.double.faults().add(held);
    let promotion = app.promote("1.1.0").await;
    hit(&held).await;
    let rollback = app.roll_back().await;
    let job = app.ends_without_a_wait(&rollback).await;
    assert_eq!(app.outcomes().await, ["written", "fenced", "written"]);
    app.lands_and_is_refused(&held).await;
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    assert_eq!(
        (codes(&job), &app.job(&promotion).await["state"]),
        (vec![], &json!("aborted"))
    );
}

#[tokio::test]
async fn a_lost_answer_costs_no_watch() {
    for action in [
        FaultAction::LoseAnswer,
        FaultAction::LoseRequest,
        FaultAction::HangAfterEffect,
        FaultAction::Unavailable,
        FaultAction::InternalError,
    ] {
        let app = served().await;
        let lost = app.double.faults().add(Fault::on("UpdateKeys", action.clone()).once());
        let promotion = app.promote("1.1.0").await;
        hit(&lost).await;
        let rollback = app.roll_back().await;
        let job = app.ends_without_a_wait(&rollback).await;
        assert_eq!(codes(&job), [""; 0], "{action:?}");
        assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"), "{action:?}");
        assert_eq!(app.job(&promotion).await["superseded_by"], rollback.as_str());
    }
}

#[tokio::test]
async fn the_same_job_goes_on_after_a_lost_answer_and_the_next_one_owes_nothing() {
    for action in [
        FaultAction::LoseAnswer,
        FaultAction::LoseRequest,
        FaultAction::Unavailable,
    ] {
        let app = served().await;
        app.double.faults().add(Fault::on("UpdateKeys", action.clone()).once());
        let id = app.promote("1.1.0").await;
        let job = app.finish_as(&id, "succeeded").await;
        assert_eq!(codes(&job), [""; 0], "{action:?}");
        assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.1.0"), "{action:?}");
        app.register("1.2.0").await;
        let next = app.promote("1.2.0").await;
        app.ends_without_a_wait(&next).await;
        assert!(!app.outcomes().await.contains(&"open".to_owned()), "{action:?}");
    }
}

#[tokio::test]
async fn a_worker_that_is_paused_before_its_write_is_refused_when_it_goes_on() {
    let probe = Arc::new(PauseAfterIntents::default());
    let app = TestApp::with(TestAppOptions::stalling(probe.clone())).await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    probe.armed.store(true, Ordering::SeqCst);
    app.promote("1.1.0").await;
    timeout(PATIENCE, probe.paused.notified()).await.unwrap();
    let rollback = app.roll_back().await;
    app.ends_without_a_wait(&rollback).await;
    let before = app.outcomes().await;

    probe.go_on.notify_one();
    let refused = |call: &greenlight::sandbox::double::Call| call.outcome.error_code() == Some("ConflictException");
    timeout(PATIENCE, app.double.wait_for_call(refused)).await.unwrap();
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    app.promote_to_the_end("1.1.0").await;
    assert_eq!(app.store_writes().len(), 4, "it has not run after the ETag");
    assert_eq!(
        app.outcomes().await[..before.len()],
        before,
        "a worker without a lease changes no row"
    );
}

/// The key says already what it shall, but a creation of ours is on its way: the same value is swapped in, so
/// that it can't land.
#[tokio::test]
async fn a_value_that_is_right_already_is_swapped_in_to_fence_a_write_in_flight() {
    let app = TestApp::start().await;
    app.set_key(KEY, "before us");
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    let held = Fault::on("UpdateKeys", FaultAction::HoldEffect).once();
    let held = app.double.faults().add(held);
    app.promote("1.0.0").await;
    hit(&held).await;
    let rollback = app.roll_back().await;
    app.ends_without_a_wait(&rollback).await;
    assert_eq!(app.outcomes().await, ["fenced", "written"]);
    assert_eq!(app.store_writes()[1].details["puts"], json!({KEY: "before us"}));
    app.lands_and_is_refused(&held).await;
    assert_eq!(app.key(KEY).as_deref(), Some("before us"));
}

/// The worker that was paused sees the same value as before, under another ETag. Only its lease tells it that it
/// has nothing to say any more.
#[tokio::test]
async fn a_worker_without_a_lease_does_not_run_after_the_etag() {
    let probe = Arc::new(PauseAfterIntents::default());
    let app = TestApp::with(TestAppOptions::stalling(probe.clone())).await;
    app.set_key(KEY, "before us");
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    probe.armed.store(true, Ordering::SeqCst);
    app.promote("1.0.0").await;
    timeout(PATIENCE, probe.paused.notified()).await.unwrap();
    let rollback = app.roll_back().await;
    app.ends_without_a_wait(&rollback).await;
    app.double.clear_calls();
    probe.go_on.notify_one();
    // It is refused, and looks again: at the value that it saw before.
    let looked = app
        .double
        .wait_for_call(|call| call.operation == "GetKey" && call.outcome.is_ok());
    timeout(PATIENCE, looked).await.unwrap();
    app.promote_to_the_end("1.1.0").await;
    let values: Vec<String> = app
        .store_writes()
        .iter()
        .map(|call| call.details["puts"].to_string())
        .collect();
    assert_eq!(values.len(), 2, "its own, and the next promotion's: {values:?}");
    assert!(values[0].contains("1.0.0") && values[1].contains("1.1.0"), "{values:?}");
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.1.0"));
}

/// What is not there can't be swapped for itself: a creation in flight is watched for, as in SSM.
#[tokio::test]
async fn a_creation_in_flight_is_watched_for_and_taken_back_when_it_lands() {
    for lands in [true, false] {
        let app = TestApp::start().await;
        app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0"]).await;
        let held = Fault::on("UpdateKeys", FaultAction::HoldEffect).once();
        let held = app.double.faults().add(held);
        app.promote("1.0.0").await;
        hit(&held).await;
        let rollback = app.roll_back().await;
        let watching = app.job_until(&rollback, |job| job["state"] == "waiting").await;
        let reason = watching["waiting_reason"].as_str().unwrap();
        assert!(reason.contains("may still land"), "{watching:#}");
        if lands {
            app.advance(Duration::from_secs(100)).await;
            assert_eq!(held.release(), 1);
            let landed = app
                .double
                .wait_for_call(|call| call.outcome == Outcome::Released { error: None });
            timeout(PATIENCE, landed).await.unwrap();
            assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"), "it landed late");
        }
        let job = app.finish_as(&rollback, "succeeded").await;
        assert_eq!(app.double.kvs_snapshot(&app.store_arn()), BTreeMap::new());
        assert_eq!(codes(&job).contains(&"late_write_landed"), lands, "{job:#}");
        assert_eq!(app.environment().await["drift"], Value::Null);
        if lands {
            assert_eq!(app.outcomes().await, ["fenced", "written"], "its deletion fences it");
        }
    }
}

/// The worker dies after each call of the flip took effect, before it hears the answer.
#[tokio::test]
async fn a_worker_that_dies_with_its_answer_leaves_nothing_to_watch_for() {
    let mut app = served().await;
    let hang = Fault::on("UpdateKeys", FaultAction::HangAfterEffect).once();
    let hang = app.double.faults().add(hang);
    let id = app.promote("1.1.0").await;
    hit(&hang).await;
    app.kill_worker(0).await;
    app.advance(Duration::from_secs(31)).await;
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    assert_eq!(
        app.outcomes().await,
        ["written", "open"],
        "its value was seen, but not when it landed"
    );
    assert_eq!(app.store_writes().len(), 2, "and is not written again");
    app.register("1.2.0").await;
    let next = app.promote("1.2.0").await;
    app.ends_without_a_wait(&next).await;
    assert_eq!(app.outcomes().await, ["written", "fenced", "written"]);
}
