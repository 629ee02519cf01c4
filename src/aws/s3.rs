//! S3, as far as a release's files need it: what lies under a prefix, and what one object is.
//!
//! Nothing is written here, and no object is read.

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::{
    Client,
    config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation},
    error::SdkError,
    operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output},
    types::EncodingType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::service_config::ServiceConfigKey;
use percent_encoding::percent_decode_str;

use super::error::{AwsError, Class};

/// An object as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    /// In bytes.
    pub size: i64,
    /// Without its quotes.
    pub etag: String,
}

/// What lies under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Everything, in S3's order.
    Whole(Vec<Object>),
    /// There is more than the limit; the rest was not asked for.
    TooMany,
}

/// An object as HEAD tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub content_type: Option<String>,
}

/// S3 of one account and region. A bucket that lies in another region is followed there.
#[derive(Debug, Clone)]
pub struct S3 {
    config: SdkConfig,
    client: Client,
    region: String,
}

impl S3 {
    pub fn new(config: &SdkConfig, region: &str) -> Self {
        let settings = Builder::from(config)
            // An endpoint of one's own is an emulator or a gateway: it has no host for each bucket.
            .force_path_style(has_own_endpoint(config))
            // Checksums that only some S3s know; neither call of ours has a body.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self {
            config: config.clone(),
            client: Client::from_conf(settings),
            region: region.to_owned(),
        }
    }

    fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned()));
        Self::new(&config.build(), region)
    }

    /// Every object whose key begins with `prefix`, at most `limit`. One call a page of 1000.
    ///
    /// # Errors
    /// Class [`Class::NotFound`] when there is no such bucket; needs `s3:ListBucket`.
    pub async fn list(&self, bucket: &str, prefix: &str, limit: usize) -> Result<Listing, AwsError> {
        let mut here = self.clone();
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = match here.page(bucket, prefix, token.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    // Followed once: a second answer of that kind is an error to be told.
                    let elsewhere = region_of(&error, &here.region).filter(|_| here.region == self.region);
                    let Some(region) = elsewhere else {
                        return Err(AwsError::new("s3", "ListObjectsV2", here.bucket(bucket), &error));
                    };
                    here = self.in_region(&region);
                    continue;
                }
            };
            let unreadable = |why: String| here.unreadable("ListObjectsV2", here.bucket(bucket), why);
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let (Some(key), Some(etag)) = (object.key(), object.e_tag()) else {
                    return Err(unreadable("its answer has an object without key or ETag".to_owned()));
                };
                let decoded = if is_encoded {
                    form_decoded(key)
                } else {
                    Some(key.to_owned())
                };
                objects.push(Object {
                    key: decoded
                        .ok_or_else(|| unreadable(format!("its answer has the key {key:?}, which is no text")))?,
                    size: object.size().unwrap_or_default(),
                    etag: etag.trim_matches('"').to_owned(),
                });
            }
            if objects.len() > limit {
                return Ok(Listing::TooMany);
            }
            if page.is_truncated() != Some(true) {
                return Ok(Listing::Whole(objects));
            }
            let next = page.next_continuation_token;
            if next.is_none() || next == token {
                return Err(unreadable(
                    "its answer says that there is more, but not where".to_owned(),
                ));
            }
            token = next;
        }
    }

    async fn page(
        &self,
        bucket: &str,
        prefix: &str,
        token: Option<&str>,
    ) -> Result<ListObjectsV2Output, SdkError<ListObjectsV2Error, HttpResponse>> {
        self.client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            // XML can't hold every character that a key can.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.map(str::to_owned))
            .send()
            .await
    }

    /// Looks at one object.
    ///
    /// # Errors
    /// Class [`Class::NotFound`] when it is not there; needs `s3:GetObject`.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Head, AwsError> {
        let mut answer = self.client.head_object().bucket(bucket).key(key).send().await;
        let mut here = self.clone();
        if let Err(error) = &answer
            && let Some(region) = region_of(error, &self.region)
        {
            here = self.in_region(&region);
            answer = here.client.head_object().bucket(bucket).key(key).send().await;
        }
        match answer {
            Ok(output) => Ok(Head {
                content_type: output.content_type,
            }),
            Err(error) => {
                let resource = format!("object s3://{bucket}/{key} in {}", here.region);
                Err(AwsError::new("s3", "HeadObject", resource, &error))
            }
        }
    }

    fn bucket(&self, bucket: &str) -> String {
        format!("bucket {bucket} in {}", self.region)
    }

    fn unreadable(&self, operation: &'static str, resource: String, why: String) -> AwsError {
        AwsError {
            service: "s3",
            operation,
            resource,
            class: Class::Ambiguous,
            code: None,
            message: why,
        }
    }
}

