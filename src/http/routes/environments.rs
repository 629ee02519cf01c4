//! Environments and their history.

use axum::{Json, extract::State, http::StatusCode};

use super::put;
use crate::{
    domain::environment::EnvironmentDocument,
    http::{
        ApiState,
        auth::{Admin, Caller, Viewer},
        body::JsonBody,
        page::{ByName, ByNumber, Page, PageParams, PageQuery},
        params::{AppPath, EnvironmentPath, InPath, InQuery},
        problem::Result,
        views::{DeploymentView, EnvironmentView},
    },
    service::environments,
};

/// Create an environment, or replace its document.
///
/// The body is the whole document, so that it can live in a repository. Safe to repeat. While a job is
/// unfinished, its account, pointers and distributions can't be changed. Needs the role `admin`.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{env}", operation_id = "put_environment",
    tag = "environments", params(EnvironmentPath),
    request_body(content = EnvironmentDocument, example = json!({
        "aws": {"region": "us-east-1"},
        "components": [{
            "name": "web",
            "router": {"kind": "ssm_pointer", "parameter": "/storefront/production/release", "format": "json",
                       "edge_ttl_seconds": 5},
            "edge": {"mode": "viewer_rewrite", "public_url": "https://www.example.com/"},
            "cdn": {"distribution_id": "E2EXAMPLE", "invalidate": {"mode": "none"}},
            "artifact": {"kind": "s3", "bucket": "storefront-web", "prefix": "releases/{release}/"},
        }],
        "strategy": {"kind": "canary", "steps": [{"weight": 5, "bake_seconds": 300},
                                                 {"weight": 50, "bake_seconds": 300, "approval": true}]},
        "checks": [{"name": "smoke", "when": "before_traffic", "kind": "http",
                    "url": "https://preview.example.com/health?release={release}", "expect_status": 200}],
        "retention": {"keep_releases": 5, "cleanup_after_seconds": 3600},
    })),
    responses((status = 200, description = "Replaced.", body = EnvironmentView),
              (status = 201, description = "Created.", body = EnvironmentView)))]
pub async fn put_environment(
    caller: Caller<Admin>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    JsonBody(document): JsonBody<EnvironmentDocument>,
) -> Result<(StatusCode, Json<EnvironmentView>)> {
    let mut tx = state.store.begin().await?;
    let (status, created) = environments::put(&mut tx, &caller.actor, &path.app, &path.env, &document).await?;
    tx.commit().await?;
    Ok(put(created, status.into()))
}

/// Read an environment.
///
/// Its document, and what is true of it now: what is active, what a rollback would go to, which job holds it,
/// what its pointers must say, and whether they have drifted.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{env}", operation_id = "get_environment",
    tag = "environments", params(EnvironmentPath),
    responses((status = 200, description = "The environment.", body = EnvironmentView)))]
pub async fn get_environment(
    _: Caller<Viewer>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
) -> Result<Json<EnvironmentView>> {
    let mut tx = state.store.snapshot().await?;
    Ok(Json(environments::look(&mut tx, &path.app, &path.env).await?.into()))
}

/// List an application's environments.
///
/// By name.
#[utoipa::path(get, path = "/v1/apps/{app}/environments", operation_id = "list_environments",
    tag = "environments", params(AppPath, PageParams),
    responses((status = 200, description = "A page of environments.", body = Page<EnvironmentView>)))]
pub async fn list_environments(
    _: Caller<Viewer>,
    InPath(path): InPath<AppPath>,
    InQuery(page): InQuery<PageQuery<ByName>>,
    State(state): State<ApiState>,
) -> Result<Json<Page<EnvironmentView>>> {
    let mut tx = state.store.snapshot().await?;
    let after = page.after.as_ref().map(|after| &after.name);
    let found = environments::list(&mut tx, &path.app, after, page.limit.and_one()).await?;
    let cursor = |status: &environments::Status| ByName {
        name: status.environment.name.clone(),
    };
    Ok(Page::new(found, page.limit, cursor, EnvironmentView::from))
}

/// Delete an environment.
///
/// With its history and its jobs; what its pointers say in AWS stays as it is. It must have no unfinished
/// job. Needs the role `admin`.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{env}", operation_id = "delete_environment",
    tag = "environments", params(EnvironmentPath),
    responses((status = 204, description = "Deleted.")))]
pub async fn delete_environment(
    caller: Caller<Admin>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    environments::delete(&mut tx, &caller.actor, &path.app, &path.env).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List what was active.
///
/// Newest first: which release, from when to when, by whom.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{env}/deployments", operation_id = "list_deployments",
    tag = "environments", params(EnvironmentPath, PageParams),
    responses((status = 200, description = "A page of deployments.", body = Page<DeploymentView>)))]
pub async fn list_deployments(
    _: Caller<Viewer>,
    InPath(path): InPath<EnvironmentPath>,
    InQuery(page): InQuery<PageQuery<ByNumber>>,
    State(state): State<ApiState>,
) -> Result<Json<Page<DeploymentView>>> {
    let mut tx = state.store.snapshot().await?;
    let before = page.after.map(|after| after.n);
    let found = environments::history(&mut tx, &path.app, &path.env, before, page.limit.and_one()).await?;
    Ok(Page::new(
        found,
        page.limit,
        |row| ByNumber { n: row.id },
        DeploymentView::from,
    ))
}
