//! From an HTTP request to something that can be done: which service, which operation, on what.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::request::Parts;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{Answer, AwsError, Protocol};
use super::faults::FaultAction;
use super::world::World;
use super::{cloudfront, cloudwatch, kvs, s3, ssm, sts};

/// A request as far as it could be understood; what could not becomes the error in `command`.
#[derive(Debug)]
pub(super) struct Parsed {
    pub operation: String,
    pub resource: Option<String>,
    pub details: Value,
    pub command: Result<Command, AwsError>,
}

/// Something that can be done.
#[derive(Debug)]
pub(super) enum Command {
    Ssm(ssm::Command),
    CloudFront(cloudfront::Command),
    CloudWatch(cloudwatch::Command),
    Kvs(kvs::Command),
    S3(s3::Command),
    Sts(sts::Command),
}

impl Parsed {
    pub(super) fn refused(operation: &str, error: AwsError) -> Self {
        Self {
            operation: operation.to_owned(),
            resource: None,
            details: json!({}),
            command: Err(error),
        }
    }

    /// Reads the request in the protocol of the service that it was signed for.
    pub(super) fn read(service: &str, parts: &Parts, body: &Bytes) -> Self {
        match service {
            "ssm" => ssm::read(target(parts), body),
            "cloudfront" => cloudfront::read(&parts.method, parts.uri.path(), parts.uri.query(), body),
            cloudwatch::SERVICE => cloudwatch::read(parts, body),
            kvs::SERVICE => {
                let (path, query) = (parts.uri.path(), parts.uri.query());
                kvs::read(&parts.method, path, query, &parts.headers, body)
            }
            "s3" => s3::read(parts, body),
            "sts" => sts::read(parts.uri.query(), body),
            other => {
                let message = format!("This double has no service {other}.");
                Self::refused("", AwsError::new(400, "UnknownOperationException", message))
            }
        }
    }
}

impl Command {
    /// Does what was asked.
    pub(super) fn apply(
        self,
        world: &Arc<World>,
        caller: &Caller,
        request_id: &str,
        stale: bool,
    ) -> Result<Answer, AwsError> {
        match self {
            Self::Ssm(command) => command.apply(world, caller, stale),
            Self::CloudFront(command) => command.apply(world, caller, stale),
            Self::CloudWatch(command) => command.apply(world, caller, stale),
            Self::Kvs(command) => command.apply(world, caller, stale),
            Self::S3(command) => command.apply(world, caller, request_id),
            Self::Sts(command) => command.apply(world, caller, request_id),
        }
    }
}

fn target(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()
}

/// The protocol of a service, or of what an unsigned request looks like.
pub(super) fn protocol(service: Option<&str>, parts: &Parts) -> Protocol {
    match service {
        Some("ssm") => Protocol::Json,
        Some("cloudfront") => Protocol::RestXml,
        Some(cloudwatch::SERVICE) => cloudwatch::protocol(parts),
        Some(kvs::SERVICE) => Protocol::RestJson,
        Some("sts") => Protocol::Query,
        Some("s3") => Protocol::S3,
        _ if cloudwatch::is_cbor(parts) => Protocol::Cbor,
        _ if target(parts).is_some_and(cloudwatch::is_target) => Protocol::QueryJson,
        _ if target(parts).is_some() => Protocol::Json,
        _ if parts.uri.path().starts_with(kvs::ROOT) => Protocol::RestJson,
        _ if parts.uri.path() == "/" => Protocol::Query,
        _ => Protocol::RestXml,
    }
}

/// The error with which a service itself would express a fault; `None` for faults that aren't errors.
pub(super) fn fault_error(
    action: &FaultAction,
    service: &str,
    operation: &str,
    resource: Option<&str>,
    caller: &Caller,
) -> Option<AwsError> {
    Some(match action {
        FaultAction::Throttle if service == "s3" => AwsError::new(503, "SlowDown", "Please reduce your request rate."),
        FaultAction::Throttle => {
            let (status, code) = match service {
                "ssm" => (400, "ThrottlingException"),
                kvs::SERVICE => (429, "ThrottlingException"),
                _ => (400, "Throttling"),
            };
            AwsError::new(status, code, "Rate exceeded")
        }
        FaultAction::Unavailable => {
            let message = "The request has failed due to a temporary failure of the server.";
            AwsError::new(503, "ServiceUnavailable", message)
        }
        FaultAction::InternalError => match service {
            "ssm" => AwsError::new(500, "InternalServerError", "An error occurred on the server side."),
            kvs::SERVICE => AwsError::new(500, "InternalServerException", "Internal server error."),
            "cloudfront" | "s3" => AwsError::new(
                500,
                "InternalError",
                "We encountered an internal error. Please try again.",
            ),
            _ => AwsError::new(
                500,
                "InternalFailure",
                "The request processing has failed because of an unknown error, exception or failure.",
            ),
        },
        FaultAction::AccessDenied => {
            let action = match service {
                "s3" => s3::action(operation),
                _ => operation,
            };
            let prefix = match service {
                cloudwatch::SERVICE => "cloudwatch",
                other => other,
            };
            let message = format!(
                "User: {} is not authorized to perform: {prefix}:{action} on resource: {} because no \
                 identity-based policy allows the {prefix}:{action} action",
                caller.arn,
                resource_arn(service, resource.unwrap_or("*"), caller),
            );
            let (status, code) = match service {
                "ssm" => (400, "AccessDeniedException"),
                kvs::SERVICE => (403, "AccessDeniedException"),
                _ => (403, "AccessDenied"),
            };
            AwsError::new(status, code, message)
        }
        FaultAction::Error { status, code, message } => AwsError::new(*status, code, message.clone()),
        _ => return None,
    })
}

fn resource_arn(service: &str, resource: &str, caller: &Caller) -> String {
    match service {
        _ if resource.starts_with("arn:") => resource.to_owned(),
        "ssm" => ssm::names::arn(&caller.account, &caller.region, resource),
        "cloudfront" => cloudfront::arn(&caller.account, resource),
        "s3" => s3::arn(resource),
        // Reading names several alarms; it is asked for all of them.
        cloudwatch::SERVICE => cloudwatch::arn(&caller.account, &caller.region, "*"),
        _ => resource.to_owned(),
    }
}

/// The members under the names that the log uses: `Value` becomes `value`, `KeyId` becomes `key_id`.
pub(super) fn in_snake_case(body: &Value) -> Value {
    let Some(members) = body.as_object() else {
        return json!({});
    };
    let rename = |name: &str| {
        let mut out = String::with_capacity(name.len() + 2);
        for (index, character) in name.char_indices() {
            if character.is_ascii_uppercase() && index > 0 {
                out.push('_');
            }
            out.push(character.to_ascii_lowercase());
        }
        out
    };
    Value::Object(
        members
            .iter()
            .map(|(name, value)| (rename(name), value.clone()))
            .collect(),
    )
}

/// The pairs of a form or a query string, decoded.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let pieces = text.split('&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Undoes form encoding; a broken escape stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%');
        let byte = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(byte) => {
                out.push(byte);
                &after[2..]
            }
            None => {
                out.push(if first == b'+' { b' ' } else { first });
                after
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let fields = pairs("Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam&Text=a+b%2&Empty=&");
        let expected = [
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws:iam"),
            ("Text", "a b%2"),
            ("Empty", ""),
        ];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
