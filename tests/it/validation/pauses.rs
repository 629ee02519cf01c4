//! Pause, resume, and going on without the remaining bakes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    canary::{five_and_fifty, shared, with},
    site::Site,
};
use crate::support::{ENVIRONMENT, TestApp};

/// Promotes 1.1.0 up to the bake of a share.
pub async fn baking(app: &TestApp, weight: u32) -> String {
    let id = app.promote("1.1.0").await;
    app.timers_until(&id, |job| {
        job["weight"] == weight && job["waiting_for"] == "timer" && is_baking(job)
    })
    .await;
    id
}

fn is_baking(job: &Value) -> bool {
    let steps = job["steps"].as_array().unwrap();
    steps
        .iter()
        .any(|step| step["kind"] == "bake" && step["state"] == "waiting")
}

#[tokio::test]
async fn a_paused_bake_stays_open_and_its_checks_go_on() {
    let site = Site::start().await;
    let mut document = shared(five_and_fifty());
    document["checks"] = json!([{"name": "errors", "when": "during_bake", "kind": "http",
                                 "url": format!("{}/errors", site.url), "interval_seconds": 60}]);
    let app = with(document).await;
    let id = baking(&app, 5).await;
    app.post(&format!("/v1/jobs/{id}/pause"), json!({"reason": "looking"}))
        .await
        .expect(202);
    let job = app.job_until(&id, |job| job["waiting_for"] == "pause").await;
    assert_eq!(
        (&job["paused"]["by"], &job["paused"]["reason"]),
        (&json!("admin"), &json!("looking"))
    );
    // Far beyond the bake's 300 s.
    for _ in 0..10 {
        let asked = site.sent_to("/errors").len();
        app.advance(Duration::from_secs(60)).await;
        app.job_until(&id, |_| site.sent_to("/errors").len() > asked).await;
        // Its answer is stored, with the time of the next.
        app.rest().await;
    }
    app.job_until(&id, |job| job["waiting_for"] == "pause").await;
    assert_eq!(app.job(&id).await["weight"], 5);
    assert!(site.sent_to("/errors").len() >= 10, "{}", site.sent_to("/errors").len());
    app.post(&format!("/v1/jobs/{id}/resume"), json!({})).await.expect(202);
    app.job_until(&id, |job| job["weight"] == 50).await;
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_check_that_fails_under_a_pause_takes_everyone_back() {
    let site = Site::start().await;
    let mut document = shared(five_and_fifty());
    document["checks"] = json!([{"name": "errors", "when": "during_bake", "kind": "http",
                                 "url": format!("{}/errors", site.url), "interval_seconds": 60}]);
    let app = with(document).await;
    let id = baking(&app, 5).await;
    app.post(&format!("/v1/jobs/{id}/pause"), json!({})).await.expect(202);
    app.job_until(&id, |job| job["waiting_for"] == "pause").await;
    site.answer("/errors", 500, "");
    app.advance(Duration::from_secs(60)).await;
    app.finish_as(&id, "failed").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_pause_never_leaves_a_flip_half_done() {
    let mut document = shared(json!({"kind": "all_at_once"}));
    document["components"][0]["edge"] = json!({"mode": "origin"});
    document["components"][0]["cdn"]["invalidate"] = json!({"mode": "paths"});
    let app = with(document).await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["steps"][1]["state"] == "succeeded").await;
    app.post(&format!("/v1/jobs/{id}/pause"), json!({})).await.expect(202);
    // The edge's time and the invalidation follow; the last word does not.
    let job = app
        .timers_until(&id, |job| {
            job["steps"][3]["state"] == "succeeded" && job["waiting_for"] == "pause"
        })
        .await;
    assert_eq!(job["steps"][4]["state"], "pending", "{job:#}");
    assert!(job["traffic_shifted_at"].is_string(), "everyone is there: {job:#}");
    app.post(&format!("/v1/jobs/{id}/resume"), json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn going_on_fully_skips_bakes_and_shares_but_no_gate_and_no_check() {
    let site = Site::start().await;
    let mut document = shared(json!({"kind": "canary", "steps": [
        {"weight": 5, "bake_seconds": 300}, {"weight": 50, "bake_seconds": 600}, {"weight": 100, "bake_seconds": 900}]}));
    document["checks"] = json!([
        {"name": "errors", "when": "during_bake", "kind": "http", "url": format!("{}/errors", site.url)},
        {"name": "smoke", "when": "after_traffic", "kind": "http", "url": format!("{}/smoke", site.url)}]);
    let app = with(document).await;
    let id = baking(&app, 5).await;
    app.post(&format!("/v1/jobs/{id}/promote_fully"), json!({}))
        .await
        .expect(422);
    let path = format!("/v1/jobs/{id}/promote_fully");
    app.post(&path, json!({"reason": "seen good at 5 %"})).await.expect(202);
    // Only the edge's TTL is waited for.
    let job = app.finish_as(&id, "succeeded").await;
    let state = |kind: &str, stage: &str| {
        let steps = job["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["kind"] == kind && step["stage"] == stage);
        step.unwrap_or_else(|| panic!("{kind} {stage}: {job:#}"))["state"].clone()
    };
    assert_eq!(state("bake", "weight-5"), "skipped");
    assert_eq!(state("flip", "weight-50:web"), "skipped");
    assert_eq!(state("bake", "after_traffic"), "skipped");
    assert_eq!(state("flip", "traffic:web"), "succeeded");
    assert_eq!(site.sent_to("/smoke").len(), 1);
    assert_eq!(job["promoted_fully"]["reason"], "seen good at 5 %");
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
    let ended = app.post(&path, json!({"reason": "again"})).await.expect(409).json();
    assert_eq!(ended["code"], "not_promotable");
}

#[tokio::test]
async fn only_a_promotion_on_its_way_can_be_paused() {
    let app = with(shared(five_and_fifty())).await;
    let id = baking(&app, 5).await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    for (job, call) in [(&queued, "pause"), (&queued, "resume")] {
        let refused = app
            .post(&format!("/v1/jobs/{job}/{call}"), json!({}))
            .await
            .expect(409)
            .json();
        assert_eq!(refused["code"], "not_pausable");
    }
    let back = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), json!({}))
        .await
        .expect(202)
        .id();
    app.post(&format!("/v1/jobs/{back}/pause"), json!({})).await.expect(409);
    app.finish_as(&back, "succeeded").await;
    app.post(&format!("/v1/jobs/{id}/pause"), json!({})).await.expect(409);
}

#[tokio::test]
async fn going_on_fully_from_the_very_start_is_a_promotion_step_by_step() {
    let mut document = shared(five_and_fifty());
    document["strategy"]["steps"]
        .as_array_mut()
        .unwrap()
        .push(json!({"weight": 100, "bake_seconds": 900}));
    let mut app = with(document).await;
    // Nobody works until it has been said.
    app.kill_worker(0).await;
    let id = app.promote("1.1.0").await;
    let path = format!("/v1/jobs/{id}/promote_fully");
    app.post(&path, json!({"reason": "hotfix"})).await.expect(202);
    app.start_worker();
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.1.0"), "{job:#}");
    assert!(job["traffic_shifted_at"].as_str().unwrap() <= job["settled_at"].as_str().unwrap());
    let ended = |kind: &str| {
        let steps = job["steps"].as_array().unwrap();
        let mut those = steps
            .iter()
            .filter(|step| step["kind"] == kind && step["state"] == "succeeded");
        let step = those.next().unwrap_or_else(|| panic!("{kind}: {job:#}"));
        (
            step["started_at"].as_str().unwrap().to_owned(),
            step["finished_at"].as_str().unwrap().to_owned(),
        )
    };
    assert!(ended("preflight").1 <= ended("flip").0, "{job:#}");
    assert!(ended("flip").1 <= ended("settle").0, "{job:#}");
}
