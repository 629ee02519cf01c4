//! Refusals as RFC 9457 problems, and the one place that maps a [`Code`] to a status.
//!
//! A handler returns a [`Problem`]; `observe` writes its body, because only there the request's id is
//! known. What is not safe to show stays in [`ServiceError::source`] and goes to the log, once.

use std::{error::Error, fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    domain::error::FieldError,
    service::{Code, ServiceError},
    store::StoreError,
};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What an extractor or a handler returns.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// A refused request on its way out.
#[derive(Debug, Clone)]
pub struct Problem(pub Arc<ServiceError>);

/// The status of each code.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::MalformedRequest | Code::MalformedJson | Code::IdempotencyKeyInvalid => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::OwnApproval => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::VersionConflict
        | Code::AlreadyActive
        | Code::JobInProgress
        | Code::ActiveChanged
        | Code::NothingToRollBackTo
        | Code::PointerInUse
        | Code::PreviewUnsupported
        | Code::PreviewKeyUnavailable
        | Code::AppNotEmpty
        | Code::JobSuperseded
        | Code::NotAbortable
        | Code::NotRetryable
        | Code::ReleaseBlocked
        | Code::NothingToApprove
        | Code::NotPausable
        | Code::NotPromotable
        | Code::NothingToInvalidate
        | Code::CallbackLate
        | Code::IdempotencyKeyInUse => StatusCode::CONFLICT,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::EnvironmentLocked => StatusCode::LOCKED,
        Code::ValidationFailed
        | Code::NotARollbackTarget
        | Code::ArtifactMissing
        | Code::StrategyImpossible
        | Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        Code::DatabaseUnavailable | Code::AwsUnavailable | Code::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The problem's `type`.
pub fn type_of(code: Code) -> String {
    format!("urn:greenlight:problem:{}", code.as_str())
}

/// Why a request was refused (RFC 9457). A code may promise more members, such as `job_id`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    #[schema(example = "urn:greenlight:problem:job_in_progress")]
    pub r#type: String,
    /// The same for every occurrence of the code.
    #[schema(example = "Another job holds the environment")]
    pub title: String,
    #[schema(example = 409)]
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Stable; what a program looks at.
    #[schema(example = "job_in_progress")]
    pub code: String,
    /// Also in the answer's `x-request-id` header, and in the log.
    pub request_id: String,
    /// Which fields are wrong, and how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub extra: Map<String, Value>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        ServiceError::new(code, detail).into()
    }

    /// The problem behind an answer that has none of its own, such as the router's 404 and 405.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::new(Code::NotFound, "There is nothing at this address. See /docs."),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                Code::MethodNotAllowed,
                "The Allow header names the methods that this address knows.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Code::BodyTooLarge, "A body has at most 1048576 bytes."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                Code::UnsupportedMediaType,
                "Send the body as Content-Type: application/json.",
            ),
            status if status.is_client_error() => Self::new(Code::MalformedRequest, "The request can't be read."),
            _ => Self::new(Code::InternalError, "The log has the details under this request's id."),
        }
    }

    pub fn status(&self) -> StatusCode {
        status(self.0.code)
    }

    /// The document that goes out.
    pub fn body(&self, request_id: &str) -> ProblemBody {
        let error = &self.0;
        ProblemBody {
            r#type: type_of(error.code),
            title: error.code.title().to_owned(),
            status: self.status().as_u16(),
            detail: error.detail.clone(),
            code: error.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            errors: error.fields.clone(),
            extra: error.extra.clone(),
        }
    }

    /// Puts the document into `response`, whose status and other headers stay.
    pub fn write(&self, response: &mut Response, request_id: &str) {
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_else(|_| b"{}".to_vec());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.remove(axum::http::header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }

    /// Says in the log what the client is not told. Only a 5xx has something to say.
    pub fn log(&self) {
        let causes = self.0.source().map(chain).unwrap_or_default();
        match self.0.code {
            Code::InternalError => tracing::error!(causes, "a request failed: {}", self.0.code.as_str()),
            Code::DatabaseUnavailable => tracing::warn!(causes, "a request failed: the database can't be reached"),
            _ => {}
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        // Writing to a String does not fail.
        let _ = write!(text, ": {inner}");
        source = inner.source();
    }
    text
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self(Arc::new(error))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<serde_json::Error> for Problem {
    /// An answer of ours that is no JSON: nothing the caller did.
    fn from(error: serde_json::Error) -> Self {
        StoreError::corrupt("answer", error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if self.0.code == Code::Unauthenticated {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// An example of the problem with this code, for the OpenAPI document.
pub fn example(code: Code) -> Value {
    let mut example = json!({
        "type": type_of(code),
        "title": code.title(),
        "status": status(code).as_u16(),
        "detail": "What happened, and what to do.",
        "code": code.as_str(),
        "request_id": "0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a11",
    });
    let more = match code {
        Code::ValidationFailed | Code::ArtifactMissing => {
            json!({"errors": [{"field": "release", "message": "what would be right"}]})
        }
        Code::JobInProgress => json!({"job_id": "0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a10"}),
        Code::JobSuperseded => json!({"superseded_by": "0197b3a4-6d1e-7c3a-9f57-3d1c2b6f0a10"}),
        Code::ActiveChanged => json!({"active": "1.42.0"}),
        Code::EnvironmentLocked => json!({"lock": {"scope": "environment", "by": "alice", "reason": "incident 4711",
                                                   "at": "2026-11-26T03:00:00Z"}}),
        Code::ReleaseBlocked => {
            json!({"block": {"by": "alice", "reason": "checkout fails", "at": "2026-11-26T03:00:00Z"}})
        }
        Code::StrategyImpossible => json!({"nearest": {"kind": "all_at_once"},
                                           "errors": [{"field": "strategy", "message": "what the roads can't do"}]}),
        Code::Forbidden => json!({"required_role": "releaser"}),
        _ => json!({}),
    };
    if let (Some(example), Value::Object(more)) = (example.as_object_mut(), more) {
        example.extend(more);
    }
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_status_and_only_our_own_faults_are_a_5xx() {
        for code in Code::ALL {
            let ours = matches!(
                code,
                Code::InternalError | Code::DatabaseUnavailable | Code::AwsUnavailable | Code::ShuttingDown
            );
            assert_eq!(status(code).is_server_error(), ours, "{}", code.as_str());
            assert_eq!(status(code).is_client_error(), !ours, "{}", code.as_str());
        }
    }

    #[test]
    fn the_body_carries_the_extra_members_and_no_source() {
        let mut error = ServiceError::from(StoreError::corrupt("job", "secret"));
        error.extra.insert("job_id".into(), "7".into());
        let body = serde_json::to_value(Problem::from(error).body("r1")).unwrap();
        assert_eq!(body["job_id"], "7");
        assert_eq!(body["request_id"], "r1");
        assert_eq!(body["type"], "urn:greenlight:problem:internal_error");
        assert!(!body.to_string().contains("secret"));
        assert!(body.get("errors").is_none());
    }
}
