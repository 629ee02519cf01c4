//! Applications.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::put;
use crate::{
    http::{
        ApiState,
        auth::{Admin, Caller, Viewer},
        body::JsonBody,
        page::{ByName, Page, PageParams, PageQuery},
        params::{AppPath, InPath, InQuery},
        problem::Result,
        views::AppView,
    },
    service::apps,
};

/// An application as it is put.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AppDocument)]
pub struct AppDocument {
    /// For people; at most 1000 characters.
    #[schema(example = "The shop window")]
    pub description: Option<String>,
}

/// Create or change an application.
///
/// Safe to repeat. An empty body is an application without a description. Needs the role `admin`.
#[utoipa::path(put, path = "/v1/apps/{app}", operation_id = "put_app", tag = "applications", params(AppPath),
    request_body(content = AppDocument, example = json!({"description": "The shop window"})),
    responses((status = 200, description = "Changed.", body = AppView),
              (status = 201, description = "Created.", body = AppView)))]
pub async fn put_app(
    caller: Caller<Admin>,
    InPath(path): InPath<AppPath>,
    State(state): State<ApiState>,
    JsonBody(document): JsonBody<AppDocument>,
) -> Result<(StatusCode, Json<AppView>)> {
    let mut tx = state.store.begin().await?;
    let (app, created) = apps::put(&mut tx, &caller.actor, &path.app, document.description.as_deref()).await?;
    tx.commit().await?;
    Ok(put(created, app.into()))
}

/// Read an application.
#[utoipa::path(get, path = "/v1/apps/{app}", operation_id = "get_app", tag = "applications", params(AppPath),
    responses((status = 200, description = "The application.", body = AppView)))]
pub async fn get_app(
    _: Caller<Viewer>,
    InPath(path): InPath<AppPath>,
    State(state): State<ApiState>,
) -> Result<Json<AppView>> {
    let mut tx = state.store.snapshot().await?;
    Ok(Json(apps::get(&mut tx, &path.app).await?.into()))
}

/// List the applications.
///
/// By name.
#[utoipa::path(get, path = "/v1/apps", operation_id = "list_apps", tag = "applications", params(PageParams),
    responses((status = 200, description = "A page of applications.", body = Page<AppView>)))]
pub async fn list_apps(
    _: Caller<Viewer>,
    InQuery(page): InQuery<PageQuery<ByName>>,
    State(state): State<ApiState>,
) -> Result<Json<Page<AppView>>> {
    let mut tx = state.store.snapshot().await?;
    let found = apps::list(
        &mut tx,
        page.after.as_ref().map(|after| &after.name),
        page.limit.and_one(),
    )
    .await?;
    Ok(Page::new(
        found,
        page.limit,
        |app| ByName { name: app.name.clone() },
        AppView::from,
    ))
}

/// Delete an application.
///
/// With its releases. Its environments must have been deleted before. Needs the role `admin`.
#[utoipa::path(delete, path = "/v1/apps/{app}", operation_id = "delete_app", tag = "applications", params(AppPath),
    responses((status = 204, description = "Deleted.")))]
pub async fn delete_app(
    caller: Caller<Admin>,
    InPath(path): InPath<AppPath>,
    State(state): State<ApiState>,
) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    apps::delete(&mut tx, &caller.actor, &path.app).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
