//! `http`: asks a URL, and looks at status, headers, body and latency.
//!
//! A release that does not answer has failed: it is what is asked about.

use std::time::Duration;

use rand::Rng;
use regex::RegexBuilder;
use reqwest::header::{COOKIE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::{Asked, Asker, Judged, excerpt};
use crate::{
    domain::{
        environment::{Component, EdgeMode, HttpCheck, TextCondition},
        preview::{self, PREVIEW_NAME},
        template::{self, Missing, Place},
        verdict::Verdict,
    },
    outbound::{Answer, OutboundError, Question},
    traffic,
};

/// Bytes of the body that are read, for a check that looks at it and for the excerpt of one that fails.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that a compiled pattern may take.
const PATTERN_MAX_BYTES: usize = 256 * 1024;
/// What the routing function says of an answer: whose it is.
const RELEASE_HEADER: &str = "x-greenlight-release";
/// How long the preview cookie of one question is good for.
const PREVIEW_SECONDS: i64 = 120;

pub(super) async fn ask(asker: &Asker, check: &HttpCheck, asked: &Asked<'_>) -> Judged {
    let prepared = prepare(asker, check, asked).await;
    let (url, headers, body) = match prepared {
        Ok(prepared) => prepared,
        Err(judged) => return judged,
    };
    let check = &match filled(check, asked) {
        Ok(check) => check,
        Err(missing) => return Judged::hopeless(format!("It can't be asked: {missing}.")),
    };
    let Ok(method) = check.method.as_str().parse() else {
        return Judged::hopeless("The method can't be used.");
    };
    let question = Question {
        method,
        headers,
        body,
        read_bytes: READ_BYTES,
        ..Question::get(&url, Duration::from_secs(check.timeout_seconds.into()))
    };
    match asker.webhooks.outbound.ask(question).await {
        Ok(answer) => {
            let other = check.preview.then(|| other_release(&answer, asked)).flatten();
            other.unwrap_or_else(|| judge(check, &answer))
        }
        Err(OutboundError::Unreachable(why)) => Judged::new(
            Verdict::Fail,
            format!("It did not answer: {why}."),
            json!({"answer": null, "why": why}),
        ),
        Err(error @ (OutboundError::Forbidden { .. } | OutboundError::Invalid(_))) => {
            Judged::hopeless(format!("It can't be asked: {error}."))
        }
    }
}

type Prepared = (String, HeaderMap, Option<Vec<u8>>);

async fn prepare(asker: &Asker, check: &HttpCheck, asked: &Asked<'_>) -> Result<Prepared, Judged> {
    let hopeless = |why: String| Judged::hopeless(format!("It can't be asked: {why}."));
    let render = |text: &str, place| {
        template::render(text, &asked.subject, place).map_err(|missing| hopeless(missing.to_string()))
    };
    let url = render(&check.url, Place::Url)?;
    let mut headers = super::headers(&check.headers, &asked.subject).map_err(hopeless)?;
    let body = check.body.as_ref().map(|body| render(body, Place::Body)).transpose()?;
    if check.preview {
        let cookie = preview_cookie(asker, check, asked).await?;
        let cookie = match headers.get(COOKIE).and_then(|given| given.to_str().ok()) {
            Some(given) => format!("{given}; {cookie}"),
            None => cookie,
        };
        let cookie = HeaderValue::from_str(&cookie).map_err(|_| hopeless("the cookie fits no header".to_owned()))?;
        headers.insert(COOKIE, cookie);
    }
    Ok((url, headers, body.map(String::into_bytes)))
}

/// With the placeholders of its conditions filled in. Patterns stay as they are: braces mean something else in them.
fn filled(check: &HttpCheck, asked: &Asked<'_>) -> Result<HttpCheck, Missing> {
    let render = |text: &str| template::render(text, &asked.subject, Place::Header);
    let condition = |condition: &mut TextCondition| -> Result<(), Missing> {
        let TextCondition {
            equals,
            contains,
            excludes,
            ..
        } = condition;
        for text in [equals, contains, excludes].into_iter().flatten() {
            *text = render(text)?;
        }
        Ok(())
    };
    let mut check = check.clone();
    for expected in check.expect_headers.values_mut().chain(check.expect_body.as_mut()) {
        condition(expected)?;
    }
    for expected in check.expect_json.values_mut() {
        if let Value::String(text) = expected {
            *text = render(text)?;
        }
    }
    Ok(check)
}

/// What follows when the edge has answered with another release than the one that was to be previewed: nothing about
/// that one. An edge that has yet to learn the secret of previews answers so, for up to a minute.
fn other_release(answer: &Answer, asked: &Asked<'_>) -> Option<Judged> {
    let named = String::from_utf8_lossy(answer.headers.get(RELEASE_HEADER)?.as_bytes()).into_owned();
    let release = asked.subject.release?.as_str();
    let named = excerpt::of(named.as_bytes());
    (named != release).then(|| Judged {
        too_early: true,
        ..Judged::new(
            Verdict::Inconclusive,
            format!(
                "The edge answered with {named} and not with {release}: it does not know the preview's secret, or is another component's."
            ),
            json!({"status": answer.status.as_u16(), "release": named, "expected_release": release}),
        )
    })
}

/// The cookie that shows the release to whoever sends it, signed for a moment.
async fn preview_cookie(asker: &Asker, check: &HttpCheck, asked: &Asked<'_>) -> Result<String, Judged> {
    let previewed = |component: &&Component| {
        component.edge_mode() == EdgeMode::ViewerRewrite
            && check.component.as_ref().is_none_or(|name| component.name == *name)
    };
    let component = asked.environment.components.iter().find(previewed);
    let (Some(component), Some(release)) = (component, asked.subject.release) else {
        return Err(Judged::hopeless("There is nothing here that can be previewed."));
    };
    let mut random = [0u8; 32];
    rand::rng().fill_bytes(&mut random);
    let router = traffic::router(&asker.aws, &asked.environment.aws, component);
    let secret = traffic::preview::secret(router.as_ref(), &preview::secret(random)).await;
    // It is not the release's fault that AWS does not say it.
    let secret = secret.map_err(|error| {
        Judged::new(
            Verdict::Inconclusive,
            format!("The secret that previews are signed with can't be had: {error}."),
            json!({}),
        )
    })?;
    let token = preview::token(&secret, release, asked.now + PREVIEW_SECONDS);
    Ok(format!("{PREVIEW_NAME}={token}"))
}

/// Everything that is not as it had to be.
fn judge(check: &HttpCheck, answer: &Answer) -> Judged {
    let status = answer.status.as_u16();
    let took_ms = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
    let mut wrong: Vec<String> = Vec::new();
    let mut seen = Map::new();
    seen.insert("status".into(), json!(status));
    seen.insert("latency_ms".into(), json!(took_ms));
    match &check.expect_status {
        Some(expected) if !expected.all().contains(&status) => {
            wrong.push(format!("the status was {status}, not {}", one_of(expected.all())));
            seen.insert("expected_status".into(), json!(expected));
        }
        None if !answer.status.is_success() => {
            wrong.push(format!("the status was {status}, not one of 200 to 299"));
            seen.insert("expected_status".into(), json!("200 to 299"));
        }
        _ => {}
    }
    for (name, expected) in &check.expect_headers {
        let value = answer
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let Some(why) = unlike(value.as_deref(), expected) {
            wrong.push(format!("the header {name} {why}"));
            seen.insert(
                format!("header {name}"),
                json!(value.map(|value| excerpt::of(value.as_bytes()))),
            );
        }
    }
    let text = String::from_utf8_lossy(&answer.body);
    if let Some(expected) = &check.expect_body
        && let Some(why) = unlike(Some(&text), expected)
    {
        wrong.push(format!("the body {why}"));
    }
    if !check.expect_json.is_empty() {
        match serde_json::from_str::<Value>(&text) {
            Err(_) => wrong.push("the body was not JSON".to_owned()),
            Ok(document) => {
                for (pointer, expected) in &check.expect_json {
                    let found = document.pointer(pointer);
                    if found != Some(expected) {
                        let shown =
                            found.map_or("nothing".to_owned(), |found| excerpt::of(found.to_string().as_bytes()));
                        wrong.push(format!("the body had {shown} at {pointer:?}, not {expected}"));
                    }
                }
            }
        }
    }
    if let Some(limit) = check.max_latency_ms
        && took_ms > u64::from(limit)
    {
        wrong.push(format!("it took {took_ms} ms, more than {limit}"));
        seen.insert("max_latency_ms".into(), json!(limit));
    }
    if wrong.is_empty() {
        return Judged::new(
            Verdict::Pass,
            format!("It answered {status} in {took_ms} ms."),
            Value::Object(seen),
        );
    }
    let body = excerpt::of(&answer.body);
    let mut message = format!("{}.", capital(&wrong.join("; ")));
    if !body.trim().is_empty() {
        message.push_str(&format!(" The body began: {body:?}."));
    }
    seen.insert("body".into(), json!(body));
    seen.insert("wrong".into(), json!(wrong));
    Judged::new(Verdict::Fail, message, Value::Object(seen))
}

/// How a text is not what it must be; `None`: it is.
fn unlike(text: Option<&str>, expected: &TextCondition) -> Option<String> {
    let Some(text) = text else {
        // What is not there contains nothing.
        let only_excludes = expected.equals.is_none() && expected.contains.is_none() && expected.matches.is_none();
        return (!only_excludes).then(|| "was not there".to_owned());
    };
    if let Some(wanted) = &expected.equals
        && text != wanted
    {
        return Some(format!("was not {wanted:?}"));
    }
    if let Some(wanted) = &expected.contains
        && !text.contains(wanted)
    {
        return Some(format!("did not contain {wanted:?}"));
    }
    if let Some(unwanted) = &expected.excludes
        && text.contains(unwanted)
    {
        return Some(format!("contained {unwanted:?}"));
    }
    if let Some(pattern) = &expected.matches {
        let found = RegexBuilder::new(pattern)
            .size_limit(PATTERN_MAX_BYTES)
            .build()
            .map(|regex| regex.is_match(text));
        if found != Ok(true) {
            return Some(format!("did not match {pattern:?}"));
        }
    }
    None
}

fn one_of(statuses: &[u16]) -> String {
    let words: Vec<String> = statuses.iter().map(u16::to_string).collect();
    words.join(" or ")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn check(settings: Value) -> HttpCheck {
        let mut all = json!({"name": "smoke", "when": "before_traffic", "url": "https://x/"});
        all.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.as_bytes().to_vec(),
            truncated: false,
            took: Duration::from_millis(250),
        }
    }

    #[test]
    fn each_condition_is_looked_at() {
        let body = r#"{"status": "ok", "version": "1.43.0", "list": [1, 2]}"#;
        for (settings, status, passes) in [
            (json!({}), 204, true),
            (json!({}), 301, false),
            (json!({"expect_status": 301}), 301, true),
            (json!({"expect_status": [200, 404]}), 404, true),
            (json!({"expect_status": [200, 404]}), 500, false),
            (
                json!({"expect_headers": {"Content-Type": {"contains": "json"}}}),
                200,
                true,
            ),
            (
                json!({"expect_headers": {"content-type": {"equals": "text/html"}}}),
                200,
                false,
            ),
            (json!({"expect_headers": {"x-absent": {"excludes": "a"}}}), 200, true),
            (json!({"expect_headers": {"x-absent": {"contains": "a"}}}), 200, false),
            (
                json!({"expect_body": {"contains": "1.43.0", "excludes": "error"}}),
                200,
                true,
            ),
            (
                json!({"expect_body": {"matches": "\"version\": \"1\\.4[0-9]"}}),
                200,
                true,
            ),
            (json!({"expect_body": {"matches": "^nothing$"}}), 200, false),
            (json!({"expect_json": {"/status": "ok", "/list/1": 2}}), 200, true),
            (json!({"expect_json": {"/status": "bad"}}), 200, false),
            (json!({"expect_json": {"/absent": null}}), 200, false),
            (json!({"max_latency_ms": 250}), 200, true),
            (json!({"max_latency_ms": 249}), 200, false),
        ] {
            let judged = judge(&check(settings.clone()), &answer(status, body));
            assert_eq!(
                judged.verdict == Verdict::Pass,
                passes,
                "{settings} {status}: {judged:?}"
            );
        }
    }

    #[test]
    fn a_failure_shows_what_was_seen_and_what_it_had_to_be() {
        let settings = json!({"expect_status": 200, "max_latency_ms": 100});
        let judged = judge(&check(settings), &answer(503, "<h1>down\u{1b}[2J</h1>"));
        assert_eq!(judged.verdict, Verdict::Fail);
        for part in ["503", "200", "250 ms", "100", "<h1>down"] {
            assert!(judged.message.contains(part), "{}", judged.message);
        }
        assert_eq!(judged.evidence["status"], 503);
        assert_eq!(judged.evidence["max_latency_ms"], 100);
        assert!(!judged.evidence["body"].as_str().unwrap().contains('\u{1b}'));
    }
}
