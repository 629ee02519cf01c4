//! Rolling back: it always gets through, goes where it must without being told, and is one job.

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction, FaultHandle};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{ENVIRONMENT, PARAMETER, REGION, SECOND_REGION, TestApp, web, web_in_two_regions, web_with};

const PATIENCE: Duration = Duration::from_secs(60);

async fn hit(handle: &FaultHandle) {
    timeout(PATIENCE, handle.wait_hit(1)).await.expect("the fault is met");
}

fn codes(job: &Value) -> Vec<&str> {
    job["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect()
}

fn plain() -> Value {
    web_with(json!({"format": "plain"}))
}

#[tokio::test]
async fn a_rollback_goes_to_the_release_before_and_frees_pinned_visitors() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(
        (&job["kind"], &job["release"], &job["from_release"]),
        (&json!("rollback"), &json!("1.0.0"), &json!("1.1.0"))
    );
    let pointer: Value = serde_json::from_str(&app.pointer().unwrap()).unwrap();
    assert_eq!((&pointer["active"], &pointer["epoch"]), (&json!("1.0.0"), &json!(2)));
    assert_eq!(app.invalidations().len(), 3);
    assert_eq!(app.environment().await["active"], "1.0.0");
}

#[tokio::test]
async fn rollbacks_go_further_back_and_never_to_what_was_rolled_back_from() {
    let app = TestApp::start().await;
    app.double.put_parameter(REGION, PARAMETER, "before us").unwrap();
    app.set_up(plain(), &["1", "2", "3"]).await;
    for release in ["1", "2", "3"] {
        app.promote_to_the_end(release).await;
    }
    for expected in ["2", "1", "before us"] {
        let id = app.roll_back().await;
        app.finish_as(&id, "succeeded").await;
        assert_eq!(app.pointer().as_deref(), Some(expected));
    }
    let path = format!("{ENVIRONMENT}/rollbacks");
    app.post(&path, json!({}))
        .await
        .expect_problem(409, "nothing_to_roll_back_to");
    // A release that is promoted again is a target again.
    app.promote_to_the_end("2").await;
    app.promote_to_the_end("3").await;
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("2"));
}

#[tokio::test]
async fn a_rollback_can_be_told_where_to_go() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1", "2", "3", "4"]).await;
    for release in ["1", "2", "3"] {
        app.promote_to_the_end(release).await;
    }
    let path = format!("{ENVIRONMENT}/rollbacks");
    app.post(&path, json!({"to": "4"}))
        .await
        .expect_problem(422, "not_a_rollback_target");
    app.post(&path, json!({"to": "9"}))
        .await
        .expect_problem(404, "not_found");
    app.post(&path, json!({"to": "3"}))
        .await
        .expect_problem(409, "already_active");
    app.post(&path, json!({"expected_active": "2"}))
        .await
        .expect_problem(409, "active_changed");
    let id = app
        .post(&path, json!({"to": "1", "expected_active": "3"}))
        .await
        .expect(202)
        .id();
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1"));
}

#[tokio::test]
async fn the_first_promotion_is_rolled_back_to_the_value_that_was_taken_over() {
    for settled in [true, false] {
        let app = TestApp::start().await;
        let before = "  not ours, byte for byte ";
        app.double.put_parameter(REGION, PARAMETER, before).unwrap();
        app.set_up(web_with(json!({"edge_ttl_seconds": 30})), &["1.0.0"]).await;
        let first = app.promote("1.0.0").await;
        if settled {
            app.finish_as(&first, "succeeded").await;
        } else {
            app.job_until(&first, |job| job["state"] == "waiting").await;
        }
        let id = app.roll_back().await;
        let job = app.finish_as(&id, "succeeded").await;
        assert_eq!(job["release"], Value::Null);
        assert_eq!(app.pointer().as_deref(), Some(before));
        assert_eq!(app.environment().await["active"], Value::Null);
        if !settled {
            assert_eq!(app.job(&first).await["superseded_by"], id.as_str());
        }
    }
}

