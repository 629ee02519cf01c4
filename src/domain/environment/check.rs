//! The questions asked of a release: what is asked, when, how often, and what counts as an answer.
//!
//! To add a kind: a variant of [`Check`] with its settings and their limits (`problems/checks.rs`), and the file in
//! `checks/` that asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::names::Name;

/// Checks of one environment.
pub const CHECKS_MAX: usize = 20;
/// Checks of one step of a canary.
pub const STEP_CHECKS_MAX: usize = 10;
/// Tries of one check.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest time between two tries.
pub const INTERVAL_MAX_SECONDS: u32 = 3600;
/// Longest time that an answer over HTTP may take.
pub const HTTP_TIMEOUT_MAX_SECONDS: u32 = 60;
/// Longest time that a webhook may take to call back: a day.
pub const CALLBACK_MAX_SECONDS: u32 = 86_400;
/// Amazon CloudWatch API reference, "DescribeAlarms": names in one call.
pub const ALARMS_MAX: usize = 100;
/// Characters of a URL, a header's value, a pattern.
pub const TEXT_MAX: usize = 2048;
/// Bytes of a body that is sent.
pub const BODY_MAX_BYTES: usize = 8192;
/// Headers of one request, and conditions on headers.
pub const HEADERS_MAX: usize = 20;

/// A question asked of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "twenty at most, and most of them are of the largest kind"
)]
pub enum Check {
    /// Asks a URL.
    Http(HttpCheck),
    /// Looks at alarms of CloudWatch.
    CloudwatchAlarm(AlarmCheck),
    /// Asks a service of yours, which answers at once or calls back.
    Webhook(WebhookCheck),
}

/// When a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before anybody is on the release.
    BeforeTraffic,
    /// Again and again while a share is watched. A failure ends the bake at once.
    DuringBake,
    /// When everyone is on the release, before the job settles.
    AfterTraffic,
}

/// What happens when a check's last word is neither yes nor no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// It counts as failed.
    #[default]
    Fail,
    /// It counts as passed, with a warning on the job.
    Pass,
    /// It counts as passed, with a warning, and the job pauses: somebody looks, and resumes or aborts.
    Pause,
}

/// How often a check is asked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    pub attempts: u32,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
}

/// Settings of the `http` check. `{release}`, `{from_release}`, `{app}`, `{environment}`, `{weight}`, and of the
/// release's own content `{commit}` and `{artifacts.<component>.<field>}` are filled in in `url`, `headers` and `body`,
/// and in what is expected of headers, body and JSON (but not in `matches`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    #[schema(example = "smoke")]
    pub name: Name,
    /// Needed but for a check of a canary's step, which is asked `during_bake`.
    #[serde(default)]
    pub when: Option<When>,
    #[schema(example = "https://preview.example.com/health?release={release}")]
    pub url: String,
    #[serde(default)]
    pub method: Method,
    /// Sent with the request. Whoever may read the environment sees them: no place for secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent with the request, at most 8192 bytes.
    #[serde(default)]
    pub body: Option<String>,
    /// Send the signed preview cookie of `component`, so that the edge answers with the release although it has no
    /// traffic yet. Needs `edge.mode` `viewer_rewrite`.
    #[serde(default)]
    pub preview: bool,
    /// Whose preview. Left out: the first component that has one.
    #[serde(default)]
    pub component: Option<Name>,
    /// One status or several. Left out: 200 to 299.
    #[serde(default)]
    pub expect_status: Option<ExpectStatus>,
    /// By header, what its value must be like.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, TextCondition>,
    /// What the body's first 65536 bytes must be like.
    #[serde(default)]
    pub expect_body: Option<TextCondition>,
    /// By JSON pointer (RFC 6901), what the body must have there.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"/status": "ok"}))]
    pub expect_json: BTreeMap<String, Value>,
    /// Longest time until the last byte, in milliseconds.
    #[serde(default)]
    pub max_latency_ms: Option<u32>,
    /// Tries in all, 1 to 100; during a bake: failures in a row that end it.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Between two tries, 1 to 3600.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// For one answer, 1 to 60.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// Settings of the `cloudwatch_alarm` check: an alarm in ALARM fails it, one in INSUFFICIENT_DATA leaves it open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmCheck {
    #[schema(example = "errors")]
    pub name: Name,
    /// Needed but for a check of a canary's step, which is asked `during_bake`.
    #[serde(default)]
    pub when: Option<When>,
    /// Names of metric or composite alarms, 1 to 100. One that is not there fails the check.
    #[schema(example = json!(["storefront-5xx"]))]
    pub alarms: Vec<String>,
    /// Where they are. Left out: the account's region.
    #[serde(default)]
    pub region: Option<String>,
    /// Tries in all, 1 to 100; during a bake: failures in a row that end it.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Between two tries, 1 to 3600.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// For CloudWatch's answer, 1 to 60.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// Settings of the `webhook` check. A POST says what is asked; the answer is `{"verdict": "pass"}`, `fail` or
/// `inconclusive` with an optional `message`, any other 2xx for a pass, or 202 and the same as a callback later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookCheck {
    #[schema(example = "end-to-end")]
    pub name: Name,
    /// Needed but for a check of a canary's step, which is asked `during_bake`.
    #[serde(default)]
    pub when: Option<When>,
    #[schema(example = "https://ci.example.com/greenlight/end-to-end")]
    pub url: String,
    /// As in `http`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Tries in all, 1 to 100; during a bake: failures in a row that end it.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Between two tries, 1 to 3600.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// Until the verdict, also by callback, 1 to 86400.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// How the URL is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// A status, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ExpectStatus {
    One(u16),
    AnyOf(Vec<u16>),
}

impl ExpectStatus {
    pub fn all(&self) -> &[u16] {
        match self {
            Self::One(status) => std::slice::from_ref(status),
            Self::AnyOf(list) => list,
        }
    }
}

/// What a text must be like: all that is given holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextCondition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub equals: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub contains: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub excludes: Option<String>,
    /// A regular expression of Rust's crate `regex`, found anywhere in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub matches: Option<String>,
}

fn default_attempts() -> u32 {
    1
}

fn default_interval() -> u32 {
    10
}

fn default_timeout() -> u32 {
    10
}

impl Check {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::CloudwatchAlarm(_) => "cloudwatch_alarm",
            Self::Webhook(_) => "webhook",
        }
    }

    pub fn name(&self) -> &Name {
        match self {
            Self::Http(check) => &check.name,
            Self::CloudwatchAlarm(check) => &check.name,
            Self::Webhook(check) => &check.name,
        }
    }

    pub fn when(&self) -> Option<When> {
        match self {
            Self::Http(check) => check.when,
            Self::CloudwatchAlarm(check) => check.when,
            Self::Webhook(check) => check.when,
        }
    }

    pub fn on_inconclusive(&self) -> OnInconclusive {
        match self {
            Self::Http(check) => check.on_inconclusive,
            Self::CloudwatchAlarm(check) => check.on_inconclusive,
            Self::Webhook(check) => check.on_inconclusive,
        }
    }

    pub fn tries(&self) -> Tries {
        let (attempts, interval_seconds, timeout_seconds) = match self {
            Self::Http(check) => (check.attempts, check.interval_seconds, check.timeout_seconds),
            Self::CloudwatchAlarm(check) => (check.attempts, check.interval_seconds, check.timeout_seconds),
            Self::Webhook(check) => (check.attempts, check.interval_seconds, check.timeout_seconds),
        };
        Tries {
            attempts,
            interval_seconds,
            timeout_seconds,
        }
    }
}
