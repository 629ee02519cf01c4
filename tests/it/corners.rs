//! Corners: two things at once, or a second thing before the first has quite ended. Each was once wrong.

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction, FaultHandle};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{
    ENVIRONMENT, PARAMETER, REGION, SECOND_REGION, TestApp, TestAppOptions, web, web_in_two_regions, web_with,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn hit(handle: &FaultHandle) {
    timeout(PATIENCE, handle.wait_hit(1)).await.expect("the fault is met");
}

fn plain() -> Value {
    web_with(json!({"format": "plain"}))
}

/// The abort comes while settle looks for the last time: what is recorded must be what SSM says.
#[tokio::test]
async fn an_abort_during_settle_leaves_database_and_pointer_agreed() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    // preflight, flip's look, flip's verify; the fourth is settle's.
    let slow = app.double.faults().add(
        Fault::on("GetParameter", FaultAction::Delay(Duration::from_millis(700)))
            .skip(3)
            .once(),
    );
    let id = app.promote("1.1.0").await;
    hit(&slow).await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    app.finish(&id).await;
    let environment = app.environment().await;
    assert_eq!(
        environment["active"].as_str(),
        app.active().as_deref(),
        "{environment:#}"
    );
}

/// The first in line is aborted in the moment the holder ends: the second must be woken, and the aborted one
/// must not be claimable.
#[tokio::test]
async fn aborting_the_first_in_line_while_the_holder_ends_wakes_the_next() {
    use greenlight::{domain::job::JobState, store::jobs};
    let app = TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    let holder: uuid::Uuid = app.promote("1.0.0").await.parse().unwrap();
    let q1: uuid::Uuid = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await
        .parse()
        .unwrap();
    let q2 = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "queue"}))
        .await;
    let (environment,): (uuid::Uuid,) = sqlx::query_as("SELECT environment_id FROM jobs WHERE id = $1")
        .bind(holder)
        .fetch_one(app.store.pool())
        .await
        .unwrap();

    // signals::abort(q1), up to its commit.
    let mut abort = app.store.begin().await.unwrap();
    jobs::lock(&mut abort, q1).await.unwrap();
    jobs::end_queued(&mut abort, q1, JobState::Aborted, None).await.unwrap();
    jobs::wake_next_queued(&mut abort, environment).await.unwrap();
    // Fenced::end_job(holder), beside it.
    let store = app.store.clone();
    let ending = tokio::spawn(async move {
        let mut end = store.begin().await.unwrap();
        sqlx::query("UPDATE jobs SET state = 'succeeded', holds = false, claimable_at = NULL WHERE id = $1")
            .bind(holder)
            .execute(&mut *end)
            .await
            .unwrap();
        jobs::wake_next_queued(&mut end, environment).await.unwrap();
        end.commit().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    abort.commit().await.unwrap();
    ending.await.unwrap();
    let claimable: Vec<(String, bool)> =
        sqlx::query_as("SELECT state, claimable_at IS NOT NULL FROM jobs WHERE id <> $1 ORDER BY seq")
            .bind(holder)
            .fetch_all(app.store.pool())
            .await
            .unwrap();
    assert_eq!(
        claimable,
        [("aborted".to_owned(), false), ("queued".to_owned(), true)],
        "{q2} must be woken"
    );
}

/// The undo of a first promotion takes back what is ours, nothing else.
#[tokio::test]
async fn the_undo_of_a_first_promotion_leaves_what_somebody_else_wrote() {
    for before in [Some("before us"), None] {
        let app = TestApp::start().await;
        if let Some(before) = before {
            app.double.put_parameter(REGION, PARAMETER, before).unwrap();
        }
        app.set_up(web_with(json!({"edge_ttl_seconds": 30, "format": "plain"})), &["1.0.0"])
            .await;
        let id = app.promote("1.0.0").await;
        app.job_until(&id, |job| job["state"] == "waiting").await;
        app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
        app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
        let job = app.finish_as(&id, "aborted").await;
        assert_eq!(app.pointer().as_deref(), Some("by hand"), "{job:#}");
        assert!(job["warnings"].to_string().contains("pointer_left"), "{job:#}");
    }
}

/// A region that was added and taken over later is part of deployment 0.
#[tokio::test]
async fn what_was_taken_over_later_is_put_back_too() {
    let app = TestApp::start().await;
    app.double.put_parameter(REGION, PARAMETER, "before us").unwrap();
    app.double.put_parameter(SECOND_REGION, PARAMETER, "before eu").unwrap();
    app.set_up(plain(), &["1", "2"]).await;
    app.promote_to_the_end("1").await;
    let mut document = web_in_two_regions();
    document["components"][0]["router"]["format"] = json!("plain");
    app.put(ENVIRONMENT, document).await.expect(200);
    app.promote_to_the_end("2").await;
    for _ in 0..2 {
        let id = app.roll_back().await;
        app.finish_as(&id, "succeeded").await;
    }
    assert_eq!(app.environment().await["active"], Value::Null);
    assert_eq!(app.pointer_in(REGION).as_deref(), Some("before us"));
    assert_eq!(app.pointer_in(SECOND_REGION).as_deref(), Some("before eu"));
}

/// The rollback's writes got no answer and land after its invalidation. The retry finds the pointer right, but
/// the cache may have been refilled from the old one.
#[tokio::test]
async fn a_retry_still_owes_the_invalidation_of_a_write_that_landed_late() {
    let mut options = TestAppOptions::default();
    options.engine.write_timeout = Duration::from_millis(150);
    let app = TestApp::with(options).await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let held = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect));
    let id = app.roll_back().await;
    app.finish_as(&id, "stuck").await;
    let sent = app.invalidations().len();
    held.remove();
    held.release();
    app.double
        .wait_for_call(|call| call.outcome.took_effect() && call.details["value"] == "1.0.0")
        .await;
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    assert_eq!(app.invalidations().len(), sent + 1);
}

