//! What users name may not lead to what only the service can reach: checks and hooks to metadata, loopback, private and
//! link-local addresses, in every spelling, by name and by redirect, fail before anybody is on the release.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use greenlight::{
    config::WebhookOptions,
    engine::Worker,
    outbound::{AllowList, Lookup, Outbound},
    server::engine,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use super::{with, without_workers};
use crate::support::{ENVIRONMENT, TestApp, web};

/// A site that may not be reached. It remembers what it was asked.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves at an address of loopback until the test ends: `/to/<port>` redirects there, `/500` fails, all else is well.
async fn site(address: &str) -> (u16, Heard) {
    let heard = Heard::default();
    let listener = TcpListener::bind(format!("{address}:0")).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(answer).with_state(heard.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, heard)
}

async fn answer(State(heard): State<Heard>, uri: Uri) -> Response {
    heard.0.lock().unwrap().push(uri.path().to_owned());
    if let Some(port) = uri.path().strip_prefix("/to/") {
        let to = format!("http://127.0.0.2:{port}/secret");
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    if uri.path() == "/500" {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    "ok".into_response()
}

/// A worker that asks by way of this. It ends with its handle.
struct Working(AbortHandle);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn work(app: &TestApp, outbound: &Outbound) -> Working {
    let webhooks = WebhookOptions::default();
    let engine = engine(&app.store, &app.aws(), outbound, &webhooks, app.engine.clone());
    let worker = Worker::new(engine, app.hub.clone());
    Working(tokio::spawn(worker.run(CancellationToken::new())).abort_handle())
}

fn allowing(networks: &str) -> Outbound {
    Outbound::new(networks.parse().unwrap())
}

/// Names and what they lead to, one answer after the other; the last one stays.
#[derive(Debug, Default)]
struct Names(Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>);

impl Names {
    fn of(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        let entry = |(name, turns): &(&str, &[&[&str]])| ((*name).to_owned(), turns.iter().map(parse).collect());
        Arc::new(Self(Mutex::new(names.iter().map(entry).collect())))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let turns = names.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        let next = if turns.len() > 1 {
            turns.pop_front()
        } else {
            turns.front().cloned()
        };
        next.ok_or_else(|| io::Error::other("no answer is left"))
    }
}

/// Each way to name a URL before traffic, and the code of its failure.
fn askers(url: &str) -> [(Value, &'static str); 3] {
    let check = |kind: &str| json!({"checks": [{"name": "a", "when": "before_traffic", "kind": kind, "url": url}]});
    let hook = json!({"hooks": [{"name": "a", "when": "before_traffic", "url": url}]});
    [
        (check("http"), "check_failed"),
        (check("webhook"), "check_failed"),
        (hook, "hook_failed"),
    ]
}

async fn promote(app: &TestApp, members: &Value) -> String {
    app.put(ENVIRONMENT, with(&web(), members)).await.expect(200);
    app.promote("1.0.0").await
}

/// Sees that a promotion that asks this ends before anybody is on it, and says what the operator can do.
async fn assert_refused(app: &TestApp, url: &str) {
    for (members, code) in askers(url) {
        println!("{code} {url}");
        let id = promote(app, &members).await;
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], code, "{job:#}");
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains("GREENLIGHT_OUTBOUND_ALLOW"), "{url}: {message}");
    }
    assert_eq!(app.pointer(), None, "{url}");
}

#[tokio::test]
async fn what_only_the_service_can_reach_is_never_asked_in_any_spelling() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let _working = work(&app, &allowing(""));
    let (port, heard) = site("127.0.0.1").await;
    // Metadata, link-local, private, shared, unspecified.
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "169.254.170.2",
        "[fe80::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "[fd12::1]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "169%2e254%2e169%2e254",
        "169.254.169.254.",
        "\u{ff11}69.254.169.254",
    ] {
        assert_refused(&app, &format!("http://{host}/latest/meta-data/")).await;
    }
    // This machine, where somebody listens.
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ] {
        assert_refused(&app, &format!("http://{host}:{port}/{{release}}")).await;
    }
    assert_eq!(heard.all(), [""; 0]);
    assert!(app.double.calls().iter().all(|call| call.operation != "PutParameter"));
}

