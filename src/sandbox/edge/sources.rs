//! What a local edge looks at: an origin, the store that holds the pointer, and invalidations.
//!
//! Traits, so that the edge knows nothing of where they come from; `double` has those of the AWS double. To add another
//! origin, implement [`Origin`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::body::Bytes;
use chrono::{DateTime, Utc};

/// All keys of a key-value store, or all parameters that matter, with their values.
pub type KeyValues = BTreeMap<String, String>;

/// Where the edge gets what it doesn't have.
#[async_trait]
pub trait Origin: Send + Sync {
    /// What is at `path`: percent-encoded, beginning with a slash, without a query string. `None`: nothing (404).
    ///
    /// # Errors
    /// When the origin can't answer.
    async fn fetch(&self, path: &str) -> Result<Option<Object>, OriginError>;
}

/// The origin answered with a 5xx, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the origin can't answer: {0}")]
pub struct OriginError(pub String);

/// What an origin gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    pub body: Bytes,
    pub content_type: Option<String>,
    /// With its quotes.
    pub etag: Option<String>,
    pub last_modified: Option<DateTime<Utc>>,
    pub cache_control: Option<String>,
    pub content_encoding: Option<String>,
    /// Other headers: metadata, or what an origin says that isn't S3.
    pub headers: Vec<(String, String)>,
}

/// The truth about the pointer, as the edge may read it.
pub trait PointerStore: Send + Sync {
    /// Every key with its value, at this moment.
    ///
    /// # Errors
    /// When the store can't be read; the message must hold no value.
    fn read(&self) -> Result<KeyValues, StoreError>;
}

/// The store can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pointer can't be read: {0}")]
pub struct StoreError(pub String);

/// The invalidations of the edge's distribution.
pub trait Invalidations: Send + Sync {
    /// Those after the first `seen`, oldest first.
    fn after(&self, seen: usize) -> Vec<Invalidation>;
}

/// An invalidation: every point of presence clears at a moment of its own in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidation {
    /// Exact, or with a `*` at the end.
    pub paths: Vec<String>,
    pub created_at: DateTime<Utc>,
    /// When it is `Completed`.
    pub completes_at: DateTime<Utc>,
}
