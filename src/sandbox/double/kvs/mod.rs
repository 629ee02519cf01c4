//! CloudFront KeyValueStore over restJson: `/key-value-stores/{KvsARN}[/keys[/{Key}]]`, JSON in and out.
//!
//! The data plane only: stores are made by [`super::AwsDouble::add_key_value_store`]. To add an operation: a
//! variant of [`Command`], its line in [`route`], and its effect in `apply`. `store` holds the rules, `views`
//! what tests see and do directly.

pub(super) mod store;
mod views;

use axum::http::{HeaderMap, Method, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::error::{Answer, AwsError};
use super::ids;
use super::request::Parsed;
use super::state::State;
use super::world::World;
use store::{Change, KeyValueStore};

/// The service in the credential scope.
pub(super) const SERVICE: &str = "cloudfront-keyvaluestore";
/// What every path begins with.
pub(super) const ROOT: &str = "/key-value-stores";
/// The default and the largest page (API Reference, *ListKeys*).
const PAGE: usize = 10;
const MAX_PAGE: usize = 50;

/// A request that was understood.
#[derive(Debug)]
pub(super) enum Command {
    Describe {
        arn: String,
    },
    Get {
        arn: String,
        key: String,
    },
    List {
        arn: String,
        page: Page,
    },
    /// PutKey and DeleteKey are updates of one key.
    Update {
        arn: String,
        if_match: String,
        change: Change,
    },
}

/// `NextToken` (the last key of the page before) and `MaxResults` of a list.
#[derive(Debug)]
pub(super) struct Page {
    after: Option<String>,
    max_results: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutKey {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateKeys {
    puts: Option<Vec<Put>>,
    deletes: Option<Vec<Delete>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    key: String,
}

/// Reads a request: the operation from method and path, its members from path, query, `If-Match` and body.
pub(super) fn read(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Parsed {
    let segments: Option<Vec<String>> = path
        .strip_prefix(ROOT)
        .and_then(|rest| rest.split('/').skip(1).map(segment).collect());
    let segments = segments.unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let if_match = headers.get("if-match").and_then(|value| value.to_str().ok());
    let (operation, command) = route(method, &segments, query, if_match, body);
    let details = match &command {
        Ok(Command::Get { key, .. }) => json!({ "key": key }),
        Ok(Command::Update { if_match, change, .. }) => {
            let puts = change.puts.iter().map(|(key, value)| (key.clone(), json!(value)));
            json!({ "if_match": if_match, "puts": puts.collect::<Map<_, _>>(), "deletes": change.deletes })
        }
        Ok(_) => json!({}),
        Err(_) => json!({ "method": method.as_str(), "path": path }),
    };
    Parsed {
        operation: operation.to_owned(),
        resource: segments.first().map(|arn| (*arn).to_owned()),
        details,
        command: command.map(super::request::Command::Kvs),
    }
}

fn route(
    method: &Method,
    segments: &[&str],
    query: Option<&str>,
    if_match: Option<&str>,
    body: &[u8],
) -> (&'static str, Result<Command, AwsError>) {
    let update = |arn: &str, change: Result<Change, AwsError>| {
        let if_match = if_match.ok_or_else(|| AwsError::validation("The If-Match header is required."));
        Ok(Command::Update {
            arn: arn.to_owned(),
            if_match: if_match?.to_owned(),
            change: change?,
        })
    };
    match (method.as_str(), segments) {
        ("GET", [arn]) => (
            "DescribeKeyValueStore",
            Ok(Command::Describe { arn: (*arn).to_owned() }),
        ),
        ("GET", [arn, "keys"]) => {
            let arn = (*arn).to_owned();
            ("ListKeys", Page::read(query).map(|page| Command::List { arn, page }))
        }
        ("POST", [arn, "keys"]) => ("UpdateKeys", update(arn, read_update(body))),
        ("GET", [arn, "keys", key]) => (
            "GetKey",
            Ok(Command::Get {
                arn: (*arn).to_owned(),
                key: (*key).to_owned(),
            }),
        ),
        ("PUT", [arn, "keys", key]) => {
            let change = members(body).map(|put: PutKey| Change {
                puts: vec![((*key).to_owned(), put.value)],
                ..Change::default()
            });
            ("PutKey", update(arn, change))
        }
        ("DELETE", [arn, "keys", key]) => {
            let change = Change {
                deletes: vec![(*key).to_owned()],
                ..Change::default()
            };
            ("DeleteKey", update(arn, Ok(change)))
        }
        _ => {
            let message = "This double does not know the operation.";
            ("", Err(AwsError::new(404, "UnknownOperationException", message)))
        }
    }
}

fn read_update(body: &[u8]) -> Result<Change, AwsError> {
    let asked: UpdateKeys = members(body)?;
    let puts = asked.puts.unwrap_or_default().into_iter();
    let deletes = asked.deletes.unwrap_or_default().into_iter();
    Ok(Change {
        puts: puts.map(|put| (put.key, put.value)).collect(),
        deletes: deletes.map(|delete| delete.key).collect(),
    })
}

fn members<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| AwsError::validation(error.to_string()))
}

/// A path's segment without its escapes; `None` when one is broken. A `+` is a plus here.
fn segment(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

impl Page {
    fn read(query: Option<&str>) -> Result<Self, AwsError> {
        let mut page = Self {
            after: None,
            max_results: PAGE,
        };
        for (name, value) in super::request::pairs(query.unwrap_or_default()) {
            match name.as_str() {
                "NextToken" if !value.is_empty() => page.after = Some(value),
                "MaxResults" => {
                    let size = value.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size));
                    page.max_results = size.ok_or_else(|| {
                        AwsError::validation(format!("MaxResults must be a number from 1 to {MAX_PAGE}."))
                    })?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

impl Command {
    /// Does what was asked. With `stale`, DescribeKeyValueStore and GetKey have not heard of the latest change.
    pub(super) fn apply(self, world: &World, caller: &Caller, stale: bool) -> Result<Answer, AwsError> {
        match self {
            Self::Describe { arn } => world.read(|state| {
                let store = find(state, caller, &arn)?;
                let mut body = sizes(store);
                body["KvsARN"] = arn.into();
                body["Created"] = store.created_at.timestamp().into();
                body["LastModified"] = store.modified_at.timestamp().into();
                body["Status"] = "READY".into();
                Ok(with_etag(&body, store.etag(stale)))
            }),
            Self::Get { arn, key } => world.read(|state| {
                let store = find(state, caller, &arn)?;
                let value = store.get(&key, stale).ok_or_else(|| {
                    AwsError::new(404, "ResourceNotFoundException", format!("Key {key} was not found."))
                })?;
                let mut body = sizes(store);
                body["Value"] = value.into();
                body["Key"] = key.as_str().into();
                Ok(Answer::json(&body))
            }),
            Self::List { arn, page } => world.read(|state| Ok(list(find(state, caller, &arn)?, &page))),
            Self::Update { arn, if_match, change } => {
                let now = world.clock.now();
                let stale_etag = world.options.stale_etag;
                world.change(|state| {
                    find(state, caller, &arn)?;
                    let store = state.key_value_store_mut(&arn).ok_or_else(|| no_such_store(&arn))?;
                    store.update(&if_match, &change, now, stale_etag)?;
                    Ok(with_etag(&sizes(store), &store.etag))
                })
            }
        }
    }
}

fn list(store: &KeyValueStore, page: &Page) -> Answer {
    let after = page.after.as_deref();
    let mut rest = store
        .items()
        .iter()
        .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    let items: Vec<_> = rest.by_ref().take(page.max_results).collect();
    let shown = items.iter().map(|(key, value)| json!({ "Key": key, "Value": value }));
    let mut body = json!({ "Items": shown.collect::<Vec<_>>() });
    if let (Some((last, _)), Some(_)) = (items.last(), rest.next()) {
        body["NextToken"] = last.as_str().into();
    }
    Answer::json(&body)
}

/// The store with this ARN, if it is the caller's own: no policy lets another account in.
fn find<'a>(state: &'a State, caller: &Caller, arn: &str) -> Result<&'a KeyValueStore, AwsError> {
    let account = account_of(arn).ok_or_else(|| AwsError::validation(format!("Invalid KvsARN: {arn}")))?;
    if account != caller.account {
        let message = format!("User: {} is not authorized to use {arn}", caller.arn);
        return Err(AwsError::new(403, "AccessDeniedException", message));
    }
    state.key_value_store(arn).ok_or_else(|| no_such_store(arn))
}

fn no_such_store(arn: &str) -> AwsError {
    AwsError::new(
        404,
        "ResourceNotFoundException",
        format!("Key value store {arn} was not found."),
    )
}

/// The account in a store's ARN; `None` when it is no such ARN.
pub(super) fn account_of(arn: &str) -> Option<&str> {
    let (account, id) = arn
        .strip_prefix("arn:aws:cloudfront::")?
        .split_once(":key-value-store/")?;
    (!id.is_empty() && !id.contains('/')).then_some(account)
}

/// An ARN for a new store: as AWS's, with an id that tells nothing.
pub(super) fn new_arn(account: &str) -> String {
    format!("arn:aws:cloudfront::{account}:key-value-store/{}", ids::uuid())
}

fn sizes(store: &KeyValueStore) -> Value {
    json!({ "ItemCount": store.items().len(), "TotalSizeInBytes": store.size_bytes() })
}

fn with_etag(body: &Value, etag: &str) -> Answer {
    Answer::json(body).with_header(header::ETAG, etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:cloudfront::000000000000:key-value-store/shared";

    #[test]
    fn arn_and_key_are_read_from_encoded_segments() {
        let path = "/key-value-stores/arn%3Aaws%3Acloudfront%3A%3A000000000000%3Akey-value-store%2Fshared/keys/a%2Fb+c";
        let parsed = read(&Method::GET, path, None, &HeaderMap::new(), b"");
        assert_eq!(parsed.operation, "GetKey");
        assert_eq!(parsed.resource.as_deref(), Some(ARN));
        assert_eq!(parsed.details, json!({ "key": "a/b+c" }));
        assert_eq!(account_of(ARN), Some("000000000000"));
        assert_eq!(account_of("arn:aws:cloudfront::0:distribution/E2"), None);
    }

    #[test]
    fn what_is_not_a_change_is_refused() {
        let path = "/key-value-stores/arn/keys";
        let mut headers = HeaderMap::new();
        let refused = |headers: &HeaderMap, body: &[u8]| {
            let parsed = read(&Method::POST, path, None, headers, body);
            assert_eq!(parsed.operation, "UpdateKeys");
            parsed.command.err().map(|error| error.code)
        };
        let validation = Some("ValidationException".to_owned());
        assert_eq!(refused(&headers, b"{}"), validation, "without If-Match");
        headers.insert("if-match", "KV1".parse().unwrap());
        for bad in [
            &b"["[..],
            br#"{"Puts":[{"Key":"a"}]}"#,
            br#"{"Puts":[{"Key":"a","Value":1}]}"#,
        ] {
            assert_eq!(refused(&headers, bad), validation);
        }
        assert_eq!(refused(&headers, br#"{"Puts":[{"Key":"a","Value":"1"}]}"#), None);
        let unknown = read(&Method::GET, "/key-value-stores/%zz", None, &headers, b"");
        assert_eq!(unknown.command.unwrap_err().code, "UnknownOperationException");
    }
}
