//! Bad input gets a clear error with a stable code, and nothing is lost: no input gives a 5xx.

mod access;
mod addresses;
mod bodies;
mod conflicts;
mod fuzz;
mod identities;
mod limits;
mod members;
mod state;
mod stores;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, header},
};
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestAppOptions};

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
