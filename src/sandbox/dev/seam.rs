//! Where `greenlight dev` meets the service: starting it on what the house provides, and making the
//! first token.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::sdk_config;
use crate::{
    aws::Aws,
    config::{EngineOptions, ServeRole, WebhookOptions},
    domain::role::Role,
    outbound::AllowList,
    server::{self, ServerOptions},
    service::tokens,
    store::Store,
};

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
    database_url: &str,
    aws_endpoint: &str,
    listen: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<Service> {
    let address = listen.local_addr()?;
    Store::migrate(database_url)
        .await
        .context("could not migrate the database")?;
    let options = ServerOptions {
        // The local edge is on loopback.
        outbound_allow: AllowList::loopback(),
        database_url: database_url.to_owned(),
        role: ServeRole::All,
        migrate: false,
        engine: EngineOptions::default(),
        webhooks: WebhookOptions {
            public_url: Some(format!("http://{address}")),
            webhook_secret: None,
        },
    };
    let aws = Aws::with_config(&sdk_config(aws_endpoint));
    let finished = tokio::spawn(server::run(options, aws, listen, shutdown));
    Ok(Service { address, finished })
}

/// Makes a token with the role and answers with its text, which is never told again.
pub(super) async fn create_token(database_url: &str, name: &str, role: Role) -> anyhow::Result<String> {
    let store = Store::connect(database_url, 1)?;
    let mut tx = store.begin().await?;
    let created = tokens::create(&mut tx, name, role, None).await?;
    tx.commit().await?;
    Ok(created.token)
}
