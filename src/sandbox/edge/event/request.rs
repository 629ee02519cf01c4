//! The event: what a function is told of a request, and of the answer on its way out.

use std::{collections::HashMap, net::IpAddr};

use axum::http::{HeaderMap, HeaderName, StatusCode, header, request::Parts};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::is_disallowed;

/// Who asks, and through what.
pub(in crate::sandbox::edge) struct Viewer<'a> {
    pub ip: IpAddr,
    pub request_id: &'a str,
    pub distribution_id: &'a str,
}

impl Viewer<'_> {
    fn event<R: Serialize, S: Serialize>(&self, kind: &str, request: R, response: Option<S>) -> String {
        #[derive(Serialize)]
        struct Event<R, S> {
            version: &'static str,
            context: Value,
            viewer: Value,
            request: R,
            #[serde(skip_serializing_if = "Option::is_none")]
            response: Option<S>,
        }
        let event = Event {
            version: "1.0",
            context: json!({
                "distributionDomainName": format!("{}.cloudfront.net", self.distribution_id.to_ascii_lowercase()),
                "distributionId": self.distribution_id,
                "eventType": kind,
                "requestId": self.request_id,
            }),
            viewer: json!({ "ip": self.ip.to_string() }),
            request,
            response,
        };
        serde_json::to_string(&event).expect("texts under texts always serialize")
    }
}

/// The viewer-request event, as JSON.
pub(in crate::sandbox::edge) fn request_event(viewer: &Viewer<'_>, parts: &Parts) -> String {
    #[derive(Serialize)]
    struct Request<'a> {
        method: &'a str,
        uri: &'a str,
        querystring: Fields,
        headers: Fields,
        cookies: Fields,
    }
    let request = Request {
        method: parts.method.as_str(),
        uri: parts.uri.path(),
        querystring: querystring(parts.uri.query().unwrap_or_default()),
        headers: headers(&parts.headers, &header::COOKIE),
        cookies: cookies(&parts.headers),
    };
    viewer.event("viewer-request", request, None::<()>)
}

/// The viewer-response event, as JSON; `request` is the request as viewer-request left it.
pub(in crate::sandbox::edge) fn response_event(
    viewer: &Viewer<'_>,
    request: &Value,
    status: StatusCode,
    sent: &HeaderMap,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        status_code: u16,
        status_description: &'static str,
        headers: Fields,
        cookies: Fields,
    }
    let response = Response {
        status_code: status.as_u16(),
        status_description: status.canonical_reason().unwrap_or_default(),
        headers: headers(sent, &header::SET_COOKIE),
        cookies: Fields::default(),
    };
    viewer.event("viewer-response", request, Some(response))
}

/// Fields by name, in the order in which they came; what comes more than once is in `multiValue` too.
#[derive(Default)]
struct Fields {
    order: Vec<(String, Vec<String>)>,
    places: HashMap<String, usize>,
}

impl<'a> FromIterator<(&'a str, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, String)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            match fields.places.get(name) {
                Some(place) => fields.order[*place].1.push(value),
                None => {
                    fields.places.insert(name.to_owned(), fields.order.len());
                    fields.order.push((name.to_owned(), vec![value]));
                }
            }
        }
        fields
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.order.iter().map(|(name, values)| {
            let all: Vec<Value> = values.iter().map(|value| json!({ "value": value })).collect();
            let field = match all.as_slice() {
                [one] => one.clone(),
                _ => json!({ "value": values[0], "multiValue": all }),
            };
            (name, field)
        }))
    }
}

/// The headers that functions see, without the one whose content is told as cookies.
fn headers(headers: &HeaderMap, cookies: &HeaderName) -> Fields {
    let shown = headers
        .iter()
        .filter(|(name, _)| *name != cookies && !is_disallowed(name));
    shown
        .map(|(name, value)| (name.as_str(), text(value.as_bytes())))
        .collect()
}

/// Header bytes are ISO-8859-1, if they aren't UTF-8.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Query parameters, as they were sent: nothing is decoded.
fn querystring(query: &str) -> Fields {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name, value.to_owned())
        })
        .collect()
}

fn cookies(headers: &HeaderMap) -> Fields {
    let lines: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(|line| text(line.as_bytes()))
        .collect();
    let pairs = lines.iter().flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const VIEWER: Viewer<'_> = Viewer {
        ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        request_id: "example-id==",
        distribution_id: "E2EXAMPLE",
    };

    #[test]
    fn a_request_is_told_as_cloudfront_tells_it() {
        let request = Request::get("http://x/a%20b/?ID=42&NoValue&mv=1&mv=2,3&&mv=4&enc=%7E+x")
            .header("Host", "www.example.com")
            .header("Accept", "text/html")
            .header("Accept", "text/plain")
            .header("Cookie", "a=1; b=x=y; ; flag; =odd; a=2")
            .header("Cookie", "c=3")
            .header("Connection", "keep-alive")
            .header("X-Amz-Cf-Id", "forged")
            .header("X-Edge-Thing", "forged")
            .header("X-Latin", axum::http::HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .body(())
            .unwrap();
        let event = request_event(&VIEWER, &request.into_parts().0);
        assert!(event.find("NoValue") < event.find("enc"), "parameters keep their order");
        assert_eq!(
            serde_json::from_str::<Value>(&event).unwrap(),
            json!({
                "version": "1.0",
                "context": {
                    "distributionDomainName": "e2example.cloudfront.net",
                    "distributionId": "E2EXAMPLE",
                    "eventType": "viewer-request",
                    "requestId": "example-id==",
                },
                "viewer": { "ip": "192.0.2.7" },
                "request": {
                    "method": "GET",
                    "uri": "/a%20b/",
                    "querystring": {
                        "ID": { "value": "42" },
                        "NoValue": { "value": "" },
                        "mv": { "value": "1", "multiValue": [{ "value": "1" }, { "value": "2,3" }, { "value": "4" }] },
                        "enc": { "value": "%7E+x" },
                    },
                    "headers": {
                        "host": { "value": "www.example.com" },
                        "accept": {
                            "value": "text/html",
                            "multiValue": [{ "value": "text/html" }, { "value": "text/plain" }],
                        },
                        "x-latin": { "value": "café" },
                    },
                    "cookies": {
                        "a": { "value": "1", "multiValue": [{ "value": "1" }, { "value": "2" }] },
                        "b": { "value": "x=y" },
                        "c": { "value": "3" },
                    },
                },
            })
        );
    }

    #[test]
    fn an_answer_is_told_without_its_body() {
        let mut sent = HeaderMap::new();
        sent.insert("etag", "\"1\"".parse().unwrap());
        sent.insert("x-cache", "Hit from cloudfront".parse().unwrap());
        let request = json!({ "uri": "/releases/1/x" });
        let event = response_event(&VIEWER, &request, StatusCode::NOT_MODIFIED, &sent);
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["context"]["eventType"], "viewer-response");
        assert_eq!(event["request"], request);
        assert_eq!(
            event["response"],
            json!({
                "statusCode": 304,
                "statusDescription": "Not Modified",
                "headers": { "etag": { "value": "\"1\"" } },
                "cookies": {},
            })
        );
    }
}
