//! A job's JSON in each state, and waiting for its end.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use super::{names, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web, web_with};

const JOB: [&str; 29] = [
    "id",
    "kind",
    "app",
    "environment",
    "release",
    "from_release",
    "state",
    "progress",
    "created_at",
    "started_at",
    "traffic_shifted_at",
    "settled_at",
    "finished_at",
    "created_by",
    "reason",
    "error",
    "warnings",
    "steps",
    // Beyond the design's example, and documented.
    "waiting_for",
    "waiting_reason",
    "waiting_until",
    "round",
    "superseded_by",
    "converged_at",
    "converged_after_seconds",
    "weight",
    "paused",
    "promoted_fully",
    "break_glass",
];
const STEP: [&str; 16] = [
    "position",
    "stage",
    "kind",
    "component",
    "state",
    "attempts",
    "started_at",
    "finished_at",
    "output",
    "error",
    // Beyond the design's example, and documented.
    "does",
    "direction",
    "round",
    "token",
    "waiting_for",
    "wake_at",
];

/// Sees that a job has its fields, each with a value that fits its state.
#[track_caller]
fn assert_job(job: &Value, state: &str) {
    assert_eq!(job["state"], state, "{job:#}");
    assert_eq!(names(job), BTreeSet::from(JOB), "{job:#}");
    assert_eq!(names(&job["progress"]), BTreeSet::from(["done", "total"]));
    assert!(
        job["progress"]["done"].as_u64() <= job["progress"]["total"].as_u64(),
        "{job:#}"
    );
    for step in job["steps"].as_array().unwrap() {
        assert_eq!(names(step), BTreeSet::from(STEP), "{step:#}");
        assert!(step["output"].is_object(), "{step:#}");
    }
    let is_end = ["succeeded", "failed", "aborted"].contains(&state);
    assert_eq!(job["finished_at"].is_string(), is_end || state == "stuck", "{job:#}");
    assert_eq!(job["settled_at"].is_string(), state == "succeeded", "{job:#}");
    assert_eq!(
        job["waiting_for"].is_string(),
        ["queued", "waiting"].contains(&state),
        "{job:#}"
    );
    if ["failed", "stuck"].contains(&state) {
        for field in ["code", "message"] {
            assert!(job["error"][field].is_string(), "{job:#}");
        }
        let known = BTreeSet::from(["code", "message", "step", "hint", "evidence"]);
        assert!(names(&job["error"]).is_subset(&known), "{job:#}");
    }
    for field in [
        "created_at",
        "converged_at",
        "started_at",
        "traffic_shifted_at",
        "settled_at",
        "finished_at",
        "waiting_until",
    ] {
        if let Some(time) = job[field].as_str() {
            assert!(
                time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(),
                "{field}: {time}"
            );
        }
    }
}

#[tokio::test]
async fn a_job_shows_the_same_fields_in_every_state() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    let first = app.promote_with(json!({"release": "1.0.0", "reason": "weekly"})).await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    let waiting = app.job_until(&first, |job| job["state"] == "waiting").await;
    assert_job(&waiting, "waiting");
    assert_eq!(
        (&waiting["waiting_for"], &waiting["reason"]),
        (&json!("timer"), &json!("weekly"))
    );
    let job = app.job(&queued).await;
    assert_job(&job, "queued");
    assert_eq!(job["waiting_for"], "environment");
    assert_eq!(job["steps"], json!([]));
    assert_eq!(job["progress"], json!({"done": 0, "total": 0}));
    let settled = app.finish_as(&first, "succeeded").await;
    assert_job(&settled, "succeeded");
    assert_eq!(settled["error"], Value::Null);
    app.job_until(&queued, |job| job["state"] == "waiting").await;
    app.post(&format!("/v1/jobs/{queued}/abort"), json!({}))
        .await
        .expect(202);
    let unwinding = app.job_until(&queued, |job| job["state"] != "waiting").await;
    if unwinding["state"] == "unwinding" {
        assert_job_unwinding(&unwinding);
    }
    assert_job(&app.finish_as(&queued, "aborted").await, "aborted");

    app.double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::AccessDenied).once());
    let failed = app.promote("1.2.0").await;
    assert_job(&app.finish_as(&failed, "failed").await, "failed");
    // The list shows the same as the job itself.
    let listed = app.get("/v1/jobs").await.expect(200).json();
    for job in listed["items"].as_array().unwrap() {
        assert_eq!(*job, app.job(job["id"].as_str().unwrap()).await);
    }
}

