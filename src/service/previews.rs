//! Signed previews of a release: a link and a cookie that show one browser the release before it has traffic.
//!
//! ```text
//! prepare (reads the database) ─▶ secrets (asks AWS) ─▶ sign (in the transaction of the answer)
//! ```
//! The secret lies beside the pointer in AWS, where the edge reads it; it is made at the first preview and never
//! stored here. Making it anew (by deleting it there) ends every preview that was signed with it.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Actor, Code, Result, ServiceError, environments, promotions, releases};
use crate::{
    domain::{
        environment::{AwsAccount, Component, EdgeMode, EnvironmentDocument},
        names::{Name, Version},
        preview::{self, PREVIEW_MAX_SECONDS},
    },
    store::{
        audit::{self, Subject},
        clock,
    },
};

/// A preview as it is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    pub release: Version,
    /// How long it is valid, 1 to 604800 (a week).
    #[serde(default = "default_expiry")]
    #[schema(default = 3600, example = 3600)]
    pub expires_in_seconds: u32,
}

fn default_expiry() -> u32 {
    3600
}

/// Where the secrets of components are.
#[async_trait]
pub trait Secrets: fmt::Debug + Send + Sync {
    /// The secret that the component's edge verifies previews with; made when there is none.
    async fn secret(&self, account: &AwsAccount, component: &Component) -> Result<String>;
}

/// A signed preview.
#[derive(Debug)]
pub struct Preview {
    pub release: Version,
    pub expires_at: DateTime<Utc>,
    pub components: Vec<ComponentPreview>,
}

/// The preview of one component.
#[derive(Debug)]
pub struct ComponentPreview {
    pub component: Name,
    pub public_url: Option<String>,
    pub token: String,
}

/// Sees whether the release can be previewed here. Returns the environment's document.
///
/// # Errors
/// [`Code::ValidationFailed`], [`Code::NotFound`], [`Code::ArtifactMissing`], [`Code::PreviewUnsupported`].
pub async fn prepare(
    connection: &mut PgConnection,
    app: &Name,
    name: &Name,
    request: &PreviewRequest,
) -> Result<EnvironmentDocument> {
    if !(1..=PREVIEW_MAX_SECONDS).contains(&request.expires_in_seconds) {
        return Err(ServiceError::invalid("expires_in_seconds", "1 to 604800 (a week)"));
    }
    let environment = environments::get(connection, app, name).await?;
    let release = releases::get(connection, app, &request.release).await?;
    promotions::check_fit(&environment.document, &release)?;
    if previewed(&environment.document).next().is_none() {
        return Err(ServiceError::new(
            Code::PreviewUnsupported,
            "No component of this environment is routed at viewer-request: a preview needs edge.mode viewer_rewrite, \
             and the routing function on the distribution.",
        ));
    }
    Ok(environment.document)
}

/// Asks AWS for the secret of each component that is previewed. Outside of any transaction.
///
/// # Errors
/// [`Code::PreviewKeyUnavailable`], [`Code::AwsUnavailable`].
pub async fn secrets(secrets: &dyn Secrets, environment: &EnvironmentDocument) -> Result<BTreeMap<Name, String>> {
    let mut found = BTreeMap::new();
    for component in previewed(environment) {
        let secret = secrets.secret(&environment.aws, component).await?;
        found.insert(component.name.clone(), secret);
    }
    Ok(found)
}

/// Signs a preview.
pub async fn sign(
    connection: &mut PgConnection,
    actor: &Actor,
    (app, name): (&Name, &Name),
    environment: &EnvironmentDocument,
    secrets: &BTreeMap<Name, String>,
    request: &PreviewRequest,
) -> Result<Preview> {
    let expires_at = clock::in_seconds(connection, request.expires_in_seconds).await?;
    let sign = |component: &Component| {
        let secret = secrets.get(&component.name)?;
        Some(ComponentPreview {
            component: component.name.clone(),
            public_url: component.edge.as_ref().and_then(|edge| edge.public_url.clone()),
            token: preview::token(secret, &request.release, expires_at.timestamp()),
        })
    };
    let components = previewed(environment).filter_map(sign).collect();
    let data = json!({"release": request.release, "expires_at": expires_at});
    let subject = Subject {
        app: Some(app),
        environment: Some(name),
        job: None,
    };
    audit::record(connection, &actor.name, "preview.create", subject, &data).await?;
    Ok(Preview {
        release: request.release.clone(),
        expires_at,
        components,
    })
}

fn previewed(environment: &EnvironmentDocument) -> impl Iterator<Item = &Component> {
    let at_viewer_request = |component: &&Component| component.edge_mode() == EdgeMode::ViewerRewrite;
    environment.components.iter().filter(at_viewer_request)
}
