//! Checks of each kind: their limits, and what does not go together in them.

use serde_json::{Value, json};

use super::{assert_refused, shared, with, without_workers};
use crate::support::{ENVIRONMENT, web};

fn http(members: &Value) -> Value {
    let check = json!({"name": "smoke", "when": "before_traffic", "kind": "http", "url": "https://www.example.com/"});
    with(&check, members)
}

fn alarm(members: &Value) -> Value {
    let check = json!({"name": "errors", "when": "after_traffic", "kind": "cloudwatch_alarm", "alarms": ["5xx"]});
    with(&check, members)
}

fn webhook(members: &Value) -> Value {
    let check = json!({"name": "suite", "when": "before_traffic", "kind": "webhook", "url": "https://ci.example.com/"});
    with(&check, members)
}

fn without(mut check: Value, member: &str) -> Value {
    check.as_object_mut().unwrap().remove(member);
    check
}

fn headers(count: usize) -> Value {
    let all = (0..count).map(|at| (format!("x-{at}"), json!("v")));
    Value::Object(all.collect())
}

/// URLs that no check and no hook takes.
pub const BAD_URLS: [&str; 18] = [
    "",
    "/health",
    "//www.example.com/",
    "www.example.com",
    "ftp://www.example.com/",
    "file:///etc/passwd",
    "gopher://www.example.com/",
    "HTTPS://www.example.com/",
    "https://",
    "https:///health",
    "https://?a=1",
    "https://www.example.com/a b",
    "https://www.example.com/\n",
    "https://me@www.example.com/",
    "https://me:secret@www.example.com/",
    "https://www.example.com/{relase}",
    "https://www.example.com/{artifacts.web}",
    "https://www.example.com/{artifacts.Web.uri}",
];

/// Names and values of headers that no check and no hook takes.
pub fn bad_headers() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [
        "a b",
        "a:",
        "ä",
        "a\n",
        "host",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "Idempotency-Key",
        "webhook-id",
        "Webhook-Signature",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), "v".to_owned()))
    .collect();
    all.push(("x".repeat(129), "v".to_owned()));
    for value in ["a\nb", "a\rb", "ä", "\t", "{relase}"] {
        all.push(("x-a".to_owned(), value.to_owned()));
    }
    all.push(("x-a".to_owned(), "v".repeat(2049)));
    all
}

/// Checks of an environment without a bake, each with the field it is refused for.
async fn assert_checks_refused(checks: Vec<(Value, &str)>) {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let documents = checks
        .into_iter()
        .map(|(check, field)| (with(&web(), &json!({"checks": [check]})), field));
    assert_refused(&app, documents.collect()).await;
}

#[tokio::test]
async fn every_check_has_a_name_a_moment_and_limits() {
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for kind in [http as fn(&Value) -> Value, alarm, webhook] {
        for (members, field) in [
            (json!({"attempts": 0}), "checks[0].attempts"),
            (json!({"attempts": 101}), "checks[0].attempts"),
            (json!({"attempts": -1}), "checks[0].attempts"),
            (json!({"interval_seconds": 0}), "checks[0].interval_seconds"),
            (json!({"interval_seconds": 3601}), "checks[0].interval_seconds"),
            (json!({"interval_seconds": "10"}), "checks[0].interval_seconds"),
            (json!({"timeout_seconds": 0}), "checks[0].timeout_seconds"),
            (json!({"name": "A b"}), "checks[0].name"),
            (json!({"name": ""}), "checks[0].name"),
            (json!({"name": "a".repeat(64)}), "checks[0].name"),
            (json!({"name": 1}), "checks[0].name"),
            (json!({"when": null}), "checks[0].when"),
            (json!({"when": "always"}), "checks[0].when"),
            (json!({"when": "before_weight"}), "checks[0].when"),
            // Nothing would ever ask it.
            (json!({"when": "during_bake"}), "checks[0].when"),
            (json!({"on_inconclusive": "ignore"}), "checks[0].on_inconclusive"),
            (json!({"on_inconclusive": null}), "checks[0].on_inconclusive"),
            (json!({"colour": "blue"}), "checks[0].colour"),
        ] {
            cases.push((kind(&members), field));
        }
        cases.push((without(kind(&json!({})), "name"), "checks[0].name"));
        cases.push((without(kind(&json!({})), "when"), "checks[0].when"));
        cases.push((without(kind(&json!({})), "kind"), "checks[0].kind"));
    }
    cases.push((json!({"name": "a", "kind": "metric"}), "checks[0].kind"));
    cases.push((json!({}), "checks[0].kind"));
    cases.push((json!(1), "checks[0]"));
    cases.push((
        json!(["http", "smoke", "before_traffic", "https://www.example.com/"]),
        "checks[0]",
    ));
    cases.push((without(http(&json!({})), "url"), "checks[0].url"));
    cases.push((without(webhook(&json!({})), "url"), "checks[0].url"));
    cases.push((without(alarm(&json!({})), "alarms"), "checks[0].alarms"));
    assert_checks_refused(cases).await;
}

