//! From the double's requests to those of s3s and back.
//!
//! s3s could verify signatures, but it would need the secrets: the double reads signatures and verifies
//! none, so the `Authorization` header is taken away before s3s sees the request. What S3 would check with
//! the signature and can be checked without a secret, the hash of the payload, is checked here.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, Uri};
use futures::FutureExt;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::path::S3Path;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Result};
use sha2::{Digest, Sha256};
use tracing::subscriber::NoSubscriber;

use super::super::error::{Answer, AwsError};
use super::super::world::lock;
use super::super::xml::Node;
use super::chunked;
use super::operations::Operations;

const PAYLOAD_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// What a request asks for, in S3's words.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// `ListObjectsV2`, for instance.
    pub operation: String,
    /// `bucket` or `bucket/key`.
    pub resource: Option<String>,
}

/// The request without its signature, its payload verified and out of its chunks.
pub(super) fn as_s3s_takes_it(parts: &Parts, body: &Bytes) -> Result<Request<Bytes>, AwsError> {
    let mut headers = parts.headers.clone();
    headers.remove(AUTHORIZATION);
    if parts.method == Method::PUT && !body.is_empty() && !headers.contains_key(CONTENT_LENGTH) {
        let message = "You must provide the Content-Length HTTP header.";
        return Err(AwsError::new(411, "MissingContentLength", message));
    }
    let hash = headers.get(PAYLOAD_HASH).and_then(|hash| hash.to_str().ok());
    let body = match hash {
        None => {
            let message = "Missing required header for this request: x-amz-content-sha256";
            return Err(AwsError::new(400, "InvalidRequest", message));
        }
        Some("UNSIGNED-PAYLOAD") => body.clone(),
        Some(streaming) if streaming.starts_with("STREAMING-") => unchunk(&mut headers, body)?,
        Some(hash) if hash == hex::encode(Sha256::digest(body)) => body.clone(),
        Some(_) => {
            let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return Err(AwsError::new(400, "XAmzContentSHA256Mismatch", message));
        }
    };
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = path_as_s3_reads_it(&parts.uri);
    *request.headers_mut() = headers;
    Ok(request)
}

/// S3 takes a bare `+` in a path for a space, and only `%2B` for a plus: the error it answers
/// `GET /v0.15.1+xxx/xxx` with names the key `v0.15.1 xxx/xxx` (seen in servo/rust-url issue 882). s3s
/// leaves it a plus, as RFC 3986 does.
fn path_as_s3_reads_it(uri: &Uri) -> Uri {
    let path = uri.path().replace('+', "%20");
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    // Only plus signs were escaped, so what was a URI still is one.
    target.parse().unwrap_or_else(|_| uri.clone())
}

/// Takes the encoding `aws-chunked` off body and headers; checksums from its trailers become headers.
fn unchunk(headers: &mut HeaderMap, body: &[u8]) -> Result<Bytes, AwsError> {
    let malformed = || AwsError::new(400, "InvalidRequest", "The aws-chunked body is not well-formed.");
    let decoded = chunked::decode(body).ok_or_else(malformed)?;
    let length = headers.remove(DECODED_LENGTH).ok_or_else(malformed)?;
    if length.to_str().ok() != Some(decoded.body.len().to_string().as_str()) {
        let message = "You did not provide the number of bytes specified by the x-amz-decoded-content-length header.";
        return Err(AwsError::new(400, "IncompleteBody", message));
    }
    headers.insert(CONTENT_LENGTH, length);
    headers.remove("x-amz-trailer");
    let encodings = headers.remove(CONTENT_ENCODING);
    let encodings = encodings.as_ref().and_then(|it| it.to_str().ok()).unwrap_or_default();
    let others: Vec<&str> = encodings
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && *encoding != "aws-chunked")
        .collect();
    if let Ok(others) = HeaderValue::from_str(&others.join(","))
        && !others.is_empty()
    {
        headers.insert(CONTENT_ENCODING, others);
    }
    for (name, value) in decoded.trailers {
        if name.starts_with("x-amz-checksum-")
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        {
            headers.insert(name, value);
        }
    }
    Ok(decoded.body)
}

/// Which operation the request asks for, on what. Nothing is done.
///
/// # Errors
/// In S3's words, when the request names no operation or no possible bucket.
pub(super) fn ask(request: &Request<Bytes>) -> Result<Asked, AwsError> {
    let asked = Arc::new(Mutex::new(None));
    let mut builder = S3ServiceBuilder::new(Nothing);
    // Without a provider of secrets s3s makes no access check; this one is never asked for a secret.
    builder.set_auth(SimpleAuth::new());
    builder.set_access(StopThere(Arc::clone(&asked)));
    let (mut parts, _) = request.clone().into_parts();
    // Some operations would read the body before they are known.
    parts.headers.remove(CONTENT_LENGTH);
    let answer = call(&builder.build(), Request::from_parts(parts, Bytes::new()));
    let asked = lock(&asked).take();
    asked.ok_or_else(|| {
        let (code, message) = error_in(answer.body());
        AwsError::new(answer.status().as_u16(), &code, message)
    })
}

/// Does what the request asks for.
pub(super) fn run(operations: Operations, request: Request<Bytes>) -> Result<Answer, AwsError> {
    let (mut parts, mut body) = call(&S3ServiceBuilder::new(operations).build(), request).into_parts();
    if parts.status == StatusCode::NOT_MODIFIED {
        // To s3s it is an error with a document; RFC 9110 gives it no content.
        parts.headers.remove(CONTENT_TYPE);
        body = Bytes::new();
    }
    let refused = (parts.status.is_client_error() || parts.status.is_server_error() || is_moved(parts.status))
        .then(|| error_in(&body).0);
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        refused,
    })
}

