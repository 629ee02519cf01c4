//! `converge`: asks the public URL until it names the release.
//!
//! A pointer that was written, and even an invalidation that was completed, says nothing about what visitors get.
//! So the site itself is asked, as a visitor without cookies would, at every address configured, until so many
//! answers in a row from each name the release in `x-greenlight-release`. Each answer comes over a connection of
//! its own. One that names another release, or fails, begins the row of its address again.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::wrong_params;
use crate::{
    domain::{
        environment::{Converge, OnTimeout},
        error::{JobError, Warning},
        names::Version,
        plan::StepParams,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    outbound::{Outbound, OutboundError, Question},
    store::{StoreError, jobs, steps},
};

/// What the edge says it served.
const RELEASE_HEADER: &str = "x-greenlight-release";
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long it is asked at the interval configured, before it is asked more slowly.
const QUICK_FOR_SECS: f64 = 15.0;

/// Asks what visitors get.
pub struct ConvergeStep {
    pub outbound: Outbound,
}

/// What one address last said.
struct Said {
    /// The address, or `public_url` when the URL's own host is asked.
    address: String,
    answers: u32,
    in_a_row: u32,
    last: String,
    hopeless: bool,
}

#[async_trait]
impl StepRunner for ConvergeStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Converge { release, url, settings } = &context.step.params else {
            return Err(wrong_params(context));
        };
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let age = steps::seconds_since_start(&mut connection, context.job.id, context.step.position).await?;
        drop(connection);
        let age = age.unwrap_or(0.0);
        let said = self.ask_everywhere(release, url, settings).await;
        if said.iter().all(|said| said.in_a_row >= settings.consecutive) {
            return Ok(converged(context, url, &said));
        }
        if age >= f64::from(settings.timeout_seconds) || said.iter().any(|said| said.hopeless) {
            return not_converged(release, url, settings, &said);
        }
        Ok(Outcome::Wait {
            secs: next_round_secs(age, settings.interval_ms),
            reason: format!("{url} does not name {release} everywhere yet: asking again"),
        })
    }
}

/// Seconds until the next round, by the age of the step: it is nearly always a matter of the first ones.
fn next_round_secs(age_secs: f64, interval_ms: u32) -> f64 {
    let interval = f64::from(interval_ms) / 1000.0;
    if age_secs < QUICK_FOR_SECS {
        interval
    } else {
        (interval * 4.0).max(1.0)
    }
}

impl ConvergeStep {
    /// Every address side by side; each until it has said so often enough, or something else.
    async fn ask_everywhere(&self, release: &Version, url: &str, settings: &Converge) -> Vec<Said> {
        let own = || vec![None];
        let addresses: Vec<Option<&str>> = match settings.addresses.as_slice() {
            [] => own(),
            addresses => addresses.iter().map(|address| Some(address.as_str())).collect(),
        };
        join_all(
            addresses
                .into_iter()
                .map(|address| self.ask(release, url, address, settings.consecutive)),
        )
        .await
    }

    async fn ask(&self, release: &Version, url: &str, address: Option<&str>, consecutive: u32) -> Said {
        let mut said = Said {
            address: address.unwrap_or("public_url").to_owned(),
            answers: 0,
            in_a_row: 0,
            last: String::new(),
            hopeless: false,
        };
        while said.in_a_row < consecutive {
            let question = Question {
                address,
                headers: navigation(),
                ..Question::get(url, ANSWER_WITHIN)
            };
            match self.outbound.ask(question).await {
                Ok(answer) => {
                    said.answers += 1;
                    let named = answer.headers.get(RELEASE_HEADER).map(HeaderValue::as_bytes);
                    if named == Some(release.as_str().as_bytes()) && answer.status.as_u16() < 400 {
                        said.in_a_row += 1;
                        said.last = format!("named {release}");
                        continue;
                    }
                    let named = match named {
                        Some(named) => format!("named {}", String::from_utf8_lossy(named).escape_default()),
                        None => format!("had no {RELEASE_HEADER}"),
                    };
                    said.last = format!("answered {} and {named}", answer.status.as_u16());
                }
                Err(error) => {
                    said.hopeless = !matches!(error, OutboundError::Unreachable(_));
                    said.last = format!("could not be asked: {error}");
                }
            }
            said.in_a_row = 0;
            break;
        }
        said
    }
}

/// As a browser asks that opens the page for the first time.
fn navigation() -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("text/html")),
        (
            HeaderName::from_static("sec-fetch-mode"),
            HeaderValue::from_static("navigate"),
        ),
        (
            HeaderName::from_static("sec-fetch-dest"),
            HeaderValue::from_static("document"),
        ),
    ])
}

fn converged(context: &StepContext, url: &str, said: &[Said]) -> Outcome {
    let answers: BTreeMap<&str, u32> = said.iter().map(|said| (said.address.as_str(), said.answers)).collect();
    let mut done = Done::new(json!({"url": url, "converged": true, "answers": answers}));
    let job = context.job.id;
    done.effects.push(Box::new(move |connection| {
        Box::pin(async move { jobs::converged(connection, job).await })
    }));
    Outcome::Done(done)
}

fn not_converged(release: &Version, url: &str, settings: &Converge, said: &[Said]) -> Result<Outcome, StepError> {
    let lagging = said.iter().filter(|said| said.in_a_row < settings.consecutive);
    let words: Vec<String> = lagging.map(|said| format!("{} {}", said.address, said.last)).collect();
    let message = format!(
        "{url} did not name {release} {} times in a row within {} s: {}.",
        settings.consecutive,
        settings.timeout_seconds,
        words.join("; ")
    );
    match settings.on_timeout {
        OnTimeout::Continue => {
            let mut done = Done::new(json!({"url": url, "converged": false, "said": words}));
            done.warnings.push(Warning::new("not_converged", message));
            Ok(Outcome::Done(done))
        }
        OnTimeout::Fail => Err(StepError::fatal(JobError::new("not_converged", message).hint(
            "Look what the public URL answers, and whether the routing functions are on the distribution; then raise \
             edge.converge.timeout_seconds, correct edge.public_url, or set edge.converge.on_timeout to continue.",
        ))),
    }
}
