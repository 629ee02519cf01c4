//! `Idempotency-Key`: a POST that is sent again has its effect once.

use std::{collections::BTreeSet, time::Duration};

use axum::http::{HeaderValue, Method, Request};
use futures::future::join_all;
use greenlight::{
    domain::role::Role,
    sandbox::double::{Fault, FaultAction},
};
use serde_json::{Value, json};

use crate::support::{Answer, ENVIRONMENT, TestApp, TestAppOptions, web, web_with};

const RELEASES: &str = "/v1/apps/storefront/releases";
const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";
const ROLLBACKS: &str = "/v1/apps/storefront/environments/production/rollbacks";
const HOUR: Duration = Duration::from_secs(3600);

async fn without_workers() -> TestApp {
    TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await
}

fn keyed(app: &TestApp, key: &str, path: &str, body: &Value) -> Request<axum::body::Body> {
    let mut request = app.request(Method::POST, path, Some(body));
    let key = HeaderValue::from_bytes(key.as_bytes()).unwrap();
    request.headers_mut().insert("idempotency-key", key);
    request
}

async fn post(app: &TestApp, key: &str, path: &str, body: &Value) -> Answer {
    app.send(keyed(app, key, path, body)).await
}

fn release(version: &str) -> Value {
    json!({"version": version, "artifacts": {"web": {}}})
}

/// How many rows there are that a POST makes: jobs, events, releases, audit entries.
async fn rows(app: &TestApp) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM jobs UNION ALL SELECT count(*) FROM job_events
         UNION ALL SELECT count(*) FROM releases UNION ALL SELECT count(*) FROM audit
         UNION ALL SELECT count(*) FROM steps",
    )
    .fetch_all(app.store.pool())
    .await
    .unwrap()
}

#[track_caller]
fn assert_replay(first: &Answer, again: &Answer) {
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
    assert_eq!(again.status, first.status);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("content-type"), first.header("content-type"));
}

/// Sends it twice, and sees that the second is the first once more, without an effect.
async fn replayed(app: &TestApp, path: &str, body: Value, status: u16) -> Answer {
    let first = post(app, "one-key", path, &body).await.expect(status);
    let before = rows(app).await;
    let again = post(app, "one-key", path, &body).await;
    assert_replay(&first, &again);
    assert_eq!(rows(app).await, before);
    first
}

#[tokio::test]
async fn every_post_is_replayed_without_an_effect() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let registered = replayed(&app, RELEASES, release("1.1.0"), 201).await;
    assert_eq!(
        registered.header("location"),
        Some("/v1/apps/storefront/releases/1.1.0")
    );
    let promoted = replayed(&app, PROMOTIONS, json!({"release": "1.0.0"}), 202).await;
    let location = format!("/v1/jobs/{}", promoted.id());
    assert_eq!(promoted.header("location"), Some(location.as_str()));
    replayed(&app, &format!("{location}/abort"), json!({}), 202).await;
    replayed(&app, ROLLBACKS, json!({}), 202).await;
}

#[tokio::test]
async fn a_retry_is_replayed_and_opens_one_round() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"create_parameter": false})), &["1.0.0"])
        .await;
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "failed").await;
    let path = format!("/v1/jobs/{id}/retry");
    let first = post(&app, "again", &path, &json!({})).await.expect(202);
    assert_eq!(first.json()["round"], 2);
    app.finish_as(&id, "failed").await;
    let again = post(&app, "again", &path, &json!({})).await;
    assert_replay(&first, &again);
    assert_eq!(app.job(&id).await["round"], 2);
    assert_eq!(
        post(&app, "once more", &path, &json!({})).await.status,
        400,
        "a key has no spaces"
    );
    let third = post(&app, "once-more", &path, &json!({})).await.expect(202);
    assert_eq!(third.json()["round"], 3);
}

