//! Starting a rollback.

use axum::{extract::State, http::StatusCode, response::Response};

use super::job_location;
use crate::{
    http::{
        ApiState,
        auth::{Caller, Releaser},
        params::{EnvironmentPath, InPath},
        post::{Answer, Post},
        problem::Result,
        views::JobView,
    },
    service::rollbacks::{self, RollbackRequest},
};

/// Roll back.
///
/// Always gets through: it takes the place of whatever holds or waits for the environment. Without `to` it
/// goes where the running promotion came from, else to the release before the active one. Called again
/// while one runs to the same target, it answers with that job. The body may be empty. Needs the role
/// `releaser`.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{env}/rollbacks", operation_id = "start_rollback",
    tag = "promotions and rollbacks", params(EnvironmentPath),
    request_body(content = RollbackRequest, example = json!({"reason": "checkout fails"})),
    responses((status = 202, description = "Started, or running already.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn start_rollback(
    caller: Caller<Releaser>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    post: Post<RollbackRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        let started = rollbacks::start(tx, &caller.actor, &path.app, &path.env, request).await?;
        let location = job_location(started.job.id);
        Ok(Answer::new(StatusCode::ACCEPTED, &JobView::from(started))?.at(location))
    })
    .await
}
