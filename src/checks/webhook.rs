//! `webhook`: asks a service, which answers at once or calls back. Hooks are called the same way.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Asked, Judged, Reply, excerpt};
use crate::{
    domain::{
        environment::WebhookCheck,
        names::Name,
        template::{self, Place},
        verdict::Verdict,
    },
    outbound::{
        Answer, OutboundError,
        webhook::{Call, Webhooks},
    },
};

/// How long the answer over HTTP may take; whoever needs longer answers 202 and calls back.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What some programs put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How a webhook is called, and how it may call back.
pub struct CallBack<'a> {
    pub job: Uuid,
    /// The same in each repetition of the call.
    pub id: &'a str,
    /// From 1.
    pub attempt: i32,
    /// Where it calls back; without the service's public URL, only the path.
    pub url: Option<String>,
    pub path: String,
    pub token: &'a str,
    /// Until the verdict.
    pub timeout: Duration,
}

/// What is called.
pub struct Target<'a> {
    /// `check`, `hook` or `hook_undo`.
    pub kind: &'static str,
    pub name: &'a Name,
    pub url: &'a str,
    pub headers: &'a BTreeMap<String, String>,
}

/// What an answer may say.
#[derive(Deserialize)]
struct Said {
    verdict: Verdict,
    #[serde(default)]
    message: Option<String>,
}

pub(super) async fn ask(webhooks: &Webhooks, check: &WebhookCheck, asked: &Asked<'_>, call: &CallBack<'_>) -> Reply {
    let target = Target {
        kind: "check",
        name: &check.name,
        url: &check.url,
        headers: &check.headers,
    };
    self::call(webhooks, &target, asked, call).await
}

/// Calls once.
pub async fn call(webhooks: &Webhooks, target: &Target<'_>, asked: &Asked<'_>, call: &CallBack<'_>) -> Reply {
    let hopeless = |why: String| Reply::Now(Judged::hopeless(format!("It can't be called: {why}.")));
    let url = match template::render(target.url, &asked.subject, Place::Url) {
        Ok(url) => url,
        Err(missing) => return hopeless(missing.to_string()),
    };
    let headers = match super::headers(target.headers, &asked.subject) {
        Ok(headers) => headers,
        Err(why) => return hopeless(why),
    };
    let sent = Call {
        url: &url,
        headers,
        id: call.id,
        timestamp: asked.now,
        body: body(target, asked, call).to_string().into_bytes(),
        timeout: call.timeout.min(ANSWER_MAX),
    };
    match webhooks.call(sent).await {
        Ok(answer) => read(&answer),
        Err(OutboundError::Unreachable(why)) => Reply::Now(Judged::new(
            Verdict::Inconclusive,
            format!("It did not answer: {why}."),
            json!({"answer": null, "why": why}),
        )),
        Err(error @ (OutboundError::Forbidden { .. } | OutboundError::Invalid(_))) => hopeless(error.to_string()),
    }
}

fn body(target: &Target<'_>, asked: &Asked<'_>, call: &CallBack<'_>) -> Value {
    let subject = &asked.subject;
    json!({
        "type": target.kind,
        "name": target.name,
        "job": call.job,
        "app": subject.app,
        "environment": subject.environment,
        "release": subject.release,
        "from_release": subject.from_release,
        "commit": subject.commit,
        "artifacts": subject.artifacts,
        "weight": subject.weight,
        "attempt": call.attempt,
        "timeout_seconds": call.timeout.as_secs(),
        "callback": {"url": call.url, "path": call.path, "token": call.token},
    })
}

