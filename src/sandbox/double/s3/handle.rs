//! Objects as tests and the local edge see and change them, without a call.

use axum::body::Bytes;
use chrono::{DateTime, Utc};

use super::super::AwsDouble;
use super::store::{Bucket, Headers, Object};

/// The region of a bucket that is made by [`AwsDouble::put_object`].
const REGION: &str = "us-east-1";

/// An object as S3 would answer for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub body: Bytes,
    /// Its type; `binary/octet-stream` when it was put without one, as S3 says then.
    pub content_type: Option<String>,
    /// The hexadecimal MD5 of the body, without quotes.
    pub etag: String,
    /// When it was put, by the double's clock.
    pub last_modified: DateTime<Utc>,
    /// Its `Cache-Control`, if it was put with one.
    pub cache_control: Option<String>,
    /// Its `Content-Encoding`, if it was put with one.
    pub content_encoding: Option<String>,
}

impl AwsDouble {
    /// Makes a bucket of the default account in a region; nothing happens if it is there.
    pub fn add_bucket(&self, region: &str, bucket: &str) {
        self.add_bucket_in(self.account_id(), region, bucket);
    }

    /// Makes a bucket of an account in a region; nothing happens if it is there, whosever it is.
    pub fn add_bucket_in(&self, account: &str, region: &str, bucket: &str) {
        let now = self.clock().now();
        self.world().change(|state| {
            let buckets = &mut state.buckets;
            buckets
                .entry(bucket.to_owned())
                .or_insert_with(|| Bucket::new(account, region, now));
        });
    }

    /// Puts an object. A bucket that is not there is made in `us-east-1`, for the default account.
    pub fn put_object(&self, bucket: &str, key: &str, content_type: Option<&str>, body: impl Into<Vec<u8>>) {
        let now = self.clock().now();
        let headers = Headers {
            content_type: content_type.map(str::to_owned),
            ..Headers::default()
        };
        let object = Object::new(body.into().into(), headers, now);
        self.world().change(|state| {
            let bucket = state.buckets.entry(bucket.to_owned());
            let bucket = bucket.or_insert_with(|| Bucket::new(self.account_id(), REGION, now));
            bucket.objects.insert(key.to_owned(), object);
        });
    }

    /// An object, whosever it is.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        self.world().read(|state| {
            let object = state.buckets.get(bucket)?.objects.get(key)?;
            Some(StoredObject {
                body: object.body.clone(),
                content_type: Some(object.content_type().to_owned()),
                etag: object.etag.clone(),
                last_modified: object.last_modified,
                cache_control: object.headers.cache_control.clone(),
                content_encoding: object.headers.content_encoding.clone(),
            })
        })
    }

    /// Deletes an object; `false` when there is none.
    pub fn delete_object(&self, bucket: &str, key: &str) -> bool {
        self.world().change(|state| {
            let bucket = state.buckets.get_mut(bucket);
            bucket.is_some_and(|bucket| bucket.objects.remove(key).is_some())
        })
    }

    /// The keys in a bucket that begin with a prefix, in S3's order.
    pub fn object_keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        self.world().read(|state| {
            let objects = state.buckets.get(bucket).into_iter().flat_map(|it| it.objects.keys());
            objects.filter(|key| key.starts_with(prefix)).cloned().collect()
        })
    }

    /// How many entries a page of a listing has at most: 1 to 1000, so that paging can be seen with few
    /// objects. S3 may give fewer than it is asked for.
    pub fn set_s3_page_size(&self, entries: usize) {
        self.world().set_s3_page_size(entries.clamp(1, super::MAX_PAGE));
    }
}