#[tokio::test]
async fn a_replay_is_the_answer_of_then_and_not_of_now() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let body = json!({"release": "1.0.0"});
    let first = post(&app, "k", PROMOTIONS, &body).await.expect(202);
    app.finish_as(&first.id(), "succeeded").await;
    // Without the key it would be refused by now.
    app.post(PROMOTIONS, body.clone())
        .await
        .expect_problem(409, "already_active");
    let again = post(&app, "k", PROMOTIONS, &body).await;
    assert_replay(&first, &again);
    assert_eq!(again.json()["state"], "running");
}

#[tokio::test]
async fn a_replay_has_the_numbers_of_the_first_answer() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let mut body = release("1.0.0");
    body["metadata"] = json!({"zz": 1e16, "a": 1e300, "f": 0.1});
    let first = post(&app, "k", RELEASES, &body).await.expect(201);
    let again = post(&app, "k", RELEASES, &body).await;
    assert_replay(&first, &again);
}

#[tokio::test]
async fn a_dry_run_and_the_same_again_are_kept_too() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    replayed(
        &app,
        RELEASES,
        json!({"version": "1.0.0", "artifacts": {"web": {}, "api": {}}}),
        200,
    )
    .await;
    replayed(&app, PROMOTIONS, json!({"release": "1.0.0", "dry_run": true}), 200).await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"}))
        .await
        .expect(202);
    let before = rows(&app).await;
    for body in [json!({"release": "1.1.0"}), json!({"release": "1.0.0", "reason": "x"})] {
        post(&app, "k", PROMOTIONS, &body)
            .await
            .expect_problem(422, "idempotency_key_reused");
    }
    assert_eq!(rows(&app).await, before);
    // The first one's answer is still kept.
    let again = post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"})).await;
    assert_replay(&first, &again);
}

