//! A purge without a flip.

use axum::{extract::State, response::Response};

use super::jobs::accepted;
use crate::{
    http::{
        ApiState,
        auth::{Caller, Releaser},
        params::{EnvironmentPath, InPath},
        post::Post,
        problem::Result,
        views::JobView,
    },
    service::invalidations::{self, InvalidationRequest},
};

/// Invalidate paths.
///
/// A tracked job that clears them from the cache of every distribution of the environment, or of one component's. It
/// moves no traffic, so it runs beside promotions and rollbacks, and no lock stops it. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{env}/invalidations", operation_id = "start_invalidation",
    tag = "environments", params(EnvironmentPath),
    request_body(content = InvalidationRequest, example = json!({"paths": ["/index.html", "/images/*"]})),
    responses((status = 202, description = "Started.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn start_invalidation(
    caller: Caller<Releaser>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    post: Post<InvalidationRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(invalidations::start(tx, &caller.actor, &path.app, &path.env, request).await?)
    })
    .await
}
