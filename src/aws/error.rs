//! What AWS said no to, in words: which call, which resource, what is missing, and whether to try again.

use std::{error::Error, fmt};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::guard::TooLateToSign;
use crate::domain::error::{JobError, Retry};

/// Characters of AWS's own message that are kept.
const MESSAGE_MAX: usize = 600;

/// What a refusal means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The resource is not there.
    NotFound,
    /// The credentials may not do this, or are none.
    AccessDenied,
    /// "Later."
    Throttled,
    /// No answer, or a 5xx. A write may have taken effect.
    Ambiguous,
    /// Never signed, never sent.
    NotSent,
    /// What the write was conditional on is not so any more: somebody was quicker. Look again.
    Moved,
    /// The request itself is not acceptable.
    Refused,
}

/// A call to AWS that did not end well.
#[derive(Debug, Clone)]
pub struct AwsError {
    /// `ssm`, `cloudfront`, `cloudfront-keyvaluestore`, `cloudwatch` or `s3`, as IAM spells it.
    pub service: &'static str,
    pub operation: &'static str,
    /// What it was about, with its region.
    pub resource: String,
    pub class: Class,
    pub code: Option<String>,
    pub message: String,
}

impl AwsError {
    /// Reads the SDK's error.
    pub fn new<E>(
        service: &'static str,
        operation: &'static str,
        resource: impl Into<String>,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (class, code, message) = match error {
            SdkError::ServiceError(inner) => {
                let code = inner.err().code().map(str::to_owned);
                let said = inner.err().message().unwrap_or("it gave no reason");
                let class = class_of(code.as_deref(), inner.raw().status().as_u16(), said);
                (class, code, shorten(said))
            }
            SdkError::TimeoutError(_) => (Class::Ambiguous, None, "it did not answer in time".to_owned()),
            SdkError::ResponseError(inner) => {
                let status = inner.raw().status().as_u16();
                (
                    class_of(None, status, ""),
                    None,
                    format!("its answer (status {status}) could not be read"),
                )
            }
            other if caused_by::<TooLateToSign>(other) => (
                Class::NotSent,
                None,
                "the time for it had passed; it was not sent".to_owned(),
            ),
            other if caused_by::<aws_credential_types::provider::error::CredentialsError>(other) => (
                Class::NotSent,
                Some("CredentialsError".to_owned()),
                format!("no credentials could be had for it: {}", shorten(&chain(other))),
            ),
            _ => (
                Class::Ambiguous,
                None,
                "it could not be reached, or the connection broke".to_owned(),
            ),
        };
        Self {
            service,
            operation,
            resource: resource.into(),
            class,
            code,
            message,
        }
    }

    /// True when it surely had no effect: a write that is not this may still land.
    pub fn is_surely_without_effect(&self) -> bool {
        self.class != Class::Ambiguous
    }

    pub fn is_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    pub fn retry(&self) -> Retry {
        match self.class {
            // Others are busy with the same store: they will have done.
            Class::Throttled | Class::Moved => Retry::Throttled,
            Class::Ambiguous | Class::NotSent => Retry::Backoff,
            // Created or deleted by somebody between our look and our write: look again.
            Class::Refused if self.is_code("ParameterAlreadyExists") => Retry::Backoff,
            Class::NotFound | Class::AccessDenied | Class::Refused => Retry::No,
        }
    }

    /// The IAM action that the call needs. S3's have other names than its operations (Service Authorization
    /// Reference, "Actions, resources, and condition keys for Amazon S3").
    fn permission(&self) -> String {
        let action = match (self.service, self.operation) {
            ("s3", "ListObjectsV2") => "ListBucket",
            ("s3", "HeadObject") => "GetObject",
            (_, operation) => operation,
        };
        format!("{}:{action}", self.service)
    }

    /// What it has to be granted on. A narrower scope than `*` leaves composite alarms out (CloudWatch API Reference,
    /// "DescribeAlarms").
    fn granted_on(&self) -> &str {
        match (self.service, self.operation) {
            ("cloudwatch", "DescribeAlarms") => "every resource (*)",
            _ => &self.resource,
        }
    }

    /// The error of the step that made the call.
    pub fn job_error(&self) -> JobError {
        match self.class {
            Class::NotFound if self.service == super::kvs::SERVICE => JobError::new("kvs_not_found", self.to_string())
                .hint("Create the KeyValueStore, or correct kvs_arn in the environment's document."),
            Class::NotFound => JobError::new("aws_not_found", self.to_string())
                .hint(format!("Does {} exist, in this account and region?", self.resource)),
            Class::AccessDenied => JobError::new("aws_access_denied", self.to_string()).hint(format!(
                "Grant {} on {} to the role or user Greenlight works under.",
                self.permission(),
                self.granted_on()
            )),
            Class::Throttled => JobError::new("aws_throttled", self.to_string())
                .hint("AWS limits the rate of calls; try again later, or have the limit raised."),
            Class::Moved => JobError::new("pointer_contended", self.to_string()).hint(
                "Others change the same KeyValueStore all the time, or it is still being made: look at it, then retry.",
            ),
            Class::NotSent if self.code.is_some() => JobError::new("aws_credentials", self.to_string())
                .hint("Check the service's AWS credentials, and the role_arn and external_id of the environment."),
            Class::Ambiguous | Class::NotSent => JobError::new("aws_unavailable", self.to_string())
                .hint("Look at the AWS Health Dashboard and at the service's way to AWS, then retry."),
            Class::Refused => JobError::new("aws_refused", self.to_string())
                .hint("AWS says what is wrong with the request: correct the environment's document, then retry."),
        }
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            operation,
            resource,
            message,
            ..
        } = self;
        write!(f, "{service}:{operation} on {resource} failed: {message}")?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        f.write_str(".")
    }
}

