//! Several at once: of many that can't all be right, exactly one is, and none gets a 5xx.

use axum::http::Method;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{RELEASES, release, without_workers};
use crate::support::{Answer, ENVIRONMENT, TestApp, web, web_with};

const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";

/// Sends them all at the same time.
async fn all(app: &TestApp, requests: Vec<(Method, String, Value)>) -> Vec<Answer> {
    join_all(
        requests
            .into_iter()
            .map(|(method, path, body)| async move { app.send(app.request(method, &path, Some(&body))).await }),
    )
    .await
}

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_promotions_at_once_exactly_one_is_started() {
    let app = without_workers().await;
    let releases: Vec<String> = (0..8).map(|n| format!("1.0.{n}")).collect();
    let names: Vec<&str> = releases.iter().map(String::as_str).collect();
    app.set_up(web(), &names).await;
    let bodies = releases.iter().map(|release| json!({"release": release}));
    let answers = all(
        &app,
        bodies.map(|body| (Method::POST, PROMOTIONS.into(), body)).collect(),
    )
    .await;
    let winner = answers
        .iter()
        .find(|answer| answer.status == 202)
        .expect("one is started")
        .id();
    assert_eq!(with_status(&answers, 202), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 202) {
        assert_eq!(answer.expect_problem(409, "job_in_progress")["job_id"], winner.as_str());
    }
    let jobs = app.get("/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.environment().await["current_job"], winner.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollbacks_at_once_are_one_job() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let promotion = app.promote("1.0.0").await;
    let path = format!("{ENVIRONMENT}/rollbacks");
    let answers = all(&app, vec![(Method::POST, path, json!({})); 6]).await;
    let mut ids: Vec<String> = answers.into_iter().map(|answer| answer.expect(202).id()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(app.job(&promotion).await["superseded_by"], ids[0].as_str());
    app.start_worker();
    app.finish_as(&ids[0], "succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_release_registered_at_once_is_one_release() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let same = vec![(Method::POST, RELEASES.to_owned(), release("1.0.0")); 6];
    let answers = all(&app, same).await;
    assert_eq!((with_status(&answers, 201), with_status(&answers, 200)), (1, 5));
    let different = (0..6).map(|n| {
        let mut body = release("2.0.0");
        body["metadata"] = json!({"n": n});
        (Method::POST, RELEASES.to_owned(), body)
    });
    let answers = all(&app, different.collect()).await;
    assert_eq!((with_status(&answers, 201), with_status(&answers, 409)), (1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_environment_put_at_once_is_one_environment() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let answers = all(&app, vec![(Method::PUT, ENVIRONMENT.to_owned(), web()); 6]).await;
    assert_eq!(with_status(&answers, 201), 1);
    for answer in answers.into_iter().filter(|answer| !answer.status.is_success()) {
        answer.expect_problem(409, "version_conflict");
    }
    assert_eq!(app.environment().await["pointers"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pointer_claimed_at_once_has_one_owner() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    for round in 0..5 {
        let claims = (0..4).map(|n| {
            let parameter = format!("/contested/{round}");
            let path = format!("/v1/apps/storefront/environments/e{round}-{n}");
            (Method::PUT, path, web_with(json!({"parameter": parameter})))
        });
        let answers = all(&app, claims.collect()).await;
        assert_eq!(with_status(&answers, 201), 1);
        for answer in answers.into_iter().filter(|answer| answer.status != 201) {
            answer.expect_problem(409, "pointer_in_use");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments_that_claim_two_pointers_in_opposite_orders_do_not_fail() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let document = |parameters: &[String]| {
        let components = parameters.iter().enumerate().map(|(n, parameter)| {
            json!({"name": format!("c{n}"), "router": {"kind": "ssm_pointer", "parameter": parameter}})
        });
        json!({"aws": {"region": "us-east-1"}, "components": components.collect::<Vec<_>>()})
    };
    for round in 0..10 {
        let forth: Vec<String> = (0..12).map(|n| format!("/contested/{round}/{n}")).collect();
        let back: Vec<String> = forth.iter().rev().cloned().collect();
        let put = |name: &str, parameters: &[String]| {
            let path = format!("/v1/apps/storefront/environments/{name}{round}");
            (Method::PUT, path, document(parameters))
        };
        let answers = all(&app, vec![put("forth", &forth), put("back", &back)]).await;
        assert_eq!(with_status(&answers, 201), 1, "{answers:?}");
        assert_eq!(with_status(&answers, 409), 1, "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pointers_that_change_hands_all_the_time_never_give_a_5xx() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let path = |name: u8| format!("/v1/apps/storefront/environments/e{name}");
    let worker = async |name: u8| {
        for round in 0..30u8 {
            let parameter = format!("/contested/{}", round % 2);
            let put = app.put(&path(name), web_with(json!({"parameter": parameter}))).await;
            assert!(put.status.is_success() || put.status == 409, "{put:?}");
            let gone = app.delete(&path(name)).await;
            assert!(gone.status == 204 || gone.status == 404, "{gone:?}");
        }
    };
    join_all((0..4).map(worker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_deleted_while_others_use_it_never_gives_a_5xx() {
    let app = without_workers().await;
    for _ in 0..10 {
        app.put("/v1/apps/storefront", json!({})).await;
        let answers = join_all(
            [
                (Method::DELETE, "/v1/apps/storefront", None),
                (Method::PUT, ENVIRONMENT, Some(web())),
                (Method::POST, RELEASES, Some(release("1.0.0"))),
                (Method::DELETE, ENVIRONMENT, None),
                (Method::POST, PROMOTIONS, Some(json!({"release": "1.0.0"}))),
                (Method::PUT, "/v1/apps/storefront", Some(json!({}))),
            ]
            .map(|(method, path, body)| {
                let app = &app;
                async move { app.send(app.request(method, path, body.as_ref())).await }
            }),
        )
        .await;
        for answer in answers {
            assert!(!answer.status.is_server_error(), "{answer:?}");
        }
    }
}
