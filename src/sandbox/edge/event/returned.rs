//! What a CloudFront Function returned, read with suspicion.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{FunctionAnswer, is_disallowed};
use crate::sandbox::edge::js::FunctionError;

/// What a function at viewer-request may leave alone only ("Read-only headers in viewer request events").
const READ_ONLY_IN_REQUESTS: [&str; 4] = ["content-length", "host", "transfer-encoding", "via"];
/// Likewise at viewer-response.
const READ_ONLY_IN_RESPONSES: [&str; 2] = ["warning", "via"];
/// "The total size of the URI, including the query string, must be less than 8,192 characters."
const URI_MAX: usize = 8_192;

/// What viewer-request decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox::edge) enum Verdict {
    /// Go on with this request, to this path.
    Forward { uri: String, request: Value },
    /// This is the answer.
    Answer(FunctionAnswer),
}

fn invalid(what: impl Into<String>) -> FunctionError {
    FunctionError::Invalid(what.into())
}

/// Reads what viewer-request returned for a request with this method and these headers: a request, or an answer.
///
/// # Errors
/// When it is neither, or changes what it may not.
pub(in crate::sandbox::edge) fn verdict(
    returned: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Verdict, FunctionError> {
    let returned = object(returned)?;
    if returned.contains_key("statusCode") {
        return answer(&returned, &HeaderMap::new(), &[]).map(Verdict::Answer);
    }
    let uri = match returned.get("uri") {
        Some(Value::String(uri)) => uri.clone(),
        _ => return Err(invalid("neither a request with a uri nor a response with a statusCode")),
    };
    let is_path =
        uri.starts_with('/') && uri.len() < URI_MAX && uri.chars().all(|c| c > ' ' && c != '\u{7f}' && c != '#');
    if !is_path {
        return Err(invalid("a uri that is no path"));
    }
    if returned.get("method").and_then(Value::as_str) != Some(method.as_str()) {
        return Err(invalid("another method"));
    }
    forbid_changes(headers, &read_fields(returned.get("headers"))?, &READ_ONLY_IN_REQUESTS)?;
    Ok(Verdict::Forward {
        uri,
        request: Value::Object(returned),
    })
}

/// Reads what viewer-response returned for an answer with the headers `sent`.
///
/// # Errors
/// When it is no answer, or changes what it may not.
pub(in crate::sandbox::edge) fn response(returned: &str, sent: &HeaderMap) -> Result<FunctionAnswer, FunctionError> {
    answer(&object(returned)?, sent, &READ_ONLY_IN_RESPONSES)
}

fn object(returned: &str) -> Result<Map<String, Value>, FunctionError> {
    match serde_json::from_str(returned) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(invalid("no object")),
    }
}

fn answer(
    returned: &Map<String, Value>,
    before: &HeaderMap,
    read_only: &[&str],
) -> Result<FunctionAnswer, FunctionError> {
    let status = returned.get("statusCode").and_then(Value::as_u64);
    let status = status
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (200..600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| invalid("a statusCode that is none"))?;
    let mut headers = read_fields(returned.get("headers"))?;
    forbid_changes(before, &headers, read_only)?;
    for cookie in set_cookies(returned.get("cookies"))? {
        headers.append(header::SET_COOKIE, cookie);
    }
    Ok(FunctionAnswer {
        status,
        headers,
        body: body(returned.get("body"))?,
    })
}

fn forbid_changes(before: &HeaderMap, after: &HeaderMap, read_only: &[&str]) -> Result<(), FunctionError> {
    let forbidden = after.keys().find(|name| is_disallowed(name)).map(HeaderName::as_str);
    let all = |headers: &HeaderMap, name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    let changed = read_only
        .iter()
        .copied()
        .find(|name| all(before, name) != all(after, name));
    match forbidden.or(changed) {
        Some(name) => Err(FunctionError::ForbiddenHeader(name.to_owned())),
        None => Ok(()),
    }
}

