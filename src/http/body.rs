//! Request bodies: JSON of at most 1 MiB, with every mistake named by its field.
//!
//! An empty body counts as `{}`, so that a rollback needs none, and so that one that needs fields hears
//! which. Callers never get a 5xx for what they send: text that PostgreSQL can't store is refused here. Which field is
//! meant is [`mistake`]'s business.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    lists,
    mistake::{self, join},
    problem::{Problem, Result},
};
use crate::{
    domain::error::FieldError,
    service::{Code, ServiceError},
};

/// Bytes of a body.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Of a body that is too large, how much is still read, so that the caller hears the answer.
const DRAIN_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Extracts `T` from the body.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads the whole body of a request that says it is JSON.
///
/// # Errors
/// [`Code::UnsupportedMediaType`], [`Code::BodyTooLarge`], [`Code::MalformedRequest`].
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read_limited(body))
        .await
        .unwrap_or_else(|_| {
            Err(Problem::new(
                Code::MalformedRequest,
                "The body did not arrive within 30 seconds.",
            ))
        })?;
    if !bytes.is_empty() && !is_json(headers) {
        let detail = "Send the body as Content-Type: application/json.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    Ok(bytes)
}

async fn read_limited(body: Body) -> Result<Bytes> {
    let (mut kept, mut size, mut chunks) = (Vec::new(), 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Code::MalformedRequest, "The body broke off."))?;
        size += chunk.len();
        if size <= BODY_MAX_BYTES {
            kept.extend_from_slice(&chunk);
        } else if size > DRAIN_MAX_BYTES {
            break;
        }
    }
    if size > BODY_MAX_BYTES {
        return Err(Problem::new(
            Code::BodyTooLarge,
            format!("A body has at most {BODY_MAX_BYTES} bytes."),
        ));
    }
    Ok(kept.into())
}

/// Whether the content type is `application/json` or `…+json`, in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let subtype = essence.strip_prefix("application/");
    let charset = parts.find_map(|part| {
        part.strip_prefix("charset=")
            .map(|name| name.trim_matches('"').to_owned())
    });
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
        && charset.is_none_or(|charset| charset == "utf-8")
}

/// Parses a body.
///
/// # Errors
/// [`Code::MalformedJson`] when it is no JSON, [`Code::ValidationFailed`] with the field's path when it is
/// not the JSON that is asked for.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServiceError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    if !value.is_object() {
        return Err(ServiceError::invalid("", "the body is a JSON object"));
    }
    let mut wrong = Vec::new();
    find_nul(&value, "", &mut wrong);
    lists::misplaced(&value, "", &mut wrong);
    if !wrong.is_empty() {
        return Err(ServiceError::fields(Code::ValidationFailed, wrong));
    }
    // From the text and not from the value: only the text still has a field that is given twice.
    mistake::from_text(bytes).map_err(|mistake| mistake.explain::<T>(bytes.len(), &value))
}

fn malformed(error: &serde_json::Error) -> ServiceError {
    ServiceError::new(Code::MalformedJson, format!("The body is not JSON: {error}."))
}

