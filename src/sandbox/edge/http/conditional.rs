//! The answer to one request, made of a stored one: whole, a part, or "not modified".

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
};
use chrono::{DateTime, Utc};

use super::range::{Wanted, wanted};
use crate::sandbox::edge::cache::Stored;

/// What of a stored answer stays out of a 304 (RFC 9110, section 15.4.5).
const ABOUT_THE_BODY: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH];

/// An answer with all that the origin says, and nothing of the edge's own yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox::edge) struct Draft {
    pub status: StatusCode,
    /// With `content-length`, also where no body is sent.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers a GET or HEAD from what is stored. Conditions and ranges are about good answers only.
pub(in crate::sandbox::edge) fn answer_to(parts: &Parts, stored: &Stored) -> Draft {
    let mut draft = Draft {
        status: stored.status,
        headers: stored.headers.clone(),
        body: stored.body.clone(),
    };
    if stored.status == StatusCode::OK {
        if is_not_modified(&parts.headers, &stored.headers) {
            draft.status = StatusCode::NOT_MODIFIED;
            draft.body = Bytes::new();
            for name in ABOUT_THE_BODY {
                draft.headers.remove(name);
            }
            return draft;
        }
        if parts.method == Method::GET {
            take_part(&parts.headers, &mut draft);
        }
    }
    draft
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(draft.body.len()));
    draft
}

fn take_part(asked: &HeaderMap, draft: &mut Draft) {
    let length = draft.body.len();
    let Some(range) = asked.get(header::RANGE).and_then(|range| range.to_str().ok()) else {
        return;
    };
    if !applies(asked.get(header::IF_RANGE), &draft.headers) {
        return;
    }
    let content_range = match wanted(range, length) {
        Wanted::Whole => return,
        Wanted::Part(part) => {
            draft.status = StatusCode::PARTIAL_CONTENT;
            draft.body = draft.body.slice(part.clone());
            format!("bytes {}-{}/{length}", part.start, part.end - 1)
        }
        Wanted::Outside => {
            draft.status = StatusCode::RANGE_NOT_SATISFIABLE;
            draft.body = Bytes::new();
            draft.headers.remove(header::CONTENT_TYPE);
            format!("bytes */{length}")
        }
    };
    let content_range = HeaderValue::try_from(content_range).expect("digits make a header value");
    draft.headers.insert(header::CONTENT_RANGE, content_range);
}

/// `If-Range`: the part is wanted only of the very same object (RFC 9110, section 13.1.5).
fn applies(if_range: Option<&HeaderValue>, stored: &HeaderMap) -> bool {
    let Some(condition) = if_range else { return true };
    let same = |name| stored.get(name).is_some_and(|value| value == condition);
    same(header::LAST_MODIFIED) || !condition.as_bytes().starts_with(b"W/") && same(header::ETAG)
}

/// `If-None-Match`, or else `If-Modified-Since` (RFC 9110, section 13.2.2).
fn is_not_modified(asked: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut tags = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .peekable();
    if tags.peek().is_some() {
        let etag = stored.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return tags.any(|tags| {
            tags.trim() == "*" || etag.is_some_and(|etag| tags.split(',').any(|tag| weak(tag) == weak(etag)))
        });
    }
    let date = |value: Option<&HeaderValue>| DateTime::parse_from_rfc2822(value?.to_str().ok()?).ok();
    let since = date(asked.get(header::IF_MODIFIED_SINCE));
    let modified = date(stored.get(header::LAST_MODIFIED));
    modified.zip(since).is_some_and(|(modified, since)| modified <= since)
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(in crate::sandbox::edge) fn http_date(time: DateTime<Utc>) -> HeaderValue {
    HeaderValue::try_from(time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()).expect("a date is plain ASCII")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn draft(method: &str, asked: &[(&str, &str)], status: StatusCode) -> Draft {
        let modified = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (header::ETAG, HeaderValue::from_static("\"one\"")),
            (header::LAST_MODIFIED, http_date(modified)),
        ]);
        let stored = Stored {
            status,
            headers,
            body: Bytes::from_static(b"0123456789"),
            stored_at: modified,
            fresh_until: modified,
        };
        let mut request = Request::builder().method(method).uri("/x");
        for (name, value) in asked {
            request = request.header(*name, *value);
        }
        answer_to(&request.body(()).unwrap().into_parts().0, &stored)
    }

    fn get(asked: &[(&str, &str)]) -> (u16, String) {
        let draft = draft("GET", asked, StatusCode::OK);
        (draft.status.as_u16(), String::from_utf8(draft.body.to_vec()).unwrap())
    }

    #[test]
    fn a_part_says_where_it_is_from() {
        let part = draft("GET", &[("range", "bytes=2-4")], StatusCode::OK);
        assert_eq!((part.status.as_u16(), &part.body[..]), (206, b"234".as_slice()));
        assert_eq!(part.headers["content-range"], "bytes 2-4/10");
        assert_eq!(part.headers["content-length"], "3");
        let outside = draft("GET", &[("range", "bytes=10-")], StatusCode::OK);
        assert_eq!((outside.status.as_u16(), outside.body.len()), (416, 0));
        assert_eq!(outside.headers["content-range"], "bytes */10");
        let head = draft("HEAD", &[("range", "bytes=2-4")], StatusCode::OK);
        assert_eq!(
            (head.status.as_u16(), &head.headers["content-length"]),
            (200, &HeaderValue::from(10))
        );
    }

    #[test]
    fn if_range_wants_the_same_object() {
        let range = ("range", "bytes=2-4");
        assert_eq!(get(&[range, ("if-range", "\"one\"")]).0, 206);
        assert_eq!(get(&[range, ("if-range", "Tue, 14 Nov 2023 22:13:20 GMT")]).0, 206);
        for other in ["\"two\"", "W/\"one\"", "Tue, 14 Nov 2023 22:13:21 GMT", "x"] {
            assert_eq!(
                get(&[range, ("if-range", other)]),
                (200, "0123456789".to_owned()),
                "{other}"
            );
        }
    }

    #[test]
    fn what_the_viewer_has_is_not_sent_again() {
        for same in ["\"one\"", "W/\"one\"", "\"zero\", W/\"one\"", "*"] {
            assert_eq!(get(&[("if-none-match", same)]), (304, String::new()), "{same}");
        }
        assert_eq!(get(&[("if-none-match", "\"two\"")]).0, 200);
        assert_eq!(get(&[("if-none-match", "one")]).0, 200);
        assert_eq!(get(&[("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT")]).0, 304);
        assert_eq!(get(&[("if-modified-since", "Tue, 14 Nov 2023 22:13:19 GMT")]).0, 200);
        assert_eq!(get(&[("if-modified-since", "yesterday")]).0, 200);
        // The tag is the better witness.
        let both = [
            ("if-none-match", "\"two\""),
            ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ];
        assert_eq!(get(&both).0, 200);
        let not_modified = draft("GET", &[("if-none-match", "*")], StatusCode::OK);
        assert_eq!(not_modified.headers["etag"], "\"one\"");
        assert!(!not_modified.headers.contains_key("content-length"));
    }

    #[test]
    fn an_error_has_no_parts_and_no_conditions() {
        let missing = draft(
            "GET",
            &[("range", "bytes=2-4"), ("if-none-match", "*")],
            StatusCode::NOT_FOUND,
        );
        assert_eq!((missing.status.as_u16(), missing.body.len()), (404, 10));
    }
}
