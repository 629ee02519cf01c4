//! Logs: structured, on standard error, with the spans of request, job and step.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// json or text.
    #[arg(long, env = "GREENLIGHT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json, global = true)]
    pub log_format: LogFormat,

    /// A filter such as info or greenlight=debug,sqlx=warn.
    #[arg(long, env = "RUST_LOG", global = true)]
    pub log: Option<String>,
}

/// Starts logging. `default`: the filter when none was asked for.
///
/// # Errors
/// When the filter can't be read.
pub fn start(options: &LogOptions, default: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(options.log.as_deref().unwrap_or(default))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init(),
        LogFormat::Text => builder.init(),
    }
    Ok(())
}
