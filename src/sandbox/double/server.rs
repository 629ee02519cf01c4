//! The walk of a request: signature, log, fault, effect, answer.
//!
//! ```text
//! connection ──► body read ──► spawned task: signature ► recorded ► fault ► effect ► Reply
//!     ▲                                                                          │
//!     └──────── answer │ cut the connection │ hang until the client goes ◄───────┘
//! ```
//!
//! hyper drops a handler when its client disconnects. What AWS would have done with the request is
//! therefore done in a task of its own: an effect never depends on whether anyone still listens.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Response;
use axum::http::request::Parts;
use chrono::Utc;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::auth::{Caller, Signature};
use super::calls::{Call, Outcome};
use super::cut::{Cut, CutListener};
use super::error::{Answer, AwsError, Protocol};
use super::faults::{Entry, FaultAction, Target};
use super::request::{self, Parsed};
use super::world::World;
use super::{admin, ids};

/// The largest body that is read: more than any file of a site that is tried out here.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub world: Arc<World>,
    closing: CancellationToken,
}

/// Serves until `closing` is cancelled; calls that hang are cut then.
pub(super) async fn run(listener: CutListener, world: Arc<World>, closing: CancellationToken) {
    let shared = Shared {
        world,
        closing: closing.clone(),
    };
    let router = Router::new()
        .nest("/_double", admin::routes())
        .fallback(answer)
        .with_state(shared);
    let service = router.into_make_service_with_connect_info::<Cut>();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(closing.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the AWS double's server ended");
    }
}

/// What becomes of the connection.
enum Reply {
    Answer(Response<Body>),
    Cut,
    Hang,
}

async fn answer(State(shared): State<Shared>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let closing = shared.closing.clone();
    let reply = async {
        let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
            return cut.now();
        };
        match tokio::spawn(process(shared.world, parts, body)).await {
            Ok(Reply::Answer(response)) => response,
            Ok(Reply::Cut) | Err(_) => cut.now(),
            Ok(Reply::Hang) => std::future::pending().await,
        }
    };
    tokio::select! {
        response = reply => response,
        () = closing.cancelled() => cut.now(),
    }
}

async fn process(world: Arc<World>, parts: Parts, body: Bytes) -> Reply {
    let request_id = ids::uuid();
    let guess = request::protocol(None, &parts);
    let signature = match Signature::read(&parts.headers, guess) {
        Ok(signature) => signature,
        Err(error) => return refuse(&world, guess, None, &request_id, error),
    };
    let protocol = request::protocol(Some(&signature.service), &parts);
    let now = Utc::now();
    let caller = signature
        .check_age(now, protocol)
        .and_then(|()| world.read(|state| signature.caller(state, &world.options.account_id, now, protocol)));
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return refuse(&world, protocol, Some(&signature), &request_id, error),
    };
    let parsed = Parsed::read(&signature.service, &parts, &body);
    let seq = world.calls.record(Call {
        seq: 0,
        at: world.clock.now(),
        account: caller.account.clone(),
        region: caller.region.clone(),
        service: signature.service.clone(),
        operation: parsed.operation.clone(),
        resource: parsed.resource.clone(),
        request_id: request_id.clone(),
        details: parsed.details.clone(),
        outcome: Outcome::Pending,
    });
    if !world.options.answer_delay.is_zero() {
        tokio::time::sleep(world.options.answer_delay).await;
    }
    let fault = world.faults.pick(&Target {
        operation: &parsed.operation,
        account: &caller.account,
        region: &caller.region,
        resource: parsed.resource.as_deref().unwrap_or_default(),
    });
    let work = Work {
        world,
        caller,
        service: signature.service,
        parsed,
        request_id,
        seq,
        protocol,
    };
    match fault {
        Some(fault) => work.under(&fault).await,
        None => work.normally(false),
    }
}

