//! Thousands of odd requests, the same ones every time: none gives a 5xx, and every refusal is a problem.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri},
};
use greenlight::domain::role::Role;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, ENVIRONMENT, TestApp, api_and_web, web};

const REQUESTS: usize = 4000;
/// Longest any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const METHODS: [&str; 9] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "GREENLIGHT",
];
const SEGMENTS: [&str; 16] = [
    "%00",
    "%ff",
    "..",
    "%2e%2e",
    "%2F",
    "A",
    "-",
    "%C3%A4",
    "%F0%9F%98%80",
    "%",
    "%zz",
    "storefront",
    "production",
    "1.0.0",
    "18446744073709551616",
    "{app}",
];
const QUERIES: [&str; 26] = [
    "limit=0",
    "limit=200",
    "limit=-9223372036854775808",
    "limit=1e9",
    "cursor=%00",
    "cursor=e30",
    "cursor=eyJuIjotOTIyMzM3MjAzNjg1NDc3NTgwOH0",
    "cursor=eyJuIjo5MjIzMzcyMDM2ODU0Nzc1ODA3fQ",
    "cursor=eyJhdF9taWNyb3MiOi05MjIzMzcyMDM2ODU0Nzc1ODA4LCJ2ZXJzaW9uIjoiMSJ9",
    "cursor=eyJuYW1lIjoiYSJ9",
    "state=running",
    "state=%27",
    "kind=rollback",
    "kind=invalidation",
    "until=settled",
    "until=traffic_shifted",
    "until=%00",
    "app=storefront",
    "environment=production",
    "wait=0",
    "wait=1",
    "wait=-1",
    "after=9223372036854775807",
    "after=-1",
    "%ff=%ff",
    "&&==&",
];
const WORDS: [&str; 30] = [
    "",
    "\u{0}",
    "1.0.0",
    "1.1.0",
    "9.9.9",
    "web",
    "api",
    "queue",
    "supersede",
    "overwrite",
    "none",
    "paths",
    "json",
    "plain",
    "us-east-1",
    "/x",
    "'; DROP TABLE jobs; --",
    "ä\u{1F600}\u{202e}",
    "\u{feff}",
    "canary",
    "linear",
    "http",
    "webhook",
    "cloudwatch_alarm",
    "during_bake",
    "before_weight",
    "http://169.254.169.254/{release}",
    "(?:\\w{1000}){1000}",
    "{release}/",
    "arn:aws:iam::111122223333:role/x",
];

fn number(dice: &mut Dice) -> Value {
    let all = [
        json!(0),
        json!(-1),
        json!(1),
        json!(-0.0),
        json!(0.1),
        json!(1e308),
        json!(5e-324),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_296_u64),
        json!(86_401),
    ];
    dice.pick(&all).clone()
}

fn odd(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(9) {
        0 => Value::Null,
        1 => json!(dice.one_in(2)),
        2 => number(dice),
        3 => json!(*dice.pick(&WORDS)),
        4 => json!("x".repeat(dice.below(5000))),
        5 | 6 if depth < 4 => (0..dice.below(4)).map(|_| odd(dice, depth + 1)).collect(),
        7 if depth < 4 => {
            let fields = (0..dice.below(4)).map(|_| ((*dice.pick(&WORDS)).to_owned(), odd(dice, depth + 1)));
            Value::Object(fields.collect::<Vec<_>>().into_iter().collect())
        }
        _ => json!({}),
    }
}

/// Puts something odd somewhere into a good document.
fn bend(dice: &mut Dice, value: &mut Value) {
    let children = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if children > 0 && !dice.one_in(4) {
        let at = dice.below(children);
        match value {
            Value::Array(items) => return bend(dice, &mut items[at]),
            Value::Object(fields) => return bend(dice, fields.values_mut().nth(at).unwrap()),
            _ => {}
        }
    }
    match (dice.below(3), &mut *value) {
        (0, Value::Object(fields)) => {
            fields.insert((*dice.pick(&WORDS)).to_owned(), odd(dice, 0));
        }
        (1, Value::Object(fields)) => {
            let key = fields.keys().nth(dice.below(fields.len().max(1))).cloned();
            key.and_then(|key| fields.remove(&key));
        }
        (0 | 1, Value::Array(items)) => items.push(odd(dice, 0)),
        _ => *value = odd(dice, 0),
    }
}

