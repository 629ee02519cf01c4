//! Limits of checks and hooks, and what does not go together in them.

use std::collections::{BTreeMap, BTreeSet};

use regex::RegexBuilder;
use serde_json::Value;

use crate::domain::{
    environment::{
        Check, EdgeMode, EnvironmentDocument, Hook, HookWhen, Method, TextCondition, Tries, When,
        check::{
            ALARMS_MAX, ATTEMPTS_MAX, BODY_MAX_BYTES, CALLBACK_MAX_SECONDS, CHECKS_MAX, HEADERS_MAX,
            HTTP_TIMEOUT_MAX_SECONDS, INTERVAL_MAX_SECONDS, STEP_CHECKS_MAX, TEXT_MAX,
        },
        hook::HOOKS_MAX,
    },
    names::Name,
    template,
};

/// Bytes that a compiled pattern may take.
const PATTERN_MAX_BYTES: usize = 256 * 1024;

/// Every check and hook of an environment.
pub fn check(document: &EnvironmentDocument, wrong: &mut impl FnMut(String, &str)) {
    if document.checks.len() > CHECKS_MAX {
        wrong("checks".into(), "at most 20 checks");
    }
    if document.hooks.len() > HOOKS_MAX {
        wrong("hooks".into(), "at most 20 hooks");
    }
    let mut names = BTreeSet::new();
    for (at, check) in document.checks.iter().enumerate() {
        let field = format!("checks[{at}]");
        if !names.insert(check.name()) {
            wrong(format!("{field}.name"), "another check has this name");
        }
        match check.when() {
            None => wrong(
                format!("{field}.when"),
                "is needed: before_traffic, during_bake or after_traffic",
            ),
            // A check that is accepted and never asked would be worse than none.
            Some(When::DuringBake) if !document.strategy.has_bake() => wrong(
                format!("{field}.when"),
                "the strategy has no bake, so nothing would ever ask: give it bake_seconds",
            ),
            Some(_) => {}
        }
        one(check, document, &field, wrong);
    }
    let shares = document.strategy.shares();
    let weights: BTreeSet<u32> = shares.iter().map(|share| share.weight).chain([100]).collect();
    let mut names = BTreeSet::new();
    for (at, hook) in document.hooks.iter().enumerate() {
        let field = format!("hooks[{at}]");
        if !names.insert(&hook.name) {
            wrong(format!("{field}.name"), "another hook has this name");
        }
        self::hook(hook, &weights, &field, wrong);
    }
}

/// The checks of one step of a canary.
pub fn of_step(
    checks: &[Check],
    bake_seconds: u32,
    document: &EnvironmentDocument,
    field: &str,
    wrong: &mut impl FnMut(String, &str),
) {
    if checks.len() > STEP_CHECKS_MAX {
        wrong(field.to_owned(), "at most 10 checks a step");
    }
    if !checks.is_empty() && bake_seconds == 0 {
        wrong(
            field.to_owned(),
            "they are asked during the step's bake: give it bake_seconds",
        );
    }
    let mut names: BTreeSet<&Name> = document.checks.iter().map(Check::name).collect();
    for (at, check) in checks.iter().enumerate() {
        let field = format!("{field}[{at}]");
        if !names.insert(check.name()) {
            wrong(format!("{field}.name"), "another check has this name");
        }
        if check.when().is_some_and(|when| when != When::DuringBake) {
            wrong(
                format!("{field}.when"),
                "a step's check is asked during_bake; the environment's checks have the others",
            );
        }
        one(check, document, &field, wrong);
    }
}

