//! A release: an immutable version of an application, with an artifact for each component.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    environment::EnvironmentDocument,
    error::FieldError,
    names::{Name, Version},
};

/// Bytes of JSON a component's artifact may take.
pub const ARTIFACT_MAX_BYTES: usize = 4096;
/// Bytes of JSON the metadata may take.
pub const METADATA_MAX_BYTES: usize = 16 * 1024;
/// Characters of a commit id.
pub const COMMIT_MAX: usize = 200;

/// What of the release a component gets: an optional `uri`, and whatever else the caller wants kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// `s3://bucket/prefix/1.43.0/`, an image, a target group. Registering asks nobody whether it is there: the
    /// files of one in S3 are recorded by the first promotion of the release, and must stay as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "s3://storefront-web/releases/1.43.0/")]
    pub uri: Option<String>,
    /// Kept as it came. At most 4 KiB with the `uri`.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A release as it is registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    pub version: Version,
    /// The commit it was built from; at most 200 characters.
    #[serde(default)]
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit: Option<String>,
    /// By component.
    #[schema(value_type = BTreeMap<String, Artifact>)]
    pub artifacts: BTreeMap<Name, Artifact>,
    /// Whatever the caller wants kept; at most 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

impl NewRelease {
    /// Everything that is wrong with it on its own.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.artifacts.is_empty() {
            problems.push(FieldError::new(
                "artifacts",
                "a release has an artifact for at least one component",
            ));
        }
        if self.artifacts.len() > super::environment::COMPONENTS_MAX {
            problems.push(FieldError::new("artifacts", "at most 20 components"));
        }
        if self
            .commit
            .as_ref()
            .is_some_and(|commit| commit.chars().count() > COMMIT_MAX)
        {
            problems.push(FieldError::new("commit", "at most 200 characters"));
        }
        for (component, artifact) in &self.artifacts {
            if json_bytes(artifact) > ARTIFACT_MAX_BYTES {
                problems.push(FieldError::new(
                    format!("artifacts.{component}"),
                    "at most 4096 bytes of JSON",
                ));
            }
        }
        if json_bytes(&self.metadata) > METADATA_MAX_BYTES {
            problems.push(FieldError::new("metadata", "at most 16384 bytes of JSON"));
        }
        problems
    }
}

/// What keeps `release` from going to an environment: artifacts it lacks or that lie elsewhere.
pub fn artifact_problems(
    environment: &EnvironmentDocument,
    version: &Version,
    artifacts: &BTreeMap<Name, Artifact>,
) -> Vec<FieldError> {
    let mut problems = Vec::new();
    for component in &environment.components {
        let field = format!("artifacts.{}", component.name);
        let Some(artifact) = artifacts.get(&component.name) else {
            problems.push(FieldError::new(
                field,
                format!("release {version} has no artifact for component {}", component.name),
            ));
            continue;
        };
        let expected = component.artifact.as_ref().map(|source| source.uri(version));
        if let (Some(expected), Some(uri)) = (expected, &artifact.uri)
            && *uri != expected
        {
            problems.push(FieldError::new(
                format!("{field}.uri"),
                format!(
                    "is {uri:?}, but component {} takes its releases from {expected:?}",
                    component.name
                ),
            ));
        }
    }
    problems
}

fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}
