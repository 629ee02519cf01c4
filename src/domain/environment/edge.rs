//! How the edge uses the pointer, and how it is seen from outside that it does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::OnTimeout;

/// Addresses that one component's public URL is asked at.
pub const CONVERGE_ADDRESSES_MAX: usize = 20;

/// How the edge uses the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    pub mode: EdgeMode,
    /// What an unknown path gets (`viewer_rewrite` only). The routing function has its own copy of this setting.
    #[serde(default)]
    pub fallback: Fallback,
    #[serde(default)]
    #[schema(example = "https://www.example.com/")]
    pub public_url: Option<String>,
    /// Proof from outside: after a flip the public URL is asked until it names the release. The routing functions for
    /// `viewer_rewrite` answer with `x-greenlight-release`; with `origin` your own origin or edge code has to.
    #[serde(default)]
    pub converge: Option<Converge>,
}

/// How the public URL is asked after a flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Converge {
    /// Answers in a row, from each address, that must name the release in `x-greenlight-release`; 1 to 100.
    #[serde(default = "default_consecutive")]
    pub consecutive: u32,
    /// Between two rounds of asking, 100 to 60000; after 15 s four times that.
    #[serde(default = "default_interval_ms")]
    pub interval_ms: u32,
    /// 1 to 3600.
    #[serde(default = "default_converge_timeout")]
    pub timeout_seconds: u32,
    /// Where to connect to, instead of what the URL's host resolves to: `address` or `address:port`, at most 20.
    /// So that several points of presence can be asked.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.10", "[2001:db8::10]:443"]))]
    pub addresses: Vec<String>,
    #[serde(default = "default_converge_on_timeout")]
    pub on_timeout: OnTimeout,
}

impl Default for Converge {
    fn default() -> Self {
        Self {
            consecutive: default_consecutive(),
            interval_ms: default_interval_ms(),
            timeout_seconds: default_converge_timeout(),
            addresses: Vec::new(),
            on_timeout: default_converge_on_timeout(),
        }
    }
}

fn default_consecutive() -> u32 {
    3
}

fn default_interval_ms() -> u32 {
    500
}

fn default_converge_timeout() -> u32 {
    120
}

fn default_converge_on_timeout() -> OnTimeout {
    OnTimeout::Fail
}

/// Where the release is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeMode {
    /// At viewer-request, by rewriting the path: the release is in the cache key.
    ViewerRewrite,
    /// Behind the cache: a flip needs an invalidation.
    Origin,
    /// No CloudFront.
    None,
}

/// What the routing function serves for a path without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    Spa,
    Index,
    #[default]
    None,
}
