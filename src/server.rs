//! Puts the rooms together: store, engine, API, and the way they start and stop.
//!
//! ```text
//! start: migrate ─▶ listener (subscribes first) ─▶ worker ─▶ API
//! stop:  API takes nothing new, streams end ─▶ worker ends its writes and hands its jobs over
//! ```

use std::{future::IntoFuture, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    aws::Aws,
    config::{EngineOptions, ServeRole, WebhookOptions},
    engine::{Engine, EngineConfig, Hub, Worker, worker::Pulse},
    http::{self, ApiState},
    outbound::{AllowList, Outbound, webhook::Webhooks},
    secrets::AwsSecrets,
    service::activation::Activator,
    steps,
    store::{Store, idempotency},
};

/// How long open requests may take to end after a stop was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// How often answers kept under an idempotency key are looked through for old ones.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// What a replica is made of.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub database_url: String,
    pub role: ServeRole,
    pub migrate: bool,
    pub engine: EngineOptions,
    /// Networks that users' URLs may lead to although they are not public.
    pub outbound_allow: AllowList,
    pub webhooks: WebhookOptions,
}

/// The engine with every step there is.
pub fn engine(
    store: &Store,
    aws: &Aws,
    outbound: &Outbound,
    webhooks: &WebhookOptions,
    config: EngineConfig,
) -> Engine {
    let public_url = webhooks.public_url.as_deref();
    let webhooks = Webhooks {
        outbound: outbound.clone(),
        secret: webhooks.webhook_secret.clone(),
    };
    Engine {
        store: store.clone(),
        steps: Arc::new(steps::all(aws, &webhooks, public_url)),
        activator: Arc::new(Activator { store: store.clone() }),
        config,
    }
}

/// Runs a replica until `stop`; then hands over what it is doing.
///
/// # Errors
/// When it can't be started, or a part of it ends that should not.
pub async fn run(
    options: ServerOptions,
    aws: Aws,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if options.migrate {
        Store::migrate(&options.database_url)
            .await
            .context("could not migrate the database")?;
    }
    let store = Store::connect(&options.database_url, options.engine.database_connections)?;
    let outbound = Outbound::new(options.outbound_allow);
    let hub = Hub::default();
    // The listener outlives the worker and the API: it is stopped last.
    let stop_listening = CancellationToken::new();
    let listening = tokio::spawn(hub.clone().listen(store.clone(), stop_listening.clone()));
    let forgetting = tokio::spawn(forget_old_answers(store.clone(), stop.clone()));
    let (worker, pulse) = match options.role {
        ServeRole::Api => (None, None),
        ServeRole::Worker | ServeRole::All => {
            let engine = engine(&store, &aws, &outbound, &options.webhooks, options.engine.engine());
            let (task, pulse) = start_worker(engine, &hub, &stop);
            (Some(task), Some(pulse))
        }
    };
    let state = ApiState {
        secrets: Arc::new(AwsSecrets { aws }),
        store,
        hub,
        pulse,
        shutdown: stop.clone(),
    };
    let router = match options.role {
        ServeRole::Worker => http::health_router(state),
        ServeRole::Api | ServeRole::All => http::router(state),
    };
    tracing::info!(address = %listener.local_addr()?, role = ?options.role, "serving");
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let served = tokio::select! {
        result = serving.into_future() => result.context("the API ended"),
        () = drained(stop.clone()) => {
            tracing::warn!("some requests did not end in time and are cut off");
            Ok(())
        }
    };
    stop.cancel();
    if let Some(worker) = worker {
        worker.await.context("the worker panicked")?;
    }
    stop_listening.cancel();
    for task in [listening, forgetting] {
        task.await.context("a background task panicked")?;
    }
    tracing::info!("stopped");
    served
}

/// Ends when open requests have had their time after `stop`.
async fn drained(stop: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_DEADLINE).await;
}

fn start_worker(engine: Engine, hub: &Hub, stop: &CancellationToken) -> (JoinHandle<()>, Pulse) {
    let worker = Worker::new(engine, hub.clone());
    let pulse = worker.pulse();
    (tokio::spawn(worker.run(stop.clone())), pulse)
}

async fn forget_old_answers(store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FORGET_EVERY) => {}
        }
        let forgotten = async {
            let mut connection = store.pool().acquire().await?;
            idempotency::forget_old(&mut connection).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "could not forget old idempotency keys; trying again in an hour");
        }
    }
}
