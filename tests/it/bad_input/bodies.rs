//! Bodies: their size, their type, their JSON, their fields.

use axum::{
    body::Body,
    http::{Method, header},
};
use serde_json::json;

use super::{RELEASES, fields, raw, send_text, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web};

const MIB: usize = 1024 * 1024;
const APP: &str = "/v1/apps/storefront";
const PROMOTIONS: &str = "/v1/apps/storefront/environments/production/promotions";
const ROLLBACKS: &str = "/v1/apps/storefront/environments/production/rollbacks";

/// In chunks, so without a content length.
fn chunked(bytes: usize) -> Body {
    let chunk = || Ok::<_, std::io::Error>(vec![b' '; 4096]);
    Body::from_stream(futures::stream::iter((0..bytes.div_ceil(4096)).map(move |_| chunk())))
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_too_large() {
    let app = without_workers().await;
    for (method, path) in [
        (Method::PUT, APP),
        (Method::PUT, ENVIRONMENT),
        (Method::POST, RELEASES),
        (Method::POST, PROMOTIONS),
        (Method::POST, "/v1/jobs/0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11/abort"),
    ] {
        let mut told = raw(
            &app,
            method.clone(),
            path,
            Some("application/json"),
            vec![b' '; MIB + 1],
        );
        told.headers_mut().insert(header::CONTENT_LENGTH, (MIB + 1).into());
        app.send(told).await.expect_problem(413, "body_too_large");
        send_text(&app, method.clone(), path, chunked(MIB + 1))
            .await
            .expect_problem(413, "body_too_large");
        // Far more than anybody reads to the end.
        send_text(&app, method, path, chunked(20 * MIB))
            .await
            .expect_problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_read() {
    let app = without_workers().await;
    let mut text = r#"{"description": "x"}"#.to_owned();
    text.push_str(&" ".repeat(MIB - text.len()));
    send_text(&app, Method::PUT, APP, text).await.expect(201);
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_refused() {
    let app = without_workers().await;
    let kinds = [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json; charset=latin1"),
        Some("application/jsonx"),
        Some(""),
        Some("application/problem"),
    ];
    for kind in kinds {
        for (method, path) in [(Method::PUT, APP), (Method::POST, RELEASES), (Method::POST, ROLLBACKS)] {
            let request = raw(&app, method, path, kind, "{}");
            app.send(request).await.expect_problem(415, "unsupported_media_type");
        }
    }
    for kind in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/merge-patch+json",
    ] {
        let answer = app.send(raw(&app, Method::PUT, APP, Some(kind), "{}")).await;
        assert!(answer.status.is_success(), "{kind}");
    }
}

#[tokio::test]
async fn an_empty_body_needs_no_content_type() {
    let app = without_workers().await;
    app.send(raw(&app, Method::PUT, APP, None, "")).await.expect(201);
    let answer = app.send(raw(&app, Method::POST, PROMOTIONS, None, "")).await;
    assert_eq!(fields(&answer.expect_problem(422, "validation_failed")), ["release"]);
}

#[tokio::test]
async fn what_is_no_json_is_malformed() {
    let app = without_workers().await;
    let deep = format!("{{\"metadata\": {{\"a\": {}{}}}}}", "[".repeat(500), "]".repeat(500));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
    let texts: Vec<Vec<u8>> = [
        "{",
        "nonsense",
        "{\"a\": 1,}",
        "{} {}",
        "{'a': 1}",
        "{\"version\": \"\\ud800\"}",
        "{\"version\": \"\\x\"}",
        "{\"version\": 01}",
        "{\"version\": NaN}",
        "{\"metadata\": {\"n\": 1e400}}",
        "{\"version\": \"a\nb\"}",
        "\u{feff}{}",
        " ",
        "\0",
        "{}\0",
        "// {}\n{}",
        &deep,
        &deep_objects,
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        b"{\"version\": \"\xff\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"\x1f\x8b\x08\x00".to_vec(),
    ])
    .collect();
    for text in texts {
        println!(
            "{}",
            String::from_utf8_lossy(&text).chars().take(60).collect::<String>()
        );
        for (method, path) in [(Method::PUT, APP), (Method::PUT, ENVIRONMENT), (Method::POST, RELEASES)] {
            let answer = send_text(&app, method, path, text.clone()).await;
            answer.expect_problem(400, "malformed_json");
        }
    }
}

#[tokio::test]
async fn json_of_a_depth_that_can_be_read_is_kept_and_read_again() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let mut accepted = 0;
    for depth in [
        10, 60, 100, 110, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129,
    ] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for body in [
            format!(r#"{{"version": "m{depth}", "artifacts": {{"web": {{}}}}, "metadata": {{"a": {nested}}}}}"#),
            format!(r#"{{"version": "a{depth}", "artifacts": {{"web": {{"a": {nested}}}}}}}"#),
        ] {
            let mut request = raw(&app, Method::POST, RELEASES, Some("application/json"), body.clone());
            let key = format!("{depth}-{}", body.len());
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
            let answer = app.send(request).await;
            assert!(!answer.status.is_server_error(), "{depth}: {answer:?}");
            if answer.status == 201 {
                accepted += 1;
                let version = answer.json()["version"].as_str().unwrap().to_owned();
                app.get(&format!("{RELEASES}/{version}")).await.expect(200);
                app.promote_dry(&version).await;
                let mut again = raw(&app, Method::POST, RELEASES, Some("application/json"), body);
                again.headers_mut().insert("idempotency-key", key.parse().unwrap());
                app.send(again).await.expect(201);
            } else {
                answer.expect_problem(400, "malformed_json");
            }
        }
    }
    assert!(accepted >= 6, "{accepted}");
    app.get(&format!("{RELEASES}?limit=200")).await.expect(200);
}

impl TestApp {
    async fn promote_dry(&self, release: &str) {
        self.post(PROMOTIONS, json!({"release": release, "dry_run": true}))
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_nul_character_is_refused_wherever_it_is() {
    let app = without_workers().await;
    app.set_up(web(), &[]).await;
    let cases = [
        (Method::PUT, APP, r#"{"description": "a\u0000"}"#, "description"),
        (
            Method::POST,
            PROMOTIONS,
            r#"{"release": "1", "reason": "\u0000"}"#,
            "reason",
        ),
        (
            Method::POST,
            RELEASES,
            r#"{"version": "1", "artifacts": {"web": {}}, "metadata": {"a": [{"b": "\u0000"}]}}"#,
            "metadata.a[0].b",
        ),
        (
            Method::POST,
            RELEASES,
            r#"{"version": "1", "artifacts": {"web": {"x": {"\u0000": 1}}}}"#,
            "artifacts.web.x",
        ),
        (
            Method::POST,
            RELEASES,
            r#"{"version": "1", "commit": "\u0000", "artifacts": {"web": {}}}"#,
            "commit",
        ),
        (Method::POST, ROLLBACKS, r#"{"reason": "x\u0000y"}"#, "reason"),
    ];
    for (method, path, text, field) in cases {
        println!("{text}");
        let problem = send_text(&app, method, path, text)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    }
}
