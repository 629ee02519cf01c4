//! The command line.

use std::process::ExitCode;

use clap::Parser;
#[cfg(feature = "dev")]
use greenlight::sandbox::dev;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(name = "greenlight", version, about)]
enum Command {
    /// Run everything embedded, nothing to set up.
    #[cfg(feature = "dev")]
    Dev(dev::DevOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .init();
    let ended = match Command::parse() {
        #[cfg(feature = "dev")]
        Command::Dev(options) => dev::run(options).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greenlight: {error:#}");
            ExitCode::FAILURE
        }
    }
}
