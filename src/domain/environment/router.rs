//! The roads' settings, and which pointers each of them owns.
//!
//! To add one: a variant of [`Router`], its settings with their limits (checked in `problems/router.rs`), its
//! pointers in [`Router::pointers`], and the road itself in `traffic/`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AwsAccount;
use crate::domain::pointer::PointerFormat;

/// Regions of one pointer.
pub const REGIONS_MAX: usize = 20;
/// Longest wait for the edge's own copy of the pointer.
pub const EDGE_TTL_MAX_SECONDS: u32 = 3600;
/// Systems Manager API reference, "PutParameter": characters of a parameter's name with its path.
pub const PARAMETER_NAME_MAX: usize = 1011;
/// The same page: levels of a parameter's path.
pub const PARAMETER_LEVELS_MAX: usize = 15;
/// CloudFront Developer Guide, "Quotas on key value stores": characters of a key.
pub const KVS_KEY_MAX: usize = 512;
/// The same page: characters of a value.
pub const KVS_VALUE_MAX: usize = 1024;
/// The longest of what is put behind a pointer's key or name for what belongs to it.
pub const COMPANION_SUFFIX_MAX: usize = PREVIEW_KEY_SUFFIX.len();
/// Behind a pointer's key or name: where the edge finds the secret that previews are signed with.
pub const PREVIEW_KEY_SUFFIX: &str = ".preview-key";
/// Behind a KeyValueStore key: the copy that the edge goes by when the key itself is missing or broken.
pub const LAST_GOOD_SUFFIX: &str = ".last-good";
/// The target of a pointer in a KeyValueStore, where SSM's are regions.
pub const KVS_TARGET: &str = "kvs";

/// What a road can do with a share of the visitors: data, so that plans stay pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The greatest share, in percent, that can be on another release than the rest; 0: all or nobody.
    pub max_share: u32,
    /// Why not more.
    pub reason: &'static str,
    /// A visitor stays on one side while the weight stands, and changes at most once while it grows.
    pub sticky: bool,
    /// Until every visitor has a new weight.
    pub takes_seconds: u32,
}

/// The road by which a component's traffic is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Router {
    /// An SSM parameter names the active release.
    SsmPointer(SsmPointer),
    /// A key of a CloudFront KeyValueStore names it.
    CloudfrontKvs(CloudfrontKvs),
}

/// Settings of the `ssm_pointer` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SsmPointer {
    #[schema(example = "/storefront/production/release")]
    pub parameter: String,
    #[serde(default)]
    pub format: PointerFormat,
    /// How long edge code holds the pointer: waited out after the last region's write, 0 to 3600.
    #[serde(default = "default_edge_ttl")]
    pub edge_ttl_seconds: u32,
    /// Where the parameter lives; left out or empty: the account's region.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Create the parameter at the first promotion. Off, so that a mistyped name is not created in silence.
    #[serde(default)]
    pub create_parameter: bool,
    /// How long the edge pins a visitor to a release (`json` only), 0 to 86400.
    #[serde(default = "default_pin_seconds")]
    pub pin_seconds: u32,
    /// A KeyValueStore that gets the same document (`json` only), for an edge that can't read SSM. The key is
    /// created at the first promotion if it is not there.
    #[serde(default)]
    #[schema(example = "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111")]
    pub kvs_arn: Option<String>,
    /// The key there. Left out: the parameter's name without its first `/`.
    #[serde(default)]
    pub kvs_key: Option<String>,
}

/// Settings of the `cloudfront_kvs` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudfrontKvs {
    #[schema(example = "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111")]
    pub kvs_arn: String,
    #[schema(example = "storefront/production")]
    pub kvs_key: String,
    /// How long until every edge has the new pointer: waited out after the write, 0 to 3600.
    #[serde(default = "default_edge_ttl")]
    pub edge_ttl_seconds: u32,
    /// Create the key at the first promotion. Off, so that a mistyped name is not created in silence.
    #[serde(default)]
    pub create_key: bool,
    /// How long the edge pins a visitor to a release, 0 to 86400.
    #[serde(default = "default_pin_seconds")]
    pub pin_seconds: u32,
}

fn default_edge_ttl() -> u32 {
    5
}

fn default_pin_seconds() -> u32 {
    1800
}

impl Router {
    pub fn edge_ttl_seconds(&self) -> u32 {
        match self {
            Self::SsmPointer(ssm) => ssm.edge_ttl_seconds,
            Self::CloudfrontKvs(kvs) => kvs.edge_ttl_seconds,
        }
    }

    pub fn format(&self) -> PointerFormat {
        match self {
            Self::SsmPointer(ssm) => ssm.format,
            Self::CloudfrontKvs(_) => PointerFormat::Json,
        }
    }

    /// The setting that says where the pointer at `target` is: what to name when somebody else has it.
    pub fn field_of(&self, target: &str) -> &'static str {
        if target == KVS_TARGET { "kvs_key" } else { "parameter" }
    }

    /// Every pointer it owns: its target, and the key that is unique over all environments.
    pub fn pointers(&self, account: &AwsAccount) -> Vec<(String, String)> {
        match self {
            Self::SsmPointer(ssm) => {
                // "foo" and "/foo" are one resource in IAM's eyes: they may not have two owners either.
                let name = ssm.parameter.trim_start_matches('/');
                let regions = ssm.regions(account).into_iter();
                let mut pointers: Vec<(String, String)> = regions
                    .map(|region| {
                        let key = format!("ssm:{}:{region}:/{name}", account.id());
                        (region, key)
                    })
                    .collect();
                if let Some((arn, key)) = ssm.projection() {
                    pointers.push((KVS_TARGET.to_owned(), format!("kvs:{arn}:{key}")));
                }
                pointers
            }
            Self::CloudfrontKvs(kvs) => {
                vec![(KVS_TARGET.to_owned(), format!("kvs:{}:{}", kvs.kvs_arn, kvs.kvs_key))]
            }
        }
    }
}

impl SsmPointer {
    /// The regions the parameter lives in.
    pub fn regions(&self, account: &AwsAccount) -> Vec<String> {
        if self.regions.is_empty() {
            vec![account.region.clone()]
        } else {
            self.regions.clone()
        }
    }

    /// The KeyValueStore that gets the same document, and the key there.
    pub fn projection(&self) -> Option<(&str, &str)> {
        let arn = self.kvs_arn.as_deref()?;
        let key = self.kvs_key.as_deref();
        Some((arn, key.unwrap_or_else(|| self.parameter.trim_start_matches('/'))))
    }
}
