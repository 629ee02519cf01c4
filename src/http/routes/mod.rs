//! One file an aggregate: handlers that call one use-case and show a view.
//!
//! To add an operation: a handler here with its `#[utoipa::path]`, a line in [`super::api`], and what it
//! can refuse in `openapi::REFUSALS`. The first argument is the [`super::auth::Caller`] with the role.

pub mod apps;
pub mod blocks;
pub mod callbacks;
pub mod environments;
pub mod events;
pub mod invalidations;
pub mod jobs;
pub mod locks;
pub mod previews;
pub mod promotions;
pub mod releases;
pub mod rollbacks;
pub mod signals;

use axum::{Json, http::StatusCode};

/// What a PUT answers: 201 when it made the thing.
fn put<T>(created: bool, view: T) -> (StatusCode, Json<T>) {
    (if created { StatusCode::CREATED } else { StatusCode::OK }, Json(view))
}

/// Where a job is.
fn job_location(id: uuid::Uuid) -> String {
    format!("/v1/jobs/{id}")
}
