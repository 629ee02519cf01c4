//! A constant load on an edge while traffic is moved, and what must hold of every answer.
//!
//! Newcomers open the page at every point of presence, as fast as they are answered. No answer may be a 5xx, and none
//! may come from a release that the pointer did not name as active within the edge's TTL before. The benchmark of the
//! edge uses this file too.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use greenlight::{
    domain::environment::Fallback,
    sandbox::{
        double::AwsDouble,
        edge::{Bucket, DistributionInvalidations, EdgeOptions, FunctionConfig, KeyValueStore, LocalEdge, Object},
    },
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const REGION: &str = "us-east-1";
const DISTRIBUTION: &str = "E2EXAMPLE";
const BUCKET: &str = "storefront-web";
const KEY: &str = "storefront/production/release";
/// Between two looks at what the pointer really says.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// For looking, scheduling and sending: what the clocks of this machine can't tell apart under load.
const SLACK: Duration = Duration::from_millis(150);
const KEPT_FAILURES: usize = 20;

/// An edge over what the double holds.
pub async fn edge(double: &AwsDouble, kvs_arn: &str, ttl: Duration) -> LocalEdge {
    let bucket = {
        let double = double.clone();
        move |key: &str| {
            let stored = double.object(BUCKET, key)?;
            Some(Object {
                body: stored.body,
                content_type: stored.content_type,
                etag: Some(format!("\"{}\"", stored.etag)),
                ..Object::default()
            })
        }
    };
    let config = FunctionConfig {
        prefix: "releases/".to_owned(),
        fallback: Fallback::Spa,
        key: KEY.to_owned(),
    };
    let mut options = EdgeOptions::new(
        config,
        double.clock().clone(),
        Arc::new(Bucket::new(bucket)),
        Arc::new(KeyValueStore::new(double, kvs_arn)),
        Arc::new(DistributionInvalidations::new(double, DISTRIBUTION)),
    );
    options.pointer_ttl = ttl;
    LocalEdge::start(options).await.unwrap()
}

/// The environment whose only component is behind that edge.
pub fn document(kvs_arn: &str, edge: &LocalEdge, ttl: Duration) -> Value {
    let addresses: Vec<String> = edge.pop_addresses().iter().map(ToString::to_string).collect();
    json!({
        "aws": {"region": REGION},
        "components": [{
            "name": "web",
            "router": {"kind": "ssm_pointer", "parameter": format!("/{KEY}"), "edge_ttl_seconds": ttl.as_secs(),
                       "create_parameter": true, "kvs_arn": kvs_arn},
            "edge": {"mode": "viewer_rewrite", "fallback": "spa", "public_url": edge.url(),
                     "converge": {"consecutive": 2, "interval_ms": 100, "addresses": addresses}},
            "cdn": {"distribution_id": DISTRIBUTION},
            "artifact": {"kind": "s3", "bucket": BUCKET, "prefix": "releases/{release}/"}
        }]
    })
}

/// Puts the one page of a release into the bucket.
pub fn upload(double: &AwsDouble, release: &str) {
    let page = format!("<!doctype html><html data-release=\"{release}\">");
    let key = format!("releases/{release}/index.html");
    double.put_object(BUCKET, &key, Some("text/html"), page);
}

/// Asks what the pointer in the KeyValueStore names as active.
pub fn active(double: &AwsDouble, kvs_arn: &str) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    let (double, arn) = (double.clone(), kvs_arn.to_owned());
    move || {
        let pointer: Value = serde_json::from_str(&double.kvs_value(&arn, KEY)?).ok()?;
        Some(pointer["active"].as_str()?.to_owned())
    }
}

