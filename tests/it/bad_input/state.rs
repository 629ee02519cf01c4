//! What can't be done as things are: nothing to promote, nothing to go back to, a release that does not fit.

use serde_json::json;

use super::{RELEASES, fields, release, without_workers};
use crate::support::{ENVIRONMENT, TestApp, api_and_web, web};

const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";
const ROLLBACKS: &str = "/v1/apps/storefront/environments/production/rollbacks";

async fn jobs(app: &TestApp) -> usize {
    app.get("/v1/jobs").await.expect(200).json()["items"]
        .as_array()
        .unwrap()
        .len()
}

#[tokio::test]
async fn what_is_active_is_not_promoted_again() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    for body in [
        json!({"release": "1.0.0"}),
        json!({"release": "1.0.0", "expected_active": "1.0.0"}),
        json!({"release": "1.0.0", "on_conflict": "queue"}),
        json!({"release": "1.0.0", "on_conflict": "supersede"}),
        json!({"release": "1.0.0", "dry_run": true}),
    ] {
        app.post(PROMOTIONS, body).await.expect_problem(409, "already_active");
    }
    assert_eq!(jobs(&app).await, 1);
}

#[tokio::test]
async fn another_active_release_than_expected_is_named() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let body = json!({"release": "1.1.0", "expected_active": "1.0.0"});
    let problem = app
        .post(PROMOTIONS, body.clone())
        .await
        .expect_problem(409, "active_changed");
    assert_eq!(problem["active"], json!(null));
    app.promote_to_the_end("1.0.0").await;
    let wrong = json!({"release": "1.1.0", "expected_active": "0.9.0"});
    let problem = app.post(PROMOTIONS, wrong).await.expect_problem(409, "active_changed");
    assert_eq!(problem["active"], "1.0.0");
    let back = app.post(ROLLBACKS, json!({"expected_active": "0.9.0"})).await;
    assert_eq!(back.expect_problem(409, "active_changed")["active"], "1.0.0");
    app.post(PROMOTIONS, body).await.expect(202);
}

#[tokio::test]
async fn with_nothing_before_there_is_nothing_to_roll_back_to() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.post(ROLLBACKS, json!({}))
        .await
        .expect_problem(409, "nothing_to_roll_back_to");
    assert_eq!(app.environment().await["rollback_ready"], false);
    app.promote_to_the_end("1.0.0").await;
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    let before = jobs(&app).await;
    app.post(ROLLBACKS, json!({}))
        .await
        .expect_problem(409, "nothing_to_roll_back_to");
    assert_eq!(jobs(&app).await, before);
}

#[tokio::test]
async fn a_release_that_never_served_here_is_no_rollback_target() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    app.post(ROLLBACKS, json!({"to": "1.0.0"}))
        .await
        .expect_problem(422, "not_a_rollback_target");
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    app.post(ROLLBACKS, json!({"to": "1.2.0"}))
        .await
        .expect_problem(422, "not_a_rollback_target");
    app.post(ROLLBACKS, json!({"to": "9.9.9"}))
        .await
        .expect_problem(404, "not_found");
    app.post(ROLLBACKS, json!({"to": "1.1.0"}))
        .await
        .expect_problem(409, "already_active");
    // One that failed here never served either.
    app.double
        .put_parameter(crate::support::REGION, crate::support::PARAMETER, "by hand")
        .unwrap();
    let id = app.promote("1.2.0").await;
    app.finish_as(&id, "failed").await;
    app.post(ROLLBACKS, json!({"to": "1.2.0"}))
        .await
        .expect_problem(422, "not_a_rollback_target");
    app.post(ROLLBACKS, json!({"to": "1.0.0"})).await.expect(202);
}

#[tokio::test]
async fn a_release_without_an_artifact_for_a_component_does_not_fit() {
    let app = without_workers().await;
    app.set_up(api_and_web(), &[]).await;
    app.post(RELEASES, release("1.0.0")).await.expect(201);
    for more in [json!({}), json!({"dry_run": true}), json!({"on_conflict": "queue"})] {
        let mut body = more;
        body["release"] = json!("1.0.0");
        let problem = app.post(PROMOTIONS, body).await.expect_problem(422, "artifact_missing");
        assert_eq!(fields(&problem), ["artifacts.api"]);
    }
    let both_missing = json!({"version": "1.1.0", "artifacts": {"other": {}}});
    app.post(RELEASES, both_missing).await.expect(201);
    let problem = app.post(PROMOTIONS, json!({"release": "1.1.0"})).await;
    assert_eq!(
        fields(&problem.expect_problem(422, "artifact_missing")),
        ["artifacts.api", "artifacts.web"]
    );
    assert_eq!(jobs(&app).await, 0);
}

