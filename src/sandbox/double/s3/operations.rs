//! What the double's S3 does: buckets of an account in a region, objects put, read, listed and deleted.
//!
//! As AWS does it: a bucket's name belongs to one account, other accounts are denied; a call signed for
//! another region than the bucket's is sent away with the right one; what is put can be read and listed at
//! once. Canned ACLs, tags, storage classes and encryption with keys of S3's own are taken and change
//! nothing here; what would change how an object is read is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::super::state::State;
use super::super::world::World;
use super::reading::{asked, date};
use super::store::{self, Bucket, Headers};

/// The region whose buckets need no location constraint (API Reference, *CreateBucket*).
const FIRST_REGION: &str = "us-east-1";

/// S3 as one caller meets it.
pub(super) struct Operations {
    pub world: Arc<World>,
    pub account: String,
    pub region: String,
    pub request_id: String,
}

impl Operations {
    pub(super) fn error(&self, code: S3ErrorCode, message: impl Into<String>) -> S3Error {
        let mut error = S3Error::with_message(code, message.into());
        error.set_request_id(self.request_id.as_str());
        error
    }

    /// Sees that the bucket is there, here, and the caller's.
    fn check(&self, bucket: Option<&Bucket>, expected_owner: Option<&String>) -> S3Result<()> {
        let missing = || self.error(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist");
        let bucket = bucket.ok_or_else(missing)?;
        if bucket.region != self.region {
            let mut error = self.error(
                S3ErrorCode::PermanentRedirect,
                "The bucket you are attempting to access must be addressed using the specified endpoint. Please send \
                 all future requests to this endpoint.",
            );
            let mut headers = HeaderMap::new();
            if let Ok(region) = bucket.region.parse() {
                headers.insert("x-amz-bucket-region", region);
            }
            error.set_headers(headers);
            return Err(error);
        }
        if bucket.owner != self.account || expected_owner.is_some_and(|owner| *owner != bucket.owner) {
            return Err(self.error(S3ErrorCode::AccessDenied, "Access Denied"));
        }
        Ok(())
    }

    pub(super) fn look<R>(
        &self,
        name: &str,
        expected_owner: Option<&String>,
        look: impl FnOnce(&Bucket) -> S3Result<R>,
    ) -> S3Result<R> {
        self.world.read(|state: &State| {
            let bucket = state.buckets.get(name);
            self.check(bucket, expected_owner)?;
            look(bucket.expect("it was just seen to be there"))
        })
    }

    fn change<R>(
        &self,
        name: &str,
        expected_owner: Option<&String>,
        change: impl FnOnce(&mut Bucket) -> S3Result<R>,
    ) -> S3Result<R> {
        self.world.change(|state| {
            self.check(state.buckets.get(name), expected_owner)?;
            change(state.buckets.get_mut(name).expect("it was just seen to be there"))
        })
    }

    /// Refuses a body that isn't what its checksums say.
    fn verify(&self, input: &PutObjectInput, body: &[u8]) -> S3Result<()> {
        let is_md5 = |text: &String| STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 16);
        if input.content_md5.as_ref().is_some_and(|text| !is_md5(text)) {
            let message = "The Content-MD5 you specified is not valid.";
            return Err(self.error(S3ErrorCode::InvalidDigest, message));
        }
        let mut hasher = ChecksumHasher {
            crc32: input.checksum_crc32.as_ref().map(|_| Crc32::new()),
            crc32c: input.checksum_crc32c.as_ref().map(|_| Crc32c::new()),
            sha1: input.checksum_sha1.as_ref().map(|_| Sha1::new()),
            sha256: input.checksum_sha256.as_ref().map(|_| Sha256::new()),
            crc64nvme: input.checksum_crc64nvme.as_ref().map(|_| Crc64Nvme::new()),
        };
        hasher.update(body);
        let actual = hasher.finalize();
        let md5 = input.content_md5.as_ref().map(|_| STANDARD.encode(Md5::checksum(body)));
        let pairs = [
            ("CRC32", &input.checksum_crc32, &actual.checksum_crc32),
            ("CRC32C", &input.checksum_crc32c, &actual.checksum_crc32c),
            ("SHA1", &input.checksum_sha1, &actual.checksum_sha1),
            ("SHA256", &input.checksum_sha256, &actual.checksum_sha256),
            ("CRC64NVME", &input.checksum_crc64nvme, &actual.checksum_crc64nvme),
            ("Content-MD5", &input.content_md5, &md5),
        ];
        match pairs.into_iter().find(|(_, said, actual)| said != actual) {
            Some((name, ..)) => {
                let message = format!("The {name} you specified did not match what we received.");
                Err(self.error(S3ErrorCode::BadDigest, message))
            }
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = request.input.bucket;
        let wanted = request.input.create_bucket_configuration;
        let wanted = wanted.and_then(|it| it.location_constraint);
        let wanted = wanted.as_ref().map_or(FIRST_REGION, |it| it.as_str());
        if wanted != self.region {
            let message = format!(
                "The {wanted} location constraint is incompatible for the region specific endpoint this request was \
                 sent to."
            );
            return Err(self.error(S3ErrorCode::IllegalLocationConstraintException, message));
        }
        let now = self.world.clock.now();
        self.world.change(|state| match state.buckets.get(&name) {
            None => {
                let bucket = Bucket::new(&self.account, &self.region, now);
                state.buckets.insert(name.clone(), bucket);
                Ok(())
            }
            Some(bucket) if bucket.owner != self.account => {
                let message = "The requested bucket name is not available. The bucket namespace is shared by all \
                               users of the system. Select a different name and try again.";
                Err(self.error(S3ErrorCode::BucketAlreadyExists, message))
            }
            // For the sake of old clients (API Reference, *CreateBucket*).
            Some(bucket) if bucket.region == FIRST_REGION && self.region == FIRST_REGION => Ok(()),
            Some(_) => {
                let message = "Your previous request to create the named bucket succeeded and you already own it.";
                Err(self.error(S3ErrorCode::BucketAlreadyOwnedByYou, message))
            }
        })?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{name}")),
        }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let input = request.input;
        self.look(&input.bucket, input.expected_bucket_owner.as_ref(), |bucket| {
            Ok(S3Response::new(HeadBucketOutput {
                bucket_region: Some(bucket.region.clone()),
                ..HeadBucketOutput::default()
            }))
        })
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut input = request.input;
        let unmodelled = [
            (
                "x-amz-server-side-encryption-customer-key",
                input.sse_customer_key.is_some(),
            ),
            (
                "x-amz-website-redirect-location",
                input.website_redirect_location.is_some(),
            ),
            ("x-amz-object-lock-mode", input.object_lock_mode.is_some()),
            ("x-amz-write-offset-bytes", input.write_offset_bytes.is_some()),
            ("Expires", input.expires.is_some()),
        ];
        if let Some((header, _)) = unmodelled.into_iter().find(|(_, is_given)| *is_given) {
            let message = format!("This double does not implement the header {header}.");
            return Err(self.error(S3ErrorCode::NotImplemented, message));
        }
        let body = match input.body.take() {
            Some(body) => {
                let incomplete = |_| self.error(S3ErrorCode::IncompleteBody, "The body could not be read");
                body.try_collect::<Vec<Bytes>>().await.map_err(incomplete)?.concat()
            }
            None => Vec::new(),
        };
        self.verify(&input, &body)?;
        let headers = Headers {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            metadata: BTreeMap::from_iter(input.metadata.into_iter().flatten()),
        };
        let object = store::Object::new(body.into(), headers, self.world.clock.now());
        let etag = object.etag.clone();
        let (if_match, if_none_match) = (input.if_match, input.if_none_match);
        self.change(&input.bucket, input.expected_bucket_owner.as_ref(), |bucket| {
            let there = bucket.objects.get(&input.key);
            let is = |condition: &ETagCondition| {
                let etag = condition.as_etag().map(ETag::value);
                there.is_some_and(|there| etag.is_none_or(|etag| etag == there.etag))
            };
            if if_match.as_ref().is_some_and(|condition| !is(condition)) || if_none_match.as_ref().is_some_and(is) {
                let message = "At least one of the pre-conditions you specified did not hold";
                return Err(self.error(S3ErrorCode::PreconditionFailed, message));
            }
            bucket.objects.insert(input.key.clone(), object);
            Ok(())
        })?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: input.checksum_crc32,
            checksum_crc32c: input.checksum_crc32c,
            checksum_crc64nvme: input.checksum_crc64nvme,
            checksum_sha1: input.checksum_sha1,
            checksum_sha256: input.checksum_sha256,
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (object, range) = self.find(&asked!(input))?;
        let size = object.body.len();
        let content_range = range
            .as_ref()
            .map(|range| format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1)));
        let body = object.body.slice(range.unwrap_or(0..size));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: object.headers.cache_control.clone(),
            content_disposition: object.headers.content_disposition.clone(),
            content_encoding: object.headers.content_encoding.clone(),
            content_language: object.headers.content_language.clone(),
            content_length: i64::try_from(body.len()).ok(),
            content_range,
            content_type: Some(object.content_type().to_owned()),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(date(&object)),
            metadata: metadata(&object),
            body: Some(StreamingBlob::from(Body::from(body))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let (object, range) = self.find(&asked!(input))?;
        let length = range.map_or(object.body.len(), |range| range.len());
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: object.headers.cache_control.clone(),
            content_disposition: object.headers.content_disposition.clone(),
            content_encoding: object.headers.content_encoding.clone(),
            content_language: object.headers.content_language.clone(),
            content_length: i64::try_from(length).ok(),
            content_type: Some(object.content_type().to_owned()),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(date(&object)),
            metadata: metadata(&object),
            ..HeadObjectOutput::default()
        }))
    }

    /// Deleting what is not there is done (API Reference, *DeleteObject*).
    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.change(&input.bucket, input.expected_bucket_owner.as_ref(), |bucket| {
            bucket.objects.remove(&input.key);
            Ok(())
        })?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let invalid = |message: &str| self.error(S3ErrorCode::InvalidArgument, message);
        let by_url = match input.encoding_type.as_ref().map(EncodingType::as_str) {
            None => false,
            Some(EncodingType::URL) => true,
            Some(_) => return Err(invalid("Invalid Encoding Method specified in Request")),
        };
        let asked = input.max_keys.map_or(Ok(super::MAX_PAGE), usize::try_from);
        let asked = asked.map_err(|_| invalid("Argument maxKeys must be an integer between 0 and 2147483647"))?;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => store::After::from_token(token)
                .ok_or_else(|| invalid("The continuation token provided is incorrect"))?,
            (None, Some(key)) => store::After::Key(key.clone()),
            (None, None) => store::After::Start,
        };
        let query = store::Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
            after,
            max: asked.min(self.world.s3_page_size()),
        };
        let text = |text: &str| if by_url { url_encoded(text) } else { text.to_owned() };
        self.look(&input.bucket, input.expected_bucket_owner.as_ref(), |bucket| {
            let page = bucket.page(&query);
            let contents: Vec<Object> = page
                .objects
                .iter()
                .map(|(key, object)| Object {
                    key: Some(text(key)),
                    e_tag: Some(ETag::Strong(object.etag.clone())),
                    last_modified: Some(date(object)),
                    size: i64::try_from(object.body.len()).ok(),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    ..Object::default()
                })
                .collect();
            let prefixes = page.prefixes.iter().map(|prefix| CommonPrefix {
                prefix: Some(text(prefix)),
            });
            Ok(S3Response::new(ListObjectsV2Output {
                name: Some(input.bucket.clone()),
                prefix: Some(text(&query.prefix)),
                delimiter: query.delimiter.as_deref().map(text),
                start_after: input.start_after.as_deref().map(text),
                encoding_type: input.encoding_type.clone(),
                max_keys: Some(i32::try_from(asked.min(super::MAX_PAGE)).unwrap_or(i32::MAX)),
                key_count: i32::try_from(contents.len() + page.prefixes.len()).ok(),
                continuation_token: input.continuation_token.clone(),
                is_truncated: Some(page.next.is_some()),
                next_continuation_token: page.next,
                contents: Some(contents),
                common_prefixes: Some(prefixes.collect()),
                ..ListObjectsV2Output::default()
            }))
        })
    }
}

fn metadata(object: &store::Object) -> Option<Metadata> {
    let metadata = &object.headers.metadata;
    (!metadata.is_empty()).then(|| {
        metadata
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    })
}

/// As S3 encodes keys in a listing with `encoding-type=url`: as a form does, but for slashes. A space is `+`,
/// a plus `%2B`: botocore decodes it with `unquote_plus`.
fn url_encoded(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/');
    utf8_percent_encode(text, KEPT).to_string().replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_s3_does_in_a_listing() {
        assert_eq!(
            url_encoded("releases/1.0.0+1/a b_é*.js"),
            "releases/1.0.0%2B1/a+b_%C3%A9*.js"
        );
        // The example of the API Reference, *ListObjectsV2*.
        assert_eq!(url_encoded("test_file(3).png"), "test_file%283%29.png");
    }
}
