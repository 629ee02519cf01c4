//! [`TestApp`]: a whole Greenlight on a database and an AWS double of its own.

pub mod answer;
pub mod database;
pub mod emulator;
pub mod folder;
pub mod load;
pub mod probe;
pub mod process;
pub mod time;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use greenlight::{
    aws::Aws,
    config::{EngineOptions, WebhookOptions},
    domain::role::Role,
    engine::{Engine, EngineConfig, Hub, Worker},
    http::{ApiState, router},
    outbound::{AllowList, Outbound},
    sandbox::{
        dev::sdk_config,
        double::{AwsDouble, DoubleOptions, InvalidationView, StaleEtag},
    },
    secrets::AwsSecrets,
    server::engine,
    service::tokens,
    store::{CommitProbe, Store},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

pub use answer::Answer;

pub const REGION: &str = "us-east-1";
pub const SECOND_REGION: &str = "eu-west-1";
pub const DISTRIBUTION: &str = "E2EXAMPLE";
pub const PARAMETER: &str = "/storefront/production/release";
pub const ENVIRONMENT: &str = "/v1/apps/storefront/environments/production";

/// How to start a [`TestApp`].
pub struct TestAppOptions {
    pub workers: usize,
    pub invalidation: Duration,
    pub engine: EngineConfig,
    pub probe: Option<Arc<dyn CommitProbe>>,
    pub stale_etag: StaleEtag,
    /// The workers hear of no signals: one that is stopped in a step is stalled as a whole.
    pub deaf: bool,
}

impl Default for TestAppOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            invalidation: Duration::ZERO,
            engine: EngineOptions::default().engine(),
            probe: None,
            stale_etag: StaleEtag::AsDocumented,
            deaf: false,
        }
    }
}

impl TestAppOptions {
    /// Two workers, the first of which a probe stalls as a whole: it hears of nothing, and does not look by itself.
    pub fn stalling(probe: Arc<dyn CommitProbe>) -> Self {
        let mut engine = EngineOptions::default().engine();
        engine.poll = Duration::from_secs(120);
        Self {
            workers: 2,
            engine,
            probe: Some(probe),
            deaf: true,
            ..Self::default()
        }
    }
}

