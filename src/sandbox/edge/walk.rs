//! The walk of a request through a point of presence.
//!
//! ```text
//! viewer ► refused? ► viewer-request ─► cache ─hit─────────────────► conditions, ranges ► viewer-response ► viewer
//!                          │              └miss► origin-request ► origin ► kept ┘
//!                          └ its own answer ──────────────────────────────────────────────────────────────► viewer
//! ```
//!
//! viewer-request and viewer-response are CloudFront Functions and run with [`Routing::ViewerRewrite`], origin-request is
//! a Lambda@Edge function and runs with [`Routing::Origin`]. viewer-response runs after the cache, for answers below 400
//! that no function made: nothing of it is ever kept.
//!
//! It must never answer with a 5xx of its own making: only a function that failed, or an origin that can't answer and of
//! which nothing is left, makes one.
//!
//! [`Routing::ViewerRewrite`]: super::Routing::ViewerRewrite
//! [`Routing::Origin`]: super::Routing::Origin

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts},
};
use serde_json::Value;

use super::{
    cache::Found,
    event::{FunctionAnswer, Verdict, Viewer, request_event, response, response_event, verdict},
    http::{Draft, Refusal, answer_to, check, error_page, random_hex, request_id},
    js::{FunctionError, FunctionPool, Invocation},
    miss::{Miss, Missed},
    options::EdgeOptions,
    pop::PointOfPresence,
};

/// The functions of the pool, by their numbers.
const VIEWER_REQUEST: usize = 0;
const VIEWER_RESPONSE: usize = 1;

/// One point of presence with all that it needs to answer.
pub(super) struct Front {
    pub pop: Arc<PointOfPresence>,
    /// The CloudFront Functions, where there are any.
    pub functions: Option<Arc<FunctionPool>>,
    pub options: Arc<EdgeOptions>,
    via: HeaderValue,
}

/// An answer, and how it came about (`x-cache`).
struct Made {
    draft: Draft,
    how: &'static str,
    age: Option<i64>,
    closes: bool,
}

/// A request after viewer-request.
struct Asked {
    /// What the cache and the origin are asked for.
    path: String,
    /// As viewer-response sees it; `None` where no function runs.
    seen: Option<Value>,
}

impl Front {
    pub(super) fn new(
        pop: Arc<PointOfPresence>,
        functions: Option<Arc<FunctionPool>>,
        options: Arc<EdgeOptions>,
    ) -> Self {
        let via = format!("1.1 {}.cloudfront.net (CloudFront)", random_hex());
        Self {
            pop,
            functions,
            options,
            via: HeaderValue::try_from(via).expect("hex digits make a header value"),
        }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, parts: &Parts, ip: IpAddr) -> Response<Body> {
        let id = request_id();
        let viewer = Viewer {
            ip,
            request_id: &id,
            distribution_id: &self.options.distribution_id,
        };
        let made = match check(parts) {
            Ok(()) => self.made(parts, &viewer).await,
            Err(refusal) => refused(&refusal, &id),
        };
        self.sent(made, &parts.method, &id)
    }