/// True when an endpoint is set, for all services or for S3 (`AWS_ENDPOINT_URL_S3`, or `endpoint_url` in a
/// profile's `services`).
fn has_own_endpoint(config: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .expect("all three parts are given");
    let for_s3 = config.service_config().and_then(|services| services.load_config(key));
    config.endpoint_url().is_some() || for_s3.is_some()
}

/// In which region the bucket is, when an answer says that it is not where it was asked for. S3 names it in a
/// header, or in the body of `AuthorizationHeaderMalformed` (User Guide, "Making requests using the REST API:
/// request redirection"; API Reference, "Error responses").
fn region_of<E>(error: &SdkError<E, HttpResponse>, asked: &str) -> Option<String> {
    let answer = error.raw_response()?;
    if !matches!(answer.status().as_u16(), 301 | 307 | 400) {
        return None;
    }
    let region = match answer.headers().get("x-amz-bucket-region") {
        Some(region) => region,
        None => {
            let body = std::str::from_utf8(answer.body().bytes()?).ok()?;
            body.split_once("<Region>")?.1.split_once("</Region>")?.0
        }
    };
    // It becomes part of a host's name.
    let is_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_good = (1..=40).contains(&region.len()) && region.chars().all(is_region);
    (is_good && region != asked).then(|| region.to_owned())
}

/// Undoes `encoding-type=url`, which encodes as a form does: a space is `+`. `None`: it is no UTF-8.
fn form_decoded(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::operation::head_object::HeadObjectError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    #[test]
    fn keys_come_out_of_their_encoding() {
        assert_eq!(
            form_decoded("releases/1.0.0%2B1/a+b.js").as_deref(),
            Some("releases/1.0.0+1/a b.js")
        );
        assert_eq!(form_decoded("%C3%A9%00").as_deref(), Some("é\0"));
        assert_eq!(form_decoded("%FF"), None);
    }

    fn answer(status: u16, header: Option<&str>, body: &'static str) -> SdkError<HeadObjectError, HttpResponse> {
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        if let Some(region) = header {
            response.headers_mut().insert("x-amz-bucket-region", region.to_owned());
        }
        SdkError::service_error(HeadObjectError::generic(ErrorMetadata::builder().build()), response)
    }

    #[test]
    fn the_right_region_is_read_from_header_and_body() {
        let region = |status, header, body| region_of(&answer(status, header, body), "us-east-1");
        assert_eq!(region(301, Some("eu-west-1"), "").as_deref(), Some("eu-west-1"));
        let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>";
        assert_eq!(region(400, None, malformed).as_deref(), Some("eu-central-1"));
        assert_eq!(region(301, None, "<Error><Code>PermanentRedirect</Code></Error>"), None);
        assert_eq!(region(301, Some("us-east-1"), ""), None, "that is where it was asked");
        assert_eq!(region(403, Some("eu-west-1"), ""), None, "a refusal is none");
        assert_eq!(
            region(301, Some("example.com/"), ""),
            None,
            "no host is taken from an answer"
        );
    }

    #[test]
    fn paths_are_used_only_with_an_endpoint_of_ones_own() {
        assert!(!has_own_endpoint(&SdkConfig::builder().build()));
        assert!(has_own_endpoint(
            &SdkConfig::builder().endpoint_url("http://127.0.0.1:1").build()
        ));
    }
}
