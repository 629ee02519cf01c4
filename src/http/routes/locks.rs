//! Locks: on one environment, and on everything.

use axum::{Json, extract::State, http::StatusCode};

use super::put;
use crate::{
    http::{
        ApiState,
        auth::{Caller, Releaser, Viewer},
        body::JsonBody,
        params::{EnvironmentPath, InPath},
        problem::{Problem, Result},
    },
    service::{
        Code,
        locks::{self, Lock},
        promotions::Reason,
    },
};

/// Lock an environment.
///
/// Promotions to it get 423 `environment_locked` with who, why and since when; what runs goes on, and rollbacks always
/// pass. Locking it again changes the reason. Needs the role `releaser`.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{env}/lock", operation_id = "lock_environment",
    tag = "locks and blocks", params(EnvironmentPath),
    request_body(content = Reason, example = json!({"reason": "incident 4711"})),
    responses((status = 200, description = "It was locked before; the reason is new.", body = Lock),
              (status = 201, description = "Locked.", body = Lock)))]
pub async fn lock_environment(
    caller: Caller<Releaser>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<Reason>,
) -> Result<(StatusCode, Json<Lock>)> {
    let reason = request.check("reason")?;
    let mut tx = state.store.begin().await?;
    let names = (&path.app, &path.env);
    let (lock, created) = locks::lock_environment(&mut tx, &caller.actor, names, reason).await?;
    tx.commit().await?;
    Ok(put(created, lock))
}

/// Unlock an environment.
///
/// Safe to repeat. A lock on everything stays. Needs the role `releaser`.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{env}/lock", operation_id = "unlock_environment",
    tag = "locks and blocks", params(EnvironmentPath), responses((status = 204, description = "Not locked.")))]
pub async fn unlock_environment(
    caller: Caller<Releaser>,
    InPath(path): InPath<EnvironmentPath>,
    State(state): State<ApiState>,
) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    locks::unlock_environment(&mut tx, &caller.actor, &path.app, &path.env).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stop every promotion everywhere.
///
/// New ones get 423 `environment_locked`. Those that run begin nothing new until the lock is lifted, as if they were
/// paused: a flip is never left half-done, and a check that fails still rolls back. Those with `break_glass` go on, and
/// rollbacks always pass. Needs the role `releaser`.
#[utoipa::path(put, path = "/v1/lock", operation_id = "lock_everything", tag = "locks and blocks",
    request_body(content = Reason, example = json!({"reason": "incident 4711"})),
    responses((status = 200, description = "It was locked before; the reason is new.", body = Lock),
              (status = 201, description = "Locked.", body = Lock)))]
pub async fn lock_everything(
    caller: Caller<Releaser>,
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<Reason>,
) -> Result<(StatusCode, Json<Lock>)> {
    let reason = request.check("reason")?;
    let mut tx = state.store.begin().await?;
    let (lock, created) = locks::lock_everything(&mut tx, &caller.actor, reason).await?;
    tx.commit().await?;
    Ok(put(created, lock))
}

/// Lift the lock on everything.
///
/// Promotions that it held go on. Safe to repeat; the locks of single environments stay. Needs the role `releaser`.
#[utoipa::path(delete, path = "/v1/lock", operation_id = "unlock_everything", tag = "locks and blocks",
    responses((status = 204, description = "Not locked.")))]
pub async fn unlock_everything(caller: Caller<Releaser>, State(state): State<ApiState>) -> Result<StatusCode> {
    let mut tx = state.store.begin().await?;
    locks::unlock_everything(&mut tx, &caller.actor).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read the lock on everything.
#[utoipa::path(get, path = "/v1/lock", operation_id = "get_lock", tag = "locks and blocks",
    responses((status = 200, description = "Everything is locked.", body = Lock)))]
pub async fn get_lock(_: Caller<Viewer>, State(state): State<ApiState>) -> Result<Json<Lock>> {
    let mut tx = state.store.snapshot().await?;
    let lock = locks::of_everything(&mut tx).await?;
    lock.map(Json)
        .ok_or_else(|| Problem::new(Code::NotFound, "There is no lock on everything."))
}