/// A whole Greenlight. Everything ends when it is dropped.
pub struct TestApp {
    pub store: Store,
    pub double: AwsDouble,
    pub hub: Hub,
    pub engine: EngineConfig,
    pub workers: Vec<JoinHandle<()>>,
    deaf: bool,
    router: Router,
    admin: String,
    _stop: DropGuard,
    stop: CancellationToken,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(TestAppOptions::default()).await
    }

    pub async fn with(options: TestAppOptions) -> Self {
        // RUST_LOG shows what the service says; without it a test says nothing.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let database_url = database::fresh().await;
        let double = AwsDouble::start(DoubleOptions {
            invalidation_duration: options.invalidation,
            stale_etag: options.stale_etag,
            ..DoubleOptions::default()
        })
        .await
        .unwrap();
        double.add_distribution(DISTRIBUTION);
        let store = Store::connect(&database_url, 10).unwrap();
        let store = match options.probe {
            Some(probe) => store.with_probe(probe),
            None => store,
        };
        let hub = Hub::default();
        let stop = CancellationToken::new();
        tokio::spawn(hub.clone().listen(store.clone(), stop.clone()));
        let aws = Aws::with_config(&sdk_config(&double.endpoint_url()));
        let state = ApiState {
            secrets: Arc::new(AwsSecrets { aws }),
            store: store.clone(),
            hub: hub.clone(),
            pulse: None,
            shutdown: stop.clone(),
        };
        let mut app = Self {
            router: router(state),
            store,
            double,
            hub,
            engine: options.engine,
            workers: Vec::new(),
            deaf: options.deaf,
            admin: String::new(),
            _stop: stop.clone().drop_guard(),
            stop,
        };
        app.admin = app.token(Role::Admin).await;
        for _ in 0..options.workers {
            app.start_worker();
        }
        app
    }

    pub fn aws(&self) -> Aws {
        Aws::with_config(&sdk_config(&self.double.endpoint_url()))
    }

    /// The engine of a worker with these settings.
    pub fn engine_with(&self, config: EngineConfig) -> Engine {
        engine(
            &self.store,
            &self.aws(),
            &outbound(),
            &WebhookOptions::default(),
            config,
        )
    }

    /// Starts a worker; returns its place in `workers`.
    pub fn start_worker(&mut self) -> usize {
        let engine = self.engine_with(self.engine.clone());
        let hub = if self.deaf { self.hub.deaf() } else { self.hub.clone() };
        self.workers
            .push(tokio::spawn(Worker::new(engine, hub).run(self.stop.clone())));
        self.workers.len() - 1
    }

    /// Ends a worker as `kill -9` would: nothing of it runs any further.
    pub async fn kill_worker(&mut self, at: usize) {
        self.workers[at].abort();
        let _ = (&mut self.workers[at]).await;
    }

    /// A new token.
    pub async fn token(&self, role: Role) -> String {
        let mut tx = self.store.begin().await.unwrap();
        let created = tokens::create(&mut tx, role.as_str(), role, None).await.unwrap();
        tx.commit().await.unwrap();
        created.token
    }

    /// A new token of somebody with this name.
    pub async fn token_named(&self, name: &str, role: Role) -> String {
        let mut tx = self.store.begin().await.unwrap();
        let created = tokens::create(&mut tx, name, role, None).await.unwrap();
        tx.commit().await.unwrap();
        created.token
    }

    /// Answers as a webhook, with the token that it was called with.
    pub async fn call_back(&self, path: &str, token: &str, body: &Value) -> Answer {
        let mut request = self.request(Method::POST, path, Some(body));
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        self.send(request).await
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// The router, for streams.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// A request of the admin, to be changed before it is sent.
    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin));
        match body {
            Some(body) => builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string()))
                .unwrap(),
            None => builder.body(Body::empty()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, None)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path, Some(&body))).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path, Some(&body))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path, None)).await
    }

    /// `storefront` with `production` as in `document`, and these releases.
    pub async fn set_up(&self, document: Value, releases: &[&str]) {
        self.put("/v1/apps/storefront", json!({})).await.expect(201);
        self.put(ENVIRONMENT, document).await.expect(201);
        for release in releases {
            self.register(release).await;
        }
    }

    /// Registers a release with artifacts for `web` and `api`.
    pub async fn register(&self, version: &str) {
        let body = json!({"version": version, "artifacts": {"web": {}, "api": {}}});
        self.post("/v1/apps/storefront/releases", body).await.expect(201);
    }

    /// Starts a promotion. Returns the job's id.
    pub async fn promote(&self, release: &str) -> String {
        self.promote_with(json!({"release": release})).await
    }

    pub async fn promote_with(&self, body: Value) -> String {
        self.post(&format!("{ENVIRONMENT}/promotions"), body)
            .await
            .expect(202)
            .id()
    }

    /// Starts a rollback. Returns the job's id.
    pub async fn roll_back(&self) -> String {
        self.post(&format!("{ENVIRONMENT}/rollbacks"), json!({}))
            .await
            .expect(202)
            .id()
    }

    /// Promotes, and sees that it succeeds.
    pub async fn promote_to_the_end(&self, release: &str) -> Value {
        let id = self.promote(release).await;
        self.finish_as(&id, "succeeded").await
    }

    /// Rolls back, and sees that it succeeds.
    pub async fn roll_back_to_the_end(&self) -> Value {
        let id = self.roll_back().await;
        self.finish_as(&id, "succeeded").await
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.expect(200).json()
    }

    pub async fn environment(&self) -> Value {
        self.get(ENVIRONMENT).await.expect(200).json()
    }

    /// The data of a job's events of one kind, in order.
    pub async fn events(&self, id: &str, kind: &str) -> Vec<Value> {
        let path = format!("/v1/jobs/{id}/events?limit=200");
        let events = self.get(&path).await.expect(200).json();
        let those = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["kind"] == kind);
        those.map(|event| event["data"].clone()).collect()
    }

    /// The kinds of a job's events, in order.
    pub async fn event_kinds(&self, id: &str) -> Vec<String> {
        let events = self
            .get(&format!("/v1/jobs/{id}/events?limit=200"))
            .await
            .expect(200)
            .json();
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What SSM says in the first region.
    pub fn pointer(&self) -> Option<String> {
        self.pointer_in(REGION)
    }

    pub fn pointer_in(&self, region: &str) -> Option<String> {
        self.double.parameter(region, PARAMETER).map(|(value, _)| value)
    }

    /// Which release SSM names as active in the first region.
    pub fn active(&self) -> Option<String> {
        active_of(self.pointer())
    }

    pub fn active_in(&self, region: &str) -> Option<String> {
        active_of(self.pointer_in(region))
    }

    /// The key value store of the tests. Made when it is first asked for.
    pub fn store_arn(&self) -> String {
        self.double.add_key_value_store("shared")
    }

    /// What a key of that store says.
    pub fn key(&self, key: &str) -> Option<String> {
        self.double.kvs_value(&self.store_arn(), key)
    }

    /// Which release a key of that store names as active.
    pub fn active_in_key(&self, key: &str) -> Option<String> {
        active_of(self.key(key))
    }

    pub fn invalidations(&self) -> Vec<InvalidationView> {
        self.double.invalidations(DISTRIBUTION)
    }

    /// Every invalidation has a reference of its own: no step has sent two.
    pub fn assert_one_invalidation_per_step(&self) {
        let mut references: Vec<String> = self
            .invalidations()
            .into_iter()
            .map(|invalidation| invalidation.caller_reference)
            .collect();
        let all = references.len();
        references.sort();
        references.dedup();
        assert_eq!(references.len(), all, "two invalidations of one step: {references:?}");
    }
}

