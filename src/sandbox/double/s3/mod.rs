//! S3 over restXml. The crate s3s reads requests and writes answers; what they do is in `operations`.
//!
//! ```text
//! request ─► wire: as s3s takes it ─► which operation? (recorded, faults) ─► operations ─► answer
//! ```
//!
//! s3s is asked twice: once, when the request arrives, only for the operation's name and resource, by an
//! access check that stops it there; then for the effect, which may come much later or never. To add an
//! operation: its method in `operations`, and its IAM action in [`action`] where that has another name.

mod bodies;
mod chunked;
mod handle;
mod operations;
mod reading;
pub(super) mod store;
mod wire;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Request;
use axum::http::request::Parts;
use serde_json::json;

use super::auth::Caller;
use super::error::{Answer, AwsError};
use super::request::Parsed;
use super::world::World;

pub(super) use bodies::Bodies;
pub use handle::StoredObject;

/// The largest page, and the one that is given when none is asked for (API Reference, *ListObjectsV2*).
pub(super) const MAX_PAGE: usize = 1000;

/// A request that was understood.
#[derive(Debug)]
pub(super) struct Command {
    request: Request<Bytes>,
}

/// Reads a request: the operation, as s3s tells it, and the bucket or object that it is about. The path and
/// the query are kept as they came, so that a test sees how a key was encoded.
pub(super) fn read(parts: &Parts, body: &Bytes) -> Parsed {
    let asked = wire::as_s3s_takes_it(parts, body).and_then(|request| Ok((wire::ask(&request)?, request)));
    let (asked, command) = match asked {
        Ok((asked, request)) => (asked, Ok(Command { request })),
        Err(error) => (wire::Asked::default(), Err(error)),
    };
    Parsed {
        operation: asked.operation,
        resource: asked.resource,
        details: json!({"method": parts.method.as_str(), "path": parts.uri.path(), "query": parts.uri.query()}),
        command: command.map(super::request::Command::S3),
    }
}

impl Command {
    /// Does what was asked.
    pub(super) fn apply(self, world: &Arc<World>, caller: &Caller, request_id: &str) -> Result<Answer, AwsError> {
        let operations = operations::Operations {
            world: Arc::clone(world),
            account: caller.account.clone(),
            region: caller.region.clone(),
            request_id: request_id.to_owned(),
        };
        wire::run(operations, self.request)
    }
}

/// The IAM action that allows an operation (Service Authorization Reference, *Actions, resources, and
/// condition keys for Amazon S3*).
pub(super) fn action(operation: &str) -> &str {
    match operation {
        "ListObjectsV2" | "ListObjects" | "HeadBucket" => "ListBucket",
        "HeadObject" => "GetObject",
        other => other,
    }
}

/// The ARN of `bucket` or `bucket/key`.
pub(super) fn arn(resource: &str) -> String {
    format!("arn:aws:s3:::{resource}")
}
