//! Errors as AWS words them, and the shapes in which its protocols put them on the wire.
//!
//! An error here is always an answer that a real AWS endpoint could give: never HTML, never a body
//! that an SDK would mistake for a network fault.

use axum::body::{Body, Bytes};
use axum::http::header::{HeaderMap, HeaderName};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use thiserror::Error;

use super::xml::Xml;
use super::{cbor, cloudwatch};

/// The XML namespace of CloudFront's API version 2020-05-31.
pub(super) const CLOUDFRONT_NAMESPACE: &str = "http://cloudfront.amazonaws.com/doc/2020-05-31/";
/// The XML namespace of the STS API version 2011-06-15.
pub(super) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// An error answer: HTTP status, AWS error code, and the message if the service sends one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{code} ({status}): {}", message.as_deref().unwrap_or("no message"))]
pub struct AwsError {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The code that SDKs match on, `ParameterNotFound` for instance.
    pub code: String,
    /// The human text; SSM leaves it out for `ParameterNotFound`.
    pub message: Option<String>,
}

impl AwsError {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: Some(message.into()),
        }
    }

    pub(super) fn without_message(status: u16, code: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: None,
        }
    }

    /// The word of SSM and KeyValueStore for a request that breaks a constraint (Systems Manager API Reference,
    /// *Common Errors*; CloudFront API Reference, *UpdateKeys*).
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }
}

/// The wire format of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// awsJson1.1: SSM.
    Json,
    /// awsJson1.0 of a service that spoke awsQuery first: CloudWatch. An error's old code is in a header.
    QueryJson,
    /// Smithy's RPC v2 with CBOR, of such a service too: CloudWatch.
    Cbor,
    /// restXml: CloudFront.
    RestXml,
    /// restJson1: KeyValueStore.
    RestJson,
    /// restXml with S3's own errors: no wrapper, no namespace, and no body after a HEAD.
    S3,
    /// awsQuery: STS.
    Query,
}

/// A successful answer before it is put on the wire.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The AWS code of a refusal that is put on the wire already, as s3s does.
    pub refused: Option<String>,
}

impl Answer {
    pub(super) fn ok(body: String) -> Self {
        Self::bytes(body.into_bytes())
    }

    pub(super) fn bytes(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            headers: HeaderMap::new(),
            body: body.into(),
            refused: None,
        }
    }

    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::ok(body.to_string())
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// With one header more; a value that can't be one is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl Protocol {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::QueryJson => "application/x-amz-json-1.0",
            Self::Cbor => "application/cbor",
            Self::RestJson => "application/json",
            Self::RestXml | Self::Query => "text/xml",
            Self::S3 => "application/xml",
        }
    }

    fn request_id(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::S3 => "x-amz-request-id",
            _ => "x-amzn-requestid",
        })
    }

    /// Puts an answer or an error on the wire in this protocol's shape.
    pub(super) fn render(self, result: Result<Answer, AwsError>, request_id: &str) -> Response<Body> {
        let answer = result.unwrap_or_else(|error| self.error_answer(&error, request_id));
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        // What S3 answers with is often no document; such an answer brings its own type, or has none.
        if self != Self::S3 {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        }
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(self.request_id(), id);
        }
        if self == Self::Cbor {
            // Every answer says so (Smithy, *Smithy RPC v2 CBOR protocol*).
            headers.insert(SMITHY_PROTOCOL, HeaderValue::from_static("rpc-v2-cbor"));
        }
        headers.extend(answer.headers);
        response
    }

    fn error_answer(self, error: &AwsError, request_id: &str) -> Answer {
        let body = match self {
            Self::RestJson => json!({ "Message": error.message }).to_string(),
            Self::Json => match &error.message {
                Some(message) => json!({ "__type": error.code, "message": message }).to_string(),
                None => json!({ "__type": error.code }).to_string(),
            },
            Self::QueryJson | Self::Cbor => return self.query_compatible_error(error),
            Self::RestXml => error_xml(CLOUDFRONT_NAMESPACE, error, request_id),
            Self::Query => error_xml(STS_NAMESPACE, error, request_id),
            Self::S3 => Xml::bare_document("Error", |xml| {
                xml.leaf("Code", &error.code);
                xml.leaf("Message", error.message.as_deref().unwrap_or_default());
                xml.leaf("RequestId", request_id);
            }),
        };
        let answer = Answer::ok(body)
            .with_status(error.status)
            .with_header(header::CONTENT_TYPE, self.content_type());
        match self {
            Self::RestJson => answer.with_header(HeaderName::from_static("x-amzn-errortype"), &error.code),
            _ => answer,
        }
    }

    /// The error named by its shape, and beside it the code that awsQuery has for it (Smithy, *awsQueryCompatible
    /// trait*). AWS adds that for clients that ask (`x-amzn-query-mode`), which every SDK of such a service does.
    fn query_compatible_error(self, error: &AwsError) -> Answer {
        let body = json!({ "__type": cloudwatch::error_shape(&error.code), "message": error.message });
        let answer = match self {
            Self::Cbor => Answer::bytes(cbor::write(&body)),
            _ => Answer::json(&body),
        };
        answer
            .with_status(error.status)
            .with_header(QUERY_ERROR, &format!("{};{}", error.code, fault(error)))
    }
}

/// Who is to blame.
fn fault(error: &AwsError) -> &'static str {
    if error.status >= 500 { "Receiver" } else { "Sender" }
}

fn error_xml(namespace: &str, error: &AwsError, request_id: &str) -> String {
    Xml::document("ErrorResponse", namespace, |xml| {
        xml.element("Error", |xml| {
            xml.leaf("Type", fault(error));
            xml.leaf("Code", &error.code);
            xml.leaf("Message", error.message.as_deref().unwrap_or_default());
        });
        xml.leaf("RequestId", request_id);
    })
}