fn one(check: &Check, document: &EnvironmentDocument, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let longest = match check {
        Check::Webhook(_) => CALLBACK_MAX_SECONDS,
        Check::Http(_) | Check::CloudwatchAlarm(_) => HTTP_TIMEOUT_MAX_SECONDS,
    };
    tries(check.tries(), longest, field, wrong);
    match check {
        Check::Http(http) => {
            url(&http.url, &format!("{field}.url"), wrong);
            headers(&http.headers, &format!("{field}.headers"), wrong);
            if let Some(body) = &http.body {
                if body.len() > BODY_MAX_BYTES {
                    wrong(format!("{field}.body"), "at most 8192 bytes");
                }
                placeholders(body, &format!("{field}.body"), wrong);
            }
            let statuses = http.expect_status.as_ref().map_or(&[][..], |expected| expected.all());
            // No answer ends with a 1xx.
            let good = |status: &u16| (200..=599).contains(status);
            if http.expect_status.is_some() && (statuses.is_empty() || statuses.len() > 50)
                || !statuses.iter().all(good)
            {
                wrong(format!("{field}.expect_status"), "1 to 50 statuses of 200 to 599");
            }
            if http.expect_headers.len() > HEADERS_MAX {
                wrong(format!("{field}.expect_headers"), "at most 20 headers");
            }
            twice(&http.expect_headers, &format!("{field}.expect_headers"), wrong);
            for (name, expected) in &http.expect_headers {
                let field = format!("{field}.expect_headers.{name}");
                if !is_header_name(name) {
                    wrong(field.clone(), "no name of a header");
                }
                condition(expected, &field, wrong);
            }
            if let Some(expected) = &http.expect_body {
                condition(expected, &format!("{field}.expect_body"), wrong);
            }
            let pointer = |text: &String| (text.is_empty() || text.starts_with('/')) && text.len() <= TEXT_MAX;
            if http.expect_json.len() > HEADERS_MAX || !http.expect_json.keys().all(pointer) {
                wrong(
                    format!("{field}.expect_json"),
                    "at most 20 JSON pointers (RFC 6901) such as /status",
                );
            }
            for (pointer, expected) in &http.expect_json {
                if let Value::String(text) = expected {
                    placeholders(text, &format!("{field}.expect_json.{pointer}"), wrong);
                }
            }
            if http.method == Method::Head && (http.expect_body.is_some() || !http.expect_json.is_empty()) {
                wrong(format!("{field}.method"), "an answer to HEAD has no body to look at");
            }
            match http.max_latency_ms {
                Some(ms) if !(1..=60_000).contains(&ms) => wrong(format!("{field}.max_latency_ms"), "1 to 60000"),
                Some(ms) if ms > http.timeout_seconds.saturating_mul(1000) => wrong(
                    format!("{field}.max_latency_ms"),
                    "longer than timeout_seconds: such an answer would not be waited for",
                ),
                _ => {}
            }
            preview(http.preview, http.component.as_ref(), document, field, wrong);
        }
        Check::CloudwatchAlarm(alarm) => {
            let good = |name: &String| (1..=255).contains(&name.chars().count()) && !name.chars().any(char::is_control);
            if alarm.alarms.is_empty() || alarm.alarms.len() > ALARMS_MAX || !alarm.alarms.iter().all(good) {
                wrong(
                    format!("{field}.alarms"),
                    "1 to 100 names of alarms, each of 1 to 255 printable characters",
                );
            }
            if alarm.alarms.iter().collect::<BTreeSet<_>>().len() != alarm.alarms.len() {
                wrong(format!("{field}.alarms"), "an alarm is named twice");
            }
            if alarm.region.as_deref().is_some_and(|region| !super::is_region(region)) {
                wrong(format!("{field}.region"), "an AWS region such as us-east-1");
            }
        }
        Check::Webhook(webhook) => {
            url(&webhook.url, &format!("{field}.url"), wrong);
            headers(&webhook.headers, &format!("{field}.headers"), wrong);
            typed(&webhook.headers, &format!("{field}.headers"), wrong);
        }
    }
}

fn preview(
    asked: bool,
    component: Option<&Name>,
    document: &EnvironmentDocument,
    field: &str,
    wrong: &mut impl FnMut(String, &str),
) {
    let previewed = |name: Option<&Name>| {
        let mut those = document
            .components
            .iter()
            .filter(|c| name.is_none_or(|name| c.name == *name));
        those.any(|c| c.edge_mode() == EdgeMode::ViewerRewrite)
    };
    if asked && !previewed(component) {
        wrong(
            format!("{field}.preview"),
            "needs a component with edge.mode viewer_rewrite",
        );
    }
    if !asked && component.is_some() {
        wrong(format!("{field}.component"), "goes with preview: true");
    }
}

fn hook(hook: &Hook, weights: &BTreeSet<u32>, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let placed = matches!(hook.when, HookWhen::BeforeWeight | HookWhen::AfterWeight);
    match hook.weight {
        None if placed => wrong(format!("{field}.weight"), "is needed with this `when`"),
        Some(_) if !placed => wrong(format!("{field}.weight"), "goes with before_weight and after_weight"),
        Some(weight) if !(1..=100).contains(&weight) => wrong(format!("{field}.weight"), "1 to 100"),
        // More likely a mistake than meant. A promotion's own strategy calls it when it passes the weight.
        Some(weight) if !weights.contains(&weight) => wrong(
            format!("{field}.weight"),
            "the environment's strategy does not come to this weight",
        ),
        _ => {}
    }
    let times = Tries {
        attempts: hook.attempts,
        interval_seconds: hook.interval_seconds,
        timeout_seconds: hook.timeout_seconds,
    };
    tries(times, CALLBACK_MAX_SECONDS, field, wrong);
    url(&hook.url, &format!("{field}.url"), wrong);
    headers(&hook.headers, &format!("{field}.headers"), wrong);
    typed(&hook.headers, &format!("{field}.headers"), wrong);
    if let Some(undo) = &hook.undo {
        url(&undo.url, &format!("{field}.undo.url"), wrong);
        headers(&undo.headers, &format!("{field}.undo.headers"), wrong);
        typed(&undo.headers, &format!("{field}.undo.headers"), wrong);
    }
}

