//! What CloudFront refuses before it looks at a cache or runs a function.

use axum::http::{Method, StatusCode, header, request::Parts};

/// Path, query string and headers (Developer Guide, *Quotas*: "Maximum length of a request").
const REQUEST_MAX_BYTES: usize = 20_480;
/// The URL made of it (same page: "Maximum length of a URL").
const URL_MAX_BYTES: usize = 8_192;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox::edge) struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
    /// Too long requests end their connection ("and then terminates the TCP connection").
    pub closes: bool,
}

/// Refuses what a distribution that allows GET and HEAD doesn't take.
pub(in crate::sandbox::edge) fn check(parts: &Parts) -> Result<(), Refusal> {
    let refuse = |status, reason, closes| Err(Refusal { status, reason, closes });
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let host = parts.headers.get(header::HOST).map_or(0, |host| host.len());
    let headers: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + headers > REQUEST_MAX_BYTES {
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request's headers are too long.",
            true,
        );
    }
    if "https://".len() + host + target > URL_MAX_BYTES {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The request's URL is too long.", true);
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let reason = "This distribution is not configured to allow the HTTP request method that was used for this \
                      request. The distribution supports only cachable requests.";
        return refuse(StatusCode::FORBIDDEN, reason, false);
    }
    let has_length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0");
    if has_length || parts.headers.contains_key(header::TRANSFER_ENCODING) {
        // "If a viewer GET request includes a body, CloudFront returns an HTTP status code 403".
        return refuse(StatusCode::FORBIDDEN, "A request of this method has no body.", false);
    }
    if !parts.uri.path().starts_with('/') {
        return refuse(StatusCode::BAD_REQUEST, "Bad request.", false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "www.example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let refused = check(&request.body(()).unwrap().into_parts().0).err();
        refused.map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn only_get_and_head_without_a_body_pass() {
        for method in ["GET", "HEAD"] {
            assert_eq!(status(method, "/x?y", &[("content-length", "0")]), None);
            assert_eq!(status(method, "/x", &[("content-length", "1")]), Some(403));
            assert_eq!(status(method, "/x", &[("transfer-encoding", "chunked")]), Some(403));
        }
        for method in ["OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE"] {
            assert_eq!(status(method, "/x", &[]), Some(403));
        }
        assert_eq!(status("GET", "*", &[]), Some(400));
        assert_eq!(status("OPTIONS", "*", &[]), Some(403));
    }

    #[test]
    fn requests_and_urls_have_a_length() {
        let long = |length: usize| "x".repeat(length);
        let scheme_and_host = "https://www.example.com".len();
        assert_eq!(status("GET", &format!("/{}", long(8_191 - scheme_and_host)), &[]), None);
        assert_eq!(
            status("GET", &format!("/{}", long(8_192 - scheme_and_host)), &[]),
            Some(413)
        );
        let used = "/".len() + "host".len() + "www.example.com".len() + 4 + "cookie".len() + 4;
        assert_eq!(status("GET", "/", &[("cookie", &long(20_480 - used))]), None);
        assert_eq!(status("GET", "/", &[("cookie", &long(20_481 - used))]), Some(413));
    }
}
