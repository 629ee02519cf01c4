//! Blocks: releases that may not be promoted.

use axum::{Json, extract::State, http::StatusCode};

use super::put;
use crate::{
    domain::job::Remark,
    http::{
        ApiState,
        auth::{Caller, Releaser},
        body::JsonBody,
        params::{InPath, ReleasePath},
        problem::Result,
    },
    service::{blocks, promotions::Reason},
};

/// Block a release.
///
/// Promotions of it get 409 `release_blocked`, in every environment, so that the next CI run can't bring it back. What
/// runs goes on, and a rollback to it passes. Blocking it again changes the reason. Needs the role `releaser`.
#[utoipa::path(put, path = "/v1/apps/{app}/releases/{version}/block", operation_id = "block_release",
    tag = "locks and blocks", params(ReleasePath),
    request_body(content = Reason, example = json!({"reason": "checkout fails"})),
    responses((status = 200, description = "It was blocked before; the reason is new.", body = Remark),
              (status = 201, description = "Blocked.", body = Remark)))]
pub async fn block_release(
    caller: Caller<Releaser>,
    InPath(path): InPath<ReleasePath>,
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<Reason>,
) -> Result<(StatusCode, Json<Remark>)> {
    let reason = request.check("reason")?;
    let mut tx = state.store.begin().await?;
    let (block, created) = blocks::put(&mut tx, &caller.actor, &path.app, &path.version, reason).await?;
    tx.commit().await?;
    Ok(put(created, block))
}

/// Let a release be promoted again.
///
/// Safe to repeat. Needs the role `releaser`.
#[utoipa::path(delete, path = "/v1/apps/{app}/releases/{version}/block", operation_id = "unblock_release",
    tag = "locks and blocks", params(ReleasePath), responses((status = 204, description = "Not blocked.")))]
pub async fn unblock_release(
    caller: Caller<Releaser>,
    InPath(path): InPath<ReleasePath>,
    State(state): State<ApiState>,
) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    blocks::delete(&mut tx, &caller.actor, &path.app, &path.version).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
