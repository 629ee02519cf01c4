//! The command line: `serve`, `dev`, `migrate`, `openapi`, `token`, `healthcheck`, `break-glass`.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
#[cfg(feature = "dev")]
use greenlight::sandbox::dev;
use greenlight::{
    aws::Aws,
    break_glass::{self, BreakGlassOptions},
    config::{DatabaseOptions, ServeOptions},
    domain::role::Role,
    http,
    server::{self, ServerOptions},
    service::tokens,
    store::Store,
    telemetry::{self, LogOptions},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// A release control plane for blue/green deployments on AWS.
#[derive(Debug, Parser)]
#[command(name = "greenlight", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: API and worker.
    Serve(ServeOptions),
    /// Run everything embedded, nothing to set up.
    #[cfg(feature = "dev")]
    Dev(dev::DevOptions),
    /// Bring the database's schema up to date.
    Migrate(DatabaseOptions),
    /// Print the OpenAPI document.
    Openapi,
    /// Make API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask a running service whether it is there; for containers.
    Healthcheck(HealthcheckOptions),
    /// Move an environment to a release while Greenlight's database is away: AWS and the environment's document alone.
    ///
    /// Shows what each pointer says and will say, asks, writes, and invalidates. The service sees it as drift afterwards.
    /// Exit status: 0 all is written, 1 something is not, 2 nothing was begun.
    BreakGlass(BreakGlassOptions),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once.
    Create(TokenOptions),
}

#[derive(Debug, Args)]
struct TokenOptions {
    #[command(flatten)]
    database: DatabaseOptions,

    /// Who will use it: shown as `created_by`.
    #[arg(long)]
    name: String,

    /// viewer, deployer, releaser or admin.
    #[arg(long)]
    role: Role,

    /// Days until it expires; without it, never.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=3650))]
    expires_in_days: Option<i64>,
}

#[derive(Debug, Args)]
struct HealthcheckOptions {
    /// Where the service listens.
    #[arg(long, env = "GREENLIGHT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("greenlight: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let quiet = !matches!(cli.command, Command::Serve(_));
    // PostgreSQL's notices say nothing that anybody could act on.
    telemetry::start(
        &cli.log,
        if quiet {
            "warn"
        } else {
            "info,sqlx::postgres::notice=warn"
        },
    )?;
    match cli.command {
        Command::Serve(options) => serve(options).await?,
        #[cfg(feature = "dev")]
        Command::Dev(options) => dev::run(options).await?,
        Command::Migrate(options) => {
            Store::migrate(&options.database_url)
                .await
                .context("could not migrate the database")?;
            println!("The database is up to date.");
        }
        Command::Openapi => print!("{}", http::openapi_json()),
        Command::Token(TokenCommand::Create(options)) => create_token(options).await?,
        Command::Healthcheck(options) => healthcheck(options.listen).await?,
        Command::BreakGlass(options) => return Ok(break_glass::run(options).await.into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("could not listen on {}", options.listen))?;
    let aws = Aws::from_environment().await;
    let server = ServerOptions {
        outbound_allow: options.outbound_allow,
        webhooks: options.webhooks,
        database_url: options.database.database_url,
        role: options.role,
        migrate: !options.no_migrate,
        engine: options.engine,
    };
    server::run(server, aws, listener, stop_on_signal()?).await
}

/// Cancelled at SIGTERM or SIGINT.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

async fn create_token(options: TokenOptions) -> anyhow::Result<()> {
    let store = Store::connect(&options.database.database_url, 1)?;
    let mut tx = store.begin().await.context("could not reach the database")?;
    let valid_seconds = options.expires_in_days.map(|days| days * 86_400);
    let created = tokens::create(&mut tx, &options.name, options.role, valid_seconds)
        .await
        .context("could not make the token (has the database been migrated?)")?;
    tx.commit().await.context("could not store the token")?;
    println!("{}", created.token);
    Ok(())
}

/// A GET of /healthz by hand: the production image has no HTTP client besides the SDK's.
async fn healthcheck(listen: SocketAddr) -> anyhow::Result<()> {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let ask = async {
        let mut stream = TcpStream::connect((ip, listen.port())).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(3), ask)
        .await
        .context("no answer in time")??;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("it is not healthy");
    }
    Ok(())
}