fn tries(tries: Tries, longest: u32, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if !(1..=ATTEMPTS_MAX).contains(&tries.attempts) {
        wrong(format!("{field}.attempts"), "1 to 100");
    }
    if !(1..=INTERVAL_MAX_SECONDS).contains(&tries.interval_seconds) {
        wrong(format!("{field}.interval_seconds"), "1 to 3600");
    }
    if !(1..=longest).contains(&tries.timeout_seconds) {
        wrong(format!("{field}.timeout_seconds"), &format!("1 to {longest}"));
    }
}

fn url(text: &str, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
    if !good || text.len() > TEXT_MAX || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        wrong(field.to_owned(), "an http or https URL of at most 2048 characters");
    }
    let authority = rest
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    if authority.contains('@') {
        wrong(field.to_owned(), "a URL without a user in it");
    }
    placeholders(text, field, wrong);
}

fn headers(given: &BTreeMap<String, String>, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if given.len() > HEADERS_MAX {
        wrong(field.to_owned(), "at most 20 headers");
    }
    twice(given, field, wrong);
    for (name, value) in given {
        let field = format!("{field}.{name}");
        let lower = name.to_ascii_lowercase();
        if !is_header_name(name) {
            wrong(field.clone(), "no name of a header");
        } else if FIXED_HEADERS.contains(&lower.as_str()) || lower.starts_with("webhook-") {
            wrong(field.clone(), "this header is set by Greenlight");
        }
        if value.len() > TEXT_MAX || value.chars().any(|c| c.is_control() || !c.is_ascii()) {
            wrong(field.clone(), "at most 2048 printable ASCII characters");
        }
        placeholders(value, &field, wrong);
    }
}

/// What a webhook is sent is JSON, whatever its own headers would say.
fn typed(headers: &BTreeMap<String, String>, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if let Some(name) = headers.keys().find(|name| name.eq_ignore_ascii_case("content-type")) {
        wrong(format!("{field}.{name}"), "this header is set by Greenlight");
    }
}

/// Names of headers are the same in upper and lower case (RFC 9110, section 5.1).
fn twice<T>(headers: &BTreeMap<String, T>, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let mut seen = BTreeSet::new();
    for name in headers.keys() {
        if !seen.insert(name.to_ascii_lowercase()) {
            wrong(format!("{field}.{name}"), "this header is there twice");
        }
    }
}

/// Headers that say how the message itself is to be read, or that are ours.
const FIXED_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "idempotency-key",
];

fn condition(condition: &TextCondition, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let texts = [
        &condition.equals,
        &condition.contains,
        &condition.excludes,
        &condition.matches,
    ];
    if texts.iter().all(|text| text.is_none()) {
        wrong(
            field.to_owned(),
            "say what it must be like: equals, contains, excludes or matches",
        );
    }
    if texts.into_iter().flatten().any(|text| text.len() > TEXT_MAX) {
        wrong(field.to_owned(), "at most 2048 characters each");
    }
    for text in [&condition.equals, &condition.contains, &condition.excludes]
        .into_iter()
        .flatten()
    {
        placeholders(text, field, wrong);
    }
    if let Some(pattern) = &condition.matches
        && pattern.len() <= TEXT_MAX
        && let Err(why) = RegexBuilder::new(pattern).size_limit(PATTERN_MAX_BYTES).build()
    {
        wrong(format!("{field}.matches"), &format!("no regular expression: {why}"));
    }
}

fn placeholders(text: &str, field: &str, wrong: &mut impl FnMut(String, &str)) {
    if let Some(name) = template::unknown(text) {
        wrong(
            field.to_owned(),
            &format!(
                "{{{name}}} is unknown: there are {{release}}, {{from_release}}, {{app}}, {{environment}}, {{weight}}, \
                 {{commit}} and {{artifacts.<component>.<field>}}"
            ),
        );
    }
}

/// RFC 9110, section 5.1: a token.
fn is_header_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}
