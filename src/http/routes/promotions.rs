//! Starting a promotion.

use axum::{extract::State, http::StatusCode, response::Response};

use super::job_location;
use crate::{
    http::{
        ApiState,
        auth::{Caller, Releaser},
        params::{EnvironmentPath, InPath},
        post::{Answer, Post},
        problem::Result,
        views::{JobView, PlanView},
    },
    service::promotions::{self, Promotion, PromotionRequest},
};

/// Promote a release.
///
/// Answers at once with a job that moves traffic to the release: follow it at its `Location`, with
/// `?wait=60` or as an event stream. With `dry_run`, nothing is started, and the plan is shown.
/// Needs the role `releaser`, and with `break_glass` (to pass locks and blocks) `admin`.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{env}/promotions", operation_id = "start_promotion",
    tag = "promotions and rollbacks", params(EnvironmentPath),
    request_body(content = PromotionRequest, example = json!({
        "release": "1.43.0", "expected_active": "1.42.0", "on_conflict": "reject", "on_drift": "reject",
        "reason": "weekly release",
    })),
    responses((status = 200, description = "With `dry_run`: what would be done.", body = PlanView),
              (status = 202, description = "Started, or queued.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn start_promotion(
    caller: Caller<Releaser>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    post: Post<PromotionRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        match promotions::start(tx, &caller.actor, &path.app, &path.env, request).await? {
            Promotion::DryRun(plan) => Answer::new(StatusCode::OK, &PlanView::from(plan)),
            Promotion::Started(started) => {
                let location = job_location(started.job.id);
                Ok(Answer::new(StatusCode::ACCEPTED, &JobView::from(started))?.at(location))
            }
        }
    })
    .await
}
