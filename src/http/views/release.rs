//! Releases.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::{
        names::{Name, Version},
        release::Artifact,
    },
    store::releases::Release,
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
        }
    }
}
