//! Reading an object: which one, whether the conditions let it through, and which part of it.

use std::ops::Range;
use std::time::SystemTime;

use axum::http::HeaderMap;
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3ErrorCode, S3Result};

use super::operations::Operations;
use super::store::Object;

/// What GetObject and HeadObject have in common.
pub(super) struct Asked<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub version: Option<&'a str>,
    pub expected_owner: Option<&'a String>,
    pub range: Option<&'a s3s::dto::Range>,
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    pub if_modified_since: Option<&'a Timestamp>,
    pub if_unmodified_since: Option<&'a Timestamp>,
}

/// Both inputs have these members, but no trait that says so.
macro_rules! asked {
    ($input:expr) => {
        $crate::sandbox::double::s3::reading::Asked {
            bucket: &$input.bucket,
            key: &$input.key,
            version: $input.version_id.as_deref(),
            expected_owner: $input.expected_bucket_owner.as_ref(),
            range: $input.range.as_ref(),
            if_match: $input.if_match.as_ref(),
            if_none_match: $input.if_none_match.as_ref(),
            if_modified_since: $input.if_modified_since.as_ref(),
            if_unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}
pub(super) use asked;

impl Operations {
    /// An object that the conditions let through, and the part of it that is asked for.
    pub(super) fn find(&self, asked: &Asked<'_>) -> S3Result<(Object, Option<Range<usize>>)> {
        self.look(asked.bucket, asked.expected_owner, |bucket| {
            let missing = || self.error(S3ErrorCode::NoSuchKey, "The specified key does not exist.");
            let object = bucket.objects.get(asked.key).ok_or_else(missing)?;
            if asked.version.is_some_and(|version| version != "null") {
                return Err(self.error(S3ErrorCode::InvalidArgument, "Invalid version id specified"));
            }
            self.meets(asked, object)?;
            let size = object.body.len();
            let Some(range) = asked.range else {
                return Ok((object.clone(), None));
            };
            let unsatisfiable = |_| self.error(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
            let range = range
                .check(u64::try_from(size).unwrap_or(u64::MAX))
                .map_err(unsatisfiable)?;
            let at = |byte: u64| usize::try_from(byte).map_or(size, |byte| byte.min(size));
            Ok((object.clone(), Some(at(range.start)..at(range.end))))
        })
    }

    /// The conditions in the order of RFC 9110, section 13.2.2.
    fn meets(&self, asked: &Asked<'_>, object: &Object) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == object.etag,
        };
        let changed_after = |time: &Timestamp| date(object) > *time;
        let failed = || {
            let message = "At least one of the pre-conditions you specified did not hold";
            self.error(S3ErrorCode::PreconditionFailed, message)
        };
        match (asked.if_match, asked.if_unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(failed()),
            (None, Some(time)) if changed_after(time) => return Err(failed()),
            _ => {}
        }
        let is_known = match (asked.if_none_match, asked.if_modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(time)) => !changed_after(time),
            (None, None) => false,
        };
        if !is_known {
            return Ok(());
        }
        let mut error = self.error(S3ErrorCode::NotModified, "Not Modified");
        let mut headers = HeaderMap::new();
        if let Ok(etag) = format!("\"{}\"", object.etag).parse() {
            headers.insert("etag", etag);
        }
        if let Some(Ok(cache)) = object.headers.cache_control.as_ref().map(|text| text.parse()) {
            headers.insert("cache-control", cache);
        }
        error.set_headers(headers);
        Err(error)
    }
}

/// When the object was put, as s3s writes it.
pub(super) fn date(object: &Object) -> Timestamp {
    Timestamp::from(SystemTime::from(object.last_modified))
}
