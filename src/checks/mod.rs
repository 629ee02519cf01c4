//! The questions asked of a release: one file a kind.
//!
//! A kind asks once and says pass, fail or inconclusive, with what it saw. How often it is asked, and what follows, is
//! the step's business (`steps/check`). Nothing here stores anything.
//!
//! To add one: a variant of [`crate::domain::environment::Check`] with its limits, a file here, and its arm in
//! [`Asker::ask`].

mod cloudwatch_alarm;
mod excerpt;
mod http;
pub mod webhook;

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::{
    aws::Aws,
    domain::{
        environment::{Check, EnvironmentDocument},
        template::{self, Place, Subject},
        verdict::Verdict,
    },
    outbound::webhook::Webhooks,
};

/// What one try has shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub verdict: Verdict,
    /// In a sentence, for a person.
    pub message: String,
    /// What was seen, and what it had to be.
    pub evidence: Value,
    /// Asking again can't help: the question itself is wrong.
    pub hopeless: bool,
    /// It was not the release that answered, and soon may be: the edge has yet to learn the preview's secret.
    pub too_early: bool,
}

impl Judged {
    pub fn new(verdict: Verdict, message: impl Into<String>, evidence: Value) -> Self {
        Self {
            verdict,
            message: message.into(),
            evidence,
            hopeless: false,
            too_early: false,
        }
    }

    /// The question can't be asked as it is.
    pub fn hopeless(message: impl Into<String>) -> Self {
        Self {
            hopeless: true,
            ..Self::new(Verdict::Fail, message, json!({}))
        }
    }
}

/// What a webhook answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Now(Judged),
    /// It will call back.
    Later,
}

/// Of what, and when, a question is asked.
pub struct Asked<'a> {
    pub environment: &'a EnvironmentDocument,
    pub subject: Subject<'a>,
    /// Unix seconds, by the database's clock.
    pub now: i64,
}

/// Asks.
#[derive(Debug, Clone)]
pub struct Asker {
    pub aws: Aws,
    pub webhooks: Webhooks,
}

impl Asker {
    /// Asks once. `call`: how a webhook is called.
    pub async fn ask(&self, check: &Check, asked: &Asked<'_>, call: Option<&webhook::CallBack<'_>>) -> Reply {
        match check {
            Check::Http(settings) => Reply::Now(http::ask(self, settings, asked).await),
            Check::CloudwatchAlarm(settings) => {
                let seconds = settings.timeout_seconds;
                let within = Duration::from_secs(seconds.into());
                let asking = cloudwatch_alarm::ask(&self.aws, settings, asked);
                Reply::Now(tokio::time::timeout(within, asking).await.unwrap_or_else(|_| {
                    let message = format!("CloudWatch did not answer within {seconds} s.");
                    Judged::new(Verdict::Inconclusive, message, json!({"timeout_seconds": seconds}))
                }))
            }
            Check::Webhook(settings) => match call {
                Some(call) => webhook::ask(&self.webhooks, settings, asked, call).await,
                None => Reply::Now(Judged::hopeless("The webhook was not told how to answer.")),
            },
        }
    }
}

/// The headers of a request, filled in.
///
/// # Errors
/// In words, for a header that takes no such value and a placeholder without one.
fn headers<'h>(
    given: impl IntoIterator<Item = (&'h String, &'h String)>,
    subject: &Subject<'_>,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = template::render(value, subject, Place::Header).map_err(|missing| missing.to_string())?;
        let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::from_str(&value).map_err(|_| format!("the header {name} takes no such value"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}
