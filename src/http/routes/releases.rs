//! Releases.

use axum::{Json, extract::State, http::StatusCode, response::Response};

use crate::{
    domain::release::NewRelease,
    http::{
        ApiState,
        auth::{Caller, Deployer, Viewer},
        page::{ByTime, Page, PageParams, PageQuery},
        params::{AppPath, InPath, InQuery, ReleasePath},
        post::{Answer, Post},
        problem::Result,
        views::ReleaseView,
    },
    service::releases,
};

/// Register a release.
///
/// A release never changes: the same again is no new one, the same version with other content is refused.
/// Needs the role `deployer`.
#[utoipa::path(post, path = "/v1/apps/{app}/releases", operation_id = "register_release", tag = "releases",
    params(AppPath),
    request_body(content = NewRelease, example = json!({
        "version": "1.43.0", "commit": "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "artifacts": {"web": {"uri": "s3://storefront-web/releases/1.43.0/"}}, "metadata": {"pipeline": 4711},
    })),
    responses((status = 200, description = "It was registered before, with this content.", body = ReleaseView),
              (status = 201, description = "Registered.", body = ReleaseView,
               headers(("Location" = String, description = "Where the release is.")))))]
pub async fn register_release(
    caller: Caller<Deployer>,
    InPath(path): InPath<AppPath>,
    State(state): State<ApiState>,
    post: Post<NewRelease>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, new| {
        let (release, created) = releases::register(tx, &caller.actor, &path.app, new).await?;
        let location = format!("/v1/apps/{}/releases/{}", path.app, new.version);
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        let answer = Answer::new(status, &ReleaseView::from(release))?;
        Ok(if created { answer.at(location) } else { answer })
    })
    .await
}

/// Read a release.
#[utoipa::path(get, path = "/v1/apps/{app}/releases/{version}", operation_id = "get_release", tag = "releases",
    params(ReleasePath),
    responses((status = 200, description = "The release.", body = ReleaseView)))]
pub async fn get_release(
    _: Caller<Viewer>,
    InPath(path): InPath<ReleasePath>,
    State(state): State<ApiState>,
) -> Result<Json<ReleaseView>> {
    let mut tx = state.store.snapshot().await?;
    Ok(Json(releases::get(&mut tx, &path.app, &path.version).await?.into()))
}

/// List an application's releases.
///
/// Newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/releases", operation_id = "list_releases", tag = "releases",
    params(AppPath, PageParams),
    responses((status = 200, description = "A page of releases.", body = Page<ReleaseView>)))]
pub async fn list_releases(
    _: Caller<Viewer>,
    InPath(path): InPath<AppPath>,
    InQuery(page): InQuery<PageQuery<ByTime>>,
    State(state): State<ApiState>,
) -> Result<Json<Page<ReleaseView>>> {
    let mut tx = state.store.snapshot().await?;
    let before = page.after.as_ref().map(|after| (after.at(), &after.version));
    let found = releases::list(&mut tx, &path.app, before, page.limit.and_one()).await?;
    Ok(Page::new(
        found,
        page.limit,
        |found| ByTime::new(found.created_at, &found.version),
        ReleaseView::from,
    ))
}
