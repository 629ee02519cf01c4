//! What people say to a promotion that runs: approve, reject, pause, resume, go on fully. Abort and retry are in
//! [`super::jobs`].

use axum::{extract::State, response::Response};

use super::jobs::accepted;
use crate::{
    http::{
        ApiState,
        auth::{Caller, Releaser, Viewer},
        params::{InPath, JobPath},
        post::Post,
        problem::Result,
        views::JobView,
    },
    service::{
        gates::{self, DecisionRequest},
        pauses::{self, PauseRequest},
        promotions::Reason,
    },
};

/// Approve what waits.
///
/// At the gate of a promotion that waits for approval. Not by the one who started it, and nobody counts twice; safe to
/// repeat. The body may be empty; `step` makes sure that the gate meant is the one that waits. Needs the role that the
/// environment's `approvals.role` names.
#[utoipa::path(post, path = "/v1/jobs/{id}/approve", operation_id = "approve_job", tag = "jobs", params(JobPath),
    request_body(content = DecisionRequest, example = json!({"comment": "conversion looks good"})),
    responses((status = 202, description = "The job.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn approve_job(
    caller: Caller<Viewer>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<DecisionRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(gates::decide(tx, &caller.actor, path.id, true, request).await?)
    })
    .await
}

/// Reject what waits.
///
/// The promotion is aborted, and what it did is taken back. Who started it may reject it too. The body may be empty.
/// Needs the role that the environment's `approvals.role` names.
#[utoipa::path(post, path = "/v1/jobs/{id}/reject", operation_id = "reject_job", tag = "jobs", params(JobPath),
    request_body(content = DecisionRequest, example = json!({"comment": "checkout is slower"})),
    responses((status = 202, description = "The job, which will end as `aborted`.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn reject_job(
    caller: Caller<Viewer>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<DecisionRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(gates::decide(tx, &caller.actor, path.id, false, request).await?)
    })
    .await
}

/// Pause a promotion.
///
/// What has begun goes on: a flip and what has to follow it, the checks of a bake, which stays open. Nothing new
/// begins. A check that fails still rolls back. Safe to repeat. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/jobs/{id}/pause", operation_id = "pause_job", tag = "jobs", params(JobPath),
    request_body(content = PauseRequest, example = json!({"reason": "looking at the error rate"})),
    responses((status = 202, description = "The job.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn pause_job(
    caller: Caller<Releaser>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<PauseRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(pauses::pause(tx, &caller.actor, path.id, request).await?)
    })
    .await
}

/// Resume a paused promotion.
///
/// Safe to repeat. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", operation_id = "resume_job", tag = "jobs", params(JobPath),
    request_body(content = PauseRequest, example = json!({})),
    responses((status = 202, description = "The job.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn resume_job(
    caller: Caller<Releaser>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<PauseRequest>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(pauses::resume(tx, &caller.actor, path.id, request).await?)
    })
    .await
}

/// Skip the remaining bakes.
///
/// Shares that are not given yet and bakes are left out, and everyone is moved. Gates, hooks and the other checks stay.
/// The reason is kept on the job. Needs the role `releaser`.
#[utoipa::path(post, path = "/v1/jobs/{id}/promote_fully", operation_id = "promote_job_fully", tag = "jobs",
    params(JobPath), request_body(content = Reason, example = json!({"reason": "hotfix, seen good at 10 %"})),
    responses((status = 202, description = "The job.", body = JobView,
               headers(("Location" = String, description = "Where the job is.")))))]
pub async fn promote_job_fully(
    caller: Caller<Releaser>,
    InPath(path): InPath<JobPath>,
    State(state): State<ApiState>,
    post: Post<Reason>,
) -> Result<Response> {
    post.run(&state, &caller.actor, async |tx, request| {
        accepted(pauses::promote_fully(tx, &caller.actor, path.id, request).await?)
    })
    .await
}
