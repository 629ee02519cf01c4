//! Signed previews: who gets one, what it is signed with, and where that secret lies.

use std::time::Duration;

use axum::http::Method;
use greenlight::{
    domain::{names::Version, preview, role::Role},
    sandbox::double::{Fault, FaultAction},
};
use serde_json::{Value, json};

use crate::support::{ENVIRONMENT, PARAMETER, REGION, SECOND_REGION, TestApp, TestAppOptions, web, web_with};

const PREVIEWS: &str = "/v1/apps/storefront/environments/production/previews";

/// `web`, routed at viewer-request.
fn at_viewer_request(mut document: Value) -> Value {
    document["components"][0]["edge"] = json!({"mode": "viewer_rewrite", "public_url": "https://www.example.com/"});
    document
}

async fn started(document: Value) -> TestApp {
    let app = TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await;
    app.set_up(document, &["1.0.0", "1.0.0+build.7"]).await;
    app
}

fn secret(app: &TestApp, region: &str) -> Option<String> {
    let found = app.double.parameter(region, &format!("{PARAMETER}.preview-key"));
    found.map(|(value, _)| value)
}

#[tokio::test]
async fn a_preview_is_signed_with_the_secret_beside_the_pointer() {
    let app = started(at_viewer_request(web_with(json!({"regions": [REGION, SECOND_REGION]})))).await;
    let body = json!({"release": "1.0.0+build.7", "expires_in_seconds": 600});
    let preview = app.post(PREVIEWS, body).await.expect(201).json();
    let secret_made = secret(&app, REGION).unwrap();
    assert_eq!(secret_made.len(), 64);
    assert_eq!(secret(&app, SECOND_REGION), Some(secret_made.clone()));

    let cookie = &preview["components"][0]["cookie"];
    assert_eq!(cookie["name"], "greenlight-preview");
    let token = cookie["value"].as_str().unwrap();
    let expires: i64 = token.split('~').next().unwrap().parse().unwrap();
    let release = Version::parse("1.0.0+build.7").unwrap();
    assert_eq!(token, preview::token(&secret_made, &release, expires));
    let said = chrono::DateTime::parse_from_rfc3339(preview["expires_at"].as_str().unwrap()).unwrap();
    assert_eq!(said.timestamp(), expires);
    let url = preview["components"][0]["url"].as_str().unwrap();
    assert_eq!(
        url,
        format!(
            "https://www.example.com/?greenlight-preview={}",
            token.replace('+', "%2B")
        )
    );

    // The next one is signed with the same; nothing else in AWS was touched.
    let again = app.post(PREVIEWS, json!({"release": "1.0.0"})).await.expect(201).json();
    assert_eq!(secret(&app, REGION), Some(secret_made.clone()));
    assert_eq!(app.pointer(), None);
    // The secret is nobody's business.
    for shown in [preview, again, app.environment().await] {
        assert!(!shown.to_string().contains(&secret_made));
    }
}

#[tokio::test]
async fn a_region_that_lost_the_secret_gets_it_again() {
    let app = started(at_viewer_request(web_with(json!({"regions": [REGION, SECOND_REGION]})))).await;
    let ask = async || app.post(PREVIEWS, json!({"release": "1.0.0"})).await.expect(201);
    ask().await;
    let name = format!("{PARAMETER}.preview-key");
    let made = secret(&app, REGION);
    for other in [&"0".repeat(64), "no secret at all"] {
        app.double.put_parameter(SECOND_REGION, &name, other).unwrap();
        ask().await;
        assert_eq!(secret(&app, SECOND_REGION), made);
    }
    // Something else in the first place does not take the good one's.
    app.double.put_parameter(REGION, &name, "no secret at all").unwrap();
    ask().await;
    assert_eq!(
        (secret(&app, REGION), secret(&app, SECOND_REGION)),
        (made.clone(), made)
    );
}