#[tokio::test]
async fn a_parameter_that_the_first_promotion_created_is_deleted_again() {
    for settled in [true, false] {
        let app = TestApp::start().await;
        app.set_up(web_with(json!({"edge_ttl_seconds": 30})), &["1.0.0"]).await;
        let first = app.promote("1.0.0").await;
        if settled {
            app.finish_as(&first, "succeeded").await;
        } else {
            app.job_until(&first, |job| job["state"] == "waiting").await;
        }
        let id = app.roll_back().await;
        app.finish_as(&id, "succeeded").await;
        assert_eq!(app.pointer(), None);
        // And again, from the start.
        app.promote_to_the_end("1.0.0").await;
        assert_eq!(app.active().as_deref(), Some("1.0.0"));
    }
}

#[tokio::test]
async fn called_twice_it_is_one_job() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let first = app.roll_back().await;
    let second = app.roll_back().await;
    assert_eq!(first, second);
    let told = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), json!({"to": "1.0.0"}))
        .await
        .expect(202);
    assert_eq!(told.header("location"), Some(format!("/v1/jobs/{first}").as_str()));
    app.finish_as(&first, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(app.invalidations().len(), 3);
}

#[tokio::test]
async fn a_rollback_to_elsewhere_takes_the_place_of_a_rollback() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    for release in ["1.0.0", "1.1.0", "1.2.0"] {
        app.promote_to_the_end(release).await;
    }
    let first = app.roll_back().await;
    app.job_until(&first, |job| job["state"] == "waiting").await;
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
    let body = json!({"to": "1.0.0"});
    let second = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), body)
        .await
        .expect(202)
        .id();
    app.finish_as(&second, "succeeded").await;
    let ended = app.job(&first).await;
    assert_eq!(
        (&ended["state"], &ended["superseded_by"]),
        (&json!("aborted"), &json!(second))
    );
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    let environment = app.environment().await;
    assert_eq!(
        (&environment["active"], &environment["previous"]),
        (&json!("1.0.0"), &Value::Null)
    );
}

#[tokio::test]
async fn a_rollback_is_never_aborted_and_never_superseded_by_a_promotion() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let id = app.roll_back().await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({}))
        .await
        .expect_problem(409, "not_abortable");
    let body = json!({"release": "1.1.0", "on_conflict": "supersede"});
    let problem = app
        .post(&format!("{ENVIRONMENT}/promotions"), body)
        .await
        .expect_problem(409, "job_in_progress");
    assert_eq!(problem["job_id"], id.as_str());
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn it_ends_what_is_queued_and_a_later_promotion_queues_behind_it() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    let running = app.promote("1.1.0").await;
    app.job_until(&running, |job| job["state"] == "waiting").await;
    let queued = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "queue"}))
        .await;
    let rollback = app.roll_back().await;
    let ended = app.job(&queued).await;
    assert_eq!(
        (&ended["state"], &ended["superseded_by"]),
        (&json!("aborted"), &json!(rollback))
    );

    let later = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "queue"}))
        .await;
    app.finish_as(&rollback, "succeeded").await;
    let done = app.finish_as(&later, "succeeded").await;
    assert_eq!(done["from_release"], "1.0.0");
    assert_eq!(app.active().as_deref(), Some("1.2.0"));
}

