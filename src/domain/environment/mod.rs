//! The environment's document: account, components with their roads, strategy, retention.
//!
//! Parsing fills in every default that does not depend on another field; `problems/` finds what the types
//! cannot rule out. To add a traffic router: see [`router`].

mod approvals;
mod artifact;
mod cdn;
mod check;
mod edge;
pub mod feasible;
mod hook;
mod problems;
pub mod router;
mod strategy;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    approvals::ApprovalPolicy,
    artifact::{ArtifactSource, S3Artifact},
    cdn::{Cdn, Invalidate, InvalidatePaths, NoInvalidation, OnTimeout},
    check::{
        AlarmCheck, Check, ExpectStatus, HttpCheck, Method, OnInconclusive, TextCondition, Tries, WebhookCheck, When,
    },
    edge::{Converge, Edge, EdgeMode, Fallback},
    feasible::Impossible,
    hook::{Hook, HookUndo, HookWhen},
    router::{CloudfrontKvs, Limits, Router, SsmPointer},
    strategy::{AllAtOnce, Canary, CanaryStep, Linear, Share, Strategy},
};
use super::names::Name;

/// Components of one environment.
pub const COMPONENTS_MAX: usize = 20;

/// Where releases go: the whole document of a PUT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDocument {
    pub aws: AwsAccount,
    /// In the order in which they flip; 1 to 20.
    pub components: Vec<Component>,
    #[serde(default)]
    pub strategy: Strategy,
    /// Asked of every release; at most 20, each with a name of its own.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Called in their order; at most 20, each with a name of its own.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    #[serde(default)]
    pub approvals: ApprovalPolicy,
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
    /// The region, or `kvs`.
    pub target: String,
    /// `ssm:account:region:/name` or `kvs:arn:key`: unique over all environments.
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

    /// The public URL to ask after a flip, and how; `None` when nobody asked for that.
    pub fn convergence(&self) -> Option<(&str, &Converge)> {
        let edge = self.edge.as_ref()?;
        Some((edge.public_url.as_deref()?, edge.converge.as_ref()?))
    }

    pub fn edge_mode(&self) -> EdgeMode {
        match (&self.edge, &self.cdn) {
            (Some(edge), _) => edge.mode,
            (None, Some(_)) => EdgeMode::Origin,
            (None, None) => EdgeMode::None,
        }
    }

    pub fn edge_ttl_seconds(&self) -> u32 {
        self.router.edge_ttl_seconds()
    }

    /// What must not change while a job is unfinished: its pointers and its distribution.
    pub fn identity(&self, account: &AwsAccount) -> BTreeSet<String> {
        let mut identity: BTreeSet<String> = self.pointers(account).into_iter().map(|pointer| pointer.key).collect();
        if let Some(cdn) = &self.cdn {
            identity.insert(format!("cloudfront:{}:{}", account.id(), cdn.distribution_id));
        }
        identity
    }

    /// Every pointer it owns.
    pub fn pointers(&self, account: &AwsAccount) -> Vec<PointerIdentity> {
        let identities = self.router.pointers(account).into_iter();
        identities
            .map(|(target, key)| PointerIdentity {
                component: self.name.clone(),
                target,
                key,
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
