//! The environment's document: account, components with their roads, strategy, retention.
//!
//! Parsing fills in every default that does not depend on another field; `problems.rs` finds what the types
//! cannot rule out. To add a traffic router: a variant of [`Router`], its settings
//! with their limits, and its pointers in [`EnvironmentDocument::pointers`].

mod problems;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    names::{Name, Version},
    pointer::PointerFormat,
};

/// Components of one environment.
pub const COMPONENTS_MAX: usize = 20;
/// Regions of one pointer.
pub const REGIONS_MAX: usize = 20;
/// Longest wait for the edge's own copy of the pointer.
pub const EDGE_TTL_MAX_SECONDS: u32 = 3600;
/// Longest wait for an invalidation. Ten to thirteen minutes have been seen; a day is surely a mistake.
pub const INVALIDATION_TIMEOUT_MAX_SECONDS: u32 = 86_400;
/// CloudFront Developer Guide, "Quotas on invalidations": paths in progress per distribution.
pub const INVALIDATION_PATHS_MAX: usize = 3000;
/// The same page: wildcard paths in progress per distribution.
pub const INVALIDATION_WILDCARDS_MAX: usize = 15;
/// Systems Manager API reference, "PutParameter": characters of a parameter's name with its path.
pub const PARAMETER_NAME_MAX: usize = 1011;
/// The same page: levels of a parameter's path.
pub const PARAMETER_LEVELS_MAX: usize = 15;

/// Where releases go: the whole document of a PUT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDocument {
    pub aws: AwsAccount,
    /// In the order in which they flip; 1 to 20.
    pub components: Vec<Component>,
    #[serde(default)]
    pub strategy: Strategy,
    /// Reserved: must be empty in this version.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<serde_json::Value>,
    #[serde(default)]
    pub retention: Retention,
}

/// The account and home region, and the role to work under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsAccount {
    #[schema(example = "us-east-1")]
    pub region: String,
    /// Assumed before every call when given.
    #[serde(default)]
    #[schema(example = "arn:aws:iam::111122223333:role/greenlight")]
    pub role_arn: Option<String>,
    /// Handed to STS with `role_arn`.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// A part of the application with a traffic router of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub name: Name,
    pub router: Router,
    /// How the edge uses the pointer. Left out: `none` without a `cdn`, else `origin`.
    #[serde(default)]
    pub edge: Option<Edge>,
    #[serde(default)]
    pub cdn: Option<Cdn>,
    #[serde(default)]
    pub artifact: Option<ArtifactSource>,
}

/// The road by which a component's traffic is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Router {
    /// An SSM parameter names the active release.
    SsmPointer(SsmPointer),
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
    /// Reserved: must be null in this version.
    #[serde(default)]
    pub kvs_arn: Option<String>,
    /// Reserved: must be null in this version.
    #[serde(default)]
    pub kvs_key: Option<String>,
}

fn default_edge_ttl() -> u32 {
    5
}

fn default_pin_seconds() -> u32 {
    1800
}

/// How the edge uses the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    pub mode: EdgeMode,
    /// What an unknown path gets (`viewer_rewrite` only).
    #[serde(default)]
    pub fallback: Fallback,
    #[serde(default)]
    #[schema(example = "https://www.example.com/")]
    pub public_url: Option<String>,
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

/// Where a component's releases lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArtifactSource {
    S3(S3Artifact),
}

/// A prefix in a bucket, one folder a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Artifact {
    #[schema(example = "storefront-web")]
    pub bucket: String,
    /// Ends in `/{release}/`, or is `{release}/`.
    #[schema(example = "releases/{release}/")]
    pub prefix: String,
}

impl ArtifactSource {
    /// Where `version` lies: what a release's `uri` must equal.
    pub fn uri(&self, version: &Version) -> String {
        let Self::S3(s3) = self;
        format!(
            "s3://{}/{}",
            s3.bucket,
            s3.prefix.replace("{release}", version.as_str())
        )
    }
}

/// How a promotion moves traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// Everyone at once, component by component.
    AllAtOnce(AllAtOnce),
}

