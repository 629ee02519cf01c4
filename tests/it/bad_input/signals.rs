//! Signals to jobs: decisions at gates, pauses, going on fully; and what may be waited for.

use std::time::Duration;

use greenlight::domain::role::Role;
use serde_json::{Value, json};

use super::{fields, shared, with, without_workers};
use crate::support::{Answer, ENVIRONMENT, TestApp, web};

/// Sends a signal with a token of this role.
async fn signal_as(app: &TestApp, role: Role, id: &str, signal: &str, body: Value) -> Answer {
    let mut request = app.request(
        axum::http::Method::POST,
        &format!("/v1/jobs/{id}/{signal}"),
        Some(&body),
    );
    let token = format!("Bearer {}", app.token(role).await);
    request.headers_mut().insert("authorization", token.parse().unwrap());
    app.send(request).await
}

async fn signal(app: &TestApp, id: &str, signal: &str, body: Value) -> Answer {
    app.post(&format!("/v1/jobs/{id}/{signal}"), body).await
}

/// A promotion that waits at the gate before traffic, which wants this much.
async fn at_the_gate(policy: Value) -> (TestApp, String) {
    let app = TestApp::start().await;
    let policy = with(&json!({"before_traffic": true}), &policy);
    app.set_up(with(&web(), &json!({"approvals": policy})), &["1.0.0", "1.1.0"])
        .await;
    let id = app.promote("1.0.0").await;
    app.job_until(&id, |job| job["waiting_for"] == "approval").await;
    (app, id)
}

#[tokio::test]
async fn a_signal_that_is_wrong_names_its_field() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let long = "ä".repeat(1001);
    for (name, body, field) in [
        ("approve", json!({"comment": long}), "comment"),
        ("approve", json!({"comment": 1}), "comment"),
        ("approve", json!({"step": "x"}), "step"),
        ("approve", json!({"step": 2_147_483_648_u64}), "step"),
        ("approve", json!({"step": 1.5}), "step"),
        ("approve", json!({"reason": "x"}), "reason"),
        ("reject", json!({"comment": long}), "comment"),
        ("reject", json!({"position": 1}), "position"),
        ("pause", json!({"reason": long}), "reason"),
        ("pause", json!({"reason": []}), "reason"),
        ("pause", json!({"comment": "x"}), "comment"),
        ("resume", json!({"reason": long}), "reason"),
        ("resume", json!({"comment": "x"}), "comment"),
        ("promote_fully", json!({}), "reason"),
        ("promote_fully", json!({"reason": " "}), "reason"),
        ("promote_fully", json!({"reason": long}), "reason"),
        ("promote_fully", json!({"reason": "x", "weight": 50}), "weight"),
    ] {
        println!("{name} {field}");
        let problem = signal(&app, &id, name, body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{problem}");
    }
    let job = app.job(&id).await;
    assert_eq!((&job["paused"], &job["promoted_fully"]), (&Value::Null, &Value::Null));
}

/// What each signal says to a job that it means nothing to.
const REFUSED: [(&str, &str); 5] = [
    ("approve", "nothing_to_approve"),
    ("reject", "nothing_to_approve"),
    ("pause", "not_pausable"),
    ("resume", "not_pausable"),
    ("promote_fully", "not_promotable"),
];

async fn assert_signals_refused(app: &TestApp, id: &str) {
    for (name, code) in REFUSED {
        let body = if name == "promote_fully" {
            json!({"reason": "x"})
        } else {
            json!({})
        };
        println!("{name}");
        signal(app, id, name, body).await.expect_problem(409, code);
    }
}

#[tokio::test]
async fn jobs_that_have_not_begun_that_have_ended_and_rollbacks_take_no_signal() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = app.promote("1.0.0").await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    assert_signals_refused(&app, &queued).await;
    let back = app.roll_back().await;
    assert_signals_refused(&app, &back).await;
    // Aborted by the rollback.
    assert_signals_refused(&app, &first).await;
    app.start_worker();
    app.finish_as(&back, "succeeded").await;
    assert_signals_refused(&app, &back).await;
    let done = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    assert_signals_refused(&app, &done).await;
}