impl Error for AwsError {}

fn class_of(code: Option<&str>, status: u16, said: &str) -> Class {
    match code.unwrap_or("") {
        // KeyValueStore's word for an ETag that is not the store's any more (API Reference, "UpdateKeys"), and the
        // one that users have met.
        "ConflictException" | "PreconditionFailed" => Class::Moved,
        "ValidationException" if said.to_ascii_lowercase().contains("pre-condition failed") => Class::Moved,
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "TooManyUpdates"
        | "TooManyInvalidationsInProgress" => Class::Throttled,
        "ResourceNotFoundException"
        | "ParameterNotFound"
        | "ParameterVersionNotFound"
        | "NoSuchDistribution"
        | "NoSuchInvalidation"
        | "NoSuchResource"
        | "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound" => Class::NotFound,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "RequestTimeTooSkewed"
        | "AllAccessDisabled"
        | "OptInRequired" => Class::AccessDenied,
        // S3's answers to HEAD have no body, and so no code.
        "" if status == 403 => Class::AccessDenied,
        // S3's word for a connection on which it heard nothing, though its status is 400.
        "RequestTimeout" => Class::Ambiguous,
        _ if !(300..500).contains(&status) => Class::Ambiguous,
        _ if status == 412 => Class::Moved,
        _ if status == 429 => Class::Throttled,
        _ => Class::Refused,
    }
}

fn caused_by<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(inner) = source {
        if inner.is::<T>() {
            return true;
        }
        source = inner.source();
    }
    false
}

fn chain(error: &dyn Error) -> String {
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        last = inner.to_string();
        source = inner.source();
    }
    last
}

fn shorten(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.trim().trim_end_matches('.');
    match clean.char_indices().nth(MESSAGE_MAX) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, status, class) in [
            (Some("ThrottlingException"), 400, Class::Throttled),
            (Some("Throttling"), 400, Class::Throttled),
            (Some("TooManyInvalidationsInProgress"), 400, Class::Throttled),
            (Some("AccessDeniedException"), 400, Class::AccessDenied),
            (Some("AccessDenied"), 403, Class::AccessDenied),
            (Some("ParameterNotFound"), 400, Class::NotFound),
            (Some("NoSuchDistribution"), 404, Class::NotFound),
            (Some("ValidationException"), 400, Class::Refused),
            (Some("ResourceNotFoundException"), 404, Class::NotFound),
            (Some("ConflictException"), 409, Class::Moved),
            (Some("ServiceQuotaExceededException"), 402, Class::Refused),
            (Some("InternalServerException"), 500, Class::Ambiguous),
            (None, 412, Class::Moved),
            (Some("NoSuchBucket"), 404, Class::NotFound),
            (Some("SlowDown"), 503, Class::Throttled),
            (Some("RequestTimeout"), 400, Class::Ambiguous),
            (Some("PermanentRedirect"), 301, Class::Refused),
            (None, 403, Class::AccessDenied),
            (Some("InternalServerError"), 500, Class::Ambiguous),
            (None, 503, Class::Ambiguous),
            (None, 429, Class::Throttled),
            // An answer that says success and can't be read: who knows.
            (None, 200, Class::Ambiguous),
        ] {
            assert_eq!(class_of(code, status, "it gave no reason"), class, "{code:?} {status}");
        }
        let seen = class_of(Some("ValidationException"), 400, "Pre-Condition failed");
        assert_eq!(seen, Class::Moved);
    }

    #[test]
    fn a_hint_names_the_permission_and_what_to_grant_it_on() {
        let denied = |service, operation, resource: &str| {
            let error = AwsError {
                service,
                operation,
                resource: resource.to_owned(),
                class: Class::AccessDenied,
                code: None,
                message: String::new(),
            };
            error.job_error().hint.unwrap()
        };
        let hint = denied("cloudwatch", "DescribeAlarms", "alarm errors in eu-west-1");
        assert!(
            hint.starts_with("Grant cloudwatch:DescribeAlarms on every resource (*) to"),
            "{hint}"
        );
        let hint = denied("s3", "ListObjectsV2", "bucket storefront-web");
        assert!(
            hint.starts_with("Grant s3:ListBucket on bucket storefront-web to"),
            "{hint}"
        );
    }

    #[test]
    fn messages_are_one_line_and_bounded() {
        assert_eq!(shorten(" a\nb. "), "a b");
        assert_eq!(shorten(&"x".repeat(2000)).chars().count(), MESSAGE_MAX + 1);
    }
}