/// Records and answers a request whose signature isn't good.
fn refuse(
    world: &World,
    protocol: Protocol,
    signature: Option<&Signature>,
    request_id: &str,
    error: AwsError,
) -> Reply {
    world.calls.record(Call {
        seq: 0,
        at: world.clock.now(),
        account: String::new(),
        region: signature.map(|it| it.region.clone()).unwrap_or_default(),
        service: signature.map(|it| it.service.clone()).unwrap_or_default(),
        operation: String::new(),
        resource: None,
        request_id: request_id.to_owned(),
        details: json!({}),
        outcome: Outcome::Error {
            code: error.code.clone(),
        },
    });
    Reply::Answer(protocol.render(Err(error), request_id))
}

/// A recorded request on its way to an answer.
struct Work {
    world: Arc<World>,
    caller: Caller,
    service: String,
    parsed: Parsed,
    request_id: String,
    seq: u64,
    protocol: Protocol,
}

impl Work {
    fn normally(self, stale: bool) -> Reply {
        let log = Arc::clone(&self.world);
        let (seq, protocol, request_id) = (self.seq, self.protocol, self.request_id.clone());
        let result = self.effect(stale);
        log.calls.settle(seq, outcome(&result));
        Reply::Answer(protocol.render(result, &request_id))
    }

    /// Makes the request's effect, or finds out why it has none.
    fn effect(self, stale: bool) -> Result<Answer, AwsError> {
        self.parsed
            .command?
            .apply(&self.world, &self.caller, &self.request_id, stale)
    }

    async fn under(self, fault: &Arc<Entry>) -> Reply {
        let log = Arc::clone(&self.world);
        let seq = self.seq;
        let settle = |outcome: Outcome| {
            log.calls.settle(seq, outcome);
            fault.hit();
        };
        match fault.action() {
            FaultAction::Delay(delay) => {
                fault.hit();
                tokio::time::sleep(*delay).await;
                self.normally(false)
            }
            FaultAction::StaleRead => {
                let reply = self.normally(true);
                fault.hit();
                reply
            }
            FaultAction::LoseAnswer => {
                let error = refusal(&self.effect(false));
                settle(Outcome::AnswerLost { error });
                Reply::Cut
            }
            FaultAction::LoseRequest => {
                settle(Outcome::RequestLost);
                Reply::Cut
            }
            FaultAction::HangAfterEffect => {
                let applied = refusal(&self.effect(false)).is_none();
                settle(Outcome::Hung { applied });
                Reply::Hang
            }
            FaultAction::HangBeforeEffect => {
                settle(Outcome::Hung { applied: false });
                Reply::Hang
            }
            FaultAction::HoldEffect => {
                let world = Arc::clone(&log);
                fault.hold(Box::new(move || {
                    let error = refusal(&self.effect(false));
                    world.calls.settle(seq, Outcome::Released { error });
                }));
                settle(Outcome::Held);
                Reply::Hang
            }
            FaultAction::HoldAnswer => {
                let (release, released) = oneshot::channel::<()>();
                let reply = self.normally(false);
                // Nobody who hears it: the client has gone.
                fault.hold(Box::new(move || {
                    let _ = release.send(());
                }));
                fault.hit();
                // Without a word when the fault is removed: then nothing holds it any more.
                let _ = released.await;
                reply
            }
            action => {
                let resource = self.parsed.resource.as_deref();
                let operation = &self.parsed.operation;
                let error = request::fault_error(action, &self.service, operation, resource, &self.caller)
                    .unwrap_or_else(|| AwsError::without_message(500, "InternalFailure"));
                let result = Err(error);
                settle(outcome(&result));
                Reply::Answer(self.protocol.render(result, &self.request_id))
            }
        }
    }
}

fn outcome(result: &Result<Answer, AwsError>) -> Outcome {
    refusal(result).map_or(Outcome::Ok, |code| Outcome::Error { code })
}

/// The AWS code of a refusal; `None` when it was done.
fn refusal(result: &Result<Answer, AwsError>) -> Option<String> {
    match result {
        Ok(answer) => answer.refused.clone(),
        Err(error) => Some(error.code.clone()),
    }
}
