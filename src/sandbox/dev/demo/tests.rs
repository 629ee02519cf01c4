//! The demo against a service that can be made to misbehave: what is not as it should be is found
//! and said, in the service's own words where it has some.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// How the service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Good,
    ForgetsToInvalidate,
    InvalidatesTwice,
    InvalidatesAnotherPath,
    LeavesInvalidationInProgress,
    LeavesPointer,
    LeavesKeyValueStore,
    KeepsEpoch,
    FailsVisitors,
    ShowsEverybodyThePreview,
    FailsJobs,
    RefusesPromotions,
}

#[derive(Default)]
struct World {
    releases: Vec<String>,
    /// By bucket and key.
    uploads: Vec<String>,
    /// The same for both sites.
    pointer: Option<(Value, u64)>,
    key_value: Option<String>,
    previewed: Option<String>,
    invalidations: Vec<Invalidation>,
    /// Id, release, and how often it was asked for.
    jobs: Vec<(String, u32)>,
    current_job: Option<String>,
    environment: Value,
}

#[derive(Clone)]
struct Service {
    world: Arc<Mutex<World>>,
    manners: Manners,
}

impl Service {
    fn new(manners: Manners) -> Self {
        Self {
            world: Arc::default(),
            manners,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A point of presence: serves what the pointer names, to pinned visitors' subresources too.
    async fn point_of_presence(&self) -> SocketAddr {
        let router = Router::new().fallback(serve).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn listen(&self) -> String {
        let router = Router::new()
            .route("/v1/apps/storefront", put(|| async { Json(json!({})) }))
            .route("/v1/apps/storefront/releases", post(register).get(releases))
            .route(ENVIRONMENT_PATH, put(put_environment).get(environment))
            .route(&format!("{ENVIRONMENT_PATH}/promotions"), post(promote))
            .route(&format!("{ENVIRONMENT_PATH}/rollbacks"), post(roll_back))
            .route(&format!("{ENVIRONMENT_PATH}/previews"), post(preview))
            .route("/v1/jobs/{id}", get(job))
            .route("/v1/jobs/{id}/events", get(events))
            .layer(from_fn(authenticate))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// Moves traffic at once; the job is there to be asked about.
    fn flip(&self, release: &str, rollback: bool) -> Response {
        let mut world = self.world();
        let number = world.jobs.len();
        world.jobs.push((release.to_owned(), 0));
        let (old, version) = world.pointer.take().unwrap_or((json!({ "epoch": 0 }), 0));
        let grows = rollback && self.manners != Manners::KeepsEpoch;
        let epoch = old["epoch"].as_u64().unwrap() + u64::from(grows);
        let active = match self.manners {
            Manners::LeavesPointer => old["active"].clone(),
            _ => json!(release),
        };
        let document = json!({ "v": 1, "active": active, "epoch": epoch });
        if self.manners != Manners::LeavesKeyValueStore {
            world.key_value = Some(document.to_string());
        }
        world.pointer = Some((document, version + 1));
        let (times, path, status) = match self.manners {
            Manners::ForgetsToInvalidate => (0, "/*", "Completed"),
            Manners::InvalidatesTwice => (2, "/*", "Completed"),
            Manners::InvalidatesAnotherPath => (1, "/index.html", "Completed"),
            Manners::LeavesInvalidationInProgress => (1, "/*", "InProgress"),
            _ => (1, "/*", "COMPLETED"),
        };
        for _ in 0..times {
            let id = format!("I{}", world.invalidations.len());
            let caller_reference = format!("job-{number}");
            let paths = vec![path.to_owned()];
            world.invalidations.push(Invalidation {
                id,
                caller_reference,
                paths,
                status: status.into(),
            });
        }
        (
            StatusCode::ACCEPTED,
            Json(json!({ "id": number.to_string(), "state": "queued" })),
        )
            .into_response()
    }
}

impl AwsView for Service {
    fn pointer(&self, _region: &str, name: &str) -> Option<(String, u64)> {
        assert!([WEB.parameter, DOCS.parameter].contains(&name), "{name}");
        self.world()
            .pointer
            .as_ref()
            .map(|(value, version)| (value.to_string(), *version))
    }

    fn invalidations(&self, distribution: &str) -> Vec<Invalidation> {
        if distribution == WEB.distribution {
            return Vec::new();
        }
        assert_eq!(distribution, DOCS.distribution);
        self.world().invalidations.clone()
    }

    fn key_value(&self, key: &str) -> Option<String> {
        assert_eq!(key, "storefront/production/release");
        self.world().key_value.clone()
    }

    fn upload(&self, bucket: &str, key: &str, file: &File) {
        assert!(!file.body.is_empty());
        self.world().uploads.push(format!("{bucket}/{key}"));
    }
}

/// What the edge serves: the link of a preview, a browser that has opened one, a pinned page, anybody else.
async fn serve(State(service): State<Service>, headers: HeaderMap, request: Request) -> Response {
    if service.manners == Manners::FailsVisitors {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let world = service.world();
    let named = world
        .pointer
        .clone()
        .filter(|(document, _)| document["active"].is_string());
    let Some((active, _)) = named else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let current = active["epoch"].to_string();
    let pin = format!("{}~{current}", active["active"].as_str().unwrap());
    if request.uri().query() == Some("greenlight-preview=token") {
        return (
            [("location", "/"), ("set-cookie", "preview=1; Path=/")],
            StatusCode::FOUND,
        )
            .into_response();
    }
    let navigates = text("sec-fetch-mode") == "navigate";
    let cookies = text("cookie");
    let pinned = cookies
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix("pin=")?.split_once('~'));
    let everybody = service.manners == Manners::ShowsEverybodyThePreview && world.previewed.is_some();
    let release = if cookies.contains("preview=1") || everybody {
        world.previewed.clone().unwrap()
    } else {
        match pinned {
            Some((release, epoch)) if !navigates && epoch == current => release.to_owned(),
            _ => active["active"].as_str().unwrap().to_owned(),
        }
    };
    let mut answer = [("x-greenlight-release", release)].into_response();
    if navigates {
        let cookie = format!("pin={pin}; Path=/").parse().unwrap();
        answer.headers_mut().insert("set-cookie", cookie);
    }
    answer
}

async fn preview(State(service): State<Service>, Json(body): Json<Value>) -> Response {
    service.world().previewed = Some(body["release"].as_str().unwrap().to_owned());
    let url = "http://127.0.0.1:1/?greenlight-preview=token";
    let answer = json!({ "components": [{ "component": "web", "url": url }] });
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn authenticate(headers: HeaderMap, request: Request, next: Next) -> Response {
    assert_eq!(headers["authorization"], "Bearer secret");
    if request.method() == "POST" {
        assert!(headers.contains_key("idempotency-key"));
    }
    next.run(request).await
}

async fn put_environment(State(service): State<Service>, Json(document): Json<Value>) -> Json<Value> {
    service.world().environment = document;
    Json(json!({}))
}

async fn environment(State(service): State<Service>) -> Response {
    let world = service.world();
    if world.environment.is_null() {
        let problem = json!({ "title": "Not found", "status": 404, "code": "not_found" });
        return (StatusCode::NOT_FOUND, Json(problem)).into_response();
    }
    Json(json!({ "current_job": world.current_job })).into_response()
}

async fn register(State(service): State<Service>, Json(release): Json<Value>) -> StatusCode {
    let version = release["version"].as_str().unwrap();
    let uri = format!("s3://storefront-web/releases/{version}/");
    assert_eq!(release["artifacts"]["web"]["uri"], uri);
    let index = format!("storefront-web/releases/{version}/index.html");
    assert!(
        service.world().uploads.contains(&index),
        "uploaded before it is registered"
    );
    service
        .world()
        .releases
        .insert(0, release["version"].as_str().unwrap().to_owned());
    StatusCode::CREATED
}

/// One release a page, behind a cursor that needs encoding.
async fn releases(State(service): State<Service>, Query(query): Query<Value>) -> Json<Value> {
    let world = service.world();
    let at: usize = query["cursor"]
        .as_str()
        .map_or(0, |cursor| cursor.trim_start_matches("+/").parse().unwrap());
    let items: Vec<Value> = world
        .releases
        .iter()
        .skip(at)
        .take(1)
        .map(|version| json!({ "version": version }))
        .collect();
    let next = (at + 1 < world.releases.len()).then(|| format!("+/{}", at + 1));
    Json(json!({ "items": items, "next_cursor": next }))
}

async fn promote(State(service): State<Service>, Json(body): Json<Value>) -> Response {
    if service.manners == Manners::RefusesPromotions {
        let problem = json!({
            "type": "about:blank", "title": "The environment is locked", "status": 423, "code": "environment_locked",
            "detail": "Locked by ops.", "request_id": "r-1", "errors": [{ "field": "release", "message": "not now" }],
        });
        return (StatusCode::LOCKED, Json(problem)).into_response();
    }
    service.flip(body["release"].as_str().unwrap(), false)
}

async fn roll_back(State(service): State<Service>) -> Response {
    let target = {
        let world = service.world();
        world.jobs[world.jobs.len() - 2].0.clone()
    };
    service.flip(&target, true)
}

/// The first time it is asked for, a job has not ended.
async fn job(State(service): State<Service>, Path(id): Path<usize>, Query(query): Query<Value>) -> Json<Value> {
    assert_eq!(query["wait"], "30");
    let mut world = service.world();
    world.current_job = None;
    let (release, asked) = &mut world.jobs[id];
    *asked += 1;
    let end = if service.manners == Manners::FailsJobs {
        "failed"
    } else {
        "succeeded"
    };
    Json(json!({
        "id": id.to_string(),
        "state": if *asked == 1 { "waiting" } else { end },
        "release": release,
        "from_release": "0.9.0",
        "created_at": "2026-11-01T10:00:00Z",
        "started_at": "2026-11-01T10:00:00.010Z",
        "traffic_shifted_at": "2026-11-01T10:00:00.120Z",
        "settled_at": "2026-11-01T10:00:05.250Z",
        "finished_at": "2026-11-01T10:00:05.250Z",
        "error": (end == "failed").then(|| json!({ "code": "aws_denied", "message": "PutParameter is not allowed", "hint": "Allow it." })),
        "warnings": [{ "code": "example", "message": "An example of a warning" }],
        "steps": [
            { "position": 2, "kind": "invalidate", "component": "web", "state": end, "attempts": 2,
              "started_at": "2026-11-01T10:00:02.120Z", "finished_at": "2026-11-01T10:00:05.240Z" },
            { "position": 1, "kind": "preflight", "state": "succeeded", "attempts": 1,
              "started_at": "2026-11-01T10:00:00.010Z", "finished_at": "2026-11-01T10:00:00.050Z" },
        ],
    }))
}

async fn events() -> Json<Value> {
    Json(
        json!({ "items": [{ "id": 1, "at": "2026-11-01T10:00:01Z", "kind": "step_failed", "data": { "step": 2 } }], "next_cursor": null }),
    )
}

/// A place to write to that can be read afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells the demo to the end; what it led to, and what was written.
async fn tell(service: &Service) -> (anyhow::Result<Told>, String) {
    let base_url = service.listen().await;
    let paper = Paper::default();
    let screen = Screen::new(paper.clone(), false);
    let stage = Stage {
        base_url,
        token: "secret".into(),
        web: vec![service.point_of_presence().await, service.point_of_presence().await],
        web_url: "http://127.0.0.1:1/".into(),
        docs_url: "http://127.0.0.1:2/".into(),
        docs: vec![service.point_of_presence().await],
        kvs_arn: "arn:aws:cloudfront::123456789012:key-value-store/example".into(),
        edge_ttl_seconds: 2,
    };
    let told = Demo::new(stage, service, &screen).unwrap().play().await;
    let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    (told, written)
}

#[tokio::test]
async fn a_good_service_is_shown_step_by_step() {
    let service = Service::new(Manners::Good);
    let (told, written) = tell(&service).await;
    assert_eq!(told.unwrap(), Told { left: "1.1.0".into() });
    for words in [
        "3  Promote 1.0.0",
        "curl http://127.0.0.1:1/ before: 503 (no release)",
        "curl http://127.0.0.1:1/ after: 200 1.0.0",
        "4  Preview 1.1.0 in production",
        "Everybody else                         200 1.0.0",
        "5  Promote 1.1.0",
        "what that page loads now             200 1.0.0",
        "the next navigation                  200 1.1.0",
        "6  Roll back",
        "The visitor, pinned until now, loads   200 1.0.0",
        "1.1.0 at 2 of 2 points of presence",
        "0.9.0 → 1.0.0: succeeded",
        "✓ preflight",
        "3.12 s  2 attempts",
        "! An example of a warning",
        r#"{"active":"1.1.0","epoch":0,"v":1}"#,
        r#"{"active":"1.0.0","epoch":1,"v":1}"#,
        "Invalidation  I2  /*  COMPLETED",
        "CallerReference job-2",
        "traffic shifted after 0.12 s, settled after 5.25 s by the job's times",
    ] {
        assert!(written.contains(words), "no `{words}` in:\n{written}");
    }
    let web = service.world().environment["components"][0].clone();
    assert_eq!(web["router"]["edge_ttl_seconds"], 2);
    assert_eq!(web["cdn"]["invalidate"], json!({ "mode": "none" }));
    let docs = service.world().environment["components"][1].clone();
    assert_eq!(docs["cdn"]["invalidate"], json!({ "mode": "paths", "paths": ["/*"] }));
}

#[tokio::test]
async fn it_can_be_told_again_and_waits_for_what_an_earlier_run_left() {
    let service = Service::new(Manners::Good);
    tell(&service).await.0.unwrap();
    service.world().current_job = Some("0".into());
    let (told, written) = tell(&service).await;
    assert_eq!(told.unwrap(), Told { left: "1.3.0".into() });
    assert!(written.contains("job 0 is not finished yet"), "{written}");
}

#[tokio::test]
async fn what_did_not_come_true_is_found() {
    for (manners, objection) in [
        (Manners::ForgetsToInvalidate, "0 invalidations went out, not one"),
        (Manners::InvalidatesTwice, "2 invalidations went out, not one"),
        (Manners::InvalidatesAnotherPath, "is of /index.html, not of /*"),
        (Manners::LeavesInvalidationInProgress, "is InProgress, not Completed"),
        (Manners::LeavesPointer, "SSM says no release for web, not 1.0.0"),
        (Manners::LeavesKeyValueStore, "web's KeyValueStore says nothing"),
        (Manners::KeepsEpoch, "epoch of web's pointer has not grown"),
    ] {
        let (told, written) = tell(&Service::new(manners)).await;
        let error = told.unwrap_err().to_string();
        assert!(error.contains(objection), "{manners:?}: {error}");
        assert!(written.contains("✗"), "{manners:?}: {written}");
    }
}

#[tokio::test]
async fn what_visitors_should_not_see_is_found() {
    for (manners, objection) in [
        (Manners::FailsVisitors, "curl got another release"),
        (
            Manners::ShowsEverybodyThePreview,
            "Everybody else: 200 and 1.1.0, not 1.0.0",
        ),
    ] {
        let (told, _) = tell(&Service::new(manners)).await;
        let error = told.unwrap_err().to_string();
        assert!(error.contains(objection), "{manners:?}: {error}");
    }
}

#[tokio::test]
async fn a_failed_job_is_explained() {
    let (told, written) = tell(&Service::new(Manners::FailsJobs)).await;
    assert_eq!(told.unwrap_err().to_string(), "job 0 ended failed, not succeeded");
    for words in [
        "✗ invalidate",
        "PutParameter is not allowed (code aws_denied)",
        "Allow it.",
        "1.00 s  step_failed",
    ] {
        assert!(written.contains(words), "no `{words}` in:\n{written}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_apis_own_words() {
    let (told, _) = tell(&Service::new(Manners::RefusesPromotions)).await;
    let error = told.unwrap_err().to_string();
    for words in [
        "/promotions was refused",
        "The environment is locked",
        "423",
        "code environment_locked",
        "Locked by ops.",
        "release: not now",
        "request r-1",
    ] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}
