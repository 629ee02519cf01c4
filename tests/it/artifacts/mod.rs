//! Artifacts in S3: what a promotion sees to before it touches anything (`files`), and what it records and
//! insists on from then on (`manifest`).

mod files;
mod manifest;

use serde_json::{Value, json};

use crate::support::{REGION, TestApp, web};

const BUCKET: &str = "storefront-web";
const RELEASES: &str = "/v1/apps/storefront/releases";

/// Like [`web`], with its files in S3 and the routing function before it.
fn site() -> Value {
    let mut document = web();
    document["components"][0]["edge"] = json!({"mode": "viewer_rewrite"});
    document["components"][0]["artifact"] = json!({"kind": "s3", "bucket": BUCKET, "prefix": "releases/{release}/"});
    document
}

/// A site whose routing isn't ours.
fn origin_site() -> Value {
    let mut document = site();
    document["components"][0]["edge"]["mode"] = json!("origin");
    document
}

async fn with_releases(document: Value, releases: &[&str]) -> TestApp {
    let app = TestApp::start().await;
    app.double.add_bucket(REGION, BUCKET);
    app.set_up(document, releases).await;
    app
}

/// Uploads a small site: a page of 6 bytes and a script of 4.
fn upload(app: &TestApp, release: &str) {
    put(app, release, "index.html", "<html>");
    put(app, release, "assets/app.js", "app;");
}

fn put(app: &TestApp, release: &str, path: &str, body: &str) {
    let kind = if path.ends_with(".html") {
        "text/html"
    } else {
        "text/javascript"
    };
    let key = format!("releases/{release}/{path}");
    app.double.put_object(BUCKET, &key, Some(kind), body);
}

fn delete(app: &TestApp, release: &str, path: &str) {
    assert!(app.double.delete_object(BUCKET, &format!("releases/{release}/{path}")));
}

/// Promotes, and sees that the preflight ends it with this code before anything is touched. Returns the error.
async fn refused(app: &TestApp, release: &str, code: &str) -> Value {
    let (pointer, sent) = (app.pointer(), app.invalidations().len());
    let id = app.promote(release).await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], code, "{job:#}");
    assert_eq!(job["error"]["step"], "preflight/preflight");
    assert!(job["error"]["hint"].is_string(), "{job:#}");
    assert_eq!(
        (app.pointer(), app.invalidations().len()),
        (pointer, sent),
        "nothing was touched"
    );
    assert_eq!(app.environment().await["current_job"], Value::Null);
    job["error"].clone()
}

#[track_caller]
fn assert_says(error: &Value, words: &[&str]) {
    let said = format!(
        "{} {}",
        error["message"].as_str().unwrap(),
        error["hint"].as_str().unwrap()
    );
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn artifact(job: &Value) -> &Value {
    &job["steps"][0]["output"]["artifact"]
}

fn warnings(job: &Value) -> Vec<(&str, &str)> {
    let warnings = job["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| (warning["code"].as_str().unwrap(), warning["message"].as_str().unwrap()))
        .collect()
}

fn s3_calls(app: &TestApp) -> Vec<String> {
    let calls = app.double.calls().into_iter().filter(|call| call.service == "s3");
    calls.map(|call| call.operation).collect()
}

async fn manifests(app: &TestApp, release: &str) -> Value {
    app.get(&format!("{RELEASES}/{release}")).await.expect(200).json()["manifests"].clone()
}