/// The promotion's write is on its way when the rollback comes, and lands after the rollback's own.
#[tokio::test]
async fn a_write_in_flight_that_lands_after_the_rollback_is_put_right() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let held = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    let promotion = app.promote("1.1.0").await;
    hit(&held).await;
    let rollback = app.roll_back().await;
    assert_eq!(app.job(&promotion).await["state"], "aborted");
    let watching = app.job_until(&rollback, |job| job["state"] == "waiting").await;
    assert!(
        watching["traffic_shifted_at"].is_string(),
        "traffic is back at once: {watching:#}"
    );
    assert!(
        watching["waiting_reason"].as_str().unwrap().contains("may still land"),
        "{watching:#}"
    );
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));

    app.advance(Duration::from_secs(100)).await;
    assert_eq!(held.release(), 1);
    app.double
        .wait_for_call(|call| call.outcome.took_effect() && call.details["value"] == "1.1.0")
        .await;
    assert_eq!(app.pointer().as_deref(), Some("1.1.0"), "it landed late");
    let sent = app.invalidations().len();
    let job = app.finish_as(&rollback, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    assert!(codes(&job).contains(&"late_write_landed"), "{job:#}");
    assert_eq!(
        app.invalidations().len(),
        sent + 1,
        "what the edges cached meanwhile is cleared again"
    );
    assert_eq!(app.environment().await["drift"], Value::Null);
}

/// A way back has raised the epoch; it is written over, and never settles. Who goes on must not fall behind it, or
/// visitors who were freed would be held again.
#[tokio::test]
async fn an_epoch_is_never_used_again_though_nobody_has_settled_it() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 5})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    let epoch = |app: &TestApp| greenlight::domain::pointer::epoch_of(app.pointer().as_deref());
    let before = epoch(&app);
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    app.job_until(&id, |_| epoch(&app) > before).await;
    app.rest().await;
    assert_eq!(epoch(&app), before + 1);
    app.double.put_parameter(REGION, PARAMETER, "somebody else's").unwrap();
    let body = json!({"release": "1.1.0", "on_conflict": "supersede", "on_drift": "overwrite"});
    let id = app.promote_with(body).await;
    let job = app.finish_as(&id, "succeeded").await;
    assert!(epoch(&app) > before, "{job:#}");
}

