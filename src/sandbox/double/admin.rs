//! The admin interface: JSON under `/_double/`, unsigned, for tests in other languages and for
//! `greenlight dev`. It can do what the Rust interface can; it is no part of AWS.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloudfront::store::Distribution;
use super::cloudwatch;
use super::faults::{Fault, FaultAction, FaultView};
use super::server::Shared;
use super::state::Role;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(health))
        .route("/calls", get(calls).delete(clear_calls))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/faults/{id}/release", post(release_fault))
        .route("/distributions", post(add_distribution))
        .route("/key-value-stores", post(add_key_value_store))
        .route("/alarms", post(put_alarm))
        .route("/roles", post(register_role))
        .route("/clock", post(advance_clock))
        .fallback(unknown)
}

async fn health(State(shared): State<Shared>) -> Json<Value> {
    let world = &shared.world;
    Json(json!({
        "status": "ok",
        "account_id": world.options.account_id,
        "now": world.clock.now(),
        "services": ["ssm", "cloudfront", "cloudfront-keyvaluestore", "cloudwatch", "s3", "sts"],
    }))
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, "There is no such admin call.")
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn calls(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "items": shared.world.calls.all() }))
}

async fn clear_calls(State(shared): State<Shared>) -> StatusCode {
    shared.world.calls.clear();
    StatusCode::NO_CONTENT
}

/// A fault in JSON: `{"operation":"PutParameter","action":"throttle","times":1}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    operation: Option<String>,
    account: Option<String>,
    region: Option<String>,
    resource_contains: Option<String>,
    #[serde(default)]
    skip: u64,
    times: Option<u64>,
    action: String,
    delay_ms: Option<u64>,
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
}

impl FaultRequest {
    fn action(&self) -> Result<FaultAction, &'static str> {
        Ok(match self.action.as_str() {
            "throttle" => FaultAction::Throttle,
            "unavailable" => FaultAction::Unavailable,
            "internal_error" => FaultAction::InternalError,
            "access_denied" => FaultAction::AccessDenied,
            "lose_answer" => FaultAction::LoseAnswer,
            "lose_request" => FaultAction::LoseRequest,
            "hang_after_effect" => FaultAction::HangAfterEffect,
            "hang_before_effect" => FaultAction::HangBeforeEffect,
            "hold_effect" => FaultAction::HoldEffect,
            "hold_answer" => FaultAction::HoldAnswer,
            "stale_read" => FaultAction::StaleRead,
            "delay" => {
                let millis = self.delay_ms.ok_or("delay needs delay_ms")?;
                FaultAction::Delay(Duration::from_millis(millis))
            }
            "error" => FaultAction::Error {
                status: self
                    .status
                    .filter(|it| (400..600).contains(it))
                    .ok_or("error needs a status from 400 to 599")?,
                code: self.code.clone().ok_or("error needs a code")?,
                message: self.message.clone().unwrap_or_default(),
            },
            _ => return Err("there is no such action"),
        })
    }
}

fn action_name(action: &FaultAction) -> &'static str {
    match action {
        FaultAction::Throttle => "throttle",
        FaultAction::Unavailable => "unavailable",
        FaultAction::InternalError => "internal_error",
        FaultAction::AccessDenied => "access_denied",
        FaultAction::Delay(_) => "delay",
        FaultAction::LoseAnswer => "lose_answer",
        FaultAction::LoseRequest => "lose_request",
        FaultAction::HangAfterEffect => "hang_after_effect",
        FaultAction::HangBeforeEffect => "hang_before_effect",
        FaultAction::HoldEffect => "hold_effect",
        FaultAction::HoldAnswer => "hold_answer",
        FaultAction::Error { .. } => "error",
        FaultAction::StaleRead => "stale_read",
    }
}

fn view(view: FaultView) -> Value {
    json!({
        "id": view.id,
        "operation": view.fault.operation,
        "account": view.fault.account,
        "region": view.fault.region,
        "resource_contains": view.fault.resource_contains,
        "skip": view.fault.skip,
        "times": view.fault.times,
        "action": action_name(&view.fault.action),
        "hits": view.hits,
        "held": view.held,
    })
}

