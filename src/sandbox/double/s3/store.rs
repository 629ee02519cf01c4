//! Buckets and their objects: who owns them, where they lie, and how they are listed page by page.
//!
//! Pure data and rules. A body is not saved with the rest of the state: see `bodies`.

use std::collections::BTreeMap;
use std::ops::Bound;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SubsecRound, Utc};
use s3s::crypto::{Checksum, Md5, Sha256};
use serde::{Deserialize, Serialize};

/// What S3 says of an object that was put without a type (API Reference, *PutObject*: the default of
/// `Content-Type`). A browser downloads such a page instead of showing it.
pub(in crate::sandbox::double) const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// A bucket. Its name is unique among all accounts.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Bucket {
    pub owner: String,
    pub region: String,
    pub created_at: DateTime<Utc>,
    /// By key. Strings are ordered as S3 orders keys: by their UTF-8 bytes.
    pub objects: BTreeMap<String, Object>,
}

/// An object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Object {
    #[serde(skip)]
    pub body: Bytes,
    /// Of the body, in hexadecimal: under this name it is saved.
    pub sha256: String,
    /// The body's MD5 in hexadecimal, without quotes, as for an object that was put in one part and without
    /// a KMS key (API Reference, *Object*).
    pub etag: String,
    /// In whole seconds, as S3 keeps it.
    pub last_modified: DateTime<Utc>,
    pub headers: Headers,
}

/// The headers that are kept with an object and given back with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::sandbox::double) struct Headers {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    pub(in crate::sandbox::double) fn new(body: Bytes, headers: Headers, now: DateTime<Utc>) -> Self {
        Self {
            sha256: hex::encode(Sha256::checksum(&body)),
            etag: hex::encode(Md5::checksum(&body)),
            body,
            last_modified: now.trunc_subsecs(0),
            headers,
        }
    }

    pub(super) fn content_type(&self) -> &str {
        self.headers.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE)
    }
}

/// Which part of a listing is wanted.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub prefix: String,
    pub delimiter: Option<String>,
    pub after: After,
    pub max: usize,
}

/// Where a page begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum After {
    #[default]
    Start,
    /// Behind this key.
    Key(String),
    /// Behind every key that begins with this common prefix.
    Prefix(String),
}

impl After {
    /// The opaque text that leads to the next page.
    fn token(&self) -> String {
        let text = match self {
            Self::Start => String::new(),
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        };
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads such a text; `None` when it is none of ours.
    pub(super) fn from_token(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        match text.split_at_checked(1)? {
            ("k", key) => Some(Self::Key(key.to_owned())),
            ("p", prefix) => Some(Self::Prefix(prefix.to_owned())),
            _ => None,
        }
    }
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page<'a> {
    pub objects: Vec<(&'a str, &'a Object)>,
    pub prefixes: Vec<String>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

impl Bucket {
    pub(in crate::sandbox::double) fn new(owner: &str, region: &str, now: DateTime<Utc>) -> Self {
        Self {
            owner: owner.to_owned(),
            region: region.to_owned(),
            created_at: now,
            objects: BTreeMap::new(),
        }
    }

    /// A page; a common prefix counts as one of its entries (API Reference, *ListObjectsV2*).
    pub(super) fn page(&self, query: &Query) -> Page<'_> {
        let mut page = Page::default();
        if query.max == 0 {
            return page;
        }
        let after = match &query.after {
            After::Start => "",
            After::Key(text) | After::Prefix(text) => text.as_str(),
        };
        let begin = match after >= query.prefix.as_str() && query.after != After::Start {
            true => Bound::Excluded(after),
            false => Bound::Included(query.prefix.as_str()),
        };
        let mut last = After::Start;
        for (key, object) in self.objects.range::<str, _>((begin, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&query.prefix) else {
                break;
            };
            let common = query.delimiter.as_deref().and_then(|delimiter| {
                let end = rest.find(delimiter)? + delimiter.len();
                Some(&key[..query.prefix.len() + end])
            });
            let is_told = common.is_some_and(|common| {
                page.prefixes.last().is_some_and(|told| told == common)
                    || query.after == After::Prefix(common.to_owned())
            });
            if is_told {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == query.max {
                page.next = Some(last.token());
                break;
            }
            match common {
                Some(common) => {
                    page.prefixes.push(common.to_owned());
                    last = After::Prefix(common.to_owned());
                }
                None => {
                    page.objects.push((key, object));
                    last = After::Key(key.clone());
                }
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> Bucket {
        let now = Utc::now();
        let mut bucket = Bucket::new("000000000000", "us-east-1", now);
        for key in keys {
            let object = Object::new(Bytes::from_static(b"x"), Headers::default(), now);
            bucket.objects.insert((*key).to_owned(), object);
        }
        bucket
    }

    /// All entries, page after page; prefixes in brackets.
    fn walk(bucket: &Bucket, prefix: &str, delimiter: Option<&str>, max: usize) -> Vec<Vec<String>> {
        let mut query = Query {
            prefix: prefix.into(),
            delimiter: delimiter.map(str::to_owned),
            max,
            ..Query::default()
        };
        let mut pages = Vec::new();
        loop {
            let page = bucket.page(&query);
            let objects = page.objects.iter().map(|(key, _)| (*key).to_owned());
            pages.push(
                objects
                    .chain(page.prefixes.iter().map(|it| format!("[{it}]")))
                    .collect(),
            );
            let Some(token) = page.next else { return pages };
            query.after = After::from_token(&token).unwrap();
        }
    }

    #[test]
    fn pages_hold_what_begins_with_the_prefix_each_once() {
        let bucket = bucket(&["a", "r/1/a", "r/1/b", "r/1/c", "r/10/a", "s"]);
        assert_eq!(walk(&bucket, "r/1/", None, 2), [vec!["r/1/a", "r/1/b"], vec!["r/1/c"]]);
        assert_eq!(walk(&bucket, "r/1/", None, 3).len(), 1, "a full page isn't cut off");
        assert_eq!(walk(&bucket, "none/", None, 3), [Vec::<String>::new()]);
        assert_eq!(walk(&bucket, "", None, 4).concat().len(), 6);
    }

    #[test]
    fn a_delimiter_rolls_keys_up_across_pages() {
        let bucket = bucket(&["a/1", "a/2", "b", "c/1", "c/2", "d"]);
        for max in 1..5 {
            let mut all = walk(&bucket, "", Some("/"), max).concat();
            all.sort();
            assert_eq!(all, ["[a/]", "[c/]", "b", "d"], "pages of {max}");
        }
    }

    #[test]
    fn a_key_to_start_after_is_left_out_and_a_foreign_token_refused() {
        let bucket = bucket(&["a", "b", "c"]);
        let query = Query {
            after: After::Key("a".into()),
            max: 10,
            ..Query::default()
        };
        let keys: Vec<&str> = bucket.page(&query).objects.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["b", "c"]);
        assert_eq!(After::from_token("nonsense!"), None);
        assert_eq!(After::from_token(""), None);
    }

    #[test]
    fn an_etag_is_the_md5_of_the_body() {
        let object = Object::new(Bytes::from_static(b"hello"), Headers::default(), Utc::now());
        assert_eq!(object.etag, "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(object.content_type(), "binary/octet-stream");
    }
}
