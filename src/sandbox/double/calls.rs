//! What the double was asked, in order, and how each call ended.
//!
//! A call is recorded when it arrives, before any delay or fault, and its outcome is filled in later:
//! a test can see a request that hangs. The newest 20,000 are kept.

use std::collections::VecDeque;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::world::lock;

const KEPT: usize = 20_000;

/// One request that reached the double.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Ascending from 1, across `clear_calls` too.
    pub seq: u64,
    /// When it arrived, by the double's clock.
    pub at: DateTime<Utc>,
    /// The account it acted in; empty when the signature was refused.
    pub account: String,
    /// The region of its credential scope, or its region set; empty when the signature was refused.
    pub region: String,
    /// `ssm`, `cloudfront`, `cloudfront-keyvaluestore`, `monitoring` (CloudWatch), `s3` or `sts`, as the credential
    /// scope says.
    pub service: String,
    /// `PutParameter`, for instance; empty when it could not be told.
    pub operation: String,
    /// The parameter, distribution, key value store (its ARN), alarm (or alarms, with commas), `bucket` or `bucket/key`,
    /// or role that it is about.
    pub resource: Option<String>,
    /// The `x-amzn-RequestId` of its answer.
    pub request_id: String,
    /// What it asked for: value, paths, caller reference and so on; of S3's calls, path and query as they came.
    pub details: Value,
    /// How it ended, so far.
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Still being worked on.
    Pending,
    /// Done, and answered so.
    Ok,
    /// Answered with this error.
    Error {
        /// The AWS error code.
        code: String,
    },
    /// Done (or refused, with this code), but the connection was closed without an answer.
    AnswerLost {
        /// The error that the client never saw.
        error: Option<String>,
    },
    /// Thrown away: no effect, no answer.
    RequestLost,
    /// Never answered; `applied` tells whether the effect happened.
    Hung {
        /// Whether the effect happened before the answer got stuck.
        applied: bool,
    },
    /// Never answered; the effect waits for `FaultHandle::release`.
    Held,
    /// Never answered; the effect landed late, when it was released.
    Released {
        /// The error that the late effect ran into.
        error: Option<String>,
    },
}

impl Outcome {
    /// Done and answered.
    pub fn is_ok(&self) -> bool {
        *self == Self::Ok
    }

    /// Still being worked on.
    pub fn is_pending(&self) -> bool {
        *self == Self::Pending
    }

    /// The AWS error code, whether the client saw it or not.
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Self::Error { code } => Some(code),
            Self::AnswerLost { error } | Self::Released { error } => error.as_deref(),
            _ => None,
        }
    }

    /// Whether the call has changed (or read) the double's state by now.
    pub fn took_effect(&self) -> bool {
        matches!(
            self,
            Self::Ok | Self::AnswerLost { error: None } | Self::Hung { applied: true } | Self::Released { error: None }
        )
    }
}

/// The log, with a signal for those who wait on it.
#[derive(Debug)]
pub(super) struct CallLog {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    last_seq: u64,
    calls: VecDeque<Call>,
}

impl CallLog {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Records a call, gives it its number and returns that.
    pub(super) fn record(&self, mut call: Call) -> u64 {
        let seq = {
            let mut inner = lock(&self.inner);
            inner.last_seq += 1;
            call.seq = inner.last_seq;
            let seq = call.seq;
            if inner.calls.len() == KEPT {
                inner.calls.pop_front();
            }
            inner.calls.push_back(call);
            seq
        };
        self.signal();
        seq
    }

    /// Fills in how a call ended; nothing happens if it was cleared meanwhile.
    pub(super) fn settle(&self, seq: u64, outcome: Outcome) {
        {
            let mut inner = lock(&self.inner);
            if let Ok(index) = inner.calls.binary_search_by_key(&seq, |call| call.seq)
                && let Some(call) = inner.calls.get_mut(index)
            {
                call.outcome = outcome;
            }
        }
        self.signal();
    }

    pub(super) fn all(&self) -> Vec<Call> {
        lock(&self.inner).calls.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        lock(&self.inner).calls.clear();
    }

    /// The first recorded call that `wanted` accepts, now or later. Never gives up by itself.
    pub(super) async fn wait_for(&self, wanted: impl Fn(&Call) -> bool) -> Call {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let found = lock(&self.inner).calls.iter().find(|call| wanted(call)).cloned();
            if let Some(call) = found {
                return call;
            }
            if changed.changed().await.is_err() {
                // The sender lives in `self`, which is borrowed for as long as this future runs.
                std::future::pending::<()>().await;
            }
        }
    }

    fn signal(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}