#[tokio::test]
async fn an_http_check_that_is_wrong_names_its_field() {
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for (members, field) in [
        (json!({"timeout_seconds": 61}), "timeout_seconds"),
        (json!({"method": "get"}), "method"),
        (json!({"method": "TRACE"}), "method"),
        (json!({"method": "CONNECT"}), "method"),
        (json!({"headers": headers(21)}), "headers"),
        (json!({"headers": {"x-a": 1}}), "headers.x-a"),
        (json!({"headers": []}), "headers"),
        (json!({"body": "x".repeat(8193)}), "body"),
        (json!({"body": "ä".repeat(4097)}), "body"),
        (json!({"body": "{\"release\": \"{relase}\"}"}), "body"),
        (json!({"body": {}}), "body"),
        (json!({"expect_status": 99}), "expect_status"),
        (json!({"expect_status": 600}), "expect_status"),
        (json!({"expect_status": 199}), "expect_status"),
        (json!({"method": "HEAD", "expect_body": {"contains": "ok"}}), "method"),
        (json!({"method": "HEAD", "expect_json": {"/status": "ok"}}), "method"),
        (json!({"max_latency_ms": 10_001}), "max_latency_ms"),
        (json!({"headers": {"x-a": "1", "X-A": "2"}}), "headers.x-a"),
        (
            json!({"expect_headers": {"x-a": {"equals": "1"}, "X-A": {"equals": "2"}}}),
            "expect_headers.x-a",
        ),
        (json!({"expect_body": {"contains": "{relase}"}}), "expect_body"),
        (json!({"expect_json": {"/version": "{relase}"}}), "expect_json./version"),
        (json!({"expect_status": []}), "expect_status"),
        (json!({"expect_status": [200, 0]}), "expect_status"),
        (json!({"expect_status": vec![200; 51]}), "expect_status"),
        (json!({"expect_status": "200"}), "expect_status"),
        (json!({"expect_status": 65_736}), "expect_status"),
        (json!({"expect_status": -200}), "expect_status"),
        (json!({"expect_status": {"from": 200}}), "expect_status"),
        (
            json!({"expect_headers": {"a b": {"equals": "x"}}}),
            "expect_headers.a b",
        ),
        (json!({"expect_headers": {"x-a": {}}}), "expect_headers.x-a"),
        (json!({"expect_headers": {"x-a": "x"}}), "expect_headers.x-a"),
        (
            json!({"expect_headers": {"x-a": {"contains": "x".repeat(2049)}}}),
            "expect_headers.x-a",
        ),
        (
            json!({"expect_headers": {"x-a": {"matches": "("}}}),
            "expect_headers.x-a.matches",
        ),
        (json!({"expect_headers": {"x-a": {"is": "x"}}}), "expect_headers.x-a.is"),
        (json!({"expect_body": {}}), "expect_body"),
        (json!({"expect_body": "ok"}), "expect_body"),
        (json!({"expect_body": {"equals": "x".repeat(2049)}}), "expect_body"),
        (json!({"expect_body": {"matches": "["}}), "expect_body.matches"),
        (json!({"expect_body": {"matches": "(?=ahead)"}}), "expect_body.matches"),
        // It would take more memory than a pattern may.
        (
            json!({"expect_body": {"matches": "(\\w{1000}){1000}"}}),
            "expect_body.matches",
        ),
        (json!({"expect_json": {"status": "ok"}}), "expect_json"),
        (
            json!({"expect_json": {format!("/{}", "x".repeat(2048)): 1}}),
            "expect_json",
        ),
        (json!({"expect_json": []}), "expect_json"),
        (json!({"max_latency_ms": 0}), "max_latency_ms"),
        (json!({"max_latency_ms": 60_001}), "max_latency_ms"),
        (json!({"max_latency_ms": 1.5}), "max_latency_ms"),
        // The distribution's cache is in front of every release alike: nothing to preview.
        (json!({"preview": true}), "preview"),
        (json!({"preview": "yes"}), "preview"),
        (json!({"component": "web"}), "component"),
        (json!({"alarms": ["5xx"]}), "alarms"),
    ] {
        cases.push((http(&members), field));
    }
    let conditions = (0..21).map(|at| (format!("x-{at}"), json!({"equals": "v"})));
    cases.push((
        http(&json!({"expect_headers": Value::Object(conditions.collect())})),
        "expect_headers",
    ));
    let pointers = (0..21).map(|at| (format!("/{at}"), json!(at)));
    cases.push((
        http(&json!({"expect_json": Value::Object(pointers.collect())})),
        "expect_json",
    ));
    let long = format!("https://www.example.com/{}", "x".repeat(2048));
    for url in BAD_URLS.into_iter().chain([long.as_str()]) {
        cases.push((http(&json!({"url": url})), "url"));
    }
    let named: Vec<(Value, String)> = cases
        .into_iter()
        .map(|(check, field)| (check, format!("checks[0].{field}")))
        .chain(bad_headers().into_iter().map(|(name, value)| {
            let field = format!("checks[0].headers.{name}");
            (http(&json!({"headers": {name: value}})), field)
        }))
        .collect();
    assert_checks_refused(
        named
            .iter()
            .map(|(check, field)| (check.clone(), field.as_str()))
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn an_alarm_check_that_is_wrong_names_its_field() {
    let names = |count: usize| (0..count).map(|at| format!("alarm-{at}")).collect::<Vec<_>>();
    let mut cases: Vec<(Value, &str)> = Vec::new();
    for alarms in [
        json!([]),
        json!(names(101)),
        json!([""]),
        json!(["x".repeat(256)]),
        json!(["a\nb"]),
        json!(["5xx", "5xx"]),
        json!("5xx"),
    ] {
        cases.push((alarm(&json!({"alarms": alarms})), "checks[0].alarms"));
    }
    for region in ["", "mars", "us-east-1 ", "US-EAST-1"] {
        cases.push((alarm(&json!({"region": region})), "checks[0].region"));
    }
    cases.push((alarm(&json!({"url": "https://www.example.com/"})), "checks[0].url"));
    cases.push((alarm(&json!({"timeout_seconds": 61})), "checks[0].timeout_seconds"));
    cases.push((alarm(&json!({"timeout_seconds": 0})), "checks[0].timeout_seconds"));
    assert_checks_refused(cases).await;
}

#[tokio::test]
async fn a_webhook_check_that_is_wrong_names_its_field() {
    let mut cases: Vec<(Value, String)> = Vec::new();
    for (members, field) in [
        (json!({"timeout_seconds": 86_401}), "timeout_seconds"),
        (json!({"headers": headers(21)}), "headers"),
        (json!({"method": "PUT"}), "method"),
        (
            json!({"headers": {"Content-Type": "text/plain"}}),
            "headers.Content-Type",
        ),
        (json!({"body": "x"}), "body"),
        (json!({"expect_status": 200}), "expect_status"),
    ] {
        cases.push((webhook(&members), format!("checks[0].{field}")));
    }
    for url in BAD_URLS {
        cases.push((webhook(&json!({"url": url})), "checks[0].url".to_owned()));
    }
    for (name, value) in bad_headers() {
        let field = format!("checks[0].headers.{name}");
        cases.push((webhook(&json!({"headers": {name: value}})), field));
    }
    assert_checks_refused(
        cases
            .iter()
            .map(|(check, field)| (check.clone(), field.as_str()))
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn checks_do_not_share_a_name_and_there_are_twenty_at_most() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let many = |count: usize| {
        (0..count)
            .map(|at| http(&json!({"name": format!("c{at}")})))
            .collect::<Vec<_>>()
    };
    let cases = vec![
        (with(&web(), &json!({"checks": many(21)})), "checks"),
        (
            with(
                &web(),
                &json!({"checks": [http(&json!({})), webhook(&json!({"name": "smoke"}))]}),
            ),
            "checks[1].name",
        ),
        (
            with(
                &shared(),
                &json!({"checks": [http(&json!({"preview": true, "component": "api"}))]}),
            ),
            "checks[0].preview",
        ),
    ];
    assert_refused(&app, cases).await;
    app.put(ENVIRONMENT, with(&web(), &json!({"checks": many(20)})))
        .await
        .expect(201);
}

#[tokio::test]
async fn checks_just_within_their_limits_are_taken_and_shown_again() {
    let app = without_workers().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let conditions = (0..20).map(|at| (format!("x-{at}"), json!({"contains": "v".repeat(2048)})));
    let pointers = (0..19)
        .map(|at| (format!("/{at}"), json!(at)))
        .chain([(String::new(), json!({}))]);
    let url = format!("https://www.example.com/{}", "x".repeat(2048 - 24));
    let names: Vec<String> = (0..100).map(|at| format!("{at}-{}", "x".repeat(250))).collect();
    let checks = json!([
        http(&json!({
            "name": "a".repeat(63), "url": url, "method": "OPTIONS", "headers": headers(20), "body": "x".repeat(8192),
            "preview": true, "component": "web", "expect_status": (550..600).collect::<Vec<u32>>(),
            "expect_headers": Value::Object(conditions.collect()), "expect_json": Value::Object(pointers.collect()),
            "expect_body": {"equals": "", "excludes": "x", "matches": "^ok$", "contains": "ü"},
            "max_latency_ms": 60_000, "attempts": 100, "interval_seconds": 3600, "timeout_seconds": 60,
            "on_inconclusive": "pause", "when": "during_bake",
        })),
        alarm(
            &json!({"alarms": names, "region": "eu-west-1", "attempts": 100, "interval_seconds": 3600,
                      "timeout_seconds": 60})
        ),
        webhook(
            &json!({"headers": {"authorization": "Bearer {release}", "cookie": "a=b", "x-a": "v".repeat(2048)},
                        "url": "http://[2001:db8::1]:8080/{artifacts.web.uri}?{from_release}{commit}#{weight}",
                        "timeout_seconds": 86_400})
        ),
    ]);
    let strategy = json!({"kind": "all_at_once", "bake_seconds": 60});
    let document = with(&shared(), &json!({"strategy": strategy, "checks": checks}));
    let shown = app.put(ENVIRONMENT, document).await.expect(201).json()["checks"].clone();
    let again = with(&shared(), &json!({"strategy": strategy, "checks": shown}));
    assert_eq!(app.put(ENVIRONMENT, again).await.expect(200).json()["checks"], shown);
}
