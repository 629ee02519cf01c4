//! CloudWatch alarms, in the two protocols that today's SDKs speak: Smithy's RPC v2 with CBOR (Rust and most others),
//! and awsJson1.0 (boto3). The service speaks awsQuery too; this double does not.
//!
//! Nothing is measured here: an alarm has the state that it was made with, or was set to. To add an operation: a
//! variant of [`Operation`], its line in [`read_operation`], and its effect in `apply`. `input` has what requests may
//! hold, `store` the rules, `view` the answers, `views` the direct looks of tests.

mod constraint;
mod input;
mod metric;
pub(super) mod store;
mod view;
mod views;

use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde_json::{Value, json};

pub use views::AlarmView;
pub(super) use views::admit;

use super::auth::Caller;
use super::error::{Answer, AwsError, Protocol};
use super::request::{Parsed, in_snake_case};
use super::world::World;
use super::{cbor, request};
use input::{DeleteAlarms, DescribeAlarms, SetAlarmState};
use store::Put;

/// The service in the credential scope. IAM's name for it is `cloudwatch`.
pub(super) const SERVICE: &str = "monitoring";
/// The service's name in targets and paths.
const SHAPE: &str = "GraniteServiceVersion20100801";

/// A request that was understood, and how its answer is written.
#[derive(Debug)]
pub(super) struct Command {
    protocol: Protocol,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    Put(Put),
    Describe(DescribeAlarms),
    SetState(SetAlarmState),
    Delete(DeleteAlarms),
}

/// The protocol of a request to this service: by its header, or by its target.
pub(super) fn protocol(parts: &Parts) -> Protocol {
    if is_cbor(parts) {
        Protocol::Cbor
    } else if parts.headers.contains_key("x-amz-target") {
        Protocol::QueryJson
    } else {
        Protocol::Query
    }
}

/// Whether a request is one of Smithy's RPC v2 (Smithy, *Smithy RPC v2 CBOR protocol*).
pub(super) fn is_cbor(parts: &Parts) -> bool {
    parts
        .headers
        .get("smithy-protocol")
        .is_some_and(|it| it == "rpc-v2-cbor")
}

/// Whether a target is one of this service's.
pub(super) fn is_target(target: &str) -> bool {
    target.strip_prefix(SHAPE).is_some_and(|rest| rest.starts_with('.'))
}

/// The shape that has this code: in the two protocols an error is named by its shape, and the code that awsQuery had
/// is in a header beside it (the service's model, `awsQueryError`).
pub(super) fn error_shape(code: &str) -> String {
    let name = match code {
        "LimitExceeded" => "LimitExceededFault",
        "InvalidFormat" => "InvalidFormatFault",
        other => other,
    };
    format!("com.amazonaws.cloudwatch#{name}")
}

/// Reads a request: the operation from path or target, its members from the body.
pub(super) fn read(parts: &Parts, body: &[u8]) -> Parsed {
    let protocol = protocol(parts);
    let (operation, content_type) = match protocol {
        Protocol::Cbor => (cbor_operation(parts), "application/cbor"),
        Protocol::QueryJson => (json_operation(parts), "application/x-amz-json-1.0"),
        _ => {
            let message = "This double speaks RPC v2 CBOR and awsJson1.0 to CloudWatch, and no awsQuery.";
            return Parsed::refused("", AwsError::new(400, "InvalidAction", message));
        }
    };
    let Some(operation) = operation else {
        return Parsed::refused("", unknown_operation());
    };
    let is_typed = parts.headers.get(CONTENT_TYPE).is_some_and(|it| it == content_type);
    if !is_typed {
        let message = format!("The Content-Type must be {content_type}.");
        return Parsed::refused(operation, AwsError::new(415, "UnsupportedMediaTypeException", message));
    }
    let body = match protocol {
        Protocol::Cbor => cbor::read(body),
        _ => serde_json::from_slice(body).ok(),
    };
    let Some(body) = body.filter(Value::is_object) else {
        let message = "The body could not be read.";
        return Parsed::refused(operation, AwsError::new(400, "SerializationException", message));
    };
    Parsed {
        operation: operation.to_owned(),
        resource: names(&body),
        details: in_snake_case(&body),
        command: read_operation(operation, &body)
            .map(|operation| request::Command::CloudWatch(Command { protocol, operation })),
    }
}

fn read_operation(operation: &str, body: &Value) -> Result<Operation, AwsError> {
    match operation {
        "PutMetricAlarm" => input::metric_alarm(body).map(Operation::Put),
        "PutCompositeAlarm" => input::composite_alarm(body).map(Operation::Put),
        "DescribeAlarms" => input::describe_alarms(body).map(Operation::Describe),
        "SetAlarmState" => input::set_alarm_state(body).map(Operation::SetState),
        "DeleteAlarms" => input::delete_alarms(body).map(Operation::Delete),
        _ => Err(unknown_operation()),
    }
}

fn unknown_operation() -> AwsError {
    // CloudWatch API Reference, *Common Errors*.
    let message = "The requested action or operation is invalid.";
    AwsError::new(404, "UnknownOperationException", message)
}

fn cbor_operation(parts: &Parts) -> Option<&str> {
    let rest = parts.uri.path().strip_prefix("/service/")?.strip_prefix(SHAPE)?;
    let operation = rest.strip_prefix("/operation/")?;
    (parts.method == Method::POST).then_some(operation)
}

fn json_operation(parts: &Parts) -> Option<&str> {
    let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
    let operation = target.strip_prefix(SHAPE)?.strip_prefix('.')?;
    (parts.method == Method::POST && parts.uri.path() == "/").then_some(operation)
}

/// The alarms that a request is about, with commas between them.
fn names(body: &Value) -> Option<String> {
    if let Some(name) = body.get("AlarmName").and_then(Value::as_str) {
        return Some(name.to_owned());
    }
    let names = body.get("AlarmNames")?.as_array()?;
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    Some(names.join(","))
}

pub(super) fn arn(account: &str, region: &str, name: &str) -> String {
    format!("arn:aws:cloudwatch:{region}:{account}:alarm:{name}")
}

impl Command {
    /// Does what was asked. With `stale`, DescribeAlarms has not heard of the region's latest change.
    pub(super) fn apply(self, world: &World, caller: &Caller, stale: bool) -> Result<Answer, AwsError> {
        let now = world.clock.now();
        let (account, region) = (&caller.account, &caller.region);
        let body = match self.operation {
            Operation::Put(put) => {
                world.change(|state| state.alarms_mut(account, region).put(put, now))?;
                json!({})
            }
            Operation::SetState(change) => {
                world.change(|state| state.alarms_mut(account, region).set_state(change, now))?;
                json!({})
            }
            Operation::Delete(request) => {
                world.change(|state| state.alarms_mut(account, region).delete(&request.alarm_names))?;
                json!({})
            }
            Operation::Describe(request) => {
                world.read(|state| view::describe(caller, state.alarms(account, region), &request, stale))?
            }
        };
        Ok(match self.protocol {
            Protocol::Cbor => Answer::bytes(cbor::write(&body)),
            _ => Answer::json(&body),
        })
    }
}