/// 304 is an answer; 301 sends the client away.
fn is_moved(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

/// s3s is asynchronous, because a store can be. Ours is in memory, and so are the bodies: nothing waits. Its
/// logs are left out: what it takes for an error is often what was asked for.
fn call(service: &S3Service, request: Request<Bytes>) -> Response<Bytes> {
    let request = request.map(s3s::Body::from);
    let answer = async {
        let (parts, body) = service.call(request).await.ok()?.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.ok()?;
        Some(Response::from_parts(parts, body))
    };
    let answer = tracing::subscriber::with_default(NoSubscriber::new(), || answer.now_or_never());
    answer.flatten().unwrap_or_else(|| {
        let mut broken = Response::new(Bytes::new());
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

/// Code and message of an error's document.
fn error_in(body: &[u8]) -> (String, String) {
    let root = std::str::from_utf8(body).ok().and_then(Node::parse);
    let text = |name: &str| {
        let text = root.as_ref().and_then(|root| root.child_text(name));
        text.map(str::to_owned)
    };
    (
        text("Code").unwrap_or_else(|| "InternalError".to_owned()),
        text("Message").unwrap_or_default(),
    )
}

/// Notes what is asked for, and lets nothing happen.
struct StopThere(Arc<Mutex<Option<Asked>>>);

#[async_trait::async_trait]
impl S3Access for StopThere {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let resource = match context.s3_path() {
            S3Path::Root => None,
            S3Path::Bucket { bucket } => Some(bucket.to_string()),
            S3Path::Object { bucket, key } => Some(format!("{bucket}/{key}")),
        };
        *lock(&self.0) = Some(Asked {
            operation: context.s3_op().name().to_owned(),
            resource,
        });
        Err(S3Error::new(S3ErrorCode::AccessDenied))
    }
}

/// An S3 that can do nothing: nothing is ever asked of it.
struct Nothing;

impl S3 for Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:1");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const UNSIGNED: (&str, &str) = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD");

    fn asked(method: Method, uri: &str) -> Result<(String, Option<String>), String> {
        let request = as_s3s_takes_it(&parts(method, uri, &[UNSIGNED]), &Bytes::new()).unwrap();
        ask(&request)
            .map(|asked| (asked.operation, asked.resource))
            .map_err(|error| error.code)
    }

    #[test]
    fn s3s_says_which_operation_it_is() {
        let told = |operation: &str, resource: &str| Ok((operation.to_owned(), Some(resource.to_owned())));
        assert_eq!(asked(Method::PUT, "/example"), told("CreateBucket", "example"));
        assert_eq!(asked(Method::HEAD, "/example"), told("HeadBucket", "example"));
        assert_eq!(
            asked(Method::GET, "/example?list-type=2&prefix=a%2Bb"),
            told("ListObjectsV2", "example")
        );
        assert_eq!(
            asked(Method::PUT, "/example/a/b.js"),
            told("PutObject", "example/a/b.js")
        );
        assert_eq!(asked(Method::HEAD, "/example/a"), told("HeadObject", "example/a"));
        assert_eq!(asked(Method::DELETE, "/example/a"), told("DeleteObject", "example/a"));
        assert_eq!(asked(Method::GET, "/B!/a"), Err("InvalidBucketName".to_owned()));
    }

    #[test]
    fn a_bare_plus_in_a_path_is_a_space_and_an_escaped_one_a_plus() {
        let key = |uri: &str| asked(Method::GET, uri).unwrap().1.unwrap();
        assert_eq!(key("/example/releases/1.0.0%2B1/x"), "example/releases/1.0.0+1/x");
        assert_eq!(key("/example/releases/1.0.0+1/x"), "example/releases/1.0.0 1/x");
        assert_eq!(key("/example/%C3%A9%20%25?versionId=null"), "example/é %");
    }

    #[test]
    fn a_payload_must_be_what_its_hash_says() {
        let body = Bytes::from_static(b"hello");
        let length = ("content-length", "5");
        let good = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let take = |headers: &[(&str, &str)]| {
            as_s3s_takes_it(&parts(Method::PUT, "/example/a", headers), &body)
                .map(|request| request.into_body())
                .map_err(|error| error.code)
        };
        assert_eq!(take(&[length, ("x-amz-content-sha256", good)]), Ok(body.clone()));
        let wrong = good.replace('2', "3");
        assert_eq!(
            take(&[length, ("x-amz-content-sha256", &wrong)]),
            Err("XAmzContentSHA256Mismatch".to_owned())
        );
        assert_eq!(take(&[length]), Err("InvalidRequest".to_owned()));
        assert_eq!(take(&[UNSIGNED]), Err("MissingContentLength".to_owned()));
    }

    #[test]
    fn a_chunked_body_loses_its_chunks_and_keeps_its_other_encoding() {
        let body = Bytes::from_static(b"2\r\nhi\r\n0\r\nx-amz-checksum-crc32:2Jpv1A==\r\n\r\n");
        let headers = [
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "2"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("content-encoding", "aws-chunked,gzip"),
            ("content-length", "44"),
        ];
        let request = as_s3s_takes_it(&parts(Method::PUT, "/example/a", &headers), &body).unwrap();
        assert_eq!(&request.body()[..], b"hi");
        assert_eq!(request.headers()["content-encoding"], "gzip");
        assert_eq!(request.headers()["content-length"], "2");
        assert_eq!(request.headers()["x-amz-checksum-crc32"], "2Jpv1A==");
        let short = [
            headers[0],
            ("x-amz-decoded-content-length", "3"),
            headers[2],
            headers[4],
        ];
        let error = as_s3s_takes_it(&parts(Method::PUT, "/example/a", &short), &body).unwrap_err();
        assert_eq!(error.code, "IncompleteBody");
    }
}