/// `{name: {value, multiValue?}}` as headers.
fn read_fields(fields: Option<&Value>) -> Result<HeaderMap, FunctionError> {
    let mut headers = HeaderMap::new();
    for (name, field) in members(fields, "headers")? {
        let name: HeaderName = match HeaderName::try_from(name) {
            Ok(known) if known.as_str() == name => known,
            _ => return Err(invalid(format!("the header name {name:?}"))),
        };
        for value in values(field)? {
            let value = value.get("value").and_then(Value::as_str);
            let value = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
            let value = value.ok_or_else(|| invalid(format!("the value of the header {name}")))?;
            headers.append(name.clone(), value);
        }
    }
    Ok(headers)
}

/// `{name: {value, attributes?, multiValue?}}` as lines of `Set-Cookie`.
fn set_cookies(cookies: Option<&Value>) -> Result<Vec<HeaderValue>, FunctionError> {
    let mut lines = Vec::new();
    for (name, cookie) in members(cookies, "cookies")? {
        for one in values(cookie)? {
            let value = one.get("value").and_then(Value::as_str);
            let line = value.map(|value| match one.get("attributes").and_then(Value::as_str) {
                Some(attributes) if !attributes.is_empty() => format!("{name}={value}; {attributes}"),
                _ => format!("{name}={value}"),
            });
            let line = line.and_then(|line| HeaderValue::from_bytes(line.as_bytes()).ok());
            lines.push(line.ok_or_else(|| invalid(format!("the cookie {name:?}")))?);
        }
    }
    Ok(lines)
}

fn members<'a>(
    object: Option<&'a Value>,
    what: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, FunctionError> {
    match object {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(invalid(format!("{what} that are no object"))),
    }
    .map(|members| members.into_iter().flatten())
}

/// The values of a field: those of `multiValue` if there are any, else the one.
fn values(field: &Value) -> Result<&[Value], FunctionError> {
    match field.get("multiValue") {
        None => Ok(std::slice::from_ref(field)),
        Some(Value::Array(values)) if !values.is_empty() => Ok(values),
        Some(_) => Err(invalid("a multiValue without values")),
    }
}

