//! What `greenlight dev` runs, from the first process to the last word.
//!
//! Started from the ground up (PostgreSQL, AWS double, local edges, service, token), stopped the other way round,
//! so that nobody loses what it stands on. When a start fails or is cancelled, what there is so far
//! ends by being dropped.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use chrono::Utc;
use reqwest::StatusCode;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    DevOptions, cloud, demo::Stage, edges::Edges, folder::DataFolder, screen::Screen, seam, world::KEY_VALUE_STORE,
};
use crate::{
    domain::role::Role,
    sandbox::{
        double::AwsDouble,
        edge::LocalEdge,
        postgres::{PrivatePostgres, PrivatePostgresOptions},
    },
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DATABASE: &str = "greenlight";
const MAX_CONNECTIONS: u32 = 100;
/// How long the service may take to hand over what it is doing.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Everything that runs.
pub(super) struct House {
    pub base_url: String,
    pub token: String,
    pub database_url: String,
    pub double: AwsDouble,
    pub edges: Edges,
    pub kvs_arn: String,
    postgres: PrivatePostgres,
    shutdown: CancellationToken,
    service: AbortHandle,
    /// None while the service runs, then how it ended.
    service_end: watch::Receiver<Option<Result<(), String>>>,
}

impl House {
    /// Starts everything. Cancelling this ends what was started.
    pub(super) async fn start(options: &DevOptions, folder: &DataFolder, screen: &Screen) -> anyhow::Result<Self> {
        let listener = bind(options.listen, screen).await?;
        let postgres = PrivatePostgres::start(PrivatePostgresOptions {
            data_dir: folder.postgres(),
            durable: true,
            bin_dir: options.pg_bin.clone(),
            max_connections: MAX_CONNECTIONS,
        })
        .await
        .context("could not start PostgreSQL")?;
        postgres.create_database(DATABASE).await?;
        let database_url = postgres.url(DATABASE);
        let takes = Duration::from_secs(options.invalidation_seconds.into());
        let double = cloud::start(options.aws_listen, folder.double(), takes)
            .await
            .context("could not start the AWS double")?;
        let kvs_arn = double.add_key_value_store(KEY_VALUE_STORE);
        let ttl = Duration::from_secs(options.edge_ttl_seconds.into());
        let edges = Edges::start(&double, &kvs_arn, options.edge_listen, ttl, screen).await?;
        let shutdown = CancellationToken::new();
        let guard = shutdown.clone().drop_guard();
        let service = seam::start_service(&database_url, &double.endpoint_url(), listener, shutdown.clone())
            .await
            .context("could not start the service")?;
        let base_url = base_url(service.address);
        let token = admin_token(folder, &base_url, &database_url).await?;
        let (end, service_end) = watch::channel(None);
        let finished = service.finished;
        let service = finished.abort_handle();
        tokio::spawn(async move {
            let ended = match finished.await {
                Ok(ended) => ended.map_err(|error| format!("{error:#}")),
                Err(panicked) => Err(panicked.to_string()),
            };
            end.send_replace(Some(ended));
        });
        guard.disarm();
        Ok(Self {
            base_url,
            token,
            database_url,
            double,
            edges,
            kvs_arn,
            postgres,
            shutdown,
            service,
            service_end,
        })
    }

    /// Where the demo plays.
    pub(super) fn stage(&self, edge_ttl_seconds: u32) -> Stage {
        let points = |edge: &LocalEdge| edge.pop_addresses().to_vec();
        let url = |edge: &LocalEdge| format!("{}/", edge.url());
        Stage {
            base_url: self.base_url.clone(),
            token: self.token.clone(),
            web: points(&self.edges.web),
            web_url: url(&self.edges.web),
            docs: points(&self.edges.docs),
            docs_url: url(&self.edges.docs),
            kvs_arn: self.kvs_arn.clone(),
            edge_ttl_seconds,
        }
    }

    /// Waits for something to end that nobody asked to; the answer says what.
    pub(super) async fn ended(&self) -> anyhow::Error {
        tokio::select! {
            ended = service_end(self.service_end.clone()) => match ended {
                Ok(()) => anyhow!("the service ended by itself"),
                Err(error) => anyhow!("the service ended: {error}"),
            },
            said = self.postgres.ended() => anyhow!(said),
        }
    }

    /// Stops the service, then the edges and the AWS double, then PostgreSQL. Everything is gone when this returns.
    ///
    /// # Errors
    /// When the service reports one while it stops, or has to be cut off.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let ended = match timeout(DRAIN_DEADLINE, service_end(self.service_end)).await {
            Ok(ended) => ended.map_err(|error| anyhow!("the service did not stop in good order: {error}")),
            Err(_) => Err(anyhow!(
                "the service did not stop within {} s",
                DRAIN_DEADLINE.as_secs()
            )),
        };
        self.service.abort();
        self.edges.shutdown().await;
        self.double.shutdown().await;
        self.postgres.stop().await;
        ended
    }
}

