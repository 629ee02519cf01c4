//! Callbacks: whoever has no token of the call learns nothing, and what comes too late is told so.

use axum::http::Method;
use greenlight::{
    domain::{callback, role::Role},
    store::callbacks,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{fields, with, without_workers};
use crate::support::{Answer, TestApp, web};

/// The position of the hook in the plan: after the preflight.
const HOOK: i32 = 2;

/// A promotion with a hook that was called, and the token that it was called with; nobody works on it.
async fn called() -> (TestApp, String, String) {
    let app = without_workers().await;
    let hook = json!({"name": "warm", "when": "before_traffic", "url": "https://ci.example.com/"});
    app.set_up(with(&web(), &json!({"hooks": [hook]})), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let (token, hash) = callback::token(HOOK, 1, [7; 32]);
    let job = Uuid::parse_str(&id).unwrap();
    let mut tx = app.store.begin().await.unwrap();
    callbacks::expect(&mut tx, job, HOOK, 1, &hash).await.unwrap();
    tx.commit().await.unwrap();
    step_is(&app, &id, "waiting").await;
    (app, id, token)
}

async fn step_is(app: &TestApp, id: &str, state: &str) {
    sqlx::query("UPDATE steps SET state = $3 WHERE job_id = $1 AND position = $2")
        .bind(Uuid::parse_str(id).unwrap())
        .bind(HOOK)
        .bind(state)
        .execute(app.store.pool())
        .await
        .unwrap();
}

async fn call_back(app: &TestApp, id: &str, token: Option<&str>, body: &Value) -> Answer {
    let mut request = app.request(Method::POST, &format!("/v1/jobs/{id}/callback"), Some(body));
    request.headers_mut().remove("authorization");
    if let Some(token) = token {
        let value = axum::http::HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).unwrap();
        request.headers_mut().insert("authorization", value);
    }
    app.send(request).await
}

#[tokio::test]
async fn without_the_calls_own_token_there_is_nothing_but_a_401() {
    let (app, id, token) = called().await;
    let secret = token.rsplit_once('_').map(|(_, secret)| secret.to_owned()).unwrap();
    let pass = json!({"verdict": "pass"});
    let (other, _) = callback::token(HOOK, 1, [8; 32]);
    let bad = [
        String::new(),
        "glc_".into(),
        app.token(Role::Admin).await,
        other,
        format!("glc_1_1_{secret}"),
        format!("glc_{HOOK}_2_{secret}"),
        format!("glc_-1_1_{secret}"),
        format!("glc_99999999999_1_{secret}"),
        format!("glc_{HOOK}_1_"),
        format!("glc_{HOOK}_1_%%%"),
        format!("glc_{HOOK}__{secret}"),
        format!("glt_{HOOK}_1_{secret}"),
        token[..token.len() - 2].to_owned(),
        format!("{token}AA"),
        format!("glc_{HOOK}_1_{}", "x".repeat(10_000)),
        format!("glc_\u{e4}_1_{secret}"),
    ];
    let mut details = std::collections::BTreeSet::new();
    for token in bad.iter().map(|token| Some(token.as_str())).chain([None]) {
        println!("{token:?}");
        let answer = call_back(&app, &id, token, &pass).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let problem = answer.expect_problem(401, "unauthenticated");
        assert!(!problem.to_string().contains(&secret), "{problem}");
        if token.is_some_and(|token| token.starts_with("glc_") && token.is_ascii()) {
            details.insert(problem["detail"].to_string());
        }
    }
    // A job that is not there sounds the same as a token that is wrong.
    let nobody = "0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11";
    let problem = call_back(&app, nobody, Some(&token), &pass)
        .await
        .expect_problem(401, "unauthenticated");
    details.insert(problem["detail"].to_string());
    assert_eq!(details.len(), 1, "{details:?}");
    // And such a token opens nothing else.
    let mut request = app.request(Method::GET, "/v1/apps", None);
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    app.send(request).await.expect_problem(401, "unauthenticated");
    call_back(&app, &id, Some(&token), &pass).await.expect(204);
}

#[tokio::test]
async fn an_answer_that_is_wrong_names_its_field() {
    let (app, id, token) = called().await;
    for (body, field) in [
        (json!({}), "verdict"),
        (json!({"verdict": "PASS"}), "verdict"),
        (json!({"verdict": "ok"}), "verdict"),
        (json!({"verdict": true}), "verdict"),
        (json!({"verdict": null}), "verdict"),
        (json!({"verdict": "pass", "message": "ä".repeat(1001)}), "message"),
        (json!({"verdict": "pass", "message": 142}), "message"),
        (json!({"verdict": "pass", "message": "a\u{0}"}), "message"),
        (json!({"verdict": "pass", "token": token}), "token"),
        (json!([]), ""),
    ] {
        println!("{body}");
        let problem = call_back(&app, &id, Some(&token), &body)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{problem}");
    }
    let body = json!({"verdict": "fail", "message": "ä".repeat(1000)});
    call_back(&app, &id, Some(&token), &body).await.expect(204);
}

#[tokio::test]
async fn a_call_is_answered_once() {
    let (app, id, token) = called().await;
    let answer = |verdict: &str| json!({"verdict": verdict});
    call_back(&app, &id, Some(&token), &answer("pass")).await.expect(204);
    call_back(&app, &id, Some(&token), &answer("pass")).await.expect(204);
    for other in ["fail", "inconclusive"] {
        let problem = call_back(&app, &id, Some(&token), &answer(other)).await;
        let problem = problem.expect_problem(409, "callback_late");
        assert!(problem["detail"].as_str().unwrap().contains("pass"), "{problem}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_late() {
    let (app, id, token) = called().await;
    for state in ["pending", "succeeded", "failed", "skipped", "undone"] {
        step_is(&app, &id, state).await;
        let answer = call_back(&app, &id, Some(&token), &json!({"verdict": "pass"})).await;
        answer.expect_problem(409, "callback_late");
    }
    step_is(&app, &id, "waiting").await;
    call_back(&app, &id, Some(&token), &json!({"verdict": "pass"}))
        .await
        .expect(204);
}
