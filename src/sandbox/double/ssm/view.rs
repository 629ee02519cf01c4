//! The shapes of SSM's answers, and the tokens that page through them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::names::{self, Reference};
use super::store::{Parameter, Version};
use crate::sandbox::double::auth::Caller;
use crate::sandbox::double::error::AwsError;

/// The largest page of GetParameterHistory and DescribeParameters (API Reference, both pages).
const MAX_PAGE: usize = 50;

/// `Parameter`, as GetParameter and GetParameters answer it.
pub(super) fn parameter(caller: &Caller, reference: &Reference, version: &Version, decrypt: bool) -> Value {
    let mut view = json!({
        "ARN": names::arn(&caller.account, &caller.region, &reference.name),
        "DataType": version.data_type,
        "LastModifiedDate": epoch(version.modified_at),
        "Name": reference.name,
        "Type": version.kind,
        "Value": value(version, decrypt),
        "Version": version.version,
    });
    if let Some(selector) = reference.selector.shown() {
        view["Selector"] = selector.into();
    }
    view
}

/// `ParameterHistory`.
pub(super) fn history(name: &str, version: &Version, decrypt: bool) -> Value {
    let mut view = json!({
        "DataType": version.data_type,
        "Labels": version.labels,
        "LastModifiedDate": epoch(version.modified_at),
        "LastModifiedUser": version.modified_by,
        "Name": name,
        "Policies": [],
        "Tier": version.tier,
        "Type": version.kind,
        "Value": value(version, decrypt),
        "Version": version.version,
    });
    add_optional(&mut view, version);
    view
}

/// `ParameterMetadata`: everything but the value.
pub(super) fn metadata(caller: &Caller, parameter: &Parameter) -> Value {
    let latest = parameter.latest();
    let mut view = json!({
        "ARN": names::arn(&caller.account, &caller.region, &parameter.name),
        "DataType": latest.data_type,
        "LastModifiedDate": epoch(latest.modified_at),
        "LastModifiedUser": latest.modified_by,
        "Name": parameter.name,
        "Policies": [],
        "Tier": latest.tier,
        "Type": latest.kind,
        "Version": latest.version,
    });
    add_optional(&mut view, latest);
    view
}

fn add_optional(view: &mut Value, version: &Version) {
    if let Some(description) = &version.description {
        view["Description"] = description.as_str().into();
    }
    if let Some(key_id) = &version.key_id {
        view["KeyId"] = key_id.as_str().into();
    }
}

/// The value, or what a SecureString looks like to someone who did not ask for decryption.
fn value(version: &Version, decrypt: bool) -> String {
    if decrypt || version.kind != "SecureString" {
        return version.value.clone();
    }
    format!("AQICAH{}", STANDARD.encode(Sha256::digest(version.value.as_bytes())))
}

/// awsJson timestamps: seconds since 1970 with milliseconds behind the point.
fn epoch(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

pub(super) fn page_size(asked: Option<i64>) -> Result<usize, AwsError> {
    let Some(asked) = asked else {
        return Ok(MAX_PAGE);
    };
    usize::try_from(asked).ok().filter(|size| (1..=MAX_PAGE).contains(size)).ok_or_else(|| {
        let bound = if asked < 1 { "greater than or equal to 1" } else { "less than or equal to 50" };
        AwsError::validation(format!(
            "1 validation error detected: Value '{asked}' at 'maxResults' failed to satisfy constraint: Member must \
             have value {bound}"
        ))
    })
}

/// An opaque token for the place where a page ended.
pub(super) fn token(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(json!(place).to_string())
}

pub(super) fn read_token<T: DeserializeOwned>(token: Option<&str>) -> Result<Option<T>, AwsError> {
    let Some(token) = token else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map(Some)
        .ok_or_else(|| AwsError::new(400, "InvalidNextToken", "The specified token isn't valid."))
}
