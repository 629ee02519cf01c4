//! The service that the demo is told against: it keeps to the API's form, moves traffic at once, and misbehaves as its
//! manners say. A promotion to a share of the visitors is played in `canary`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use super::{super::*, canary};

/// How the service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
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
    GivesThreeTimesTheShare,
    GivesSomethingElse,
    IgnoresChecks,
    InvalidatesWhenItTakesBack,
    LeavesTheShare,
    KeepsVisitors,
}

#[derive(Default)]
pub(super) struct World {
    releases: Vec<String>,
    /// By bucket and key.
    uploads: Vec<String>,
    /// By parameter: the document and its version.
    pointers: BTreeMap<&'static str, (Value, u64)>,
    key_value: Option<String>,
    previewed: Option<String>,
    invalidations: Vec<Invalidation>,
    pub jobs: Vec<Played>,
    pub current_job: Option<String>,
    pub environment: Value,
    /// Visitors without a cookie so far.
    newcomers: u64,
    /// How often somebody looked at web's pointer.
    pub looks: u64,
}

/// A job, as far as it has got.
#[derive(Default)]
pub(super) struct Played {
    release: String,
    asked: u32,
    pub events: Vec<Value>,
    pub state: Option<&'static str>,
    pub error: Value,
}

#[derive(Clone)]
pub(super) struct Service {
    world: Arc<Mutex<World>>,
    /// Something was looked at, or has happened.
    pub news: Arc<Notify>,
    pub manners: Manners,
}

