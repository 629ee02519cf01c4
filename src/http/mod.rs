//! The HTTP API: axum routes over the use-cases, and the OpenAPI document made from the same router.
//!
//! It parses, authenticates, calls one use-case in one transaction, and shows a view. It decides nothing,
//! and holds no SQL. A request's way:
//!
//! ```text
//! observe (id, span, problems) ─▶ panics caught ─▶ route ─▶ Caller ─▶ InPath ─▶ InQuery ─▶ JsonBody, Post
//!                                                                                │
//!                                  view ◀─ use-case in a transaction ◀───────────┘
//! ```
//! To add an operation: see [`routes`]. Codes become statuses in [`problem`], and nowhere else.

pub mod auth;
pub mod body;
pub mod health;
mod lists;
mod mistake;
pub mod observe;
pub mod openapi;
pub mod page;
pub mod params;
pub mod post;
pub mod problem;
pub mod routes;
pub mod views;
pub mod watch;

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, middleware::from_fn, routing::get};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use openapi::{openapi, openapi_json};

use crate::{
    engine::{Hub, worker::Pulse},
    service::previews::Secrets,
    store::Store,
};
use routes::{
    apps, blocks, callbacks, environments, events, invalidations, jobs, locks, previews, promotions, releases,
    rollbacks, signals,
};

/// What handlers need.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub store: Store,
    pub hub: Hub,
    /// Of previews.
    pub secrets: Arc<dyn Secrets>,
    /// Of the worker in this process; `None` with the role `api`.
    pub pulse: Option<Pulse>,
    /// Ends what waits: event streams, and `?wait=`.
    pub shutdown: CancellationToken,
}

/// Every operation, and its description.
fn api() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::info())
        .routes(routes!(apps::put_app, apps::get_app, apps::delete_app))
        .routes(routes!(apps::list_apps))
        .routes(routes!(
            environments::put_environment,
            environments::get_environment,
            environments::delete_environment
        ))
        .routes(routes!(environments::list_environments))
        .routes(routes!(environments::list_deployments))
        .routes(routes!(releases::register_release, releases::list_releases))
        .routes(routes!(releases::get_release))
        .routes(routes!(promotions::start_promotion))
        .routes(routes!(rollbacks::start_rollback))
        .routes(routes!(previews::create_preview))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job))
        .routes(routes!(events::list_job_events))
        .routes(routes!(jobs::abort_job))
        .routes(routes!(jobs::retry_job))
        .routes(routes!(signals::approve_job))
        .routes(routes!(signals::reject_job))
        .routes(routes!(signals::pause_job))
        .routes(routes!(signals::resume_job))
        .routes(routes!(signals::promote_job_fully))
        .routes(routes!(callbacks::answer_callback))
        .routes(routes!(locks::lock_environment, locks::unlock_environment))
        .routes(routes!(
            locks::lock_everything,
            locks::unlock_everything,
            locks::get_lock
        ))
        .routes(routes!(blocks::block_release, blocks::unblock_release))
        .routes(routes!(invalidations::start_invalidation))
        .merge(probes())
}

/// What load balancers ask.
fn probes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// The whole API.
pub fn router(state: ApiState) -> Router {
    let (routes, _) = api().split_for_parts();
    let document = openapi_json();
    let document = get(move || async { ([(CONTENT_TYPE, "application/json")], document) });
    let docs = SwaggerUi::new("/docs").config(Config::new(["/openapi.json"]));
    observed(routes.with_state(state).route("/openapi.json", document).merge(docs))
}

/// Only the probes: for a process that only works.
pub fn health_router(state: ApiState) -> Router {
    let (routes, _) = probes().split_for_parts();
    observed(routes.with_state(state))
}

fn observed(router: Router) -> Router {
    router
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND })
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(from_fn(observe::observe))
}