/// A `\u0000` in a text, which PostgreSQL has no room for.
fn find_nul(value: &Value, path: &str, found: &mut Vec<FieldError>) {
    let message = "must not contain the character U+0000";
    match value {
        Value::String(text) if text.contains('\0') => found.push(FieldError::new(path, message)),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_nul(item, &format!("{path}[{at}]"), found);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                if key.contains('\0') {
                    found.push(FieldError::new(
                        path,
                        "has a field whose name contains the character U+0000",
                    ));
                }
                find_nul(value, &join(path, key), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::{
        domain::environment::EnvironmentDocument,
        service::{promotions::PromotionRequest, rollbacks::RollbackRequest},
    };

    fn refused<T: DeserializeOwned>(text: &str) -> (Code, String) {
        let Err(error) = parse::<T>(text.as_bytes()) else {
            panic!("accepted: {text}")
        };
        (
            error.code,
            error
                .fields
                .first()
                .map(|field| field.field.clone())
                .unwrap_or_default(),
        )
    }

    fn environment(router: &str) -> String {
        format!(r#"{{"aws": {{"region": "us-east-1"}}, "components": [{{"name": "web", "router": {router}}}]}}"#)
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(parse::<RollbackRequest>(b"").is_ok());
        assert_eq!(
            refused::<PromotionRequest>(""),
            (Code::ValidationFailed, "release".into())
        );
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = "[".repeat(200);
        for bad in [
            "{",
            "nonsense",
            "{\"a\": 1,}",
            "{} {}",
            "{\"release\": \"\\ud800\"}",
            "\u{feff}{}",
            " ",
            &deep,
        ] {
            assert_eq!(refused::<PromotionRequest>(bad).0, Code::MalformedJson, "{bad}");
        }
        assert!(parse::<PromotionRequest>(b"{\"release\": \"\xff\"}").is_err_and(|e| e.code == Code::MalformedJson));
    }

    #[test]
    fn json_of_another_shape_names_the_field() {
        for (text, field) in [
            ("[]", ""),
            ("null", ""),
            (r#"{"release": 1}"#, "release"),
            (r#"{"release": "1", "block": true}"#, "block"),
            (r#"{"release": "1", "dry_run": "yes"}"#, "dry_run"),
            (r#"{"release": "1", "on_conflict": "wait"}"#, "on_conflict"),
            (r#"{"release": "1", "release": "2"}"#, "release"),
            (r#"{"release": "../1"}"#, "release"),
            (r#"{"release": "1", "strategy": {"kind": "teleport"}}"#, "strategy.kind"),
            (r#"{"release": "1", "strategy": {"kind": "canary"}}"#, "strategy.steps"),
            (
                r#"{"release": "1", "strategy": {"kind": "all_at_once", "x": 1}}"#,
                "strategy.x",
            ),
        ] {
            assert_eq!(
                refused::<PromotionRequest>(text),
                (Code::ValidationFailed, field.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mistake_inside_a_tagged_object_is_found() {
        for (router, field) in [
            ("{}", "kind"),
            (r#"{"kind": "ssm_pointer"}"#, "parameter"),
            (r#"{"kind": "teleport", "parameter": "/x"}"#, "kind"),
            (r#"{"kind": "ssm_pointer", "parameter": 1}"#, "parameter"),
            (
                r#"{"kind": "ssm_pointer", "parameter": "/x", "format": "xml"}"#,
                "format",
            ),
            (
                r#"{"kind": "ssm_pointer", "parameter": "/x", "edge_ttl_seconds": "5"}"#,
                "edge_ttl_seconds",
            ),
            (
                r#"{"kind": "ssm_pointer", "parameter": "/x", "edge_ttl_seconds": -1}"#,
                "edge_ttl_seconds",
            ),
            (
                r#"{"kind": "ssm_pointer", "parameter": "/x", "regions": [1]}"#,
                "regions[0]",
            ),
            (
                r#"{"kind": "ssm_pointer", "parameter": "/x", "color": "blue"}"#,
                "color",
            ),
        ] {
            let expected = (Code::ValidationFailed, format!("components[0].router.{field}"));
            assert_eq!(
                refused::<EnvironmentDocument>(&environment(router)),
                expected,
                "{router}"
            );
        }
    }

    #[test]
    fn a_nul_character_is_refused_wherever_it_is() {
        let text = r#"{"release": "1", "reason": "a\u0000b"}"#;
        assert_eq!(
            refused::<PromotionRequest>(text),
            (Code::ValidationFailed, "reason".into())
        );
        assert_eq!(
            refused::<PromotionRequest>(r#"{"release": "1", "\u0000": 1}"#),
            (Code::ValidationFailed, "".into())
        );
    }

    #[test]
    fn json_is_told_by_its_content_type() {
        let is = |value: &str| {
            is_json(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_str(value).unwrap(),
            )]))
        };
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
            "json",
        ] {
            assert!(!is(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_body_may_have_a_mebibyte_and_no_byte_more() {
        let whole = read_limited(Body::from(vec![b' '; BODY_MAX_BYTES])).await.unwrap();
        assert_eq!(whole.len(), BODY_MAX_BYTES);
        let chunks =
            futures::stream::iter((0..=BODY_MAX_BYTES / 1024).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
        let error = read_limited(Body::from_stream(chunks)).await.unwrap_err();
        assert_eq!(error.0.code, Code::BodyTooLarge);
    }
}
