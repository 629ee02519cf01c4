//! KeyValueStore settings that can't be right, and keys that somebody else has.

use axum::http::Method;
use serde_json::{Value, json};

use super::{fields, send_text, without_workers};
use crate::support::{ENVIRONMENT, TestApp, api_and_web, web_in_kvs, web_projected, web_with};

const ARN: &str = "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111";
const OTHER_ARN: &str = "arn:aws:cloudfront::111122223333:key-value-store/b1b2c3d4-5678-90ab-cdef-example11111";
const STAGING: &str = "/v1/apps/storefront/environments/staging";

fn kvs(change: Value) -> Value {
    changed(web_in_kvs(ARN), change)
}

fn projected(change: Value) -> Value {
    changed(web_projected(ARN), change)
}

fn changed(mut document: Value, change: Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        document["components"][0]["router"][key] = value.clone();
    }
    document
}

async fn app() -> TestApp {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    app
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_named() {
    let app = app().await;
    let long = "k".repeat(501);
    let cases = [
        (kvs(json!({"kvs_arn": "shared"})), "kvs_arn"),
        (kvs(json!({"kvs_arn": ARN.replace("aws:", "aws-cn:")})), "kvs_arn"),
        (kvs(json!({"kvs_arn": ARN.replace("::", ":us-east-1:")})), "kvs_arn"),
        (
            projected(json!({"kvs_arn": "arn:aws:cloudfront::111122223333:distribution/E2EXAMPLE"})),
            "kvs_arn",
        ),
        (kvs(json!({"kvs_key": ""})), "kvs_key"),
        (kvs(json!({"kvs_key": long})), "kvs_key"),
        (kvs(json!({"kvs_key": "a key"})), "kvs_key"),
        (kvs(json!({"kvs_key": "storefront/production.last-good"})), "kvs_key"),
        (
            projected(json!({"kvs_key": "storefront/production.preview-key"})),
            "kvs_key",
        ),
        (
            projected(json!({"parameter": "/storefront/x.last-good", "kvs_key": null})),
            "kvs_key",
        ),
        (web_with(json!({"kvs_key": "storefront/production"})), "kvs_key"),
        (projected(json!({"format": "plain"})), "format"),
        (kvs(json!({"edge_ttl_seconds": 3601})), "edge_ttl_seconds"),
        (kvs(json!({"pin_seconds": 86401})), "pin_seconds"),
        // Not of this road, or of the wrong type.
        (kvs(json!({"parameter": "/x"})), "parameter"),
        (kvs(json!({"format": "json"})), "format"),
        (kvs(json!({"create_parameter": true})), "create_parameter"),
        (projected(json!({"create_key": true})), "create_key"),
        (kvs(json!({"create_key": "yes"})), "create_key"),
        (kvs(json!({"kvs_key": 1})), "kvs_key"),
        (kvs(json!({"kvs_arn": null})), "kvs_arn"),
    ];
    for (document, field) in cases {
        let answer = app.put(ENVIRONMENT, document.clone()).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(
            fields(&problem),
            [format!("components[0].router.{field}")],
            "{document:#}"
        );
        app.get(ENVIRONMENT).await.expect_problem(404, "not_found");
    }
    for missing in ["kvs_arn", "kvs_key"] {
        let mut document = kvs(json!({}));
        document["components"][0]["router"]
            .as_object_mut()
            .unwrap()
            .remove(missing);
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [format!("components[0].router.{missing}")]);
    }
    let twice = kvs(json!({}))
        .to_string()
        .replace(r#""create_key":true"#, r#""create_key":true,"create_key":true"#);
    let problem = send_text(&app, Method::PUT, ENVIRONMENT, twice)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["components[0].router.create_key"]);
}

#[tokio::test]
async fn two_components_of_one_environment_have_two_keys() {
    let app = app().await;
    let mut document = api_and_web();
    document["components"][0]["router"] = kvs(json!({}))["components"][0]["router"].clone();
    document["components"][1] = projected(json!({}))["components"][0].clone();
    let problem = app
        .put(ENVIRONMENT, document.clone())
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(fields(&problem), ["components[1].router.kvs_key"]);
    document["components"][1]["router"]["kvs_arn"] = json!(OTHER_ARN);
    app.put(ENVIRONMENT, document).await.expect(201);
}

#[tokio::test]
async fn two_environments_have_two_keys() {
    let app = app().await;
    app.put(ENVIRONMENT, kvs(json!({}))).await.expect(201);
    // Whatever role it works under: the ARN says whose store it is.
    let mut elsewhere = kvs(json!({}));
    elsewhere["aws"]["role_arn"] = json!("arn:aws:iam::111122223333:role/greenlight");
    for document in [
        kvs(json!({"create_key": false})),
        elsewhere,
        projected(json!({"parameter": "/staging"})),
    ] {
        let problem = app.put(STAGING, document).await.expect_problem(409, "pointer_in_use");
        assert_eq!(fields(&problem), ["components[0].router.kvs_key"]);
        assert!(problem["detail"].as_str().unwrap().contains(ARN), "{problem:#}");
        app.get(STAGING).await.expect_problem(404, "not_found");
    }
    // The parameter's name is the key when there is no other.
    app.put(ENVIRONMENT, kvs(json!({"kvs_key": "staging/release"})))
        .await
        .expect(200);
    let by_name = projected(json!({"parameter": "/staging/release", "kvs_key": null}));
    app.put(STAGING, by_name).await.expect_problem(409, "pointer_in_use");
    // Another store, or another key: another pointer.
    app.put(
        STAGING,
        kvs(json!({"kvs_arn": OTHER_ARN, "kvs_key": "staging/release"})),
    )
    .await
    .expect(201);
    app.put(STAGING, kvs(json!({"kvs_key": "staging/Release"})))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_projection_stays_while_a_job_is_unfinished() {
    let app = app().await;
    app.put(ENVIRONMENT, web_with(json!({}))).await.expect(201);
    app.register("1.0.0").await;
    app.promote("1.0.0").await;
    let changes = [projected(json!({})), kvs(json!({}))];
    for document in changes {
        app.put(ENVIRONMENT, document)
            .await
            .expect_problem(409, "job_in_progress");
    }
    assert_eq!(app.environment().await["pointers"].as_array().unwrap().len(), 1);
}
