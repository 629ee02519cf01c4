//! The settings of `serve`, by flag or environment.

use std::{ffi::OsStr, net::SocketAddr, time::Duration};

use clap::{Arg, Args, Command, ValueEnum, builder::TypedValueParser, error::ErrorKind};

use crate::{
    engine::EngineConfig,
    outbound::{
        AllowList,
        webhook::{InvalidSecret, WebhookSecret},
    },
};

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ServeRole {
    /// Answers requests; runs no jobs.
    Api,
    /// Runs jobs; answers only /healthz and /readyz.
    Worker,
    /// Both.
    #[default]
    All,
}

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct DatabaseOptions {
    /// postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
}

/// `greenlight serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    #[command(flatten)]
    pub database: DatabaseOptions,

    /// Where to listen.
    #[arg(long, env = "GREENLIGHT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// What this replica does.
    #[arg(long, env = "GREENLIGHT_ROLE", value_enum, default_value_t = ServeRole::All)]
    pub role: ServeRole,

    /// Do not migrate the database at start.
    #[arg(long, env = "GREENLIGHT_NO_MIGRATE", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_migrate: bool,

    #[command(flatten)]
    pub engine: EngineOptions,

    /// Networks that URLs in environments may lead to although they are not public, with commas between
    /// them: 10.1.0.0/16. All others that are private, local or reserved are refused.
    #[arg(
        long,
        env = "GREENLIGHT_OUTBOUND_ALLOW",
        default_value = "",
        hide_default_value = true
    )]
    pub outbound_allow: AllowList,

    #[command(flatten)]
    pub webhooks: WebhookOptions,
}

/// How webhooks are signed, and where they call back to.
#[derive(Debug, Clone, Default, Args)]
pub struct WebhookOptions {
    /// Where this service is reached from outside, such as https://greenlight.example.com: what webhooks that answer
    /// later call back to. Without it they are told the path alone.
    #[arg(long, env = "GREENLIGHT_PUBLIC_URL", value_parser = public_url)]
    pub public_url: Option<String>,

    /// What webhooks are signed with (Standard Webhooks): whsec_ and 24 to 64 bytes in base64. Without it they are not
    /// signed.
    #[arg(long, env = "GREENLIGHT_WEBHOOK_SECRET", hide_env_values = true, value_parser = SecretParser)]
    pub webhook_secret: Option<WebhookSecret>,
}

/// Reads the secret. Clap's own errors repeat the value.
#[derive(Debug, Clone, Copy)]
struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = WebhookSecret;

    fn parse_ref(&self, cmd: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Self::Value, clap::Error> {
        let secret = value.to_str().ok_or(InvalidSecret).and_then(str::parse);
        secret.map_err(|why: InvalidSecret| {
            let message = format!("invalid value for --webhook-secret (GREENLIGHT_WEBHOOK_SECRET): {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
        })
    }
}

fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@', ' '])) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("an http or https URL such as https://greenlight.example.com".to_owned())
    }
}

/// How jobs are run.
#[derive(Debug, Clone, Args)]
pub struct EngineOptions {
    /// Connections to the database at most.
    #[arg(long, env = "GREENLIGHT_DATABASE_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub database_connections: u32,

    /// Jobs that this replica's worker runs at once.
    #[arg(long, env = "GREENLIGHT_WORKER_JOBS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub worker_jobs: u16,

    /// How long a job belongs to a worker that says nothing.
    #[arg(long, env = "GREENLIGHT_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(15..=600))]
    pub lease_seconds: u64,

    /// The slow poll under the database's notifications.
    #[arg(long, env = "GREENLIGHT_POLL_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub poll_seconds: u64,

    /// How long after its signing a write to SSM without an answer is watched for. AWS accepts a
    /// signature for five minutes: less is only right where requests can't be delayed.
    #[arg(long, env = "GREENLIGHT_LATE_WRITE_WATCH_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub late_write_watch_seconds: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            database_connections: 20,
            worker_jobs: 64,
            lease_seconds: 30,
            poll_seconds: 10,
            late_write_watch_seconds: 300,
        }
    }
}

impl EngineOptions {
    pub fn engine(&self) -> EngineConfig {
        let lease = Duration::from_secs(self.lease_seconds);
        EngineConfig {
            lease,
            poll: Duration::from_secs(self.poll_seconds),
            concurrency: usize::from(self.worker_jobs),
            write_timeout: (lease / 3).min(Duration::from_secs(10)),
            late_write_watch: Duration::from_secs(self.late_write_watch_seconds),
        }
    }
}
