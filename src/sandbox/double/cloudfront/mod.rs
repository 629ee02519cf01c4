//! CloudFront over restXml: `/2020-05-31/distribution…`, XML in and out.
//!
//! To add an operation: a variant of [`Command`], its line in [`route`], and its effect in `apply`.
//! `store` holds the rules, `view` the documents.

pub(super) mod store;
mod view;

use axum::http::{Method, header};
use chrono::TimeDelta;
use serde_json::json;

use super::auth::Caller;
use super::error::{Answer, AwsError};
use super::request::Parsed;
use super::state::State;
use super::world::World;
use super::xml::Node;
use store::{Batch, Distribution};

/// The API version in every path.
pub(super) const API: &str = "/2020-05-31";
/// The largest and the default page (API Reference, *ListInvalidations*, *ListDistributions*).
const MAX_PAGE: usize = 100;

/// A request that was understood.
#[derive(Debug)]
pub(super) enum Command {
    GetDistribution { id: String },
    GetDistributionConfig { id: String },
    ListDistributions(Page),
    CreateInvalidation { distribution: String, batch: Batch },
    GetInvalidation { distribution: String, id: String },
    ListInvalidations { distribution: String, page: Page },
}

/// `Marker` and `MaxItems` of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub marker: Option<String>,
    pub max_items: usize,
}

/// Reads a request: the operation from method and path, its members from query and body.
pub(super) fn read(method: &Method, path: &str, query: Option<&str>, body: &[u8]) -> Parsed {
    let segments: Vec<&str> = match path.strip_prefix(API) {
        Some(rest) => rest.split('/').filter(|segment| !segment.is_empty()).collect(),
        None => Vec::new(),
    };
    let (operation, command) = route(method, &segments, query, body);
    let resource = segments.get(1).map(|id| (*id).to_owned());
    let details = match &command {
        Ok(Command::CreateInvalidation { batch, .. }) => json!({
            "caller_reference": batch.caller_reference,
            "paths": batch.paths,
        }),
        Ok(Command::GetInvalidation { id, .. }) => json!({ "invalidation_id": id }),
        Ok(_) => json!({}),
        Err(_) => json!({ "method": method.as_str(), "path": path }),
    };
    Parsed {
        operation: operation.to_owned(),
        resource,
        details,
        command: command.map(super::request::Command::CloudFront),
    }
}

fn route(
    method: &Method,
    segments: &[&str],
    query: Option<&str>,
    body: &[u8],
) -> (&'static str, Result<Command, AwsError>) {
    match (method.as_str(), segments) {
        ("GET", ["distribution"]) => ("ListDistributions", Page::read(query).map(Command::ListDistributions)),
        ("GET", ["distribution", id]) => ("GetDistribution", Ok(Command::GetDistribution { id: (*id).to_owned() })),
        ("GET", ["distribution", id, "config"]) => (
            "GetDistributionConfig",
            Ok(Command::GetDistributionConfig { id: (*id).to_owned() }),
        ),
        ("POST", ["distribution", id, "invalidation"]) => {
            let distribution = (*id).to_owned();
            let command = read_batch(body);
            (
                "CreateInvalidation",
                command.map(|batch| Command::CreateInvalidation { distribution, batch }),
            )
        }
        ("GET", ["distribution", id, "invalidation"]) => {
            let distribution = (*id).to_owned();
            let page = Page::read(query);
            (
                "ListInvalidations",
                page.map(|page| Command::ListInvalidations { distribution, page }),
            )
        }
        ("GET", ["distribution", id, "invalidation", invalidation]) => {
            let distribution = (*id).to_owned();
            let id = (*invalidation).to_owned();
            ("GetInvalidation", Ok(Command::GetInvalidation { distribution, id }))
        }
        _ => {
            let message = "This double does not know the operation.";
            ("", Err(AwsError::new(404, "UnknownOperationException", message)))
        }
    }
}

fn read_batch(body: &[u8]) -> Result<Batch, AwsError> {
    if body.is_empty() {
        let message = "This operation requires a body. Ensure that the body is present and the Content-Type header \
                       is set.";
        return Err(AwsError::new(400, "MissingBody", message));
    }
    let malformed = || {
        AwsError::new(
            400,
            "MalformedInput",
            "The request body is not a valid InvalidationBatch.",
        )
    };
    let root = std::str::from_utf8(body)
        .ok()
        .and_then(Node::parse)
        .ok_or_else(malformed)?;
    if root.name != "InvalidationBatch" {
        return Err(malformed());
    }
    let paths = root.child("Paths").ok_or_else(malformed)?;
    let quantity = match paths.child_text("Quantity") {
        Some(text) => Some(text.parse().map_err(|_| malformed())?),
        None => None,
    };
    let items = paths
        .child("Items")
        .map(|items| items.children.as_slice())
        .unwrap_or_default();
    Ok(Batch {
        caller_reference: root.child_text("CallerReference").unwrap_or_default().to_owned(),
        paths: items
            .iter()
            .filter(|it| it.name == "Path")
            .map(|it| it.text.clone())
            .collect(),
        quantity,
    })
}

