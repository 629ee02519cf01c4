//! Whether the process lives, and whether it can work. No token: load balancers ask.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;

/// How long the worker may be silent: longer than the longest poll that can be set (20 s).
const WORKER_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ok")]
    pub status: &'static str,
}

/// Whether the process can work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ok`, or `failing` when a check fails.
    #[schema(example = "ok")]
    pub status: &'static str,
    pub checks: Vec<ReadinessCheck>,
}

/// One thing that is needed to work.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadinessCheck {
    /// `database`, `migrations`, `worker` or `shutdown`.
    #[schema(example = "database")]
    pub name: &'static str,
    pub ok: bool,
    /// What is wrong; null when it is ok.
    pub detail: Option<&'static str>,
}

/// Is the process alive?
///
/// Says nothing about the database or AWS: a process that can't reach them should not be restarted for it.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "health",
    responses((status = 200, description = "It is alive.", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Can the process work?
///
/// Looks at the database, its migrations, the worker of this process if it has one, and whether the process
/// is shutting down.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, description = "It can work.", body = Readiness),
              (status = 503, description = "It can't: a check says why.", body = Readiness)))]
pub async fn readyz(State(state): State<ApiState>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&state).await;
    let status = if readiness.status == "ok" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

async fn readiness(state: &ApiState) -> Readiness {
    let migrated = tokio::time::timeout(DATABASE_TIMEOUT, state.store.is_migrated()).await;
    let (database, migrations) = match migrated {
        Ok(Ok(true)) => (None, None),
        Ok(Ok(false)) => (
            None,
            Some("the schema is older than this version: run greenlight migrate"),
        ),
        Ok(Err(_)) | Err(_) => (
            Some("the database does not answer"),
            Some("not known without the database"),
        ),
    };
    let mut checks = vec![check("database", database), check("migrations", migrations)];
    if let Some(pulse) = &state.pulse {
        let silent = match pulse.age() {
            None => Some("the worker has not looked for work yet"),
            Some(age) if age > WORKER_SILENCE_MAX => Some("the worker has not looked for work for half a minute"),
            Some(_) => None,
        };
        checks.push(check("worker", silent));
    }
    if state.shutdown.is_cancelled() {
        checks.push(check("shutdown", Some("the process is shutting down")));
    }
    let status = if checks.iter().all(|check| check.ok) {
        "ok"
    } else {
        "failing"
    };
    Readiness { status, checks }
}

fn check(name: &'static str, detail: Option<&'static str>) -> ReadinessCheck {
    ReadinessCheck {
        name,
        ok: detail.is_none(),
        detail,
    }
}