#[tokio::test]
async fn what_the_operator_allows_is_asked() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let _working = work(&app, &allowing("10.1.0.0/16, 127.0.0.1"));
    let (port, heard) = site("127.0.0.1").await;
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f000001"] {
        for (at, (members, _)) in askers(&format!("http://{host}:{port}/{{release}}"))
            .into_iter()
            .enumerate()
        {
            println!("{host} {at}");
            let id = promote(&app, &members).await;
            app.finish_as(&id, "succeeded").await;
            let id = app.roll_back().await;
            app.finish_as(&id, "succeeded").await;
        }
    }
    assert_eq!(heard.all(), ["/1.0.0"; 12]);
    // The list names one address, not its neighbour.
    let (port, heard) = site("127.0.0.2").await;
    assert_refused(&app, &format!("http://127.0.0.2:{port}/")).await;
    assert_eq!(heard.all(), [""; 0]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    // Both may be asked: it is not the list that stops it.
    let _working = work(&app, &Outbound::new(AllowList::loopback()));
    let (port, heard) = site("127.0.0.1").await;
    let (inside, secret) = site("127.0.0.2").await;
    for (members, code) in askers(&format!("http://127.0.0.1:{port}/to/{inside}")) {
        let id = promote(&app, &members).await;
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], code, "{job:#}");
        assert!(job["error"]["message"].as_str().unwrap().contains("307"), "{job:#}");
        assert_eq!(app.pointer(), None);
    }
    // A check has one try, a hook three.
    assert_eq!(heard.all(), vec![format!("/to/{inside}"); 5]);
    assert_eq!(secret.all(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_never_asked() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let (port, heard) = site("127.0.0.1").await;
    let names = Names::of(&[
        ("metadata.google.internal", &[&["169.254.169.254"]]),
        ("inside.example.com", &[&["127.0.0.1"]]),
        (
            "both.example.com",
            &[&["10.0.0.1", "fd00:ec2::254", "::ffff:127.0.0.1"]],
        ),
    ]);
    let _working = work(&app, &Outbound::with_lookup(AllowList::default(), names));
    for name in [
        "metadata.google.internal",
        "inside.example.com",
        "both.example.com",
        "INSIDE.example.com",
    ] {
        assert_refused(&app, &format!("http://{name}:{port}/")).await;
    }
    assert_eq!(heard.all(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_looked_at_each_time() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    // One port, two addresses: the second one is what may not be reached.
    let (port, good) = site("127.0.0.1").await;
    let bad = Heard::default();
    let listener = TcpListener::bind(format!("127.0.0.2:{port}")).await.unwrap();
    let router = Router::new().fallback(answer).with_state(bad.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let names = Names::of(&[
        ("rebind.example.com", &[&["127.0.0.1"], &["127.0.0.2"]]),
        ("mixed.example.com", &[&["127.0.0.2", "127.0.0.1"]]),
    ]);
    let _working = work(&app, &Outbound::with_lookup("127.0.0.1".parse().unwrap(), names));
    let check = |name: &str, path: &str| {
        let url = format!("http://{name}:{port}{path}");
        json!({"checks": [{"name": "a", "when": "before_traffic", "kind": "http", "url": url, "attempts": 5,
                           "interval_seconds": 1}]})
    };
    // The first try is answered with a 500, the second would go elsewhere; no third one is made.
    let id = promote(&app, &check("rebind.example.com", "/500")).await;
    let job = app.finish_as(&id, "failed").await;
    assert!(
        job["error"]["message"]
            .as_str()
            .unwrap()
            .contains("GREENLIGHT_OUTBOUND_ALLOW"),
        "{job:#}"
    );
    let failed = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["state"] == "failed")
        .unwrap();
    assert_eq!(failed["output"]["tries"], 2, "{job:#}");
    assert_eq!(good.all(), ["/500"]);
    // Of two addresses only the one that may be asked is.
    let id = promote(&app, &check("mixed.example.com", "/well")).await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(good.all(), ["/500", "/well"]);
    assert_eq!(bad.all(), [""; 0]);
}

#[tokio::test]
async fn what_takes_a_hook_back_is_not_asked_inside_either() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let _working = work(&app, &allowing("127.0.0.1"));
    let (port, good) = site("127.0.0.1").await;
    let (inside, secret) = site("127.0.0.2").await;
    let members = json!({
        "hooks": [{"name": "a", "when": "before_traffic", "url": format!("http://127.0.0.1:{port}/do"),
                   "undo": {"url": format!("http://127.0.0.2:{inside}/undo")}}],
        "checks": [{"name": "b", "when": "before_traffic", "kind": "http", "url": format!("http://127.0.0.1:{port}/500")}],
    });
    let id = promote(&app, &members).await;
    let job = app.finish_as(&id, "stuck").await;
    let undo = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["error"]["code"] == "hook_undo_failed");
    let message = undo.unwrap_or_else(|| panic!("{job:#}"))["error"]["message"]
        .as_str()
        .unwrap();
    assert!(message.contains("GREENLIGHT_OUTBOUND_ALLOW"), "{message}");
    assert_eq!(
        (good.all(), secret.all()),
        (vec!["/do".to_owned(), "/500".to_owned()], vec![])
    );
}