impl Page {
    fn read(query: Option<&str>) -> Result<Self, AwsError> {
        let mut page = Self {
            marker: None,
            max_items: MAX_PAGE,
        };
        for (name, value) in super::request::pairs(query.unwrap_or_default()) {
            match name.as_str() {
                "Marker" if !value.is_empty() => page.marker = Some(value),
                "MaxItems" => {
                    let size = value.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size));
                    page.max_items = size.ok_or_else(|| {
                        let message = format!("MaxItems must be a number from 1 to {MAX_PAGE}.");
                        AwsError::new(400, "InvalidArgument", message)
                    })?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

impl Command {
    /// Does what was asked. With `stale`, GetInvalidation has not heard of the completion yet.
    pub(super) fn apply(self, world: &World, caller: &Caller, stale: bool) -> Result<Answer, AwsError> {
        let now = world.clock.now();
        let account = caller.account.as_str();
        match self {
            Self::GetDistribution { id } => world.read(|state| {
                let distribution = find(state, account, &id)?;
                let body = view::distribution(account, distribution, now);
                Ok(with_etag(body, distribution))
            }),
            Self::GetDistributionConfig { id } => world.read(|state| {
                let distribution = find(state, account, &id)?;
                Ok(with_etag(view::distribution_config(distribution), distribution))
            }),
            Self::ListDistributions(page) => world.read(|state| {
                let all = state.account(account).map(|account| &account.distributions);
                let all: Vec<&Distribution> = all.into_iter().flat_map(|all| all.values()).collect();
                Ok(Answer::ok(view::distributions(account, &all, &page)))
            }),
            Self::CreateInvalidation { distribution, batch } => create(world, caller, &distribution, batch),
            Self::GetInvalidation { distribution, id } => world.read(|state| {
                let distribution = find(state, account, &distribution)?;
                let invalidation = distribution.invalidation(&id).ok_or_else(|| {
                    AwsError::new(404, "NoSuchInvalidation", "The specified invalidation does not exist.")
                })?;
                let status = if stale { "InProgress" } else { invalidation.status(now) };
                Ok(Answer::ok(view::invalidation(invalidation, status)))
            }),
            Self::ListInvalidations { distribution, page } => world.read(|state| {
                let distribution = find(state, account, &distribution)?;
                let list = view::invalidations(distribution, &page, now).ok_or_else(|| {
                    AwsError::new(400, "InvalidArgument", "The Marker is not that of an invalidation.")
                })?;
                Ok(Answer::ok(list))
            }),
        }
    }
}

fn create(world: &World, caller: &Caller, distribution: &str, batch: Batch) -> Result<Answer, AwsError> {
    let now = world.clock.now();
    let takes = TimeDelta::from_std(world.options.invalidation_duration).unwrap_or(TimeDelta::MAX / 4);
    let reuse = world.options.caller_reference_reuse;
    let created = world.change(|state| {
        let found = state
            .distribution_mut(&caller.account, distribution)
            .ok_or_else(no_such_distribution)?;
        found.invalidate(batch, now, takes, reuse).cloned()
    })?;
    let location = format!(
        "https://cloudfront.amazonaws.com{API}/distribution/{distribution}/invalidation/{}",
        created.id
    );
    Ok(Answer::ok(view::invalidation(&created, created.status(now)))
        .with_status(201)
        .with_header(header::LOCATION, &location))
}

fn find<'a>(state: &'a State, account: &str, id: &str) -> Result<&'a Distribution, AwsError> {
    state.distribution(account, id).ok_or_else(no_such_distribution)
}

fn no_such_distribution() -> AwsError {
    AwsError::new(404, "NoSuchDistribution", "The specified distribution does not exist.")
}

fn with_etag(body: String, distribution: &Distribution) -> Answer {
    Answer::ok(body).with_header(header::ETAG, &distribution.etag)
}

/// The ARN of a distribution.
pub(super) fn arn(account: &str, id: &str) -> String {
    format!("arn:aws:cloudfront::{account}:distribution/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_with_escapes_and_quantity() {
        let body = b"<InvalidationBatch xmlns=\"urn:x\"><Paths><Quantity>2</Quantity><Items><Path>/a?b&amp;c</Path>\
                     <Path>/d*</Path></Items></Paths><CallerReference>job-1</CallerReference></InvalidationBatch>";
        let parsed = read(
            &Method::POST,
            "/2020-05-31/distribution/E2EXAMPLE/invalidation",
            None,
            body,
        );
        assert_eq!(parsed.operation, "CreateInvalidation");
        assert_eq!(parsed.resource.as_deref(), Some("E2EXAMPLE"));
        assert_eq!(parsed.details["paths"], json!(["/a?b&c", "/d*"]));
    }

    #[test]
    fn what_is_not_a_batch_is_refused() {
        assert_eq!(read_batch(b"").unwrap_err().code, "MissingBody");
        assert_eq!(read_batch(b"{}").unwrap_err().code, "MalformedInput");
        assert_eq!(read_batch(b"<Other/>").unwrap_err().code, "MalformedInput");
    }
}
