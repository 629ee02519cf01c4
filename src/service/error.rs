//! What a use-case says no with: a stable code, what happened, what to do. HTTP maps codes to statuses.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{domain::error::FieldError, store::StoreError};

/// The stable codes of refused requests. `docs/operations.md` says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    NotFound,
    ValidationFailed,
    MalformedRequest,
    MalformedJson,
    UnsupportedMediaType,
    BodyTooLarge,
    MethodNotAllowed,
    Unauthenticated,
    Forbidden,
    VersionConflict,
    AlreadyActive,
    JobInProgress,
    ActiveChanged,
    NothingToRollBackTo,
    NotARollbackTarget,
    ArtifactMissing,
    PointerInUse,
    PreviewUnsupported,
    PreviewKeyUnavailable,
    AwsUnavailable,
    AppNotEmpty,
    JobSuperseded,
    NotAbortable,
    NotRetryable,
    EnvironmentLocked,
    ReleaseBlocked,
    StrategyImpossible,
    NothingToApprove,
    OwnApproval,
    NotPausable,
    NotPromotable,
    NothingToInvalidate,
    CallbackLate,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    IdempotencyKeyInUse,
    DatabaseUnavailable,
    ShuttingDown,
    InternalError,
}

impl Code {
    pub const ALL: [Code; 39] = [
        Code::NotFound,
        Code::ValidationFailed,
        Code::MalformedRequest,
        Code::MalformedJson,
        Code::UnsupportedMediaType,
        Code::BodyTooLarge,
        Code::MethodNotAllowed,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::VersionConflict,
        Code::AlreadyActive,
        Code::JobInProgress,
        Code::ActiveChanged,
        Code::NothingToRollBackTo,
        Code::NotARollbackTarget,
        Code::ArtifactMissing,
        Code::PointerInUse,
        Code::PreviewUnsupported,
        Code::PreviewKeyUnavailable,
        Code::AwsUnavailable,
        Code::AppNotEmpty,
        Code::JobSuperseded,
        Code::NotAbortable,
        Code::NotRetryable,
        Code::EnvironmentLocked,
        Code::ReleaseBlocked,
        Code::StrategyImpossible,
        Code::NothingToApprove,
        Code::OwnApproval,
        Code::NotPausable,
        Code::NotPromotable,
        Code::NothingToInvalidate,
        Code::CallbackLate,
        Code::IdempotencyKeyInvalid,
        Code::IdempotencyKeyReused,
        Code::IdempotencyKeyInUse,
        Code::DatabaseUnavailable,
        Code::ShuttingDown,
        Code::InternalError,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::ValidationFailed => "validation_failed",
            Self::MalformedRequest => "malformed_request",
            Self::MalformedJson => "malformed_json",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::VersionConflict => "version_conflict",
            Self::AlreadyActive => "already_active",
            Self::JobInProgress => "job_in_progress",
            Self::ActiveChanged => "active_changed",
            Self::NothingToRollBackTo => "nothing_to_roll_back_to",
            Self::NotARollbackTarget => "not_a_rollback_target",
            Self::ArtifactMissing => "artifact_missing",
            Self::PointerInUse => "pointer_in_use",
            Self::PreviewUnsupported => "preview_unsupported",
            Self::PreviewKeyUnavailable => "preview_key_unavailable",
            Self::AwsUnavailable => "aws_unavailable",
            Self::AppNotEmpty => "app_not_empty",
            Self::JobSuperseded => "job_superseded",
            Self::NotAbortable => "not_abortable",
            Self::NotRetryable => "not_retryable",
            Self::EnvironmentLocked => "environment_locked",
            Self::ReleaseBlocked => "release_blocked",
            Self::StrategyImpossible => "strategy_impossible",
            Self::NothingToApprove => "nothing_to_approve",
            Self::OwnApproval => "own_approval",
            Self::NotPausable => "not_pausable",
            Self::NotPromotable => "not_promotable",
            Self::NothingToInvalidate => "nothing_to_invalidate",
            Self::CallbackLate => "callback_late",
            Self::IdempotencyKeyInvalid => "idempotency_key_invalid",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::IdempotencyKeyInUse => "idempotency_key_in_use",
            Self::DatabaseUnavailable => "database_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::InternalError => "internal_error",
        }
    }

    /// The problem's title: the same for every occurrence.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::ValidationFailed => "The request is not valid",
            Self::MalformedRequest => "The request can't be read",
            Self::MalformedJson => "The body is not JSON",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::BodyTooLarge => "The body is larger than 1 MiB",
            Self::MethodNotAllowed => "This address does not know this method",
            Self::Unauthenticated => "A valid token is needed",
            Self::Forbidden => "This token's role does not allow that",
            Self::VersionConflict => "This version exists with other content",
            Self::AlreadyActive => "This release is active already",
            Self::JobInProgress => "Another job holds the environment",
            Self::ActiveChanged => "Another release is active than expected",
            Self::NothingToRollBackTo => "There is nothing to roll back to",
            Self::NotARollbackTarget => "This release never served here",
            Self::ArtifactMissing => "The release does not fit the environment",
            Self::PreviewUnsupported => "Nothing here can be previewed",
            Self::PreviewKeyUnavailable => "The secret that previews are signed with can't be had",
            Self::AwsUnavailable => "AWS did not answer",
            Self::PointerInUse => "Another component owns this pointer",
            Self::AppNotEmpty => "The application still has environments",
            Self::JobSuperseded => "A later job has taken over",
            Self::NotAbortable => "This job can't be aborted",
            Self::NotRetryable => "This job can't be retried",
            Self::EnvironmentLocked => "Promotions are locked",
            Self::ReleaseBlocked => "This release is blocked",
            Self::StrategyImpossible => "The roads here can't do what the strategy asks",
            Self::NothingToApprove => "No gate of this job waits",
            Self::OwnApproval => "Nobody approves what they started",
            Self::NotPausable => "This job can't be paused or resumed",
            Self::NotPromotable => "This job has no bakes to skip",
            Self::NothingToInvalidate => "There is no distribution to invalidate",
            Self::CallbackLate => "This call was answered, or is waited for no more",
            Self::IdempotencyKeyInvalid => "The Idempotency-Key can't be used",
            Self::IdempotencyKeyReused => "The Idempotency-Key was used for another request",
            Self::IdempotencyKeyInUse => "A request with this Idempotency-Key is still running",
            Self::DatabaseUnavailable => "The database can't be reached",
            Self::ShuttingDown => "This replica is shutting down",
            Self::InternalError => "Something went wrong in here",
        }
    }
}

