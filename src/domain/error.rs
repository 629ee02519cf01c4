//! The durable error envelope of a job or a step: what a person reads at three in the morning.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A stable code, what happened, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// Stable, `snake_case`; listed in `docs/operations.md`.
    #[schema(example = "pointer_drifted")]
    pub code: String,
    /// What happened, in a sentence.
    pub message: String,
    /// The step it happened in, as `stage/kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was seen, for a check that failed: status, excerpt, values and what they had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, required = false)]
    pub evidence: Option<Value>,
}

/// The codes of an end that somebody chose: the job ends `aborted`, not `failed`.
const ABORTS: [&str; 3] = ["aborted", "approval_expired", "approval_rejected"];

/// The codes whose messages may repeat what a site, a service or a person has sent.
const QUOTES: [&str; 5] = [
    "approval_rejected",
    "check_failed",
    "check_inconclusive",
    "hook_failed",
    "hook_undo_failed",
];

impl JobError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            step: None,
            hint: None,
            evidence: None,
        }
    }

    /// True when people, not a fault, ended the job.
    pub fn is_abort(&self) -> bool {
        ABORTS.contains(&self.code.as_str())
    }

    /// True when the message repeats what a site, a service or a person has sent.
    pub fn quotes(&self) -> bool {
        self.evidence.is_some() || QUOTES.contains(&self.code.as_str())
    }

    /// What a log may say: the message, but not where it repeats what others sent.
    pub fn for_the_log(&self) -> &str {
        if self.quotes() { &self.code } else { &self.message }
    }

    #[must_use]
    pub fn evidence(mut self, evidence: Value) -> Self {
        self.evidence = Some(evidence);
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn in_step(mut self, stage: &str, kind: &str) -> Self {
        self.step = Some(format!("{stage}/{kind}"));
        self
    }
}

/// Something a job got through, but that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    #[schema(example = "invalidation_late")]
    pub code: String,
    pub message: String,
}

impl Warning {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again: somebody has to change something.
    No,
    /// It may pass: a time-out, a 5xx.
    Backoff,
    /// AWS says "later".
    Throttled,
}

/// One thing wrong with a document or a request: where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    #[schema(example = "components[0].router.parameter")]
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_log_repeats_nothing_that_others_have_sent() {
        let message = "Check smoke failed: The body began: \"secret\".";
        for error in [
            JobError::new("check_failed", message),
            JobError::new("approval_rejected", message),
            JobError::new("undo_incomplete", message).evidence(json!({"check": "smoke"})),
        ] {
            assert_eq!(error.for_the_log(), error.code);
        }
        let error = JobError::new("aws_access_denied", "ssm:PutParameter is not allowed.");
        assert_eq!(error.for_the_log(), error.message);
    }
}