async fn faults(State(shared): State<Shared>) -> Json<Value> {
    let items: Vec<Value> = shared.world.faults.list().into_iter().map(view).collect();
    Json(json!({ "items": items }))
}

async fn add_fault(State(shared): State<Shared>, Json(request): Json<FaultRequest>) -> Response {
    let action = match request.action() {
        Ok(action) => action,
        Err(message) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, message),
    };
    let handle = shared.world.faults.add(Fault {
        operation: request.operation,
        account: request.account,
        region: request.region,
        resource_contains: request.resource_contains,
        skip: request.skip,
        times: request.times,
        action,
    });
    (StatusCode::CREATED, Json(json!({ "id": handle.id() }))).into_response()
}

async fn clear_faults(State(shared): State<Shared>) -> StatusCode {
    shared.world.faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(shared): State<Shared>, Path(id): Path<u64>) -> Response {
    if shared.world.faults.remove(id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    refuse(StatusCode::NOT_FOUND, "There is no such fault.")
}

async fn release_fault(State(shared): State<Shared>, Path(id): Path<u64>) -> Response {
    match shared.world.faults.release(id) {
        Some(released) => Json(json!({ "released": released })).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "There is no such fault."),
    }
}

#[derive(Debug, Deserialize)]
struct DistributionRequest {
    id: String,
    account: Option<String>,
}

async fn add_distribution(State(shared): State<Shared>, Json(request): Json<DistributionRequest>) -> Response {
    let world = &shared.world;
    let account = request.account.as_deref().unwrap_or(&world.options.account_id);
    let now = world.clock.now();
    world.change(|state| {
        let distributions = &mut state.account_mut(account).distributions;
        distributions
            .entry(request.id.clone())
            .or_insert_with(|| Distribution::new(&request.id, now));
    });
    (
        StatusCode::CREATED,
        Json(json!({ "id": request.id, "account": account })),
    )
        .into_response()
}

#[derive(Debug, Deserialize)]
struct KeyValueStoreRequest {
    name: String,
    account: Option<String>,
}

async fn add_key_value_store(State(shared): State<Shared>, Json(request): Json<KeyValueStoreRequest>) -> Response {
    let world = &shared.world;
    let account = request.account.as_deref().unwrap_or(&world.options.account_id);
    let now = world.clock.now();
    let arn = world.change(|state| state.add_key_value_store(account, &request.name, now));
    (StatusCode::CREATED, Json(json!({ "arn": arn }))).into_response()
}

/// An alarm to make, or to set: `{"region":"eu-west-1","name":"errors","state":"ALARM"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlarmRequest {
    region: String,
    name: String,
    account: Option<String>,
    #[serde(default)]
    composite: bool,
    state: Option<String>,
    #[serde(default)]
    reason: String,
}

async fn put_alarm(State(shared): State<Shared>, Json(request): Json<AlarmRequest>) -> Response {
    let world = &shared.world;
    let account = request.account.as_deref().unwrap_or(&world.options.account_id);
    let state = request.state.as_deref().map(|state| (state, request.reason.as_str()));
    let (region, name) = (&request.region, &request.name);
    match cloudwatch::admit(world, account, region, name, request.composite, state) {
        Ok(()) => (
            StatusCode::CREATED,
            Json(json!({ "name": name, "region": region, "account": account })),
        )
            .into_response(),
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

#[derive(Debug, Deserialize)]
struct RoleRequest {
    arn: String,
    external_id: Option<String>,
}

async fn register_role(State(shared): State<Shared>, Json(request): Json<RoleRequest>) -> Response {
    let role = Role {
        external_id: request.external_id,
    };
    shared
        .world
        .change(|state| state.roles.insert(request.arn.clone(), role));
    (StatusCode::CREATED, Json(json!({ "arn": request.arn }))).into_response()
}

#[derive(Debug, Deserialize)]
struct ClockRequest {
    advance_seconds: u64,
}

async fn advance_clock(State(shared): State<Shared>, Json(request): Json<ClockRequest>) -> Json<Value> {
    let clock = &shared.world.clock;
    clock.advance(Duration::from_secs(request.advance_seconds));
    Json(json!({ "now": clock.now() }))
}