/// Eight sporadic 503s over a long wait, each followed by a good look.
#[tokio::test]
async fn sporadic_errors_with_answers_between_do_not_add_up() {
    let app = TestApp::with(TestAppOptions {
        invalidation: Duration::from_secs(600),
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web(), &["1.0.0"]).await;
    for k in 1..=8 {
        // Calls 2, 4, 6 …: an earlier fault's hit is not seen by the later ones.
        app.double
            .faults()
            .add(Fault::on("GetInvalidation", FaultAction::Unavailable).skip(k).once());
    }
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "succeeded").await;
}

/// What is put back by the undo of an `on_drift: overwrite` is still not ours.
#[tokio::test]
async fn undoing_an_overwrite_says_drift_again() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    let id = app
        .promote_with(json!({"release": "1.1.0", "on_drift": "overwrite"}))
        .await;
    app.finish_as(&id, "failed").await;
    assert_eq!(app.pointer().as_deref(), Some("by hand"));
    let environment = app.environment().await;
    assert_eq!(environment["active"], "1.0.0");
    assert_ne!(environment["drift"], Value::Null, "SSM says by hand: {environment:#}");
}

/// An aborted promotion whose undo got stuck ends aborted and explained.
#[tokio::test]
async fn a_stuck_abort_that_is_retried_ends_aborted_and_explained() {
    let app = TestApp::start().await;
    let mut document = web_in_two_regions();
    document["components"][0]["router"]["edge_ttl_seconds"] = json!(30);
    app.set_up(document, &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["state"] == "waiting").await;
    app.double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::AccessDenied).in_region(SECOND_REGION));
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    app.finish_as(&id, "stuck").await;
    app.double.faults().clear();
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    let job = app.finish(&id).await;
    assert_eq!(job["state"], "aborted", "{job:#}");
    assert_eq!(job["error"]["code"], "aborted", "{job:#}");
}

/// CloudFront does not show the invalidation yet: its reads may be stale.
#[tokio::test]
async fn an_invalidation_that_cannot_be_seen_yet_is_waited_for() {
    let app = TestApp::with(TestAppOptions {
        invalidation: Duration::from_secs(20),
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(web(), &["1.0.0"]).await;
    let unseen = FaultAction::Error {
        status: 404,
        code: "NoSuchInvalidation".into(),
        message: "not yet".into(),
    };
    app.double.faults().add(Fault::on("GetInvalidation", unseen).once());
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "succeeded").await;
}

/// The worker dies right after it has noted that a late write landed: the next one must still know it as ours.
#[derive(Debug, Default)]
struct StopAfterLanded {
    armed: std::sync::atomic::AtomicBool,
    stopped: tokio::sync::Notify,
}

impl greenlight::store::CommitProbe for StopAfterLanded {
    fn committed(&self, _job: uuid::Uuid, what: &'static str) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(async move {
            if what == "landed" && self.armed.swap(false, std::sync::atomic::Ordering::SeqCst) {
                self.stopped.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

#[tokio::test]
async fn a_late_write_is_put_right_also_when_the_worker_dies_upon_seeing_it() {
    let probe = std::sync::Arc::new(StopAfterLanded::default());
    let mut app = TestApp::with(TestAppOptions {
        probe: Some(probe.clone()),
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let held = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    app.promote("1.1.0").await;
    hit(&held).await;
    let rollback = app.roll_back().await;
    app.job_until(&rollback, |job| job["state"] == "waiting").await;
    probe.armed.store(true, std::sync::atomic::Ordering::SeqCst);
    held.release();
    app.double
        .wait_for_call(|call| call.outcome.took_effect() && call.details["value"] == "1.1.0")
        .await;
    app.advance(Duration::from_secs(6)).await;
    timeout(PATIENCE, probe.stopped.notified())
        .await
        .expect("settle saw it");
    app.kill_worker(0).await;
    app.advance(Duration::from_secs(31)).await;
    app.start_worker();
    app.finish_as(&rollback, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    assert_eq!(app.environment().await["drift"], Value::Null);
}
