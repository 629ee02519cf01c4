//! What the API says of itself: the OpenAPI document, the docs page, the probes.

use std::collections::BTreeSet;

use axum::http::{Method, header};
use greenlight::service::Code;
use serde_json::{Value, json};

use super::without_workers;
use crate::support::{Answer, TestApp, web};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

async fn without_token(app: &TestApp, path: &str) -> Answer {
    let mut request = app.request(Method::GET, path, None);
    request.headers_mut().remove(header::AUTHORIZATION);
    app.send(request).await
}

async fn document(app: &TestApp) -> Value {
    without_token(app, "/openapi.json").await.expect(200).json()
}

#[tokio::test]
async fn every_operation_of_the_document_is_there_and_no_other_method() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote("1.0.0").await;
    let document = document(&app).await;
    let mut operations = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template
            .replace("{app}", "storefront")
            .replace("{env}", "production")
            .replace("{version}", "1.0.0")
            .replace("{id}", &job);
        assert!(!path.contains('{'), "{path}: a segment that this test does not know");
        let listed = |method: &str| item.get(method).is_some();
        for method in METHODS.iter().filter(|method| !listed(method)) {
            if *method == "head" && listed("get") {
                continue;
            }
            println!("{method} {template}");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            app.send(app.request(method, &path, None)).await.expect(405);
        }
        for method in METHODS.iter().filter(|method| listed(method)) {
            println!("{method} {template}");
            operations += 1;
            let needs_token = item[method]["security"] != json!([]);
            // Without a token nothing happens, and the router's own refusals come before it.
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let mut request = app.request(method, &path, None);
            request.headers_mut().remove(header::AUTHORIZATION);
            let answer = app.send(request).await;
            if needs_token {
                answer.expect_problem(401, "unauthenticated");
            } else {
                answer.expect(200);
            }
        }
    }
    assert!(operations >= 36, "{operations}");
}

#[tokio::test]
async fn what_an_operation_answers_is_in_the_document() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let document = document(&app).await;
    let operation = |path: &str, method: &str| document["paths"][path][method]["responses"].clone();
    for (path, method, statuses) in [
        (
            "/v1/apps/{app}",
            "put",
            vec!["200", "201", "400", "401", "403", "413", "415", "422", "500", "503"],
        ),
        ("/v1/apps/{app}", "delete", vec!["204", "401", "403", "404", "409"]),
        (
            "/v1/apps/{app}/releases",
            "post",
            vec!["200", "201", "400", "409", "422"],
        ),
        (
            "/v1/apps/{app}/environments/{env}/promotions",
            "post",
            vec!["200", "202", "403", "404", "409", "422", "423"],
        ),
        ("/v1/jobs/{id}/approve", "post", vec!["202", "403", "404", "409"]),
        ("/v1/jobs/{id}/callback", "post", vec!["204", "401", "409", "422"]),
        ("/v1/lock", "put", vec!["200", "201", "403", "422"]),
        ("/v1/lock", "get", vec!["200", "404"]),
        (
            "/v1/apps/{app}/environments/{env}/rollbacks",
            "post",
            vec!["202", "404", "409", "422"],
        ),
        ("/v1/jobs/{id}/retry", "post", vec!["202", "404", "409"]),
        ("/readyz", "get", vec!["200", "503"]),
    ] {
        for status in statuses {
            assert!(
                operation(path, method).get(status).is_some(),
                "{method} {path} {status}"
            );
        }
    }
}

/// `retry` of a failed job is refused when another release is active by then: src/service/signals.rs.
#[tokio::test]
async fn the_document_names_every_code_of_a_retry() {
    let app = without_workers().await;
    let document = document(&app).await;
    let refusals = document["paths"]["/v1/jobs/{id}/retry"]["post"]["responses"]["409"].to_string();
    for code in [
        "not_retryable",
        "job_superseded",
        "job_in_progress",
        "active_changed",
        "release_blocked",
    ] {
        assert!(refusals.contains(code), "{code}: {refusals}");
    }
}

#[tokio::test]
async fn every_code_is_documented_with_an_example() {
    let app = without_workers().await;
    let document = document(&app).await;
    let known = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let known: BTreeSet<&str> = known
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    let codes: BTreeSet<&str> = Code::ALL.into_iter().map(Code::as_str).collect();
    assert_eq!(known, codes);
    let pages = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    for code in codes {
        let example = &document["components"]["examples"][code]["value"];
        assert_eq!(example["code"], code);
        assert!(
            example["status"].as_u64().is_some_and(|status| status >= 400),
            "{example}"
        );
        assert!(
            pages.contains(&format!("`{code}`")),
            "docs/operations.md does not know {code}"
        );
    }
}

#[tokio::test]
async fn a_jobs_fields_are_those_of_the_document() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    let document = document(&app).await;
    let schemas = &document["components"]["schemas"];
    let environment = app.environment().await;
    let release = app.get("/v1/apps/storefront/releases/1.0.0").await.expect(200).json();
    for (schema, shown) in [
        ("Job", &job),
        ("Step", &job["steps"][0]),
        ("Environment", &environment),
        ("Pointer", &environment["pointers"][0]),
        ("Release", &release),
    ] {
        let properties = super::names(&schemas[schema]["properties"]);
        assert_eq!(properties, super::names(shown), "{schema}");
    }
}

#[tokio::test]
async fn the_document_and_the_docs_need_no_token_and_no_internet() {
    let app = without_workers().await;
    let answer = without_token(&app, "/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.json()["openapi"].as_str().map(|version| &version[..2]),
        Some("3.")
    );
    let moved = without_token(&app, "/docs").await;
    assert!(moved.status.is_redirection(), "{:?}", moved.status);
    assert!(moved.header("location").unwrap().ends_with("/docs/"));
    let page = without_token(&app, "/docs/").await.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let html = String::from_utf8(page.body).unwrap();
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for address in html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!address.contains("//"), "{address}: from the internet");
            let file = address.trim_start_matches("./");
            without_token(&app, &format!("/docs/{file}")).await.expect(200);
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "{html}");
    let settings = without_token(&app, "/docs/swagger-initializer.js").await.expect(200);
    assert!(String::from_utf8(settings.body).unwrap().contains("/openapi.json"));
    without_token(&app, "/docs/../../Cargo.toml").await.expect(404);
    without_token(&app, "/docs/nothing.js").await.expect(404);
}

#[tokio::test]
async fn the_probes_need_no_token() {
    let app = without_workers().await;
    assert_eq!(
        without_token(&app, "/healthz").await.expect(200).json(),
        json!({"status": "ok"})
    );
    let ready = without_token(&app, "/readyz").await.expect(200).json();
    assert_eq!(ready["status"], "ok");
    let checks: Vec<&Value> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| &check["name"])
        .collect();
    assert_eq!(checks, ["database", "migrations"]);
    // Without its database it lives, but can't work; and it says so without a stack trace.
    // Closed at once; what is lent, as to the hub, would be waited for.
    drop(app.store.pool().close());
    without_token(&app, "/healthz").await.expect(200);
    let failing = without_token(&app, "/readyz").await.expect(503).json();
    assert_eq!(failing["status"], "failing");
    assert_eq!(failing["checks"][0]["ok"], false);
    assert!(failing["checks"][0]["detail"].is_string());
    let problem = app.get("/v1/apps").await.expect_problem(503, "database_unavailable");
    assert!(!problem.to_string().contains("pool"), "{problem}");
}