impl Default for Strategy {
    fn default() -> Self {
        Self::AllAtOnce(AllAtOnce {})
    }
}

/// The `all_at_once` strategy has no settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllAtOnce {}

/// What is kept of releases that no longer serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// 1 to 1000.
    #[serde(default = "default_keep_releases")]
    pub keep_releases: u32,
    /// 0 to 31536000.
    #[serde(default = "default_cleanup_after")]
    pub cleanup_after_seconds: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_releases: default_keep_releases(),
            cleanup_after_seconds: default_cleanup_after(),
        }
    }
}

fn default_keep_releases() -> u32 {
    5
}

fn default_cleanup_after() -> u32 {
    3600
}

/// One pointer in AWS that a component owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerIdentity {
    pub component: Name,
    /// The region.
    pub target: String,
    /// `ssm:account:region:/name`: unique over all environments.
    pub key: String,
}

impl Component {
    /// What is invalidated after a flip of this component; `None` when nothing is.
    pub fn invalidation(&self) -> Option<(&str, InvalidatePaths)> {
        let cdn = self.cdn.as_ref()?;
        let paths = match &cdn.invalidate {
            Some(Invalidate::None(_)) => return None,
            Some(Invalidate::Paths(paths)) => paths.clone(),
            None if self.edge_mode() == EdgeMode::ViewerRewrite => return None,
            None => InvalidatePaths::default(),
        };
        Some((&cdn.distribution_id, paths))
    }

    pub fn edge_mode(&self) -> EdgeMode {
        match (&self.edge, &self.cdn) {
            (Some(edge), _) => edge.mode,
            (None, Some(_)) => EdgeMode::Origin,
            (None, None) => EdgeMode::None,
        }
    }

    /// The regions its pointer lives in.
    pub fn targets(&self, account: &AwsAccount) -> Vec<String> {
        let Router::SsmPointer(pointer) = &self.router;
        if pointer.regions.is_empty() {
            vec![account.region.clone()]
        } else {
            pointer.regions.clone()
        }
    }

    pub fn edge_ttl_seconds(&self) -> u32 {
        let Router::SsmPointer(pointer) = &self.router;
        pointer.edge_ttl_seconds
    }

    /// What must not change while a job is unfinished: its pointers and its distribution.
    pub fn identity(&self, account: &AwsAccount) -> BTreeSet<String> {
        let mut identity: BTreeSet<String> = self.pointers(account).into_iter().map(|pointer| pointer.key).collect();
        if let Some(cdn) = &self.cdn {
            identity.insert(format!("cloudfront:{}:{}", account.id(), cdn.distribution_id));
        }
        identity
    }

    /// Every pointer it owns, one a region.
    pub fn pointers(&self, account: &AwsAccount) -> Vec<PointerIdentity> {
        let Router::SsmPointer(pointer) = &self.router;
        // "foo" and "/foo" are one resource in IAM's eyes: they may not have two owners either.
        let name = pointer.parameter.trim_start_matches('/');
        self.targets(account)
            .into_iter()
            .map(|target| PointerIdentity {
                component: self.name.clone(),
                key: format!("ssm:{}:{target}:/{name}", account.id()),
                target,
            })
            .collect()
    }
}

impl AwsAccount {
    /// The account's id as far as it is known: from the role, else `default`, the service's own.
    pub fn id(&self) -> &str {
        self.role_arn
            .as_deref()
            .and_then(|arn| arn.split(':').nth(4))
            .unwrap_or("default")
    }
}

impl EnvironmentDocument {
    pub fn component(&self, name: &Name) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }

    /// Every pointer of every component.
    pub fn pointers(&self) -> Vec<PointerIdentity> {
        self.components
            .iter()
            .flat_map(|component| component.pointers(&self.aws))
            .collect()
    }

    /// By component, what must not change while a job is unfinished.
    pub fn identities(&self) -> BTreeMap<Name, BTreeSet<String>> {
        self.components
            .iter()
            .map(|c| (c.name.clone(), c.identity(&self.aws)))
            .collect()
    }
}
