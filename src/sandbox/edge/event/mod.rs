//! Requests and answers as the functions see them, and what the functions return.
//!
//! `request` makes the event of a viewer's request, `returned` reads what came back, `lambda` does both for Lambda@Edge.
//! Their one source is the Developer Guide, *CloudFront Functions event structure* and *Restrictions on edge functions*.
//! It must never trust what a function returned: what can't be sent is an error of the function.

mod lambda;
mod request;
mod returned;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, StatusCode},
};

pub(super) use lambda::{OriginRequest, Routed, origin_event, routed};
pub(super) use request::{Viewer, request_event, response_event};
pub(super) use returned::{Verdict, response, verdict};

/// An answer that a function made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionAnswer {
    pub status: StatusCode,
    /// With one `set-cookie` for each cookie.
    pub headers: HeaderMap,
    /// `None`: the function left the body alone.
    pub body: Option<Bytes>,
}

/// Headers that edge functions neither see nor set (Developer Guide, *Disallowed headers*).
fn is_disallowed(name: &HeaderName) -> bool {
    const NAMES: [&str; 23] = [
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "trailer",
        "upgrade",
        "x-accel-buffering",
        "x-accel-charset",
        "x-accel-limit-rate",
        "x-accel-redirect",
        "x-amzn-auth",
        "x-amzn-cf-billing",
        "x-amzn-cf-id",
        "x-amzn-cf-xff",
        "x-amzn-errortype",
        "x-amzn-fle-profile",
        "x-amzn-header-count",
        "x-amzn-header-order",
        "x-amzn-lambda-integration-tag",
        "x-amzn-requestid",
        "x-cache",
    ];
    let name = name.as_str();
    NAMES.contains(&name)
        || ["x-forwarded-proto", "x-real-ip"].contains(&name)
        || name.starts_with("x-amz-cf-")
        || name.starts_with("x-edge-")
}
