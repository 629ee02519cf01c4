//! Every POST: one transaction, which with an `Idempotency-Key` also keeps the answer.
//!
//! ```text
//! body read and parsed ─▶ BEGIN ─▶ key taken? ─▶ kept answer? ─▶ the use-case ─▶ answer kept ─▶ COMMIT
//!        │ refused                   │ no: 409      │ yes: replayed, or 422 for another request
//!        ▼ nothing is stored         ▼              ▼
//! ```
//! The key and its rules: IETF draft-ietf-httpapi-idempotency-key-header. A key belongs to a token and a
//! route; the request is told by the SHA-256 of its method, path, query and body.

use axum::{
    extract::{FromRequest, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{
    ApiState, body,
    problem::{Problem, Result},
};
use crate::{
    service::{self, Actor, Code, ServiceError},
    store::{
        StoreError,
        idempotency::{self, StoredAnswer},
    },
};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, in characters.
const KEY_MAX: usize = 255;

/// A POST whose body has been read.
pub struct Post<T> {
    pub body: T,
    /// Method and path: what a key is scoped to besides the token.
    route: String,
    fingerprint: Vec<u8>,
    key: Option<String>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Post<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        // A setting in the wrong place must not be passed over: `?dry_run=true` would start a promotion.
        if let Some(name) = parts
            .uri
            .query()
            .and_then(|query| query.split(['=', '&']).find(|name| !name.is_empty()))
        {
            let why = "a POST takes its settings in the body, not in the query";
            return Err(ServiceError::invalid(name, why).into());
        }
        let key = key_of(&parts.headers)?;
        let bytes = body::read(&parts.headers, body).await?;
        let route = format!("{} {}", parts.method, parts.uri.path());
        let fingerprint = fingerprint(&route, parts.uri.query(), &bytes);
        Ok(Self {
            body: body::parse(&bytes)?,
            route,
            fingerprint,
            key,
        })
    }
}

/// What a POST answers, in a form that can be kept.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    location: Option<String>,
    /// JSON, with its fields in the order of the view: people read it.
    body: Vec<u8>,
}

impl Answer {
    pub fn new(status: StatusCode, view: &impl Serialize) -> Result<Self, ServiceError> {
        let body = serde_json::to_vec(view).map_err(|why| StoreError::corrupt("answer", why))?;
        Ok(Self {
            status,
            location: None,
            body,
        })
    }

    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], self.body).into_response();
        if let Some(value) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(LOCATION, value);
        }
        response
    }
}

impl<T> Post<T> {
    /// The answer kept under this request's key, if there is one: for a use-case that asks others before its
    /// transaction.
    ///
    /// # Errors
    /// [`Code::IdempotencyKeyReused`].
    pub async fn kept(&self, state: &ApiState, actor: &Actor) -> Result<Option<Response>> {
        let Some(key) = &self.key else { return Ok(None) };
        let mut tx = state.store.snapshot().await?;
        let kept = idempotency::get(&mut tx, actor.token, &self.route, key).await?;
        tx.rollback().await?;
        kept.map(|kept| self.replay(kept)).transpose()
    }

    /// Runs the use-case `work` in one transaction, once for each key.
    ///
    /// # Errors
    /// Those of `work`, of which nothing is kept; [`Code::IdempotencyKeyInUse`],
    /// [`Code::IdempotencyKeyReused`].
    pub async fn run<F>(self, state: &ApiState, actor: &Actor, work: F) -> Result<Response>
    where
        F: AsyncFnOnce(&mut PgConnection, &T) -> service::Result<Answer>,
    {
        let mut tx = state.store.begin().await?;
        let Some(key) = &self.key else {
            let answer = work(&mut tx, &self.body).await?;
            tx.commit().await?;
            return Ok(answer.into_response());
        };
        if !idempotency::try_lock(&mut tx, actor.token, &self.route, key).await? {
            let detail = "The first request with this key has no answer yet. Send this one again in a moment.";
            return Err(Problem::new(Code::IdempotencyKeyInUse, detail));
        }
        // A transaction that is only dropped ends a little later, and the key's lock with it: whoever sends the same
        // again at once would be told that it is still running.
        if let Some(kept) = idempotency::get(&mut tx, actor.token, &self.route, key).await? {
            tx.rollback().await?;
            return self.replay(kept);
        }
        let answer = match work(&mut tx, &self.body).await {
            Ok(answer) => answer,
            Err(refused) => {
                tx.rollback().await?;
                return Err(refused.into());
            }
        };
        let kept = StoredAnswer {
            request_hash: self.fingerprint,
            status: answer.status.as_u16(),
            location: answer.location.clone(),
            body: serde_json::from_slice(&answer.body)?,
        };
        idempotency::put(&mut tx, actor.token, &self.route, key, &kept).await?;
        tx.commit().await?;
        Ok(answer.into_response())
    }

    fn replay(&self, kept: StoredAnswer) -> Result<Response> {
        if kept.request_hash != self.fingerprint {
            let detail = "This key was sent with another body before. A new request needs a new key.";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
        let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        let mut response = Answer {
            status,
            location: kept.location,
            body: serde_json::to_vec(&kept.body)?,
        }
        .into_response();
        response
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

fn fingerprint(route: &str, query: Option<&str>, body: &[u8]) -> Vec<u8> {
    // Neither a method, a path nor a query holds a line break.
    Sha256::new()
        .chain_update(route)
        .chain_update("\n")
        .chain_update(query.unwrap_or_default())
        .chain_update("\n")
        .chain_update(body)
        .finalize()
        .to_vec()
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|_| values.next().is_none())
        .and_then(parse_key);
    let detail = "An Idempotency-Key is one string of 1 to 255 visible ASCII characters, such as a UUID.";
    key.map(Some)
        .ok_or_else(|| Problem::new(Code::IdempotencyKeyInvalid, detail))
}

/// Reads a key: bare, or as a string of structured fields (RFC 8941, section 3.3.3), which is the same key.
fn parse_key(text: &str) -> Option<String> {
    let text = text.trim();
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(quoted) => unquote(quoted)?,
    };
    let good = (1..=KEY_MAX).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic());
    good.then_some(key)
}

/// The string after its first quote, which must end with its last one.
fn unquote(quoted: &str) -> Option<String> {
    let (mut key, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => key.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_bare_and_quoted() {
        let long = "k".repeat(255);
        for (text, key) in [
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (" k ", "k"),
            (&long, &long),
        ] {
            assert_eq!(parse_key(text).as_deref(), Some(key), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(256);
        for bad in [
            "",
            " ",
            "\"\"",
            "\"",
            "\"a",
            "\"a\"b",
            "\"a\";p=1",
            r#""a\b""#,
            "a b",
            "\"a b\"",
            &long,
        ] {
            assert_eq!(parse_key(bad), None, "{bad}");
        }
        let two = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_static("a"))]);
        let mut headers = two.clone();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(key_of(&headers).is_err_and(|problem| problem.0.code == Code::IdempotencyKeyInvalid));
        assert!(key_of(&two).is_ok_and(|key| key.as_deref() == Some("a")));
    }

    #[test]
    fn another_body_query_or_route_is_another_request() {
        let first = fingerprint("POST /a", Some("q"), b"{}");
        assert_eq!(first, fingerprint("POST /a", Some("q"), b"{}"));
        for other in [
            fingerprint("POST /b", Some("q"), b"{}"),
            fingerprint("POST /a", None, b"{}"),
            fingerprint("POST /a", Some("q"), b"{ }"),
        ] {
            assert_ne!(first, other);
        }
    }
}