#[track_caller]
fn assert_job_unwinding(job: &Value) {
    assert_eq!(names(job), BTreeSet::from(JOB), "{job:#}");
    assert_eq!(job["finished_at"], Value::Null);
    assert!(
        job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["direction"] == "undo"),
        "{job:#}"
    );
}

#[tokio::test]
async fn a_running_and_a_stuck_job_show_where_they_are() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let id = app.promote("1.0.0").await;
    let running = app.job(&id).await;
    assert_job(&running, "running");
    assert_eq!(running["progress"], json!({"done": 0, "total": 4}));
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    let second = app.promote_to_the_end("1.1.0").await;
    assert_eq!(second["progress"], json!({"done": 4, "total": 4}));
    app.double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::AccessDenied));
    let back = app.roll_back().await;
    let stuck = app.finish_as(&back, "stuck").await;
    assert_job(&stuck, "stuck");
    assert!(stuck["error"]["hint"].is_string(), "{stuck:#}");
    assert_eq!(app.environment().await["current_job"], back.as_str());
}

#[tokio::test]
async fn a_superseded_job_names_its_successor() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = app.promote("1.0.0").await;
    let second = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "supersede"}))
        .await;
    let job = app.job(&first).await;
    assert_job(&job, "aborted");
    assert_eq!(job["superseded_by"], second.as_str());
    assert_eq!(app.job(&second).await["superseded_by"], Value::Null);
}

#[tokio::test]
async fn wait_answers_as_soon_as_the_job_ends() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let slow = FaultAction::Delay(Duration::from_millis(400));
    app.double.faults().add(Fault::on("PutParameter", slow).once());
    let started = Instant::now();
    let id = app.promote("1.0.0").await;
    let job = app.get(&format!("/v1/jobs/{id}?wait=30")).await.expect(200).json();
    assert_job(&job, "succeeded");
    let took = started.elapsed();
    // Well before the slow poll would have looked.
    assert!((400..2800).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn wait_hears_of_a_signal() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote("1.0.0").await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    let path = format!("/v1/jobs/{queued}");
    let started = Instant::now();
    let abort = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.post(&format!("{path}/abort"), json!({})).await.expect(202);
    };
    let waited = format!("{path}?wait=30");
    let (answer, ()) = tokio::join!(app.get(&waited), abort);
    assert_job(&answer.expect(200).json(), "aborted");
    assert!(
        started.elapsed() < Duration::from_millis(2800),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn wait_answers_at_once_when_the_job_has_ended() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    let started = Instant::now();
    let job = app.get(&format!("/v1/jobs/{id}?wait=60")).await.expect(200).json();
    assert_job(&job, "succeeded");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn wait_answers_after_its_time_with_what_the_job_is_then() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    for (wait, least, most) in [(1, 1000, 5000), (0, 0, 900)] {
        let started = Instant::now();
        let job = app.get(&format!("/v1/jobs/{id}?wait={wait}")).await.expect(200).json();
        assert_job(&job, "running");
        let took = started.elapsed().as_millis();
        assert!((least..most).contains(&took), "wait={wait} took {took} ms");
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_starts_nothing() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let body = json!({"release": "1.0.0", "dry_run": true});
    let answer = app.post(&format!("{ENVIRONMENT}/promotions"), body).await.expect(200);
    assert_eq!(answer.header("location"), None);
    let plan = answer.json();
    assert_eq!(
        names(&plan),
        BTreeSet::from([
            "dry_run",
            "release",
            "from_release",
            "strategy",
            "takes_at_least_seconds",
            "shares",
            "steps"
        ])
    );
    // One cache for everyone: no share.
    assert_eq!(
        plan["shares"],
        json!([{"component": "web", "max_weight": 0, "sticky": false, "takes_seconds": 0}])
    );
    assert_eq!(plan["strategy"], json!({"kind": "all_at_once"}));
    assert_eq!(plan["takes_at_least_seconds"], 0);
    let kinds: Vec<&str> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
    assert!(app.double.calls().is_empty());
    let job = app.promote_to_the_end("1.0.0").await;
    let done: Vec<&str> = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, done);
}