#[tokio::test]
async fn side_by_side_everybody_signs_with_the_same_secret() {
    let app = started(at_viewer_request(web())).await;
    let asked = futures::future::join_all((0..8).map(|_| app.post(PREVIEWS, json!({"release": "1.0.0"})))).await;
    let made = secret(&app, REGION).unwrap();
    let release = Version::parse("1.0.0").unwrap();
    for answer in asked {
        let preview = answer.expect(201).json();
        let token = preview["components"][0]["cookie"]["value"].as_str().unwrap();
        let expires = token.split('~').next().unwrap().parse().unwrap();
        assert_eq!(token, preview::token(&made, &release, expires));
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_preview_again() {
    let app = started(at_viewer_request(web())).await;
    let send = async || {
        let mut request = app.request(Method::POST, PREVIEWS, Some(&json!({"release": "1.0.0"})));
        request.headers_mut().insert("idempotency-key", "one".parse().unwrap());
        app.send(request).await.expect(201).json()
    };
    let first = send().await;
    app.advance(Duration::from_secs(60)).await;
    // AWS being away is no reason to forget it.
    app.double.faults().add(Fault::on_any(FaultAction::Unavailable));
    assert_eq!(send().await, first);
}

#[tokio::test]
async fn what_can_not_be_previewed_says_why() {
    let app = started(web()).await;
    let refused =
        async |body: Value, status: u16, code: &str| app.post(PREVIEWS, body).await.expect_problem(status, code);
    refused(json!({"release": "1.0.0"}), 409, "preview_unsupported").await;
    app.put(ENVIRONMENT, at_viewer_request(web())).await.expect(200);
    refused(json!({"release": "9.9.9"}), 404, "not_found").await;
    for (body, field) in [
        (
            json!({"release": "1.0.0", "expires_in_seconds": 0}),
            "expires_in_seconds",
        ),
        (
            json!({"release": "1.0.0", "expires_in_seconds": 604_801}),
            "expires_in_seconds",
        ),
        (
            json!({"release": "1.0.0", "expires_in_seconds": -1}),
            "expires_in_seconds",
        ),
        (json!({"release": "-"}), "release"),
        (json!({}), "release"),
        (json!({"release": "1.0.0", "path": "/"}), "path"),
    ] {
        let problem = refused(body, 422, "validation_failed").await;
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let nowhere = "/v1/apps/storefront/environments/staging/previews";
    app.post(nowhere, json!({"release": "1.0.0"}))
        .await
        .expect_problem(404, "not_found");
    // Nothing was made on the way.
    assert_eq!(secret(&app, REGION), None);
    app.double
        .put_parameter(REGION, &format!("{PARAMETER}.preview-key"), "short")
        .unwrap();
    let problem = refused(json!({"release": "1.0.0"}), 409, "preview_key_unavailable").await;
    assert!(problem["detail"].as_str().unwrap().contains("Delete it"), "{problem}");
}

#[tokio::test]
async fn aws_refusing_is_told_with_the_permission_and_aws_being_away_is_a_503() {
    let app = started(at_viewer_request(web())).await;
    app.double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::AccessDenied).once());
    let body = json!({"release": "1.0.0"});
    let problem = app
        .post(PREVIEWS, body.clone())
        .await
        .expect_problem(409, "preview_key_unavailable");
    assert!(
        problem["detail"].as_str().unwrap().contains("ssm:PutParameter"),
        "{problem}"
    );
    app.double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::Unavailable).once());
    app.post(PREVIEWS, body.clone())
        .await
        .expect_problem(503, "aws_unavailable");
    app.post(PREVIEWS, body).await.expect(201);
}

#[tokio::test]
async fn a_deployer_may_and_a_viewer_may_not() {
    let app = started(at_viewer_request(web())).await;
    for (role, status) in [(Role::Viewer, 403), (Role::Deployer, 201)] {
        let token = app.token(role).await;
        let mut request = app.request(Method::POST, PREVIEWS, Some(&json!({"release": "1.0.0"})));
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        app.send(request).await.expect(status);
    }
}

#[tokio::test]
async fn a_key_value_store_gets_the_same_secret() {
    let app = started(at_viewer_request(web())).await;
    let arn = app.double.add_key_value_store("edge");
    let key = "storefront/production/release.preview-key";
    let projected = at_viewer_request(web_with(json!({"kvs_arn": arn})));
    app.put(ENVIRONMENT, projected).await.expect(200);
    let ask = async || app.post(PREVIEWS, json!({"release": "1.0.0"})).await.expect(201).json();
    ask().await;
    assert_eq!(app.double.kvs_value(&arn, key), secret(&app, REGION));

    let mut alone = at_viewer_request(web());
    alone["components"][0]["router"] =
        json!({"kind": "cloudfront_kvs", "kvs_arn": arn, "kvs_key": "storefront/production"});
    app.put(ENVIRONMENT, alone).await.expect(200);
    // Somebody else is busy with the store: our write is refused as overtaken, and made again.
    let late = Fault::on("UpdateKeys", FaultAction::Delay(Duration::from_millis(200))).once();
    let late = app.double.faults().add(late);
    let busy = async {
        while late.hits() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        app.double.set_kvs_value(&arn, "another", "one").unwrap();
    };
    let (preview, ()) = futures::join!(ask(), busy);
    let made = app.double.kvs_value(&arn, "storefront/production.preview-key").unwrap();
    let token = preview["components"][0]["cookie"]["value"].as_str().unwrap();
    let expires = token.split('~').next().unwrap().parse().unwrap();
    let release = Version::parse("1.0.0").unwrap();
    assert_eq!(token, preview::token(&made, &release, expires));
}
