//! The stage of these stories: a bucket with sites, a store with the pointer, the double's clock and invalidations, and
//! an edge that looks at them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use greenlight::{
    domain::environment::Fallback,
    sandbox::{
        double::{AwsDouble, DoubleOptions},
        edge::{
            Bucket, DistributionInvalidations, EdgeOptions, FunctionConfig, KeyValues, LocalEdge, Object, Routing,
            Store, StoreError,
        },
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::double::support;

pub const KEY: &str = "/storefront/production/release";
pub const BLUE: &str = "1.42.0";
pub const GREEN: &str = "1.43.0";
/// How old a point of presence's pointer gets on this stage. Long, as all times here: they are moved, not waited for,
/// and what passes by itself meanwhile has to be nothing beside them.
pub const TTL: Duration = Duration::from_secs(600);
/// How long the double's invalidations take.
pub const INVALIDATION: Duration = Duration::from_secs(200);

/// What a browser sends with a navigation, and with what a page asks for.
pub const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
pub const SUBRESOURCE: (&str, &str) = ("sec-fetch-mode", "no-cors");

/// The pointer with `active`, the other site as `previous`, and more fields if given.
pub fn pointer(active: &str, more: serde_json::Value) -> String {
    let previous = if active == BLUE { GREEN } else { BLUE };
    let mut pointer = json!({
        "v": 1, "active": active, "previous": previous, "candidate": null, "weight": 0, "epoch": 7, "pin_seconds": 1800
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        pointer[name] = value.clone();
    }
    pointer.to_string()
}

pub fn modified() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub fn object(body: &str) -> Object {
    Object {
        body: body.to_owned().into(),
        content_type: Some("text/html".to_owned()),
        etag: Some(format!("\"etag of {body}\"")),
        last_modified: Some(modified()),
        ..Object::default()
    }
}

type Shared<T> = Arc<Mutex<T>>;

/// Everything, and the edge in the middle.
pub struct Stage {
    pub double: AwsDouble,
    pub edge: LocalEdge,
    pub bucket: Shared<BTreeMap<String, Object>>,
    pub store: Shared<Result<KeyValues, StoreError>>,
}

impl Stage {
    /// An edge with three points of presence on two sites, of which the blue one is active.
    pub async fn new(routing: Routing) -> Self {
        Self::with(|options| options.routing = routing).await
    }

    pub async fn with(change: impl FnOnce(&mut EdgeOptions)) -> Self {
        let double = AwsDouble::start(DoubleOptions {
            invalidation_duration: INVALIDATION,
            ..DoubleOptions::default()
        });
        let double = double.await.unwrap();
        double.add_distribution(support::DISTRIBUTION);
        let bucket = Shared::default();
        let store = Arc::new(Mutex::new(Ok(KeyValues::from([(
            KEY.to_owned(),
            pointer(BLUE, json!({})),
        )]))));
        let config = FunctionConfig {
            prefix: "releases/".to_owned(),
            fallback: Fallback::Spa,
            key: KEY.to_owned(),
        };
        let (objects, values) = (Arc::clone(&bucket), Arc::clone(&store));
        let mut options = EdgeOptions::new(
            config,
            double.clock().clone(),
            Arc::new(Bucket::new(move |key| {
                let objects: &Mutex<BTreeMap<String, Object>> = &objects;
                objects.lock().unwrap().get(key).cloned()
            })),
            Arc::new(Store::new(move || values.lock().unwrap().clone())),
            Arc::new(DistributionInvalidations::new(&double, support::DISTRIBUTION)),
        );
        options.pointer_ttl = TTL;
        change(&mut options);
        let edge = LocalEdge::start(options).await.unwrap();
        let stage = Self {
            double,
            edge,
            bucket,
            store,
        };
        for release in [BLUE, GREEN] {
            for file in ["index.html", "app.js", "app.3f2a9c1b.js", "sw.js"] {
                stage.put(&format!("releases/{release}/{file}"), &format!("{file} of {release}"));
            }
        }
        stage
    }

    pub fn put(&self, key: &str, body: &str) {
        self.put_object(key, object(body));
    }

    pub fn put_object(&self, key: &str, object: Object) {
        self.bucket.lock().unwrap().insert(key.to_owned(), object);
    }

    /// Writes a key of the store.
    pub fn write(&self, key: &str, value: &str) {
        let mut store = self.store.lock().unwrap();
        let mut values = store.clone().unwrap_or_default();
        values.insert(key.to_owned(), value.to_owned());
        *store = Ok(values);
    }

    pub fn advance(&self, by: Duration) {
        self.double.clock().advance(by);
    }

    /// Invalidates paths through CloudFront's own API; they are on their way then.
    pub async fn invalidate(&self, reference: &str, paths: &[&str]) {
        let client = support::cloudfront(&self.double);
        support::invalidate(&client, reference, paths).await.unwrap();
    }

    pub fn invalidation_status(&self) -> String {
        let invalidations = self.double.invalidations(support::DISTRIBUTION);
        invalidations.last().unwrap().status.clone()
    }

    /// Asks the first point of presence.
    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.get_at(0, target, headers).await
    }

    pub async fn get_at(&self, pop: usize, target: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.edge.pop_addresses()[pop], "GET", target, headers).await
    }

    pub async fn head(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.edge.pop_addresses()[0], "HEAD", target, headers).await
    }

    /// What every point of presence answers to the same request.
    pub async fn everywhere(&self, target: &str, headers: &[(&str, &str)]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for pop in 0..self.edge.pop_addresses().len() {
            answers.push(self.get_at(pop, target, headers).await);
        }
        answers
    }

    /// The releases whose `/index.html` a navigation gets, by point of presence.
    pub async fn pages(&self) -> Vec<String> {
        let answers = self.everywhere("/", &[NAVIGATE]).await;
        answers
            .into_iter()
            .map(|answer| {
                assert_eq!(answer.status, 200, "{answer:?}");
                answer.text().strip_prefix("index.html of ").unwrap().to_owned()
            })
            .collect()
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn release(&self) -> Option<&str> {
        self.header("x-greenlight-release")
    }

    pub fn x_cache(&self) -> &str {
        self.header("x-cache").unwrap()
    }

    pub fn cookies(&self) -> Vec<&str> {
        let cookies = self.headers.get_all("set-cookie").iter();
        cookies.map(|cookie| cookie.to_str().unwrap()).collect()
    }

    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value.trim()).unwrap(),
            );
        }
        assert!(!headers.contains_key("transfer-encoding"), "every length is known");
        Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }
}

/// One request on a connection of its own: clients would put a path right before they send it.
pub async fn ask(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Answer::read(&send(address, head.as_bytes()).await)
}

/// Sends bytes, and reads until the connection ends.
pub async fn send(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    support::soon(async {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses may close while there is still something to read for it.
        let _ = connection.read_to_end(&mut answer).await;
        answer
    })
    .await
}