async fn service_end(mut end: watch::Receiver<Option<Result<(), String>>>) -> Result<(), String> {
    match end.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().unwrap_or(Ok(())),
        Err(_) => Err("its task was lost".into()),
    }
}

/// The address asked for, or it is an error; nobody asked: the default one, or any free port.
async fn bind(asked: Option<SocketAddr>, screen: &Screen) -> anyhow::Result<TcpListener> {
    if let Some(address) = asked {
        return TcpListener::bind(address)
            .await
            .with_context(|| format!("could not listen on {address}"));
    }
    match TcpListener::bind(DEFAULT_LISTEN).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(SocketAddr::new(DEFAULT_LISTEN.ip(), 0))
                .await
                .context("could not listen on any port")?;
            let taken = DEFAULT_LISTEN.port();
            let port = listener.local_addr().context("could not learn the port")?.port();
            screen.line(format!(
                "Port {taken} is taken, so the API is on port {port} this time."
            ));
            Ok(listener)
        }
        Err(error) => Err(error).with_context(|| format!("could not listen on {DEFAULT_LISTEN}")),
    }
}

/// How a client on this machine calls the address: one that means "every interface" is no destination.
fn base_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The token of an earlier run if the service still knows it, else a new one, kept for the next run.
async fn admin_token(folder: &DataFolder, base_url: &str, database_url: &str) -> anyhow::Result<String> {
    if let Some(token) = folder.kept_token()?
        && is_known(base_url, &token).await?
    {
        return Ok(token);
    }
    let name = format!("dev-{}", Utc::now().format("%Y%m%d%H%M%S"));
    let token = seam::create_token(database_url, &name, Role::Admin)
        .await
        .context("could not make the admin token")?;
    folder.keep_token(&token)?;
    Ok(token)
}

async fn is_known(base_url: &str, token: &str) -> anyhow::Result<bool> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(REQUEST_DEADLINE)
        .build()
        .context("could not make an HTTP client")?;
    let answer = client
        .get(format!("{base_url}/v1/apps?limit=1"))
        .bearer_auth(token)
        .send()
        .await
        .context("could not ask the service whether it knows the kept token")?;
    let status = answer.status();
    if status.is_server_error() {
        bail!("the service answered {status} when it was asked whether it knows the kept token");
    }
    Ok(!matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::HeaderMap, routing::get};

    use super::*;

    #[tokio::test]
    async fn a_kept_token_is_only_used_if_the_service_knows_it() {
        let answer = |headers: HeaderMap| async move {
            match headers.get("authorization").and_then(|value| value.to_str().ok()) {
                Some("Bearer known") => StatusCode::OK,
                Some("Bearer broken") => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::UNAUTHORIZED,
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = base_url(listener.local_addr().unwrap());
        let router = Router::new().route("/v1/apps", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        assert!(is_known(&url, "known").await.unwrap());
        assert!(!is_known(&url, "of a database that is gone").await.unwrap());
        assert!(is_known(&url, "broken").await.unwrap_err().to_string().contains("500"));
    }

    #[test]
    fn a_client_is_told_an_address_it_can_call() {
        let url = |address: &str| base_url(address.parse().expect("an address"));
        assert_eq!(url("0.0.0.0:8080"), "http://127.0.0.1:8080");
        assert_eq!(url("[::]:8080"), "http://[::1]:8080");
        assert_eq!(url("192.0.2.1:80"), "http://192.0.2.1:80");
    }
}
