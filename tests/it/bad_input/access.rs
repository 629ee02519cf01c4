//! Who may what: tokens and roles.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, header},
};
use greenlight::{domain::role::Role, service::tokens};
use serde_json::{Value, json};

use super::{RELEASES, release, without_workers};
use crate::support::{Answer, ENVIRONMENT, TestApp, web};

const NO_JOB: &str = "/v1/jobs/0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11";

/// Sends a request with this `Authorization`, or with none.
async fn send_as(
    app: &TestApp,
    authorization: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let mut request: Request<Body> = app.request(method, path, body);
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(value) = authorization {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    app.send(request).await
}

#[tokio::test]
async fn without_a_good_token_there_is_nothing_but_a_401() {
    let app = without_workers().await;
    let token = app.token(Role::Admin).await;
    let good = format!("Bearer {token}");
    let (_, rest) = token.split_once('_').unwrap();
    let (id, secret) = rest.split_once('_').unwrap();
    let other = app.token(Role::Admin).await;
    let other_secret = other.rsplit_once('_').unwrap().1;
    let bad = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        token.clone(),
        format!("Basic {token}"),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {token}A"),
        format!("Bearer {token} {token}"),
        format!("Bearer \u{e4}{token}"),
        format!("Bearer glt_{id}_{other_secret}"),
        format!("Bearer glt_00000000000070008000000000000000_{secret}"),
        format!("Bearer glt__{secret}"),
        format!("Bearer {}", "x".repeat(10_000)),
    ];
    for authorization in bad.iter().map(|text| Some(text.as_str())).chain([None]) {
        println!("{authorization:?}");
        let answer = send_as(&app, authorization, Method::GET, "/v1/apps", None).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let problem = answer.expect_problem(401, "unauthenticated");
        let text = problem.to_string();
        assert!(!text.contains(secret) && !text.contains(other_secret), "{text}");
    }
    // The scheme's case does not matter (RFC 9110, section 11.1).
    for authorization in [good, format!("bearer {token}"), format!("BEARER  {token}")] {
        send_as(&app, Some(&authorization), Method::GET, "/v1/apps", None)
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn nobody_learns_of_other_mistakes_without_a_token() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    for (method, path, body) in [
        (Method::GET, "/v1/apps/NO%00NAME", None),
        (Method::GET, "/v1/apps/%ff", None),
        (Method::GET, "/v1/apps?limit=0", None),
        (Method::GET, ENVIRONMENT, None),
        (Method::POST, RELEASES, Some(json!({"x": 1}))),
        (Method::PUT, "/v1/apps/new", Some(json!([]))),
        (Method::DELETE, ENVIRONMENT, None),
        (Method::POST, "/v1/jobs/nonsense/abort", None),
        (Method::POST, "/v1/jobs/nonsense/promote_fully", None),
        (Method::POST, "/v1/jobs/nonsense/callback", Some(json!({"x": 1}))),
        (Method::PUT, "/v1/lock", Some(json!({}))),
        (Method::DELETE, "/v1/lock", None),
    ] {
        let answer = send_as(&app, None, method, path, body.as_ref()).await;
        let problem = answer.expect_problem(401, "unauthenticated");
        assert!(problem.get("errors").is_none(), "{problem}");
    }
    app.get(ENVIRONMENT).await.expect(200);
}

#[tokio::test]
async fn a_token_expires_when_its_time_is_over() {
    let app = without_workers().await;
    let mut tx = app.store.begin().await.unwrap();
    let made = tokens::create(&mut tx, "short", Role::Viewer, Some(3600))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let authorization = format!("Bearer {}", made.token);
    let ask = async || send_as(&app, Some(&authorization), Method::GET, "/v1/apps", None).await;
    ask().await.expect(200);
    app.advance(Duration::from_secs(3000)).await;
    ask().await.expect(200);
    app.advance(Duration::from_secs(601)).await;
    let answer = ask().await;
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let problem = answer.expect_problem(401, "unauthenticated");
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
    // `glt_<id>_<secret>`; the secret itself may have a '_' in it.
    let secret = made.token.splitn(3, '_').nth(2).unwrap();
    assert!(secret.len() > 40 && !problem.to_string().contains(secret));
    // One without an end goes on.
    app.get("/v1/apps").await.expect(200);
}

#[tokio::test]
async fn each_role_may_what_it_is_for_and_no_more() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let calls: Vec<(Role, Method, String, Option<Value>)> = vec![
        (Role::Viewer, Method::GET, "/v1/apps".into(), None),
        (Role::Viewer, Method::GET, "/v1/apps/storefront".into(), None),
        (
            Role::Viewer,
            Method::GET,
            "/v1/apps/storefront/environments".into(),
            None,
        ),
        (Role::Viewer, Method::GET, ENVIRONMENT.into(), None),
        (Role::Viewer, Method::GET, format!("{ENVIRONMENT}/deployments"), None),
        (Role::Viewer, Method::GET, RELEASES.into(), None),
        (Role::Viewer, Method::GET, format!("{RELEASES}/1.0.0"), None),
        (Role::Viewer, Method::GET, "/v1/jobs".into(), None),
        (Role::Viewer, Method::GET, NO_JOB.into(), None),
        (Role::Viewer, Method::GET, format!("{NO_JOB}/events"), None),
        (Role::Deployer, Method::POST, RELEASES.into(), Some(release("2.0.0"))),
        (
            Role::Releaser,
            Method::POST,
            format!("{ENVIRONMENT}/promotions"),
            Some(json!({"release": "none"})),
        ),
        (
            Role::Releaser,
            Method::POST,
            format!("{ENVIRONMENT}/rollbacks"),
            Some(json!({})),
        ),
        (
            Role::Deployer,
            Method::POST,
            format!("{ENVIRONMENT}/previews"),
            Some(json!({"release": "none", "expires_in_seconds": 60})),
        ),
        (Role::Viewer, Method::GET, "/v1/lock".into(), None),
        // Which role decides at a gate is the environment's policy, and only a job has one.
        (Role::Viewer, Method::POST, format!("{NO_JOB}/approve"), None),
        (Role::Viewer, Method::POST, format!("{NO_JOB}/reject"), None),
        (Role::Releaser, Method::POST, format!("{NO_JOB}/pause"), None),
        (Role::Releaser, Method::POST, format!("{NO_JOB}/resume"), None),
        (
            Role::Releaser,
            Method::POST,
            format!("{NO_JOB}/promote_fully"),
            Some(json!({"reason": "x"})),
        ),
        (
            Role::Releaser,
            Method::PUT,
            format!("{ENVIRONMENT}/lock"),
            Some(json!({"reason": "x"})),
        ),
        (Role::Releaser, Method::DELETE, format!("{ENVIRONMENT}/lock"), None),
        (
            Role::Releaser,
            Method::PUT,
            "/v1/lock".into(),
            Some(json!({"reason": "x"})),
        ),
        (Role::Releaser, Method::DELETE, "/v1/lock".into(), None),
        (
            Role::Releaser,
            Method::PUT,
            format!("{RELEASES}/1.0.0/block"),
            Some(json!({"reason": "x"})),
        ),
        (Role::Releaser, Method::DELETE, format!("{RELEASES}/1.0.0/block"), None),
        (
            Role::Releaser,
            Method::POST,
            format!("{ENVIRONMENT}/invalidations"),
            Some(json!({"paths": ["/*"]})),
        ),
        (
            Role::Admin,
            Method::POST,
            format!("{ENVIRONMENT}/promotions"),
            Some(json!({"release": "1.0.0", "break_glass": {"reason": "x"}, "dry_run": true})),
        ),
        (Role::Releaser, Method::POST, format!("{NO_JOB}/abort"), None),
        (Role::Releaser, Method::POST, format!("{NO_JOB}/retry"), None),
        (Role::Admin, Method::PUT, "/v1/apps/other".into(), Some(json!({}))),
        (Role::Admin, Method::DELETE, "/v1/apps/other".into(), None),
        (Role::Admin, Method::PUT, ENVIRONMENT.into(), Some(web())),
        (
            Role::Admin,
            Method::DELETE,
            "/v1/apps/storefront/environments/other".into(),
            None,
        ),
    ];
    for role in Role::ALL {
        let authorization = format!("Bearer {}", app.token(role).await);
        for (needed, method, path, body) in &calls {
            println!("{role}: {method} {path}");
            let answer = send_as(&app, Some(&authorization), method.clone(), path, body.as_ref()).await;
            if role < *needed {
                let problem = answer.expect_problem(403, "forbidden");
                // A road that several roles may take hears of the first one it lacks.
                let at_least = if path.ends_with("/promotions") && role < Role::Releaser {
                    Role::Releaser
                } else {
                    *needed
                };
                assert_eq!(problem["required_role"], at_least.as_str());
            } else {
                assert!(
                    answer.status.as_u16() != 403 && answer.status.as_u16() != 401,
                    "{answer:?}"
                );
                assert!(!answer.status.is_server_error(), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_call_changes_nothing() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let viewer = format!("Bearer {}", app.token(Role::Viewer).await);
    for (method, path, body) in [
        (Method::DELETE, ENVIRONMENT.to_owned(), None),
        (Method::POST, RELEASES.to_owned(), Some(release("2.0.0"))),
        (
            Method::POST,
            format!("{ENVIRONMENT}/promotions"),
            Some(json!({"release": "1.0.0"})),
        ),
        (Method::PUT, "/v1/apps/other".to_owned(), Some(json!({}))),
        (Method::PUT, "/v1/lock".to_owned(), Some(json!({"reason": "x"}))),
        (Method::PUT, format!("{ENVIRONMENT}/lock"), Some(json!({"reason": "x"}))),
        (
            Method::PUT,
            format!("{RELEASES}/1.0.0/block"),
            Some(json!({"reason": "x"})),
        ),
        (
            Method::POST,
            format!("{ENVIRONMENT}/invalidations"),
            Some(json!({"paths": ["/*"]})),
        ),
    ] {
        let answer = send_as(&app, Some(&viewer), method, &path, body.as_ref()).await;
        answer.expect_problem(403, "forbidden");
    }
    assert_eq!(app.environment().await["lock"], Value::Null);
    let release = app.get(&format!("{RELEASES}/1.0.0")).await.expect(200).json();
    assert_eq!(release["block"], Value::Null);
    app.get("/v1/apps/other").await.expect_problem(404, "not_found");
    app.get(&format!("{RELEASES}/2.0.0"))
        .await
        .expect_problem(404, "not_found");
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
}