fn body(body: Option<&Value>) -> Result<Option<Bytes>, FunctionError> {
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    match body {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(data)) => Ok(text(data)),
        Some(body) => {
            let data = body.get("data").and_then(Value::as_str);
            let data = data.ok_or_else(|| invalid("a body without data"))?;
            match body.get("encoding").and_then(Value::as_str) {
                Some("text") => Ok(text(data)),
                Some("base64") => match STANDARD.decode(data) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(_) => Err(invalid("a body that is no base64")),
                },
                _ => Err(invalid("a body without an encoding")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked() -> Value {
        json!({ "method": "GET", "uri": "/x", "querystring": {}, "headers": { "host": { "value": "h" } }, "cookies": {} })
    }

    fn read(returned: &str) -> Result<Verdict, FunctionError> {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("h"))]);
        verdict(returned, &Method::GET, &headers)
    }

    fn error(returned: &Value) -> FunctionError {
        read(&returned.to_string()).unwrap_err()
    }

    #[test]
    fn a_request_goes_on_with_what_was_added() {
        let mut returned = asked();
        returned["uri"] = json!("/releases/1/x");
        returned["headers"]["x-own"] = json!({ "value": "1" });
        let forward = read(&returned.to_string()).unwrap();
        let uri = "/releases/1/x".to_owned();
        assert_eq!(forward, Verdict::Forward { uri, request: returned });
    }

    #[test]
    fn an_answer_has_its_cookies_and_its_body() {
        let returned = json!({
            "statusCode": 302,
            "statusDescription": "Found",
            "headers": {
                "location": { "value": "/y" },
                "vary": { "value": "a", "multiValue": [{ "value": "a" }, { "value": "b" }] },
            },
            "cookies": {
                "one": { "value": "1", "attributes": "Path=/; Secure" },
                "two": { "value": "x", "multiValue": [{ "value": "2" }, { "value": "3", "attributes": "Path=/b" }] },
            },
            "body": { "encoding": "base64", "data": "Z3JlZW4=" },
        });
        let Verdict::Answer(answer) = read(&returned.to_string()).unwrap() else {
            panic!("it is an answer")
        };
        assert_eq!(answer.status, StatusCode::FOUND);
        assert_eq!(answer.body.as_deref(), Some(b"green".as_slice()));
        let all = |name| answer.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("vary"), ["a", "b"]);
        assert_eq!(all("set-cookie"), ["one=1; Path=/; Secure", "two=2", "two=3; Path=/b"]);
    }

    #[test]
    fn a_body_can_be_short_for_text_or_absent() {
        let read = |body: Value| read(&json!({ "statusCode": 200, "body": body }).to_string());
        let body = |read| match read {
            Ok(Verdict::Answer(answer)) => answer.body,
            other => panic!("{other:?}"),
        };
        assert_eq!(body(read(json!("text"))).as_deref(), Some(b"text".as_slice()));
        assert_eq!(
            body(read(json!({ "encoding": "text", "data": "" }))).as_deref(),
            Some(b"".as_slice())
        );
        assert_eq!(body(read(json!(null))), None);
        for bad in [
            json!(1),
            json!({ "data": "x" }),
            json!({ "encoding": "gzip", "data": "x" }),
        ] {
            assert!(matches!(read(bad), Err(FunctionError::Invalid(_))));
        }
        assert!(read(json!({ "encoding": "base64", "data": "%" })).is_err());
    }

    #[test]
    fn nonsense_is_the_functions_error() {
        for nonsense in [
            json!(null),
            json!("/x"),
            json!([]),
            json!({}),
            json!({ "uri": 7 }),
            json!({ "uri": "x", "method": "GET" }),
            json!({ "uri": "/a b", "method": "GET" }),
            json!({ "uri": "/a\nb", "method": "GET" }),
            json!({ "uri": format!("/{}", "x".repeat(8_191)), "method": "GET" }),
            json!({ "uri": "/x", "method": "POST" }),
            json!({ "uri": "/x", "method": "GET", "headers": [] }),
            json!({ "uri": "/x", "method": "GET", "headers": { "a": "b" } }),
            json!({ "uri": "/x", "method": "GET", "headers": { "a": { "value": 1 } } }),
            json!({ "uri": "/x", "method": "GET", "headers": { "A": { "value": "1" } } }),
            json!({ "uri": "/x", "method": "GET", "headers": { "a": { "value": "1\r\nb: 2" } } }),
            json!({ "uri": "/x", "method": "GET", "headers": { "a": { "multiValue": [] } } }),
            json!({ "statusCode": "200" }),
            json!({ "statusCode": 99 }),
            json!({ "statusCode": 101 }),
            json!({ "statusCode": 600 }),
            json!({ "statusCode": 200, "cookies": { "a": { "value": "1\r\n" } } }),
            json!({ "statusCode": 200, "cookies": { "a": { } } }),
        ] {
            assert!(matches!(error(&nonsense), FunctionError::Invalid(_)), "{nonsense}");
        }
        assert!(matches!(read("no json"), Err(FunctionError::Invalid(_))));
    }

    #[test]
    fn some_headers_may_not_be_touched() {
        let with = |headers: Value| error(&json!({ "uri": "/x", "method": "GET", "headers": headers }));
        let forbidden = |name: &str| FunctionError::ForbiddenHeader(name.to_owned());
        assert_eq!(with(json!({ "host": { "value": "other" } })), forbidden("host"));
        assert_eq!(with(json!({})), forbidden("host"));
        let host = json!({ "value": "h" });
        assert_eq!(with(json!({ "host": host, "via": { "value": "x" } })), forbidden("via"));
        assert_eq!(
            with(json!({ "host": host, "x-cache": { "value": "x" } })),
            forbidden("x-cache")
        );
        let mut sent = HeaderMap::new();
        sent.insert("via", "1.1 x".parse().unwrap());
        let removed = response(&json!({ "statusCode": 200, "headers": {} }).to_string(), &sent);
        assert_eq!(removed, Err(forbidden("via")));
    }
}
