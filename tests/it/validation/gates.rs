//! Gates: who may approve, who may not, and what happens when nobody does.

use std::time::Duration;

use axum::http::{Method, header};
use greenlight::domain::role::Role;
use serde_json::{Value, json};

use super::canary::{shared, with};
use crate::support::{Answer, ENVIRONMENT, TestApp};

fn gated(policy: Value) -> Value {
    let mut document =
        shared(json!({"kind": "canary", "steps": [{"weight": 10, "bake_seconds": 60, "approval": true}]}));
    document["approvals"] = policy;
    document
}

/// Sends a decision with this token.
async fn decide(app: &TestApp, token: &str, id: &str, call: &str, body: Value) -> Answer {
    let mut request = app.request(Method::POST, &format!("/v1/jobs/{id}/{call}"), Some(&body));
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, value);
    app.send(request).await
}

async fn at_the_gate(app: &TestApp) -> String {
    let id = app.promote("1.1.0").await;
    app.timers_until(&id, |job| job["waiting_for"] == "approval").await;
    id
}

#[tokio::test]
async fn a_gate_needs_as_many_people_as_the_policy_says_and_never_the_one_who_started_it() {
    let app = with(gated(json!({"required": 2}))).await;
    let [alice, bob, viewer] = [
        app.token_named("alice", Role::Releaser).await,
        app.token_named("bob", Role::Admin).await,
        app.token_named("carol", Role::Viewer).await,
    ];
    let id = at_the_gate(&app).await;
    let job = app.job(&id).await;
    assert!(job["waiting_reason"].as_str().unwrap().contains("0 of 2"), "{job:#}");
    let own = app
        .post(&format!("/v1/jobs/{id}/approve"), json!({}))
        .await
        .expect(403)
        .json();
    assert_eq!(own["code"], "own_approval");
    let weak = decide(&app, &viewer, &id, "approve", json!({}))
        .await
        .expect(403)
        .json();
    assert_eq!(
        (&weak["code"], &weak["required_role"]),
        (&json!("forbidden"), &json!("releaser"))
    );
    for _ in 0..2 {
        decide(&app, &alice, &id, "approve", json!({"comment": "looks good"}))
            .await
            .expect(202);
    }
    app.job_until(&id, |job| {
        job["waiting_reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("1 of 2"))
    })
    .await;
    let wrong = decide(&app, &bob, &id, "approve", json!({"step": 1}))
        .await
        .expect(409)
        .json();
    assert_eq!(wrong["code"], "nothing_to_approve");
    decide(&app, &bob, &id, "approve", json!({})).await.expect(202);
    let job = app.finish_as(&id, "succeeded").await;
    let gate = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["kind"] == "approval")
        .unwrap();
    let by: Vec<&Value> = gate["output"]["approvals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["by"])
        .collect();
    assert_eq!(by, ["alice", "bob"]);
    assert_eq!(gate["output"]["approvals"][0]["comment"], "looks good");
    let late = decide(&app, &bob, &id, "approve", json!({})).await.expect(409).json();
    assert_eq!(late["code"], "nothing_to_approve");
}

#[tokio::test]
async fn a_rejection_takes_everyone_back_with_its_comment() {
    let app = with(gated(json!({}))).await;
    let alice = app.token_named("alice", Role::Releaser).await;
    let id = at_the_gate(&app).await;
    decide(&app, &alice, &id, "reject", json!({"comment": "checkout is slower"}))
        .await
        .expect(202);
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(job["error"]["code"], "approval_rejected");
    assert!(
        job["error"]["message"].as_str().unwrap().contains("alice rejected"),
        "{job:#}"
    );
    assert!(job["error"]["message"].as_str().unwrap().contains("checkout is slower"));
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_gate_that_nobody_opens_aborts_the_job_when_it_expires() {
    let app = with(gated(json!({"expires_after_seconds": 3600}))).await;
    let id = at_the_gate(&app).await;
    app.advance(Duration::from_secs(3400)).await;
    assert_eq!(app.job(&id).await["waiting_for"], "approval");
    app.advance(Duration::from_secs(200)).await;
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(job["error"]["code"], "approval_expired", "{job:#}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_gate_before_traffic_is_before_any_flip() {
    let mut document = shared(json!({"kind": "all_at_once"}));
    document["approvals"] = json!({"before_traffic": true, "role": "admin"});
    let app = with(document).await;
    let before = app.pointer();
    let [alice, bob] = [
        app.token_named("alice", Role::Releaser).await,
        app.token_named("bob", Role::Admin).await,
    ];
    let id = at_the_gate(&app).await;
    assert_eq!(app.pointer(), before);
    decide(&app, &alice, &id, "approve", json!({})).await.expect(403);
    decide(&app, &bob, &id, "approve", json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_rollback_needs_no_approval() {
    let app = with(gated(json!({"before_traffic": true}))).await;
    let id = at_the_gate(&app).await;
    let back = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), json!({}))
        .await
        .expect(202)
        .id();
    app.finish_as(&back, "succeeded").await;
    assert_eq!(app.job(&id).await["state"], "aborted");
}