    async fn made(&self, parts: &Parts, viewer: &Viewer<'_>) -> Made {
        let asked = match self.asked(parts, viewer).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(answer)) => return generated(answer, "FunctionGeneratedResponse from cloudfront"),
            Err(error) => return self.failed("viewer-request", &error, viewer.request_id),
        };
        let (stored, age) = match self.pop.find(&asked.path) {
            (Found::Fresh(stored), _) => {
                self.pop.counted.hit();
                let age = stored.age(self.pop.now());
                (stored, Some(age))
            }
            (found, fetch) => {
                self.pop.counted.missed();
                let miss = Miss {
                    front: self,
                    method: &parts.method,
                    viewer,
                    path: &asked.path,
                };
                match miss.fetch(found, fetch).await {
                    Missed::Found(stored) => (stored, None),
                    Missed::Answered(answer) => return generated(answer, "LambdaGeneratedResponse from cloudfront"),
                    Missed::FunctionFailed(error) => return self.failed("origin-request", &error, viewer.request_id),
                    Missed::OriginFailed => {
                        let reason = "CloudFront wasn't able to connect to the origin.";
                        return page(StatusCode::BAD_GATEWAY, reason, viewer.request_id);
                    }
                }
            }
        };
        let mut draft = answer_to(parts, &stored);
        if let Some(request) = &asked.seen
            && draft.status.as_u16() < 400
        {
            match self.marked(&draft, request, parts, viewer).await {
                Ok(answer) => apply(answer, &mut draft),
                Err(error) => return self.failed("viewer-response", &error, viewer.request_id),
            }
        }
        let how = match (draft.status.as_u16(), age) {
            (400.., _) => "Error from cloudfront",
            (_, Some(_)) => "Hit from cloudfront",
            (_, None) => "Miss from cloudfront",
        };
        Made {
            draft,
            how,
            age,
            closes: false,
        }
    }

    /// Asks viewer-request: how to go on, or its answer.
    async fn asked(&self, parts: &Parts, viewer: &Viewer<'_>) -> Result<Result<Asked, FunctionAnswer>, FunctionError> {
        let Some(functions) = &self.functions else {
            let path = parts.uri.path().to_owned();
            return Ok(Ok(Asked { path, seen: None }));
        };
        let event = request_event(viewer, parts);
        let invocation = self.invocation(VIEWER_REQUEST, event, parts);
        let returned = functions.invoke(invocation).await?;
        Ok(match verdict(&returned, &parts.method, &parts.headers)? {
            Verdict::Forward { uri, request } => Ok(Asked {
                path: uri,
                seen: Some(request),
            }),
            Verdict::Answer(answer) => Err(answer),
        })
    }

    /// Asks viewer-response what is to be written on an answer.
    async fn marked(
        &self,
        draft: &Draft,
        request: &Value,
        parts: &Parts,
        viewer: &Viewer<'_>,
    ) -> Result<FunctionAnswer, FunctionError> {
        let Some(functions) = &self.functions else {
            return Err(FunctionError::Stopped);
        };
        let event = response_event(viewer, request, draft.status, &draft.headers);
        let invocation = self.invocation(VIEWER_RESPONSE, event, parts);
        response(&functions.invoke(invocation).await?, &draft.headers)
    }

    fn invocation(&self, function: usize, event: String, parts: &Parts) -> Invocation {
        Invocation {
            function,
            event,
            raw_query: parts.uri.query().map(str::to_owned),
            store: self.pop.values(),
            now_millis: self.pop.now().timestamp_millis(),
        }
    }

    /// A function gave no answer: 503, or 502 if it touched what it may not (Developer Guide, *HTTP 503 status code*
    /// and *Restrictions on all edge functions*).
    fn failed(&self, function: &str, error: &FunctionError, id: &str) -> Made {
        tracing::warn!(function, %error, "an edge function failed");
        self.pop.counted.function_failed();
        let status = match error {
            FunctionError::ForbiddenHeader(_) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let reason = "The function associated with the CloudFront distribution is invalid or could not run.";
        page(status, reason, id)
    }

    /// Puts the edge's own headers on an answer.
    fn sent(&self, made: Made, method: &Method, id: &str) -> Response<Body> {
        let Draft {
            status,
            mut headers,
            body,
        } = made.draft;
        self.pop.counted.answered(status.as_u16());
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("x-cache", made.how);
        put("x-amz-cf-pop", &self.pop.name);
        put("x-amz-cf-id", id);
        if let Some(age) = made.age {
            put("age", &age.to_string());
        }
        if made.closes {
            put("connection", "close");
        }
        headers.insert(header::VIA, self.via.clone());
        let has_body = *method != Method::HEAD && status != StatusCode::NOT_MODIFIED;
        let mut response = Response::new(if has_body { Body::from(body) } else { Body::empty() });
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// An answer that a function made.
fn generated(mut answer: FunctionAnswer, how: &'static str) -> Made {
    let server = HeaderValue::from_static("CloudFront");
    answer.headers.entry(header::SERVER).or_insert(server);
    answer.body.get_or_insert_default();
    let mut draft = Draft {
        status: answer.status,
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    apply(answer, &mut draft);
    Made {
        draft,
        how,
        age: None,
        closes: false,
    }
}

/// Takes over what a function says of an answer. Length and framing are facts, which no function changes.
fn apply(answer: FunctionAnswer, draft: &mut Draft) {
    let length = draft.headers.remove(header::CONTENT_LENGTH);
    draft.status = answer.status;
    draft.headers = answer.headers;
    draft.headers.remove(header::CONTENT_LENGTH);
    draft.headers.remove(header::TRANSFER_ENCODING);
    let length = match answer.body {
        Some(body) => {
            draft.body = body;
            Some(HeaderValue::from(draft.body.len()))
        }
        None => length,
    };
    if let Some(length) = length {
        draft.headers.insert(header::CONTENT_LENGTH, length);
    }
}

fn refused(refusal: &Refusal, id: &str) -> Made {
    Made {
        closes: refusal.closes,
        ..page(refusal.status, refusal.reason, id)
    }
}

/// A page of the edge's own.
fn page(status: StatusCode, reason: &str, id: &str) -> Made {
    let body = error_page(status, reason, id);
    let headers = HeaderMap::from_iter([
        (header::SERVER, HeaderValue::from_static("CloudFront")),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html")),
        (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
    ]);
    Made {
        draft: Draft { status, headers, body },
        how: "Error from cloudfront",
        age: None,
        closes: false,
    }
}