/// The last look reads the pointer; then the write lands; then the time is over in which it could. Whoever asked only
/// now whether one may still land would settle on what was read.
#[tokio::test]
async fn a_write_that_lands_between_the_last_look_and_the_end_of_the_watch_is_put_right() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let late = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    app.promote("1.1.0").await;
    hit(&late).await;
    let rollback = app.roll_back().await;
    app.job_until(&rollback, |job| job["state"] == "waiting").await;
    let look = app
        .double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::HoldAnswer).once());
    app.to_the_next_timer().await;
    hit(&look).await;
    assert_eq!(late.release(), 1);
    app.double
        .wait_for_call(|call| call.outcome.took_effect() && call.details["value"] == "1.1.0")
        .await;
    // The writes' time alone: the lease of whoever looks must not run out.
    sqlx::query("UPDATE pointer_writes SET sign_by = sign_by - interval '10 minutes'")
        .execute(app.store.pool())
        .await
        .unwrap();
    assert_eq!(look.release(), 1);
    let job = app.finish_as(&rollback, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"), "{job:#}");
    assert_eq!(app.environment().await["drift"], Value::Null);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_rolled_back_and_watched() {
    for action in [FaultAction::LoseAnswer, FaultAction::HangAfterEffect] {
        let app = TestApp::start().await;
        app.set_up(web(), &["1.0.0", "1.1.0"]).await;
        app.promote_to_the_end("1.0.0").await;
        let lost = app.double.faults().add(Fault::on("PutParameter", action).once());
        let promotion = app.promote("1.1.0").await;
        hit(&lost).await;
        let rollback = app.roll_back().await;
        let job = app.finish_as(&rollback, "succeeded").await;
        assert_eq!(app.active().as_deref(), Some("1.0.0"));
        assert_eq!(app.job(&promotion).await["superseded_by"], rollback.as_str());
        assert_eq!(codes(&job), [""; 0]);
        app.assert_one_invalidation_per_step();
    }
}

#[tokio::test]
async fn it_writes_over_what_somebody_else_wrote_and_says_so() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0"));
    assert_eq!(codes(&job), ["pointer_overwritten"]);
    assert!(job["warnings"][0]["message"].as_str().unwrap().contains("by hand"));
}

fn second_region_refuses() -> Fault {
    Fault::on("PutParameter", FaultAction::AccessDenied).in_region(SECOND_REGION)
}

#[tokio::test]
async fn the_second_region_refuses_the_flip_and_the_first_is_put_back() {
    let app = TestApp::start().await;
    app.set_up(web_in_two_regions(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double.faults().add(second_region_refuses());
    let id = app.promote("1.1.0").await;
    let job = app
        .job_until(&id, |job| ["failed", "stuck"].contains(&job["state"].as_str().unwrap()))
        .await;
    assert_eq!(app.active_in(REGION).as_deref(), Some("1.0.0"));
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.0.0"));
    // Only the epoch could not be raised there: a person shall know, and a retry settles it.
    assert_eq!(job["state"], "stuck", "{job:#}");
    app.double.faults().clear();
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["round"], 2);
    assert_eq!(app.pointer_in(REGION), app.pointer_in(SECOND_REGION));
}

#[tokio::test]
async fn the_second_region_refuses_the_undo_and_the_job_is_stuck_until_retried() {
    let app = TestApp::start().await;
    app.set_up(web_in_two_regions(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    // The flip succeeds everywhere, the invalidation is refused, and then the second region.
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    app.double.faults().add(second_region_refuses().skip(1));
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "stuck").await;
    assert_eq!(job["error"]["code"], "undo_incomplete");
    assert!(
        job["error"]["message"].as_str().unwrap().contains(SECOND_REGION),
        "{job:#}"
    );
    assert!(job["error"]["hint"].as_str().unwrap().contains("retry"));
    assert_eq!(
        app.active_in(REGION).as_deref(),
        Some("1.0.0"),
        "what can be reached is back"
    );
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.1.0"));
    assert_eq!(
        app.environment().await["current_job"],
        id.as_str(),
        "a stuck job holds the environment"
    );
    let body = json!({"release": "1.1.0"});
    app.post(&format!("{ENVIRONMENT}/promotions"), body)
        .await
        .expect_problem(409, "job_in_progress");

    app.double.faults().clear();
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "failed").await;
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.0.0"));
    assert_eq!(app.environment().await["current_job"], Value::Null);
    app.assert_one_invalidation_per_step();
}

#[tokio::test]
async fn the_second_region_refuses_the_rollback_and_the_first_is_back_all_the_same() {
    let app = TestApp::start().await;
    app.set_up(web_in_two_regions(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    app.double.faults().add(second_region_refuses());
    let sent = app.invalidations().len();
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "stuck").await;
    assert_eq!(job["error"]["code"], "rollback_incomplete");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(SECOND_REGION) && message.contains("1.1.0"),
        "each observed value: {message}"
    );
    assert_eq!(app.active_in(REGION).as_deref(), Some("1.0.0"));
    assert_eq!(app.invalidations().len(), sent + 1);

    app.double.faults().clear();
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.0.0"));
    assert_eq!(
        app.invalidations().len(),
        sent + 2,
        "the retry's invalidation is a new one"
    );
    assert_eq!(job["round"], 2);
    assert_eq!(app.environment().await["active"], "1.0.0");
}

#[tokio::test]
async fn a_rollback_takes_the_place_of_a_stuck_job() {
    let app = TestApp::start().await;
    app.set_up(web_in_two_regions(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    app.double.faults().add(second_region_refuses().skip(1));
    let stuck = app.promote("1.1.0").await;
    app.finish_as(&stuck, "stuck").await;
    app.double.faults().clear();
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.job(&stuck).await["state"], "aborted");
    assert_eq!(app.active_in(REGION).as_deref(), Some("1.0.0"));
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.0.0"));
    app.post(&format!("/v1/jobs/{stuck}/retry"), json!({}))
        .await
        .expect_problem(409, "job_superseded");
}

#[tokio::test]
async fn a_rollback_goes_on_when_the_invalidation_is_late() {
    use crate::support::TestAppOptions;
    let options = TestAppOptions {
        invalidation: Duration::from_secs(7200),
        ..TestAppOptions::default()
    };
    let app = TestApp::with(options).await;
    let mut document = web();
    document["components"][0]["cdn"]["invalidate"]["timeout_seconds"] = json!(30);
    app.set_up(document.clone(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    document["components"][0]["cdn"]["invalidate"]["on_timeout"] = json!("fail");
    app.put(ENVIRONMENT, document).await.expect(200);
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(codes(&job), ["invalidation_late"]);
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn undo_flips_back_waits_the_ttl_and_invalidates_in_that_order() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 45})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    app.double.clear_calls();
    let id = app.promote("1.1.0").await;
    app.finish_as(&id, "failed").await;
    let calls: Vec<(String, _)> = app
        .double
        .calls()
        .into_iter()
        .filter(|call| ["PutParameter", "CreateInvalidation"].contains(&call.operation.as_str()))
        .map(|call| (call.operation, call.at))
        .collect();
    let order: Vec<&str> = calls.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(
        order,
        [
            "PutParameter",
            "CreateInvalidation",
            "PutParameter",
            "CreateInvalidation"
        ]
    );
    for pair in calls.chunks(2) {
        assert!((pair[1].1 - pair[0].1).num_seconds() >= 45, "{calls:?}");
    }
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn retrying_an_undone_promotion_sends_a_new_invalidation() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    let id = app.promote("1.1.0").await;
    app.finish_as(&id, "failed").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    let before = app.invalidations().len();

    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
    assert_eq!(app.invalidations().len(), before + 1);
    app.assert_one_invalidation_per_step();
    assert_eq!(job["round"], 2);
    assert_eq!(job["error"], Value::Null);

    app.register("1.2.0").await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    let failed = app.promote("1.2.0").await;
    app.finish_as(&failed, "failed").await;
    app.promote_to_the_end("1.2.0").await;
    app.post(&format!("/v1/jobs/{failed}/retry"), json!({}))
        .await
        .expect_problem(409, "job_superseded");
}

#[tokio::test]
async fn an_undo_leaves_what_somebody_else_wrote_and_says_drift() {
    let app = TestApp::start().await;
    app.set_up(
        web_with(json!({"edge_ttl_seconds": 30, "format": "plain"})),
        &["1.0.0", "1.1.0"],
    )
    .await;
    app.promote_to_the_end("1.0.0").await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["state"] == "waiting").await;
    app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(app.pointer().as_deref(), Some("by hand"));
    assert!(codes(&job).contains(&"pointer_left"), "{job:#}");
    assert_eq!(app.environment().await["drift"][0]["seen"]["found"], "by hand");
}

#[tokio::test]
async fn a_drifted_pointer_is_put_back_by_a_rollback_to_what_is_active() {
    let app = TestApp::start().await;
    app.set_up(plain(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let path = format!("{ENVIRONMENT}/rollbacks");
    app.post(&path, json!({"to": "1.1.0"}))
        .await
        .expect_problem(409, "already_active");
    app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
    let refused = app.promote("1.2.0").await;
    app.finish_as(&refused, "failed").await;
    let mut json_pointer = plain();
    json_pointer["components"][0]["router"]["format"] = json!("json");
    app.put(ENVIRONMENT, json_pointer).await.expect(200);
    let id = app.post(&path, json!({"to": "1.1.0"})).await.expect(202).id();
    app.finish_as(&id, "succeeded").await;
    let pointer: Value = serde_json::from_str(&app.pointer().unwrap()).unwrap();
    assert_eq!(
        (&pointer["active"], &pointer["previous"]),
        (&json!("1.1.0"), &json!("1.0.0"))
    );
    let environment = app.environment().await;
    assert_eq!(
        (&environment["active"], &environment["drift"]),
        (&json!("1.1.0"), &Value::Null)
    );
    assert_eq!(environment["previous"], "1.0.0", "nothing was rolled back from");
}