impl Service {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            world: Arc::default(),
            news: Arc::default(),
            manners,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A point of presence: serves what the pointer names, to pinned visitors' subresources too.
    pub(super) async fn point_of_presence(&self) -> SocketAddr {
        let router = Router::new().fallback(serve).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(super) async fn listen(&self) -> String {
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

    /// Waits until something holds.
    pub(super) async fn until(&self, holds: impl Fn(&World) -> bool) {
        loop {
            let news = self.news.notified();
            if holds(&self.world()) {
                return;
            }
            news.await;
        }
    }

    /// A job that has begun; its number.
    pub(super) fn begin(&self, release: &str) -> usize {
        let mut world = self.world();
        world.jobs.push(Played {
            release: release.to_owned(),
            ..Played::default()
        });
        world.jobs.len() - 1
    }

    /// Moves traffic at once; the job is there to be asked about.
    fn flip(&self, release: &str, rollback: bool) -> Response {
        let number = self.begin(release);
        let grows = rollback && self.manners != Manners::KeepsEpoch;
        for site in SITES {
            self.write(&site, |document| {
                if self.manners != Manners::LeavesPointer {
                    document["active"] = json!(release);
                }
                document["epoch"] = json!(document["epoch"].as_u64().unwrap() + u64::from(grows));
            });
        }
        self.invalidate(number);
        let failed = self.manners == Manners::FailsJobs;
        let mut world = self.world();
        let job = &mut world.jobs[number];
        job.state = Some(if failed { "failed" } else { "succeeded" });
        if failed {
            job.error = json!({ "code": "aws_denied", "message": "PutParameter is not allowed", "hint": "Allow it." });
        }
        accepted(number)
    }

    /// Writes a site's pointer, and web's to its KeyValueStore too.
    pub(super) fn write(&self, site: &Site, change: impl FnOnce(&mut Value)) {
        let mut world = self.world();
        let (document, version) = world
            .pointers
            .entry(site.parameter)
            .or_insert((json!({ "v": 1, "active": null, "epoch": 0 }), 0));
        change(document);
        *version += 1;
        let document = document.to_string();
        if *site == WEB && self.manners != Manners::LeavesKeyValueStore {
            world.key_value = Some(document);
        }
    }

    /// Tells CloudFront, of docs.
    pub(super) fn invalidate(&self, job: usize) {
        let (times, path, status) = match self.manners {
            Manners::ForgetsToInvalidate => (0, "/*", "Completed"),
            Manners::InvalidatesTwice => (2, "/*", "Completed"),
            Manners::InvalidatesAnotherPath => (1, "/index.html", "Completed"),
            Manners::LeavesInvalidationInProgress => (1, "/*", "InProgress"),
            _ => (1, "/*", "COMPLETED"),
        };
        let mut world = self.world();
        for _ in 0..times {
            let id = format!("I{}", world.invalidations.len());
            let caller_reference = format!("job-{job}");
            let paths = vec![path.to_owned()];
            world.invalidations.push(Invalidation {
                id,
                caller_reference,
                paths,
                status: status.into(),
            });
        }
    }
}

pub(super) fn accepted(number: usize) -> Response {
    let job = json!({ "id": number.to_string(), "state": "queued", "created_at": "2026-11-01T10:00:00Z" });
    (StatusCode::ACCEPTED, Json(job)).into_response()
}

impl AwsView for Service {
    fn pointer(&self, _region: &str, name: &str) -> Option<(String, u64)> {
        assert!([WEB.parameter, DOCS.parameter].contains(&name), "{name}");
        let mut world = self.world();
        if name == WEB.parameter {
            world.looks += 1;
            self.news.notify_waiters();
        }
        let (value, version) = world.pointers.get(name)?;
        Some((value.to_string(), *version))
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
    let mut world = service.world();
    let named = world
        .pointers
        .get(WEB.parameter)
        .filter(|(document, _)| document["active"].is_string())
        .cloned();
    let Some((pointer, _)) = named else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let current = pointer["epoch"].to_string();
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
            _ => {
                let share = navigates && cookies.is_empty();
                if share {
                    world.newcomers += 1;
                }
                chosen(&pointer, world.newcomers, share, service.manners)
            }
        }
    };
    let pin = format!("{release}~{current}");
    let mut answer = [("x-greenlight-release", release)].into_response();
    if navigates {
        let cookie = format!("pin={pin}; Path=/").parse().unwrap();
        answer.headers_mut().insert("set-cookie", cookie);
    }
    answer
}

/// The release of a newcomer's page, or of what asks without being one.
fn chosen(pointer: &Value, newcomer: u64, share: bool, manners: Manners) -> String {
    let weight = match manners {
        Manners::GivesThreeTimesTheShare => pointer["weight"].as_u64().unwrap_or(0) * 3,
        _ => pointer["weight"].as_u64().unwrap_or(0),
    };
    if share && manners == Manners::GivesSomethingElse && weight > 0 && newcomer.is_multiple_of(50) {
        return "0.1.0".to_owned();
    }
    // As many as the weight says, evenly spread.
    let on_candidate = share && (newcomer + 1) * weight / 100 > newcomer * weight / 100;
    let release = if on_candidate { "candidate" } else { "active" };
    pointer[release].as_str().unwrap().to_owned()
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
    let release = body["release"].as_str().unwrap();
    if body["strategy"].is_null() {
        return service.flip(release, false);
    }
    let number = service.begin(release);
    tokio::spawn(canary::play(service, number, body));
    accepted(number)
}

async fn roll_back(State(service): State<Service>) -> Response {
    let target = {
        let world = service.world();
        world.jobs[world.jobs.len() - 2].release.clone()
    };
    service.flip(&target, true)
}

/// The first time it is asked for, a job has not ended.
async fn job(State(service): State<Service>, Path(id): Path<usize>, Query(query): Query<Value>) -> Json<Value> {
    assert_eq!(query["wait"], "30");
    let mut world = service.world();
    world.current_job = None;
    let job = &mut world.jobs[id];
    job.asked += 1;
    let end = job.state.filter(|_| job.asked > 1).unwrap_or("waiting");
    Json(json!({
        "id": id.to_string(),
        "state": end,
        "release": job.release,
        "from_release": "0.9.0",
        "created_at": "2026-11-01T10:00:00Z",
        "started_at": "2026-11-01T10:00:00.010Z",
        "traffic_shifted_at": "2026-11-01T10:00:00.120Z",
        "settled_at": "2026-11-01T10:00:05.250Z",
        "finished_at": "2026-11-01T10:00:05.250Z",
        "error": job.error,
        "warnings": [{ "code": "example", "message": "An example of a warning" }],
        "steps": [
            { "position": 2, "kind": "invalidate", "component": "web", "state": end, "attempts": 2,
              "started_at": "2026-11-01T10:00:02.120Z", "finished_at": "2026-11-01T10:00:05.240Z" },
            { "position": 1, "kind": "preflight", "state": "succeeded", "attempts": 1,
              "started_at": "2026-11-01T10:00:00.010Z", "finished_at": "2026-11-01T10:00:00.050Z" },
        ],
    }))
}

/// A list, or as a stream that ends with the job.
async fn events(State(service): State<Service>, Path(id): Path<usize>, headers: HeaderMap) -> Response {
    if headers.get("accept").is_none_or(|accept| accept != "text/event-stream") {
        let event = json!({ "id": 1, "at": "2026-11-01T10:00:01Z", "kind": "step_failed", "data": { "step": 2 } });
        return Json(json!({ "items": [event], "next_cursor": null })).into_response();
    }
    let messages = stream::unfold((service, 0), move |(service, sent)| async move {
        service
            .until(|world| world.jobs[id].events.len() > sent || world.jobs[id].state.is_some())
            .await;
        let event = service.world().jobs[id].events.get(sent).cloned()?;
        let kind = event["kind"].as_str().unwrap();
        let message = format!(": still here\n\nid: {sent}\nevent: {kind}\ndata: {event}\n\n");
        Some((Ok::<_, std::convert::Infallible>(message), (service, sent + 1)))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(messages)).into_response()
}