/// A load that goes on until [`Load::end`].
pub struct Load {
    shared: Arc<Shared>,
    served: watch::Receiver<BTreeMap<SocketAddr, String>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Shared {
    ttl: Duration,
    /// What the pointer names as active now.
    active: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// What the pointer named as active from when on; the last one is true now.
    history: Mutex<VecDeque<(Instant, String)>>,
    served: watch::Sender<BTreeMap<SocketAddr, String>>,
    requests: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub requests: u64,
    /// 5xx, no answer, or an answer of a release that it must not come from.
    pub failures: Vec<String>,
}

impl Load {
    /// `active` says which release the pointer names now; `per_point` newcomers at once at each point of presence.
    pub fn start(
        points: &[SocketAddr],
        per_point: usize,
        ttl: Duration,
        active: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let (sender, served) = watch::channel(BTreeMap::new());
        let history = active().map(|release| (Instant::now(), release)).into_iter().collect();
        let shared = Arc::new(Shared {
            ttl,
            active: Box::new(active),
            history: Mutex::new(history),
            served: sender,
            requests: AtomicU64::new(0),
            failures: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_pointer(shared.clone(), stop.clone()));
        for point in points {
            for _ in 0..per_point {
                tasks.spawn(newcomers(shared.clone(), *point, stop.clone()));
            }
        }
        Self {
            shared,
            served,
            stop,
            tasks,
        }
    }

    /// Waits until the last answer of every point of presence came from `release`.
    pub async fn until_everywhere(&mut self, release: &str, points: usize, patience: Duration) {
        let everywhere = |served: &BTreeMap<SocketAddr, String>| {
            served.len() == points && served.values().all(|served| served == release)
        };
        let arrived = timeout(patience, self.served.wait_for(everywhere)).await;
        assert!(
            arrived.is_ok(),
            "not everywhere on {release}: {:?}",
            self.shared.served.borrow()
        );
    }

    /// Ends it when every open request has its answer.
    pub async fn end(mut self) -> Outcome {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        Outcome {
            requests: self.shared.requests.load(Ordering::Relaxed),
            failures: self.shared.failures.lock().unwrap().clone(),
        }
    }
}

async fn watch_pointer(shared: Arc<Shared>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        shared.look();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn newcomers(shared: Arc<Shared>, point: SocketAddr, stop: CancellationToken) {
    let client = Client::builder().no_proxy().build().unwrap();
    while !stop.is_cancelled() {
        let sent = Instant::now();
        let asked = client.get(format!("http://{point}/")).header("accept", "text/html");
        let answer = asked.send().await;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                shared.fail(format!("{point}: {error}"));
                continue;
            }
        };
        let status = answer.status().as_u16();
        let marked = answer.headers().get("x-greenlight-release");
        let marked = marked.map(|value| value.to_str().unwrap().to_owned());
        let body = answer.text().await.unwrap_or_default();
        match marked {
            Some(release) if status == 200 && body.contains(&format!("data-release=\"{release}\"")) => {
                if !shared.might_serve(&release, sent) {
                    shared.fail(format!("{point} served {release}, which was not active within the TTL"));
                }
                shared.served.send_if_modified(|served| {
                    let before = served.insert(point, release.clone());
                    before.as_deref() != Some(&release)
                });
            }
            marked => shared.fail(format!("{point} answered {status}, marked {marked:?}: {body:.100}")),
        }
    }
}

impl Shared {
    /// Notes what the pointer names now.
    fn look(&self) {
        let mut history = self.history.lock().unwrap();
        if let Some(release) = (self.active)()
            && history.back().is_none_or(|(_, last)| *last != release)
        {
            history.push_back((Instant::now(), release));
        }
    }

    /// True when the pointer named it at some time from a TTL before the question until now.
    fn might_serve(&self, release: &str, sent: Instant) -> bool {
        // The edge may have been quicker than the one who watches.
        self.look();
        let from = sent.checked_sub(self.ttl + SLACK).unwrap_or(sent);
        let history = self.history.lock().unwrap();
        let ends = history.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        history
            .iter()
            .zip(ends)
            .any(|((_, named), end)| named == release && end.is_none_or(|end| end >= from))
    }

    fn fail(&self, what: String) {
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < KEPT_FAILURES {
            failures.push(what);
        }
    }
}