#[tokio::test]
async fn a_gate_is_decided_by_those_who_may_and_by_nobody_else() {
    let (app, id) = at_the_gate(json!({"role": "releaser", "required": 2})).await;
    // The one who started it.
    signal(&app, &id, "approve", json!({}))
        .await
        .expect_problem(403, "own_approval");
    for role in [Role::Viewer, Role::Deployer] {
        for decision in ["approve", "reject"] {
            let answer = signal_as(&app, role, &id, decision, json!({})).await;
            assert_eq!(answer.expect_problem(403, "forbidden")["required_role"], "releaser");
        }
    }
    let job = app.job(&id).await;
    let gate = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["kind"] == "approval")
        .unwrap();
    let position = gate["position"].as_i64().unwrap();
    for wrong in [0, -1, position + 1, 1] {
        let answer = signal_as(&app, Role::Releaser, &id, "approve", json!({"step": wrong})).await;
        answer.expect_problem(409, "nothing_to_approve");
    }
    // Nobody counts twice: tokens of one name are one person.
    for _ in 0..2 {
        signal_as(&app, Role::Releaser, &id, "approve", json!({"step": position}))
            .await
            .expect(202);
    }
    let job = app
        .job_until(&id, |job| {
            job["waiting_reason"].as_str().unwrap_or("").contains("1 of 2")
        })
        .await;
    assert_eq!(job["state"], "waiting", "{job:#}");
    assert_eq!(app.pointer(), None, "nobody is on the release yet");
    signal(&app, &id, "reject", json!({"comment": "ä".repeat(1000)}))
        .await
        .expect(202);
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(job["error"]["code"], "approval_rejected");
    signal_as(&app, Role::Releaser, &id, "approve", json!({}))
        .await
        .expect_problem(409, "nothing_to_approve");
}

#[tokio::test]
async fn a_gate_for_admins_takes_no_releaser() {
    let (app, id) = at_the_gate(json!({"role": "admin"})).await;
    let answer = signal_as(&app, Role::Releaser, &id, "approve", json!({})).await;
    assert_eq!(answer.expect_problem(403, "forbidden")["required_role"], "admin");
}

#[tokio::test]
async fn a_gate_that_nobody_decides_on_aborts_the_promotion() {
    let (app, id) = at_the_gate(json!({"expires_after_seconds": 60})).await;
    app.advance(Duration::from_secs(61)).await;
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(job["error"]["code"], "approval_expired", "{job:#}");
    assert_eq!(app.pointer(), None);
    assert_signals_refused(&app, &id).await;
}

#[tokio::test]
async fn a_signal_sent_twice_is_one() {
    let app = TestApp::start().await;
    let strategy = json!({"kind": "all_at_once", "bake_seconds": 600});
    app.set_up(with(&shared(), &json!({"strategy": strategy})), &["1.0.0"])
        .await;
    let id = app.promote("1.0.0").await;
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    for (name, body, member) in [
        ("pause", json!({"reason": "one"}), "paused"),
        ("promote_fully", json!({"reason": "one"}), "promoted_fully"),
    ] {
        signal(&app, &id, name, body).await.expect(202);
        let first = app.job(&id).await[member].clone();
        assert_eq!(first["reason"], "one");
        signal(&app, &id, name, json!({"reason": "two"})).await.expect(202);
        assert_eq!(app.job(&id).await[member], first);
    }
    for _ in 0..2 {
        signal(&app, &id, "resume", json!({})).await.expect(202);
    }
    app.finish_as(&id, "succeeded").await;
    let kinds = app.event_kinds(&id).await;
    for kind in ["job.paused", "job.promoted_fully", "job.resumed"] {
        assert_eq!(
            kinds.iter().filter(|told| *told == kind).count(),
            1,
            "{kind}: {kinds:?}"
        );
    }
}

#[tokio::test]
async fn what_can_not_be_waited_for_is_named() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    for until in ["", "shifted", "Settled", "traffic-shifted", "settled,ended", "%00", "1"] {
        let path = format!("/v1/jobs/{id}?wait=1&until={until}");
        let problem = app.get(&path).await.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["until"], "{until}");
    }
    let twice = format!("/v1/jobs/{id}?until=settled&until=ended");
    let problem = app.get(&twice).await.expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["until"]);
    for until in ["traffic_shifted", "settled", "ended"] {
        let job = app
            .get(&format!("/v1/jobs/{id}?until={until}"))
            .await
            .expect(200)
            .json();
        assert_eq!(job["state"], "running", "without `wait` nobody waits");
    }
    app.get(ENVIRONMENT).await.expect(200);
}
