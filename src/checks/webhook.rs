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
    match serde_json::from_slice::<Said>(&answer.body) {
        Ok(said) => Reply::Now(said_so(said.verdict, said.message.as_deref(), "It answered", evidence)),
        // A word that is no verdict must not count as one.
        Err(_) if names_a_verdict(&answer.body) => Reply::Now(Judged::new(
            Verdict::Inconclusive,
            format!("Its verdict is none of pass, fail and inconclusive: {shown:?}."),
            evidence,
        )),
        Err(_) => Reply::Now(Judged::new(Verdict::Pass, format!("It answered {status}."), evidence)),
    }
}

fn names_a_verdict(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body.get("verdict").is_some())
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
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            truncated: false,
            took: Duration::ZERO,
        };
        match read(&answer) {
            Reply::Now(judged) => Some(judged.verdict),
            Reply::Later => None,
        }
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