/// Asks loopback, where the tests' sites are.
pub fn outbound() -> Outbound {
    Outbound::new(AllowList::loopback())
}

fn active_of(value: Option<String>) -> Option<String> {
    let value = value?;
    match serde_json::from_str::<Value>(&value) {
        Ok(Value::Object(document)) => Some(document["active"].as_str()?.to_owned()),
        _ => Some(value),
    }
}

/// One component `web` with a created JSON pointer, no edge TTL, and everything invalidated.
pub fn web() -> Value {
    json!({
        "aws": {"region": REGION},
        "components": [{
            "name": "web",
            "router": {"kind": "ssm_pointer", "parameter": PARAMETER, "edge_ttl_seconds": 0, "create_parameter": true},
            "cdn": {"distribution_id": DISTRIBUTION, "invalidate": {"mode": "paths", "paths": ["/*"]}}
        }]
    })
}

/// Like [`web`], with a change to its router.
pub fn web_with(router: Value) -> Value {
    let mut document = web();
    for (key, value) in router.as_object().unwrap() {
        document["components"][0]["router"][key] = value.clone();
    }
    document
}

/// Like [`web`], in two regions.
pub fn web_in_two_regions() -> Value {
    web_with(json!({"regions": [REGION, SECOND_REGION]}))
}

/// Two components, `api` before `web`, each with its own pointer; `web` has the distribution.
pub fn api_and_web() -> Value {
    let mut document = web();
    let web = document["components"][0].clone();
    let api = json!({
        "name": "api",
        "router": {"kind": "ssm_pointer", "parameter": API_PARAMETER, "edge_ttl_seconds": 0, "create_parameter": true}
    });
    document["components"] = json!([api, web]);
    document
}

/// Like [`web`], with the pointer in a created key of the tests' store.
pub fn web_in_kvs(store_arn: &str) -> Value {
    let mut document = web();
    document["components"][0]["router"] = json!({
        "kind": "cloudfront_kvs", "kvs_arn": store_arn, "kvs_key": KEY, "edge_ttl_seconds": 0, "create_key": true
    });
    document
}

/// Like [`web`], with the parameter's document also in a key of the tests' store.
pub fn web_projected(store_arn: &str) -> Value {
    web_with(json!({"kvs_arn": store_arn, "kvs_key": KEY}))
}

/// A key of the tests' store, and the copy behind it.
pub const KEY: &str = "storefront/production";
pub const LAST_GOOD: &str = "storefront/production.last-good";
pub const API_PARAMETER: &str = "/storefront/production/api-release";