fn documents() -> Vec<Value> {
    vec![
        json!({"description": "x"}),
        web(),
        api_and_web(),
        json!({"version": "1.0.0", "artifacts": {"web": {"uri": "u", "x": 1}, "api": {}}, "metadata": {"a": [1]}}),
        json!({"version": "2.0.0", "commit": "c", "artifacts": {"web": {}, "api": {}}}),
        json!({"release": "1.0.0", "on_conflict": "queue", "on_drift": "overwrite", "reason": "x"}),
        json!({"release": "1.1.0", "on_conflict": "supersede", "strategy": {"kind": "all_at_once"}}),
        json!({"release": "1.0.0", "dry_run": true, "expected_active": "1.1.0"}),
        json!({"to": "1.0.0", "expected_active": "1.1.0", "reason": "x", "block": true}),
        json!({"release": "1.1.0", "on_conflict": "supersede", "break_glass": {"reason": "x"}}),
        json!({"release": "1.1.0", "dry_run": true, "strategy": {"kind": "linear", "step_weight": 20, "interval_seconds": 0}}),
        json!({"reason": "x"}),
        json!({"comment": "x", "step": 2}),
        json!({"verdict": "pass", "message": "x"}),
        json!({"paths": ["/index.html", "/images/*"], "component": "web", "reason": "x"}),
        json!({}),
        watched(),
    ]
}

/// An environment with everything that a promotion can be watched with. What it asks is nowhere.
fn watched() -> Value {
    let mut document = web();
    document["components"][0]["edge"] = json!({"mode": "viewer_rewrite"});
    document["components"][0]["cdn"]["invalidate"] = json!({"mode": "none"});
    let url = "http://192.0.2.1/{release}";
    document["strategy"] = json!({"kind": "canary", "components": ["web"], "steps": [
        {"weight": 5, "bake_seconds": 1, "approval": true,
         "checks": [{"kind": "http", "name": "step", "url": url, "expect_status": [200, 204]}]},
        {"weight": 100, "bake_seconds": 1}]});
    document["checks"] = json!([
        {"kind": "http", "name": "smoke", "when": "before_traffic", "url": url, "method": "POST", "body": "{app}",
         "headers": {"x-a": "{weight}"}, "preview": true, "component": "web", "expect_status": 200,
         "expect_headers": {"x-b": {"equals": "b", "matches": "^b"}}, "expect_body": {"excludes": "error"},
         "expect_json": {"/a/0": [1]}, "max_latency_ms": 100, "attempts": 2, "on_inconclusive": "pass"},
        {"kind": "cloudwatch_alarm", "name": "errors", "when": "during_bake", "alarms": ["a"], "region": "us-east-1"},
        {"kind": "webhook", "name": "suite", "when": "after_traffic", "url": url, "timeout_seconds": 60}]);
    document["hooks"] =
        json!([{"name": "warm", "when": "before_weight", "weight": 5, "url": url, "undo": {"url": url}}]);
    document["approvals"] =
        json!({"before_traffic": true, "required": 2, "role": "admin", "expires_after_seconds": 60});
    document
}

fn body(dice: &mut Dice) -> Vec<u8> {
    let all = documents();
    let mut value = dice.pick(&all).clone();
    if !dice.one_in(3) {
        for _ in 0..=dice.below(2) {
            bend(dice, &mut value);
        }
    }
    let mut bytes = match dice.below(12) {
        0 => Vec::new(),
        1 => vec![b'['; dice.below(2000)],
        _ => value.to_string().into_bytes(),
    };
    if dice.one_in(6) && !bytes.is_empty() {
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] = u8::try_from(dice.below(256)).unwrap();
        }
    }
    if dice.one_in(12) {
        bytes.truncate(dice.below(bytes.len().max(1)));
    }
    bytes
}

fn path(dice: &mut Dice, job: &str) -> String {
    let all = [
        "/v1/apps".to_owned(),
        "/v1/apps/storefront".to_owned(),
        "/v1/apps/other".to_owned(),
        "/v1/apps/storefront/environments".to_owned(),
        ENVIRONMENT.to_owned(),
        "/v1/apps/storefront/environments/staging".to_owned(),
        format!("{ENVIRONMENT}/deployments"),
        format!("{ENVIRONMENT}/promotions"),
        format!("{ENVIRONMENT}/promotions"),
        format!("{ENVIRONMENT}/rollbacks"),
        "/v1/apps/storefront/releases".to_owned(),
        "/v1/apps/storefront/releases/1.0.0".to_owned(),
        "/v1/jobs".to_owned(),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/events"),
        format!("/v1/jobs/{job}/abort"),
        format!("/v1/jobs/{job}/retry"),
        format!("/v1/jobs/{job}/approve"),
        format!("/v1/jobs/{job}/reject"),
        format!("/v1/jobs/{job}/pause"),
        format!("/v1/jobs/{job}/resume"),
        format!("/v1/jobs/{job}/promote_fully"),
        format!("/v1/jobs/{job}/callback"),
        "/v1/lock".to_owned(),
        format!("{ENVIRONMENT}/lock"),
        "/v1/apps/storefront/releases/1.0.0/block".to_owned(),
        format!("{ENVIRONMENT}/invalidations"),
        "/healthz".to_owned(),
        "/readyz".to_owned(),
        "/openapi.json".to_owned(),
        "/docs/".to_owned(),
    ];
    let mut path = dice.pick(&all).clone();
    if dice.one_in(5) {
        let mut segments: Vec<&str> = path.split('/').collect();
        let at = dice.below(segments.len() - 1) + 1;
        segments[at] = *dice.pick(&SEGMENTS);
        path = segments.join("/");
    }
    if dice.one_in(3) {
        let queries: Vec<&str> = (0..=dice.below(2)).map(|_| *dice.pick(&QUERIES)).collect();
        path = format!("{path}?{}", queries.join("&"));
    }
    path
}