#[tokio::test]
async fn an_artifact_that_lies_elsewhere_does_not_fit() {
    let app = without_workers().await;
    let mut document = web();
    document["components"][0]["artifact"] =
        json!({"kind": "s3", "bucket": "storefront-web", "prefix": "releases/{release}/"});
    app.set_up(document, &["1.0.0"]).await;
    for (version, uri) in [
        ("1.1.0", "s3://storefront-web/releases/1.0.0/"),
        ("1.1.1", "s3://storefront-web/releases/1.1.1"),
        ("1.1.2", "s3://other/releases/1.1.2/"),
        ("1.1.3", ""),
    ] {
        let body = json!({"version": version, "artifacts": {"web": {"uri": uri}}});
        app.post(RELEASES, body).await.expect(201);
        let problem = app.post(PROMOTIONS, json!({"release": version})).await;
        let problem = problem.expect_problem(422, "artifact_missing");
        assert_eq!(fields(&problem), ["artifacts.web.uri"]);
        let expected = format!("s3://storefront-web/releases/{version}/");
        assert!(problem["detail"].as_str().unwrap().contains(&expected), "{problem}");
    }
    let body = json!({"version": "1.2.0", "artifacts": {"web": {"uri": "s3://storefront-web/releases/1.2.0/"}}});
    app.post(RELEASES, body).await.expect(201);
    for version in ["1.0.0", "1.2.0"] {
        app.post(PROMOTIONS, json!({"release": version, "dry_run": true}))
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_release_never_changes_and_the_same_again_is_no_new_one() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let send = async |text: &str| super::send_text(&app, axum::http::Method::POST, RELEASES, text.to_owned()).await;
    let first = r#"{"version": "1", "commit": "c", "artifacts": {"web": {"uri": "u", "size": 1e16, "x": [1, 2]}},
        "metadata": {"n": 1e16, "f": 0.1, "big": 18446744073709551616, "neg": -0.0, "large": 1e300,
                     "tiny": 5e-324, "u": "\u00e4", "null": null, "o": {"a": 1, "b": 2}}}"#;
    send(first).await.expect(201);
    send(first).await.expect(200);
    let reordered = r#"{"metadata": {"o": {"b": 2, "a": 1}, "null": null, "u": "ä", "tiny": 5e-324,
        "large": 1e300, "neg": -0.0, "big": 18446744073709551616, "f": 0.1, "n": 10000000000000000},
        "artifacts": {"web": {"x": [1, 2], "size": 1.0e16, "uri": "u"}}, "commit": "c", "version": "1"}"#;
    send(reordered).await.expect(200);
    for (changed, what) in [
        (first.replace("\"commit\": \"c\"", "\"commit\": \"d\""), "commit"),
        (first.replace("\"commit\": \"c\", ", ""), "commit"),
        (first.replace("\"uri\": \"u\"", "\"uri\": \"v\""), "artifacts"),
        (first.replace("[1, 2]", "[2, 1]"), "artifacts"),
        (first.replace("\"web\"", "\"api\""), "artifacts"),
        (first.replace("0.1", "0.2"), "metadata"),
        (first.replace("\"null\": null, ", ""), "metadata"),
    ] {
        assert_ne!(changed, first);
        let problem = send(&changed).await.expect_problem(409, "version_conflict");
        assert!(problem["detail"].as_str().unwrap().contains(what), "{problem}");
    }
    assert_eq!(app.get(RELEASES).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_largest_numbers_are_kept_or_refused() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let numbers = [
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "1e308",
        "1.7976931348623155e308",
        "9e307",
    ];
    for (at, number) in numbers.into_iter().enumerate() {
        println!("{number}");
        let text = format!(r#"{{"version": "{at}", "artifacts": {{"web": {{}}}}, "metadata": {{"n": {number}}}}}"#);
        let path = format!("{RELEASES}/{at}");
        let answer = super::send_text(&app, axum::http::Method::POST, RELEASES, text).await;
        if answer.status == 201 {
            assert!(app.get(&path).await.expect(200).json()["metadata"]["n"].is_number());
        } else {
            let problem = answer.expect_problem(422, "validation_failed");
            assert_eq!(fields(&problem), ["metadata.n"]);
            app.get(&path).await.expect_problem(404, "not_found");
        }
    }
    app.get(RELEASES).await.expect(200);
}

#[tokio::test]
async fn an_application_with_environments_is_not_deleted() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    app.delete("/v1/apps/storefront")
        .await
        .expect_problem(409, "app_not_empty");
    app.get(&format!("{RELEASES}/1.0.0")).await.expect(200);
    app.delete(ENVIRONMENT).await.expect(204);
    app.delete("/v1/apps/storefront").await.expect(204);
    app.get(RELEASES).await.expect_problem(404, "not_found");
    // What comes back under the name has nothing of the old one.
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    app.get(&format!("{RELEASES}/1.0.0"))
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test]
async fn an_ended_job_is_neither_aborted_nor_retried() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let id = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    app.post(&format!("/v1/jobs/{id}/abort"), json!({}))
        .await
        .expect_problem(409, "not_abortable");
    app.post(&format!("/v1/jobs/{id}/retry"), json!({}))
        .await
        .expect_problem(409, "not_retryable");
    app.double
        .put_parameter(crate::support::REGION, crate::support::PARAMETER, "by hand")
        .unwrap();
    let failed = app.promote("1.1.0").await;
    app.finish_as(&failed, "failed").await;
    let later = app
        .promote_with(json!({"release": "1.1.0", "on_drift": "overwrite"}))
        .await;
    app.finish_as(&later, "succeeded").await;
    let problem = app.post(&format!("/v1/jobs/{failed}/retry"), json!({})).await;
    assert_eq!(
        problem.expect_problem(409, "job_superseded")["superseded_by"],
        later.as_str()
    );
}