fn read(answer: &Answer) -> Reply {
    let status = answer.status.as_u16();
    let shown = excerpt::of(&answer.body);
    let evidence = json!({"status": status, "body": shown});
    if status == 202 {
        return Reply::Later;
    }
    if !answer.status.is_success() {
        // Who has an error of its own has not said no.
        let verdict = if answer.status.is_server_error() || status == 429 {
            Verdict::Inconclusive
        } else {
            Verdict::Fail
        };
        return Reply::Now(Judged::new(
            verdict,
            format!("It answered {status}: {shown:?}."),
            evidence,
        ));
    }
    let body = answer.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&answer.body);
    // What can't be read, or has a verdict that is none, must not count as a pass.
    let unclear = |why: &str| {
        Reply::Now(Judged::new(
            Verdict::Inconclusive,
            format!("{why}: {shown:?}."),
            evidence.clone(),
        ))
    };
    if answer.truncated {
        return unclear("Its answer is longer than 65536 bytes");
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(said) if said.get("verdict").is_some() => match serde_json::from_value::<Said>(said) {
            Ok(said) => Reply::Now(said_so(said.verdict, said.message.as_deref(), "It answered", evidence)),
            Err(_) => unclear("Its verdict is none of pass, fail and inconclusive"),
        },
        Ok(Value::Array(_)) => unclear("Its answer is a list, not an object with a verdict"),
        Err(_) if body.trim_ascii_start().starts_with(b"{") || body.trim_ascii_start().starts_with(b"[") => {
            unclear("Its answer begins like JSON and is none")
        }
        _ => Reply::Now(Judged::new(Verdict::Pass, format!("It answered {status}."), evidence)),
    }
}

/// A verdict that came with words, or without.
pub fn said_so(verdict: Verdict, message: Option<&str>, how: &str, evidence: Value) -> Judged {
    let words = match message {
        Some(message) => format!(
            "{how} {verdict}: {}.",
            excerpt::of(message.as_bytes()).trim_end_matches('.')
        ),
        None => format!("{how} {verdict}."),
    };
    Judged::new(verdict, words, evidence)
}

#[cfg(test)]
mod tests {
    use reqwest::{StatusCode, header::HeaderMap};

    use super::*;

    fn verdict(status: u16, body: &str) -> Option<Verdict> {
        verdict_of(status, body, false)
    }

    fn verdict_of(status: u16, body: &str, truncated: bool) -> Option<Verdict> {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            truncated,
            took: Duration::ZERO,
        };
        match read(&answer) {
            Reply::Now(judged) => Some(judged.verdict),
            Reply::Later => None,
        }
    }

    #[test]
    fn an_answer_that_was_not_read_to_its_end_is_no_pass() {
        for body in ["", "ok", r#"{"verdict": "fail", "message": "aaaa"#] {
            assert_eq!(verdict_of(200, body, true), Some(Verdict::Inconclusive), "{body}");
        }
        assert_eq!(verdict_of(404, "", true), Some(Verdict::Fail));
    }

    #[test]
    fn an_answer_is_a_verdict_a_promise_or_neither() {
        for (status, body, expected) in [
            (200, r#"{"verdict": "pass"}"#, Some(Verdict::Pass)),
            (200, r#"{"verdict": "fail", "message": "3 of 5"}"#, Some(Verdict::Fail)),
            (
                200,
                r#"{"verdict": "inconclusive", "more": 1}"#,
                Some(Verdict::Inconclusive),
            ),
            (200, r#"{"verdict": "PASS"}"#, Some(Verdict::Inconclusive)),
            (204, "", Some(Verdict::Pass)),
            (200, "ok", Some(Verdict::Pass)),
            (200, r#"{"status": "done"}"#, Some(Verdict::Pass)),
            (200, "\u{feff}{\"verdict\": \"fail\"}", Some(Verdict::Fail)),
            (200, r#" [{"verdict": "fail"}]"#, Some(Verdict::Inconclusive)),
            (
                200,
                r#"{"verdict": "fail", "message": "\x"}"#,
                Some(Verdict::Inconclusive),
            ),
            (200, r#"{"verdict": "fail", "mess"#, Some(Verdict::Inconclusive)),
            (200, r#"{"verdict": "pass", "message": 7}"#, Some(Verdict::Inconclusive)),
            (200, r#"{"verdict": null}"#, Some(Verdict::Inconclusive)),
            (202, "", None),
            (302, "", Some(Verdict::Fail)),
            (404, "", Some(Verdict::Fail)),
            (429, "", Some(Verdict::Inconclusive)),
            (500, r#"{"verdict": "pass"}"#, Some(Verdict::Inconclusive)),
        ] {
            assert_eq!(verdict(status, body), expected, "{status} {body}");
        }
    }
}
