//! Bad input gets a clear error with a stable code, and nothing is lost: no input gives a 5xx.

mod access;
mod addresses;
mod bodies;
mod callbacks;
mod checks;
mod conflicts;
mod fuzz;
mod hooks;
mod identities;
mod limits;
mod locks;
mod members;
mod outbound;
mod purges;
mod signals;
mod state;
mod stores;
mod strategies;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, header},
};
use serde_json::{Value, json};

use crate::support::{Answer, ENVIRONMENT, TestApp, TestAppOptions, web};

const RELEASES: &str = "/v1/apps/storefront/releases";

/// Nobody works: what is started stays unfinished.
async fn without_workers() -> TestApp {
    TestApp::with(TestAppOptions {
        workers: 0,
        ..TestAppOptions::default()
    })
    .await
}

/// A request of the admin with these bytes as its body.
fn raw(app: &TestApp, method: Method, path: &str, kind: Option<&'static str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = app.request(method, path, None);
    if let Some(kind) = kind {
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    *request.body_mut() = body.into();
    request
}

/// Sends a text as JSON.
async fn send_text(app: &TestApp, method: Method, path: &str, text: impl Into<Body>) -> Answer {
    app.send(raw(app, method, path, Some("application/json"), text)).await
}

/// The names of the fields that a problem complains about.
#[track_caller]
fn fields(problem: &Value) -> Vec<&str> {
    let name = |error: &'_ Value| -> bool { error["message"].as_str().is_some_and(|text| !text.is_empty()) };
    let errors = problem["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors: {problem}"));
    assert!(errors.iter().all(name), "{problem}");
    errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
}

fn release(version: &str) -> Value {
    json!({"version": version, "artifacts": {"web": {}}})
}

/// `web` at viewer-request: it can give a share of its visitors another release, and be previewed.
fn shared() -> Value {
    let mut document = web();
    document["components"][0]["edge"] = json!({"mode": "viewer_rewrite"});
    document["components"][0]["cdn"]["invalidate"] = json!({"mode": "none"});
    document
}

/// The same document with these members.
fn with(document: &Value, members: &Value) -> Value {
    let mut document = document.clone();
    for (key, value) in members.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

/// PUTs each document, and sees that it is refused for this one field.
async fn assert_refused(app: &TestApp, cases: Vec<(Value, &str)>) {
    for (document, field) in cases {
        let text: String = document.to_string().chars().take(600).collect();
        println!("{field}: {text}");
        let problem = app
            .put(ENVIRONMENT, document)
            .await
            .expect_problem(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{problem}");
    }
    app.get(ENVIRONMENT).await.expect_problem(404, "not_found");
}
