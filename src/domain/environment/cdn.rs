//! The distribution in front of a component, and what is cleared from its cache after a flip.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest wait for an invalidation. Ten to thirteen minutes have been seen; a day is surely a mistake.
pub const INVALIDATION_TIMEOUT_MAX_SECONDS: u32 = 86_400;
/// CloudFront Developer Guide, "Quotas on invalidations": paths in progress per distribution.
pub const INVALIDATION_PATHS_MAX: usize = 3000;
/// The same page: wildcard paths in progress per distribution.
pub const INVALIDATION_WILDCARDS_MAX: usize = 15;

/// The CloudFront distribution in front of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cdn {
    #[schema(example = "E2EXAMPLE")]
    pub distribution_id: String,
    /// Left out: `none` with `edge.mode` `viewer_rewrite`, else everything (`/*`).
    #[serde(default)]
    pub invalidate: Option<Invalidate>,
}

/// What is cleared from CloudFront's cache after a flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Invalidate {
    /// Nothing: the release is part of the cache key.
    None(NoInvalidation),
    /// The paths named.
    Paths(InvalidatePaths),
}

/// `invalidate.mode` `none` has no settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInvalidation {}

/// Settings of `invalidate.mode` `paths`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidatePaths {
    /// Each begins with `/`; a `*` at the end is a wildcard. 1 to 3000, 15 wildcards at most.
    #[serde(default = "everything")]
    #[schema(example = json!(["/*"]))]
    pub paths: Vec<String>,
    /// How long to wait for CloudFront to say `Completed`, 1 to 86400.
    #[serde(default = "default_invalidation_timeout")]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

impl Default for InvalidatePaths {
    fn default() -> Self {
        Self {
            paths: everything(),
            timeout_seconds: default_invalidation_timeout(),
            on_timeout: OnTimeout::default(),
        }
    }
}

fn everything() -> Vec<String> {
    vec!["/*".to_owned()]
}

fn default_invalidation_timeout() -> u32 {
    900
}

/// What an invalidation that is late does to a promotion. A rollback always continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// A warning on the job.
    #[default]
    Continue,
    /// The promotion is undone.
    Fail,
}
