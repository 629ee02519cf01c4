//! Where a component's releases lie.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::names::Version;

/// Where a component's releases lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArtifactSource {
    S3(S3Artifact),
}

/// A prefix in a bucket, one folder a release. A promotion lists the release's folder before anything is touched:
/// there must be files (with `edge.mode` `viewer_rewrite` an `index.html` among them), and from the release's first
/// promotion on they must stay as they were.
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
        format!("s3://{}/{}", s3.bucket, s3.prefix_of(version))
    }
}

impl S3Artifact {
    /// The prefix of one release: its objects' keys begin with it. Ends in `/`.
    pub fn prefix_of(&self, version: &Version) -> String {
        self.prefix.replace("{release}", version.as_str())
    }
}