#[tokio::test]
async fn a_key_belongs_to_a_route_and_a_token() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    app.put("/v1/apps/other", json!({})).await.expect(201);
    let first = post(&app, "k", RELEASES, &release("2.0.0")).await.expect(201);
    for path in ["/v1/apps/other/releases", PROMOTIONS] {
        let body = if path == PROMOTIONS {
            json!({"release": "1.0.0"})
        } else {
            release("2.0.0")
        };
        let answer = post(&app, "k", path, &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    let other = app.token(Role::Deployer).await;
    for body in [release("2.0.0"), release("3.0.0")] {
        let mut request = keyed(&app, if body == release("2.0.0") { "k" } else { "k2" }, RELEASES, &body);
        let bearer = HeaderValue::from_str(&format!("Bearer {other}")).unwrap();
        request.headers_mut().insert("authorization", bearer);
        let answer = app.send(request).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    // Another's key opens nothing: a viewer with it is still a viewer.
    let viewer = app.token(Role::Viewer).await;
    let mut request = keyed(&app, "k", RELEASES, &release("2.0.0"));
    let bearer = HeaderValue::from_str(&format!("Bearer {viewer}")).unwrap();
    request.headers_mut().insert("authorization", bearer);
    app.send(request).await.expect_problem(403, "forbidden");
    assert_replay(&first, &post(&app, "k", RELEASES, &release("2.0.0")).await);
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"}))
        .await
        .expect_problem(404, "not_found");
    post(&app, "k", PROMOTIONS, &json!({"release": 1}))
        .await
        .expect_problem(422, "validation_failed");
    app.register("1.0.0").await;
    let answer = post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"}))
        .await
        .expect(202);
    assert_eq!(answer.header("idempotency-replayed"), None);
    post(&app, "k2", PROMOTIONS, &json!({"release": "1.0.0"}))
        .await
        .expect_problem(409, "job_in_progress");
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotency_keys")
        .fetch_one(app.store.pool())
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_key_is_the_same_bare_and_quoted() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let first = post(&app, "8e03978e", RELEASES, &release("1.0.0")).await.expect(201);
    for key in ["\"8e03978e\"", " 8e03978e ", "\"8e03978e\" "] {
        assert_replay(&first, &post(&app, key, RELEASES, &release("1.0.0")).await);
    }
    let other = post(&app, "8E03978E", RELEASES, &release("1.0.0")).await.expect(200);
    assert_eq!(other.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn what_is_no_key_is_refused_before_anything_happens() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let long = "k".repeat(256);
    for key in [
        "", " ", "\"\"", "\"", "\"a", "\"a\"b", "a b", "\"a b\"", "\u{e4}", r#""a\b""#, &long,
    ] {
        println!("{key}");
        let answer = post(&app, key, RELEASES, &release("1.0.0")).await;
        answer.expect_problem(400, "idempotency_key_invalid");
    }
    let mut twice = keyed(&app, "a", RELEASES, &release("1.0.0"));
    twice
        .headers_mut()
        .append("idempotency-key", HeaderValue::from_static("b"));
    app.send(twice).await.expect_problem(400, "idempotency_key_invalid");
    app.get(&format!("{RELEASES}/1.0.0"))
        .await
        .expect_problem(404, "not_found");
    post(&app, &"k".repeat(255), RELEASES, &release("1.0.0"))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_at_once_with_one_key_one_has_an_effect() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let body = json!({"release": "1.0.0"});
    for _ in 0..3 {
        let answers = join_all((0..8).map(|_| post(&app, "k", PROMOTIONS, &body))).await;
        let mut ids = BTreeSet::new();
        for answer in answers {
            match answer.status.as_u16() {
                202 => {
                    ids.insert(answer.id());
                }
                409 => {
                    answer.expect_problem(409, "idempotency_key_in_use");
                }
                _ => panic!("{answer:?}"),
            }
        }
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    assert_eq!(rows(&app).await[0], 1);
}

#[tokio::test]
async fn a_key_whose_first_request_is_unfinished_is_in_use() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    // Somebody holds the environment's row, so that the first request has to wait in the use-case.
    let mut tx = app.store.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM environments FOR UPDATE")
        .execute(&mut *tx)
        .await
        .unwrap();
    let body = json!({"release": "1.0.0"});
    let first = app.router();
    let request = keyed(&app, "k", PROMOTIONS, &body);
    let first =
        tokio::spawn(async move { Answer::read(tower::ServiceExt::oneshot(first, request).await.unwrap()).await });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(app.store.pool())
        .await
        .unwrap()
        == 0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    post(&app, "k", PROMOTIONS, &body)
        .await
        .expect_problem(409, "idempotency_key_in_use");
    tx.rollback().await.unwrap();
    let first = first.await.unwrap().expect(202);
    assert_replay(&first, &post(&app, "k", PROMOTIONS, &body).await);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let body = json!({"release": "1.0.0"});
    let first = post(&app, "k", PROMOTIONS, &body).await.expect(202);
    app.finish_as(&first.id(), "succeeded").await;
    app.advance(HOUR * 23).await;
    assert_replay(&first, &post(&app, "k", PROMOTIONS, &body).await);
    app.advance(HOUR * 2).await;
    post(&app, "k", PROMOTIONS, &body)
        .await
        .expect_problem(409, "already_active");
    // The key is free for another request.
    let other = post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0", "dry_run": false})).await;
    other.expect_problem(409, "already_active");
    let rollback = post(&app, "k", ROLLBACKS, &json!({})).await.expect(202);
    assert_eq!(rollback.header("idempotency-replayed"), None);
    app.finish_as(&rollback.id(), "succeeded").await;
    let second = post(&app, "k", PROMOTIONS, &body).await.expect(202);
    assert_eq!(second.header("idempotency-replayed"), None);
    assert_ne!(second.id(), first.id());
    app.finish_as(&second.id(), "succeeded").await;
    app.advance(HOUR * 23).await;
    // The newer answer is the one that is kept.
    assert_eq!(post(&app, "k", PROMOTIONS, &body).await.expect(202).id(), second.id());
}

#[tokio::test]
async fn a_replay_outlives_its_environment_and_calls_nothing() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let first = post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"}))
        .await
        .expect(202);
    app.finish_as(&first.id(), "succeeded").await;
    app.delete(ENVIRONMENT).await.expect(204);
    let touched = app.double.faults().add(Fault::on_any(FaultAction::Unavailable));
    assert_replay(&first, &post(&app, "k", PROMOTIONS, &json!({"release": "1.0.0"})).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(touched.hits(), 0);
}
