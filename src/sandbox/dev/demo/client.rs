//! The public HTTP API as the demo uses it: a base URL, a bearer token, JSON.
//!
//! What is read is read leniently (a field that is missing is empty), as a client that outlives a
//! version of the service should.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode, header::ACCEPT};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// How long one `?wait=` asks the service to hold its answer.
const WAIT_SECS: u64 = 30;
const CALL_DEADLINE: Duration = Duration::from_secs(WAIT_SECS + 30);
/// Longer than any job of the demo may take.
const JOB_DEADLINE: Duration = Duration::from_secs(600);
/// The states that a job doesn't leave by itself.
const ENDS: [&str; 4] = ["succeeded", "failed", "aborted", "stuck"];

/// A client of one service.
pub(super) struct Client {
    http: reqwest::Client,
    base_url: String,
    token: String,
}

/// A refusal in the API's own words (RFC 9457).
#[derive(Debug, Default, Deserialize, thiserror::Error)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(skip)]
    call: String,
    title: String,
    status: u16,
    detail: Option<String>,
    code: String,
    request_id: Option<String>,
    errors: Vec<FieldError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FieldError {
    field: String,
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was refused: {} ({}, code {})",
            self.call, self.title, self.status, self.code
        )?;
        if let Some(detail) = &self.detail {
            write!(f, "\n  {detail}")?;
        }
        for error in &self.errors {
            write!(f, "\n  {}: {}", error.field, error.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, "\n  request {id}"),
            None => Ok(()),
        }
    }
}

/// A job, as far as the demo shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub id: String,
    pub state: String,
    pub release: Option<String>,
    pub from_release: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub traffic_shifted_at: Option<DateTime<Utc>>,
    pub converged_at: Option<DateTime<Utc>>,
    pub settled_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<JobError>,
    pub warnings: Vec<Value>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobError {
    pub code: String,
    pub message: String,
    pub step: Option<Value>,
    pub hint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub position: u32,
    pub kind: String,
    pub component: Option<String>,
    pub state: String,
    pub attempts: u32,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub at: Option<DateTime<Utc>>,
    pub kind: String,
    pub data: Value,
}

impl Client {
    pub(super) fn new(base_url: &str, token: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(CALL_DEADLINE)
            .build()
            .context("could not make an HTTP client")?;
        Ok(Self {
            http,
            base_url: base_url.to_owned(),
            token: token.to_owned(),
        })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// None for what doesn't exist.
    pub(super) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.downcast_ref::<Problem>().is_some_and(|it| it.code == "not_found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The job when it has ended, however it did.
    pub(super) async fn finished(&self, id: &str) -> anyhow::Result<Job> {
        let deadline = Instant::now() + JOB_DEADLINE;
        loop {
            let answer = self.get(&format!("/v1/jobs/{id}?wait={WAIT_SECS}")).await?;
            let job: Job = serde_json::from_value(answer).context("a job can't be read")?;
            if ENDS.contains(&job.state.as_str()) {
                return Ok(job);
            }
            if Instant::now() >= deadline {
                bail!("job {id} is still {} after {} s", job.state, JOB_DEADLINE.as_secs());
            }
        }
    }

    /// A job's events as they happen, from its first one; the stream ends with the job.
    pub(super) async fn follow(&self, job: &str) -> anyhow::Result<Stream> {
        let path = format!("/v1/jobs/{job}/events");
        let request = self.http.get(format!("{}{path}", self.base_url));
        let request = request.bearer_auth(&self.token).timeout(JOB_DEADLINE);
        let answer = request.header(ACCEPT, "text/event-stream").send().await;
        let answer = answer.with_context(|| format!("GET {path} got no answer"))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(refusal(format!("GET {path}"), status, &answer.text().await?));
        }
        Ok(Stream {
            answer,
            text: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    pub(super) async fn events(&self, job: &str) -> anyhow::Result<Vec<Event>> {
        let events = self.items(&format!("/v1/jobs/{job}/events")).await?;
        events
            .into_iter()
            .map(|event| serde_json::from_value(event).context("an event can't be read"))
            .collect()
    }

    /// The versions of all releases of the application at `app`.
    pub(super) async fn releases(&self, app: &str) -> anyhow::Result<Vec<String>> {
        let releases = self.items(&format!("{app}/releases")).await?;
        Ok(releases
            .iter()
            .filter_map(|release| release["version"].as_str())
            .map(str::to_owned)
            .collect())
    }

    /// All items of a list, page by page.
    async fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut page = path.to_owned();
        loop {
            let mut answer = self.get(&page).await?;
            if let Value::Array(more) = answer["items"].take() {
                items.extend(more);
            }
            match answer["next_cursor"].as_str() {
                Some(cursor) => page = format!("{path}?cursor={}", url_safe(cursor)),
                None => return Ok(items),
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let call = format!("{method} {path}");
        let lost = || format!("{call} got no answer");
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base_url))
            .bearer_auth(&self.token);
        if method == Method::POST {
            request = request.header("Idempotency-Key", Uuid::now_v7().to_string());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(lost)?;
        let status = answer.status();
        let text = answer.text().await.with_context(lost)?;
        if !status.is_success() {
            return Err(refusal(call, status, &text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{call} answered {status} with what is no JSON: {text}"))
    }
}

/// Server-sent events.
pub(super) struct Stream {
    answer: reqwest::Response,
    /// The beginning of a message.
    text: Vec<u8>,
    ready: VecDeque<Event>,
}

impl Stream {
    /// The next event; none when there will be none.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(more) = self.answer.chunk().await.context("the stream of events broke off")? else {
                return Ok(None);
            };
            self.take(&more)?;
        }
    }

    /// A message is ended by an empty line; one without data keeps the connection alive.
    fn take(&mut self, more: &[u8]) -> anyhow::Result<()> {
        self.text.extend_from_slice(more);
        while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
            let message: Vec<u8> = self.text.drain(..end + 2).collect();
            let message = String::from_utf8(message).context("an event is no text")?;
            let data: String = message.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            if !data.is_empty() {
                self.ready
                    .push_back(serde_json::from_str(&data).context("an event can't be read")?);
            }
        }
        Ok(())
    }
}

/// The problem that the answer holds, or the answer as it is if it holds none.
fn refusal(call: String, status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<Problem>(text) {
        Ok(mut problem) if !problem.code.is_empty() => {
            problem.call = call;
            problem.status = status.as_u16();
            problem.into()
        }
        _ => anyhow::anyhow!("{call} answered {status}: {text}"),
    }
}

/// A cursor is opaque, so it may hold anything.
fn url_safe(cursor: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    cursor
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The job that holds an environment: its id, or an object that has one.
pub(super) fn current_job(environment: &Value) -> Option<String> {
    let job = &environment["current_job"];
    job.as_str().or_else(|| job["id"].as_str()).map(str::to_owned)
}
