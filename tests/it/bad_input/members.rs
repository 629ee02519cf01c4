//! Fields that are unknown, given twice, or of another type than they should be.

use axum::http::Method;
use serde_json::json;

use super::{RELEASES, fields, send_text, without_workers};
use crate::support::{ENVIRONMENT, web};

const APP: &str = "/v1/apps/storefront";
const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";
const ROLLBACKS: &str = "/v1/apps/storefront/environments/production/rollbacks";

/// An environment whose first component's part is this.
fn with_router(router: &str, more: &str) -> String {
    format!(r#"{{"aws": {{"region": "us-east-1"}}, "components": [{{"name": "web", "router": {router}{more}}}]}}"#)
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_named_at_every_depth() {
    let app = without_workers().await;
    app.set_up(web(), &["1"]).await;
    let router = r#"{"kind": "ssm_pointer", "parameter": "/x"}"#;
    let cases: Vec<(Method, &str, String, &str)> = vec![
        (Method::PUT, APP, r#"{"descripton": "x"}"#.into(), "descripton"),
        (
            Method::PUT,
            APP,
            r#"{"description": "x", "description": "y"}"#.into(),
            "description",
        ),
        (
            Method::POST,
            RELEASES,
            r#"{"version": "2", "artifacts": {"web": {}}, "tag": 1}"#.into(),
            "tag",
        ),
        (
            Method::POST,
            RELEASES,
            r#"{"version": "2", "version": "3", "artifacts": {"web": {}}}"#.into(),
            "version",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "force": true}"#.into(),
            "force",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "block": true}"#.into(),
            "block",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "break_glass": {"reason": "x", "by": "me"}}"#.into(),
            "break_glass.by",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "dry_run": false, "dry_run": true}"#.into(),
            "dry_run",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "strategy": {"kind": "all_at_once", "steps": []}}"#.into(),
            "strategy.steps",
        ),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "break_glass": {"reason": "x", "reason": "y"}}"#.into(),
            "break_glass.reason",
        ),
        (
            Method::POST,
            ROLLBACKS,
            r#"{"block": false, "block": true}"#.into(),
            "block",
        ),
        (
            Method::POST,
            ROLLBACKS,
            r#"{"break_glass": {"reason": "x"}}"#.into(),
            "break_glass",
        ),
        (Method::POST, ROLLBACKS, r#"{"release": "1"}"#.into(), "release"),
        (
            Method::POST,
            ROLLBACKS,
            r#"{"reason": "a", "reason": "b"}"#.into(),
            "reason",
        ),
        (
            Method::POST,
            "/v1/jobs/0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11/abort",
            r#"{"why": 1}"#.into(),
            "why",
        ),
        (
            Method::POST,
            "/v1/jobs/0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11/retry",
            r#"{"why": 1}"#.into(),
            "why",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1"}, "components": [], "x": 1}"#.into(),
            "x",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1", "x": 1}, "components": []}"#.into(),
            "aws.x",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1", "region": "us-east-1"}, "components": []}"#.into(),
            "aws.region",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(router, r#", "x": 1"#),
            "components[0].x",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(router, r#", "name": "api""#),
            "components[0].name",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(r#"{"kind": "ssm_pointer", "parameter": "/x", "colour": 1}"#, ""),
            "components[0].router.colour",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(r#"{"kind": "ssm_pointer", "parameter": "/x", "parameter": "/y"}"#, ""),
            "components[0].router.parameter",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(
                router,
                r#", "cdn": {"distribution_id": "E1", "invalidate": {"mode": "paths", "x": 1}}"#,
            ),
            "components[0].cdn.invalidate.x",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(
                router,
                r#", "cdn": {"distribution_id": "E1", "invalidate": {"mode": "none", "paths": []}}"#,
            ),
            "components[0].cdn.invalidate.paths",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            with_router(
                router,
                r#", "artifact": {"kind": "s3", "bucket": "abc", "prefix": "{release}/", "x": 1}"#,
            ),
            "components[0].artifact.x",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1"}, "components": [], "retention": {"keep": 1}}"#.into(),
            "retention.keep",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1"}, "components": [], "approvals": {"required": 1, "required": 2}}"#.into(),
            "approvals.required",
        ),
        (
            Method::PUT,
            ENVIRONMENT,
            r#"{"aws": {"region": "us-east-1"}, "components": [], "hooks": [], "hooks": []}"#.into(),
            "hooks",
        ),
    ];
    for (method, path, text, field) in cases {
        println!("{text}");
        let problem = send_text(&app, method, path, text)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    }
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn wrong_types_and_unknown_words_name_the_field() {
    let app = without_workers().await;
    app.set_up(web(), &["1"]).await;
    for text in ["[]", "null", "1", "\"x\"", "true"] {
        for (method, path) in [
            (Method::PUT, APP),
            (Method::PUT, ENVIRONMENT),
            (Method::POST, PROMOTIONS),
        ] {
            let problem = send_text(&app, method, path, text)
                .await
                .expect_problem(422, "validation_failed");
            assert_eq!(fields(&problem), [""], "{text}");
        }
    }
    let cases: &[(&str, &str, &str)] = &[
        (PROMOTIONS, "{}", "release"),
        (PROMOTIONS, r#"{"release": 1}"#, "release"),
        (PROMOTIONS, r#"{"release": null}"#, "release"),
        (PROMOTIONS, r#"{"release": ""}"#, "release"),
        (PROMOTIONS, r#"{"release": "../1"}"#, "release"),
        (PROMOTIONS, r#"{"release": "1\n"}"#, "release"),
        (PROMOTIONS, r#"{"release": "１"}"#, "release"),
        (
            PROMOTIONS,
            r#"{"release": "1", "expected_active": ""}"#,
            "expected_active",
        ),
        (PROMOTIONS, r#"{"release": "1", "dry_run": "yes"}"#, "dry_run"),
        (PROMOTIONS, r#"{"release": "1", "dry_run": null}"#, "dry_run"),
        (PROMOTIONS, r#"{"release": "1", "on_conflict": "wait"}"#, "on_conflict"),
        (
            PROMOTIONS,
            r#"{"release": "1", "on_conflict": "Reject"}"#,
            "on_conflict",
        ),
        (PROMOTIONS, r#"{"release": "1", "on_drift": "ignore"}"#, "on_drift"),
        (PROMOTIONS, r#"{"release": "1", "reason": 1}"#, "reason"),
        (PROMOTIONS, r#"{"release": "1", "strategy": "all_at_once"}"#, "strategy"),
        (
            PROMOTIONS,
            r#"{"release": "1", "strategy": {"kind": "canary", "steps": []}}"#,
            "strategy.steps",
        ),
        (
            PROMOTIONS,
            r#"{"release": "1", "strategy": {"kind": "linear"}}"#,
            "strategy.step_weight",
        ),
        (
            PROMOTIONS,
            r#"{"release": "1", "strategy": {"kind": "teleport"}}"#,
            "strategy.kind",
        ),
        (PROMOTIONS, r#"{"release": "1", "break_glass": true}"#, "break_glass"),
        (
            PROMOTIONS,
            r#"{"release": "1", "break_glass": {}}"#,
            "break_glass.reason",
        ),
        (ROLLBACKS, r#"{"block": "yes"}"#, "block"),
        (PROMOTIONS, r#"{"release": "1", "strategy": {}}"#, "strategy.kind"),
        (ROLLBACKS, r#"{"to": 1}"#, "to"),
        (ROLLBACKS, r#"{"to": "-"}"#, "to"),
        (ROLLBACKS, r#"{"expected_active": {}}"#, "expected_active"),
        (ROLLBACKS, r#"{"reason": ["x"]}"#, "reason"),
        (RELEASES, "{}", "version"),
        (RELEASES, r#"{"version": "1"}"#, "artifacts"),
        (RELEASES, r#"{"version": "2", "artifacts": {}}"#, "artifacts"),
        (RELEASES, r#"{"version": "2", "artifacts": []}"#, "artifacts"),
        (
            RELEASES,
            r#"{"version": "2", "artifacts": {"web": 1}}"#,
            "artifacts.web",
        ),
        (
            RELEASES,
            r#"{"version": "2", "artifacts": {"web": null}}"#,
            "artifacts.web",
        ),
        (
            RELEASES,
            r#"{"version": "2", "artifacts": {"web": {}}, "metadata": []}"#,
            "metadata",
        ),
        (
            RELEASES,
            r#"{"version": "2", "artifacts": {"web": {}}, "commit": 7}"#,
            "commit",
        ),
        (RELEASES, r#"{"version": 2, "artifacts": {"web": {}}}"#, "version"),
    ];
    for (path, text, field) in cases {
        println!("{text}");
        let problem = send_text(&app, Method::POST, path, *text).await;
        assert_eq!(fields(&problem.expect_problem(422, "validation_failed")), [*field]);
    }
    for name in ["", "A", "a_b", "ä", "..", "a b"] {
        let body = json!({"version": "2", "artifacts": {name: {}}});
        let problem = app.post(RELEASES, body).await.expect_problem(422, "validation_failed");
        assert!(fields(&problem)[0].starts_with("artifacts"), "{problem}");
        let mut document = web();
        document["components"][0]["name"] = json!(name);
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["components[0].name"]);
    }
    assert!(app.get("/v1/jobs").await.json()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_word_that_is_of_another_type_names_the_field() {
    let app = without_workers().await;
    app.set_up(web(), &["1"]).await;
    for value in ["1", "[]", "{}", "true", "null", "1.5", "[\"queue\"]"] {
        for field in ["on_conflict", "on_drift"] {
            let text = format!(r#"{{"release": "1", "{field}": {value}}}"#);
            println!("{text}");
            let problem = send_text(&app, Method::POST, PROMOTIONS, text).await;
            assert_eq!(fields(&problem.expect_problem(422, "validation_failed")), [field]);
        }
        let text = with_router(
            &format!(r#"{{"kind": "ssm_pointer", "parameter": "/x", "format": {value}}}"#),
            "",
        );
        println!("{text}");
        let problem = send_text(&app, Method::PUT, ENVIRONMENT, text).await;
        let problem = problem.expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), ["components[0].router.format"]);
    }
}
