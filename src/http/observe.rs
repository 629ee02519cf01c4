//! Around every request: its id, its span, one line in the log, and the body of every problem.

use std::{any::Any, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use super::problem::Problem;

/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a caller, in characters.
const REQUEST_ID_MAX: usize = 128;

/// Wraps a request. Bodies, tokens and query strings are never logged.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    for secret in request.headers_mut().get_all_mut_of(&AUTHORIZATION) {
        secret.set_sensitive(true);
    }
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", request.id = %id, http.method = %method, http.route = route);
    async move {
        let started = Instant::now();
        let response = finish(next.run(request).await, &id);
        let status = response.status().as_u16();
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if matches!(route.as_str(), "/healthz" | "/readyz") {
            tracing::debug!(http.status = status, latency_ms, "answered {method} {route}");
        } else {
            tracing::info!(http.status = status, latency_ms, "answered {method} {route}");
        }
        response
    }
    .instrument(span)
    .await
}

/// The caller's id when it can be printed, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Makes a problem of every refusal, whoever refused, and names the request.
fn finish(mut response: Response, id: &str) -> Response {
    if let Some(problem) = problem_of(&mut response) {
        problem.log();
        problem.write(&mut response, id);
    }
    // An id consists of characters that a header may hold.
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let status = response.status();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == "application/json");
    ((status.is_client_error() || status.is_server_error()) && !is_json).then(|| Problem::of_status(status))
}

/// The answer to a request whose handler panicked. What it said is on standard error, by the panic hook.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Every value of a header, to change.
trait AllValues {
    fn get_all_mut_of(&mut self, name: &HeaderName) -> impl Iterator<Item = &mut HeaderValue>;
}

impl AllValues for HeaderMap {
    fn get_all_mut_of(&mut self, name: &HeaderName) -> impl Iterator<Item = &mut HeaderValue> {
        self.iter_mut()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_is_replaced() {
        let given = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(given("ci-4711/a"), "ci-4711/a");
        for bad in ["", "a b", &"x".repeat(129)] {
            assert!(Uuid::try_parse(&given(bad)).is_ok(), "{bad}");
        }
        assert!(Uuid::try_parse(&request_id(&HeaderMap::new())).is_ok());
    }

    #[test]
    fn a_bare_refusal_becomes_a_problem_and_a_json_answer_stays() {
        let mut bare = StatusCode::METHOD_NOT_ALLOWED.into_response();
        assert_eq!(problem_of(&mut bare).unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
        let mut json = (StatusCode::SERVICE_UNAVAILABLE, axum::Json(1)).into_response();
        assert!(problem_of(&mut json).is_none());
        assert!(problem_of(&mut StatusCode::OK.into_response()).is_none());
    }
}
