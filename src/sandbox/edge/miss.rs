//! What happens when the cache has nothing: origin-request, the origin, and what is kept of its answer.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use chrono::TimeDelta;

use super::{
    cache::{ERROR_TTL, Fetch, Found, Stored, ttl_of},
    event::{FunctionAnswer, OriginRequest, Routed, Viewer, origin_event, routed},
    http::http_date,
    js::{FunctionError, WarmFunction},
    sources::Object,
    walk::Front,
};

/// What S3 says of a missing object, without the key.
const NO_SUCH_KEY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified \
                           key does not exist.</Message></Error>";
/// How the release of an answer is seen from outside.
const RELEASE: HeaderName = HeaderName::from_static("x-greenlight-release");

/// A request that the cache can't answer.
pub(super) struct Miss<'a> {
    pub front: &'a Front,
    pub method: &'a Method,
    pub viewer: &'a Viewer<'a>,
    pub path: &'a str,
}

/// What became of it.
pub(super) enum Missed {
    Found(Arc<Stored>),
    /// By origin-request itself. It isn't kept: in this project such an answer always says `no-store`.
    Answered(FunctionAnswer),
    FunctionFailed(FunctionError),
    OriginFailed,
}

impl Miss<'_> {
    /// Asks the origin and keeps its answer. While the origin can't answer, what has expired is good enough (Developer
    /// Guide, *How CloudFront processes errors*); a failure itself isn't kept.
    pub(super) async fn fetch(&self, found: Found, fetch: Fetch) -> Missed {
        let mut marks = HeaderMap::new();
        let path = match &self.front.pop.origin_request {
            None => self.path.to_owned(),
            Some(function) => match self.routed(function).await {
                Ok(Routed::Fetch(path)) => {
                    marks.extend(self.release_in(&path).map(|release| (RELEASE, release)));
                    path
                }
                Ok(Routed::Answer(answer)) => return Missed::Answered(answer),
                Err(error) => return Missed::FunctionFailed(error),
            },
        };
        match self.front.options.origin.fetch(&path).await {
            Ok(object) => {
                let stored = Arc::new(self.stored(object, marks));
                self.front.pop.keep(self.path, fetch, Arc::clone(&stored));
                Missed::Found(stored)
            }
            Err(error) => {
                tracing::warn!(%error, "the local edge's origin failed");
                match found {
                    Found::Fresh(stored) | Found::Expired(stored) => Missed::Found(stored),
                    Found::Nothing => Missed::OriginFailed,
                }
            }
        }
    }

    async fn routed(&self, function: &WarmFunction) -> Result<Routed, FunctionError> {
        let event = origin_event(&OriginRequest {
            method: self.method,
            path: self.path,
            viewer_ip: self.viewer.ip.to_string(),
            request_id: self.viewer.request_id,
            distribution_id: self.viewer.distribution_id,
        });
        routed(&function.invoke(event, self.front.pop.now().timestamp_millis()).await?)
    }

    /// The release that origin-request chose, as it stands in the path. It is kept with the answer, for whoever looks on:
    /// at CloudFront an origin would have to say it.
    fn release_in(&self, path: &str) -> Option<HeaderValue> {
        let prefix = format!("/{}", self.front.options.config.prefix);
        let segment = path.strip_prefix(&prefix)?.split('/').next()?;
        HeaderValue::try_from(segment.replace("%2B", "+")).ok()
    }

    fn stored(&self, object: Option<Object>, marks: HeaderMap) -> Stored {
        let stored_at = self.front.pop.now();
        let fresh_until = |ttl: TimeDelta| stored_at.checked_add_signed(ttl).unwrap_or(stored_at);
        match object {
            Some(object) => {
                let mut headers = headers(&object);
                headers.extend(marks);
                Stored {
                    status: StatusCode::OK,
                    headers,
                    fresh_until: fresh_until(ttl_of(object.cache_control.as_deref())),
                    body: object.body,
                    stored_at,
                }
            }
            None => Stored {
                status: StatusCode::NOT_FOUND,
                headers: HeaderMap::from_iter([
                    (header::SERVER, HeaderValue::from_static("AmazonS3")),
                    (header::CONTENT_TYPE, HeaderValue::from_static("application/xml")),
                ]),
                fresh_until: fresh_until(ERROR_TTL),
                body: NO_SUCH_KEY.into(),
                stored_at,
            },
        }
    }
}

/// An object's headers, as S3 sends them.
fn headers(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &object.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let content_type = object.content_type.as_deref().unwrap_or("binary/octet-stream");
    let told = [
        (header::CONTENT_TYPE, Some(content_type)),
        (header::ETAG, object.etag.as_deref()),
        (header::CACHE_CONTROL, object.cache_control.as_deref()),
        (header::CONTENT_ENCODING, object.content_encoding.as_deref()),
    ];
    for (name, value) in told {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
    if let Some(modified) = object.last_modified {
        headers.insert(header::LAST_MODIFIED, http_date(modified));
    }
    headers
}
