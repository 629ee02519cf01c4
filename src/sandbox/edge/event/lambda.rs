//! Lambda@Edge events at origin-request (Developer Guide, *Lambda@Edge event structure*): headers are arrays under
//! lower-case names, status and query string are texts.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
};
use serde_json::{Value, json};

use super::FunctionAnswer;
use crate::sandbox::edge::js::FunctionError;

/// A request on its way to the origin. The origin request policy of the project's template forwards no header, cookie
/// or query string.
pub(in crate::sandbox::edge) struct OriginRequest<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub viewer_ip: String,
    pub request_id: &'a str,
    pub distribution_id: &'a str,
}

/// What origin-request decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sandbox::edge) enum Routed {
    /// Ask the origin for this path.
    Fetch(String),
    /// This is the answer.
    Answer(FunctionAnswer),
}

pub(in crate::sandbox::edge) fn origin_event(request: &OriginRequest<'_>) -> String {
    let domain = format!("{}.cloudfront.net", request.distribution_id.to_ascii_lowercase());
    json!({ "Records": [{ "cf": {
        "config": {
            "distributionDomainName": domain,
            "distributionId": request.distribution_id,
            "eventType": "origin-request",
            "requestId": request.request_id,
        },
        "request": {
            "clientIp": request.viewer_ip,
            "method": request.method.as_str(),
            "uri": request.path,
            "querystring": "",
            "headers": {
                "user-agent": [{ "key": "User-Agent", "value": "Amazon CloudFront" }],
            },
        },
    } }] })
    .to_string()
}

/// Reads what the function returned.
///
/// # Errors
/// When it is neither a request nor an answer.
pub(in crate::sandbox::edge) fn routed(returned: &str) -> Result<Routed, FunctionError> {
    let invalid = |what: &str| FunctionError::Invalid(what.to_owned());
    let returned: Value = serde_json::from_str(returned).map_err(|_| invalid("no JSON"))?;
    if let Some(status) = returned.get("status") {
        let status = status
            .as_str()
            .map(str::to_owned)
            .or_else(|| status.as_u64().map(|status| status.to_string()));
        let status = status.and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
        let body = match returned.get("body") {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(body)) => Bytes::copy_from_slice(body.as_bytes()),
            Some(_) => return Err(invalid("a body that is no text")),
        };
        return Ok(Routed::Answer(FunctionAnswer {
            status: status
                .filter(|status| status.as_u16() >= 200)
                .ok_or_else(|| invalid("a status that is none"))?,
            headers: headers(returned.get("headers")).ok_or_else(|| invalid("a header"))?,
            body: Some(body),
        }));
    }
    match returned.get("uri").and_then(Value::as_str) {
        Some(uri) if uri.starts_with('/') && uri.bytes().all(|byte| byte > b' ' && byte != 0x7f) => {
            Ok(Routed::Fetch(uri.to_owned()))
        }
        _ => Err(invalid("neither a request with a uri nor a response with a status")),
    }
}

fn headers(headers: Option<&Value>) -> Option<HeaderMap> {
    let mut read = HeaderMap::new();
    for (name, lines) in headers.and_then(Value::as_object).into_iter().flatten() {
        let name = HeaderName::try_from(name).ok()?;
        for line in lines.as_array()? {
            let value = line.get("value")?.as_str()?;
            read.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_has_the_form_of_a_lambda_event() {
        let event = origin_event(&OriginRequest {
            method: &Method::HEAD,
            path: "/a%20b",
            viewer_ip: "192.0.2.7".to_owned(),
            request_id: "example-id==",
            distribution_id: "E2EXAMPLE",
        });
        let event: Value = serde_json::from_str(&event).unwrap();
        let cf = &event["Records"][0]["cf"];
        assert_eq!(cf["config"]["eventType"], "origin-request");
        assert_eq!(cf["config"]["requestId"], "example-id==");
        assert_eq!(
            (&cf["request"]["method"], &cf["request"]["uri"]),
            (&json!("HEAD"), &json!("/a%20b"))
        );
    }

    #[test]
    fn a_request_or_an_answer_comes_back() {
        assert_eq!(
            routed(r#"{"uri":"/releases/1/x"}"#),
            Ok(Routed::Fetch("/releases/1/x".to_owned()))
        );
        let answer = json!({
            "status": "503",
            "headers": { "cache-control": [{ "key": "Cache-Control", "value": "no-store" }] },
            "body": "later",
        });
        let Ok(Routed::Answer(answer)) = routed(&answer.to_string()) else {
            panic!("it is an answer")
        };
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.body.as_deref(), Some(b"later".as_slice()));
        for nonsense in [
            "x",
            "null",
            "{}",
            r#"{"uri":"x"}"#,
            r#"{"uri":"/a b"}"#,
            r#"{"status":"x"}"#,
            r#"{"status":"100"}"#,
            r#"{"status":200,"body":{}}"#,
            r#"{"status":200,"headers":{"a":"b"}}"#,
            r#"{"status":200,"headers":{"a b":[]}}"#,
        ] {
            assert!(matches!(routed(nonsense), Err(FunctionError::Invalid(_))), "{nonsense}");
        }
    }
}