const HEADERS: [(&str, &[u8]); 15] = [
    ("content-type", b"text/plain"),
    ("content-type", b"application/json; charset=\"utf-8\""),
    ("content-type", b"\xff"),
    ("accept", b"text/event-stream"),
    ("accept", b"\xff"),
    ("last-event-id", b"-1"),
    ("last-event-id", b"\xff"),
    ("last-event-id", b"3"),
    ("idempotency-key", b""),
    ("idempotency-key", b"\"a\\"),
    ("idempotency-key", b"fuzz"),
    ("x-request-id", b"\xff"),
    ("x-request-id", b"a b"),
    ("authorization", b"Bearer glt_\xff"),
    ("authorization", b"Bearer glc_2_1_AAAA"),
];

fn request(dice: &mut Dice, tokens: &[String], job: &str) -> Option<Request<Body>> {
    let uri: Uri = path(dice, job).parse().ok()?;
    // Mostly what exists, so that odd bodies get to the use-cases.
    let method = if dice.one_in(4) {
        *dice.pick(&METHODS)
    } else if ["/promotions", "/rollbacks", "/invalidations"]
        .iter()
        .any(|part| uri.path().contains(part))
    {
        "POST"
    } else if uri.path().contains("lock") {
        // Mostly unlocked, or no promotion would get any further.
        *dice.pick(&["PUT", "DELETE", "DELETE"])
    } else {
        *dice.pick(&["GET", "PUT", "POST"])
    };
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(uri)
        .header("authorization", format!("Bearer {}", dice.pick(tokens)))
        .header("content-type", "application/json")
        .body(Body::from(body(dice)))
        .unwrap();
    if dice.one_in(4) {
        let (name, value) = *dice.pick(&HEADERS);
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Some(request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_gives_a_5xx_and_every_refusal_is_a_problem() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    let mut tokens = vec![app.token(Role::Viewer).await, app.token(Role::Deployer).await];
    for _ in 0..8 {
        tokens.push(app.token(Role::Admin).await);
    }
    let mut dice = Dice(20_260_131);
    let (mut sent, mut accepted, mut refused) = (0, 0, 0);
    while sent < REQUESTS {
        let Some(request) = request(&mut dice, &tokens, &job) else {
            continue;
        };
        sent += 1;
        let told = format!("{sent}: {} {} {:?}", request.method(), request.uri(), request.headers());
        let is_head = request.method() == Method::HEAD;
        let answer = tokio::time::timeout(PATIENCE, app.router().oneshot(request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer: {told}")).unwrap();
        let status = answer.status();
        assert!(!status.is_server_error(), "{told}\n{:?}", Answer::read(answer).await);
        let kind = answer.headers().get("content-type").cloned();
        if kind.is_some_and(|kind| kind == "text/event-stream") {
            continue;
        }
        let answer = Answer::read(answer).await;
        assert!(answer.header("x-request-id").is_some(), "{told}");
        if status.is_client_error() {
            refused += 1;
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json"),
                "{told}"
            );
            if !is_head {
                let problem = answer.json();
                assert_eq!(problem["status"], status.as_u16(), "{told}");
                assert!(problem["code"].as_str().is_some_and(|code| !code.is_empty()), "{told}");
                assert!(!problem.to_string().contains("glt_"), "{told}");
            }
        } else {
            accepted += usize::from(status.is_success());
        }
    }
    // The dice reach both sides, or this proves little.
    assert!(
        accepted > REQUESTS / 20 && refused > REQUESTS / 5,
        "{accepted} accepted, {refused} refused"
    );

    // And the service still does what it is for, once nobody stops it.
    app.delete("/v1/lock").await.expect(204);
    app.put("/v1/apps/after", json!({})).await.expect(201);
    let after = "/v1/apps/after/environments/production";
    let mut document = web();
    document["components"][0]["router"]["parameter"] = json!("/after/production/release");
    app.put(after, document).await.expect(201);
    let release = json!({"version": "1.0.0", "artifacts": {"web": {}}});
    assert_eq!(
        app.post("/v1/apps/after/releases", release).await.status,
        StatusCode::CREATED
    );
    let promotion = app
        .post(&format!("{after}/promotions"), json!({"release": "1.0.0"}))
        .await
        .expect(202);
    app.finish_as(&promotion.id(), "succeeded").await;
}