/// A refused request.
#[derive(Debug)]
pub struct ServiceError {
    pub code: Code,
    /// What happened, and what to do. Safe to show.
    pub detail: String,
    pub fields: Vec<FieldError>,
    /// What the code promises besides, such as `job_id`.
    pub extra: Map<String, Value>,
    /// For the log, never for the client.
    pub source: Option<StoreError>,
}

impl ServiceError {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            extra: Map::new(),
            source: None,
        }
    }

    pub fn not_found(what: &str, name: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("There is no {what} {name}."))
    }

    /// One field is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::fields(Code::ValidationFailed, vec![FieldError::new(field, message)])
    }

    /// Several fields are wrong.
    pub fn fields(code: Code, fields: Vec<FieldError>) -> Self {
        let words: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
        Self {
            fields,
            ..Self::new(code, format!("{}.", words.join("; ")))
        }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// Another job is in the way.
    pub fn job_in_progress(job: uuid::Uuid, what_to_do: &str) -> Self {
        Self::new(
            Code::JobInProgress,
            format!("Job {job} holds the environment. {what_to_do}"),
        )
        .with("job_id", json!(job))
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<StoreError> for ServiceError {
    fn from(source: StoreError) -> Self {
        let unreachable = matches!(
            source,
            StoreError::Database(
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            )
        ) || is_server_shutdown(&source);
        let mut error = if unreachable {
            Self::new(Code::DatabaseUnavailable, "Nothing was changed. Try again in a moment.")
        } else {
            Self::new(
                Code::InternalError,
                "Nothing was changed. The log has the details under this request's id.",
            )
        };
        error.source = Some(source);
        error
    }
}

/// PostgreSQL says goodbye with class 57P (operator intervention) or 53 (no connections left), and 57014 when
/// a statement waited longer than we let it.
fn is_server_shutdown(error: &StoreError) -> bool {
    match error {
        StoreError::Database(sqlx::Error::Database(error)) => error
            .code()
            .is_some_and(|code| code.starts_with("57") || code.starts_with("53")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_told_apart() {
        let codes: BTreeSet<&str> = Code::ALL.into_iter().map(Code::as_str).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
