//! Purges: their paths, and where there is nothing to purge.

use serde_json::{Value, json};

use super::{fields, with, without_workers};
use crate::support::{ENVIRONMENT, TestApp, api_and_web, web};

const PURGES: &str = "/v1/apps/storefront/environments/production/invalidations";

#[tokio::test]
async fn a_purge_that_is_wrong_names_its_field() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let paths = |count: usize, end: &str| (0..count).map(|at| format!("/{at}{end}")).collect::<Vec<_>>();
    let mut cases: Vec<(Value, &str)> = vec![
        (json!({}), "paths"),
        (json!({"paths": []}), "paths"),
        (json!({"paths": null}), "paths"),
        (json!({"paths": "/*"}), "paths"),
        (json!({"paths": {"0": "/*"}}), "paths"),
        (json!({"paths": [1]}), "paths[0]"),
        (json!({"paths": paths(3001, "")}), "paths"),
        (json!({"paths": paths(16, "*")}), "paths"),
        (json!({"paths": ["/a", "/a"]}), "paths"),
        (json!({"paths": [format!("/{}", "x".repeat(4000))]}), "paths"),
        (json!({"paths": ["/*"], "component": "nope"}), "component"),
        (json!({"paths": ["/*"], "component": "A"}), "component"),
        (json!({"paths": ["/*"], "component": ""}), "component"),
        (json!({"paths": ["/*"], "component": ["web"]}), "component"),
        (json!({"paths": ["/*"], "reason": "ä".repeat(1001)}), "reason"),
        (json!({"paths": ["/*"], "distribution_id": "E1"}), "distribution_id"),
        (json!({"paths": ["/*"], "dry_run": true}), "dry_run"),
    ];
    for path in [
        "",
        "a",
        "*",
        "/*a",
        "/a b",
        "/ä",
        "/a\n",
        "//*/*",
        "https://www.example.com/",
    ] {
        cases.push((json!({"paths": ["/fine", path]}), "paths"));
    }
    for (body, field) in cases {
        let text: String = body.to_string().chars().take(200).collect();
        println!("{field}: {text}");
        let problem = app.post(PURGES, body).await.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{problem}");
    }
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
    for good in [
        json!({"paths": paths(3000, "")}),
        json!({"paths": paths(15, "*"), "component": "web", "reason": "ä".repeat(1000)}),
        json!({"paths": [format!("/{}", "x".repeat(3999))], "component": null}),
    ] {
        app.post(PURGES, good).await.expect(202);
    }
}

#[tokio::test]
async fn without_a_distribution_there_is_nothing_to_invalidate() {
    let app = without_workers().await;
    app.set_up(api_and_web(), &[]).await;
    let purge = json!({"paths": ["/*"]});
    let of = |component: &str| with(&purge, &json!({"component": component}));
    app.post(PURGES, of("api"))
        .await
        .expect_problem(409, "nothing_to_invalidate");
    app.post(PURGES, of("web")).await.expect(202);
    let mut document = web();
    document["components"][0].as_object_mut().unwrap().remove("cdn");
    let staging = "/v1/apps/storefront/environments/staging";
    document["components"][0]["router"]["parameter"] = json!("/storefront/staging/release");
    app.put(staging, document).await.expect(201);
    let problem = app.post(&format!("{staging}/invalidations"), purge.clone()).await;
    problem.expect_problem(409, "nothing_to_invalidate");
    for path in [
        "/v1/apps/nope/environments/production",
        "/v1/apps/storefront/environments/nope",
    ] {
        let answer = app.post(&format!("{path}/invalidations"), purge.clone()).await;
        answer.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_purge_is_no_promotion_and_takes_none_of_its_signals() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.post(PURGES, json!({"paths": ["/*"]})).await.expect(202).id();
    for (signal, body, code) in [
        ("pause", json!({}), "not_pausable"),
        ("resume", json!({}), "not_pausable"),
        ("promote_fully", json!({"reason": "x"}), "not_promotable"),
        ("approve", json!({}), "nothing_to_approve"),
        ("reject", json!({}), "nothing_to_approve"),
        ("retry", json!({}), "not_retryable"),
    ] {
        let answer = app.post(&format!("/v1/jobs/{id}/{signal}"), body).await;
        answer.expect_problem(409, code);
    }
    // It holds nothing, and no lock stops it.
    assert_eq!(app.environment().await["current_job"], Value::Null);
    app.put(&format!("{ENVIRONMENT}/lock"), json!({"reason": "x"}))
        .await
        .expect(201);
    app.post(PURGES, json!({"paths": ["/*"]})).await.expect(202);
}

#[tokio::test]
async fn a_purge_of_a_distribution_that_is_not_there_fails_and_says_so() {
    let app = TestApp::start().await;
    let mut document = web();
    document["components"][0]["cdn"]["distribution_id"] = json!("E0NOTHERE");
    app.set_up(document, &[]).await;
    let id = app.post(PURGES, json!({"paths": ["/*"]})).await.expect(202).id();
    let job = app.finish_as(&id, "failed").await;
    assert!(
        job["error"]["code"].is_string() && job["error"]["hint"].is_string(),
        "{job:#}"
    );
}
