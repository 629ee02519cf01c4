//! Releases.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::{
        job::Remark,
        names::{Name, Version},
        release::Artifact,
    },
    store::{manifests::Summary, releases::Release},
};

/// An immutable version of an application.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Release)]
pub struct ReleaseView {
    pub app: Name,
    pub version: Version,
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit: Option<String>,
    /// By component.
    #[schema(value_type = BTreeMap<String, Artifact>)]
    pub artifacts: BTreeMap<Name, Artifact>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    pub created_at: DateTime<Utc>,
    /// The name of the token that registered it.
    #[schema(example = "ci")]
    pub created_by: String,
    /// The files of its artifacts in S3, as they were when a promotion first looked: one entry for each
    /// component and place. Empty before the first promotion. Later promotions insist on the same files.
    pub manifests: Vec<ManifestView>,
    /// Why it may not be promoted; null: it may.
    pub block: Option<Remark>,
}

/// The files of a component's artifact, as a promotion first saw them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Manifest)]
pub struct ManifestView {
    pub component: Name,
    #[schema(example = "s3://storefront-web/releases/1.43.0/")]
    pub location: String,
    /// How many files.
    #[schema(example = 214, minimum = 1)]
    pub objects: i64,
    /// Their size together.
    #[schema(example = 4_718_592, minimum = 0)]
    pub bytes: i64,
    pub recorded_at: DateTime<Utc>,
}

impl From<Summary> for ManifestView {
    fn from(summary: Summary) -> Self {
        Self {
            component: summary.component,
            location: summary.location,
            objects: summary.objects,
            bytes: summary.bytes,
            recorded_at: summary.recorded_at,
        }
    }
}

impl From<Release> for ReleaseView {
    fn from(release: Release) -> Self {
        Self {
            app: release.app,
            version: release.version,
            commit: release.commit,
            artifacts: release.artifacts,
            metadata: release.metadata,
            created_at: release.created_at,
            created_by: release.created_by,
            manifests: release.manifests.into_iter().map(ManifestView::from).collect(),
            block: release.block,
        }
    }
}
