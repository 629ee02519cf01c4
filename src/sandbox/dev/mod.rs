//! `greenlight dev`: everything embedded, nothing to set up.
//!
//! ```text
//! folder    the data folder: chosen, locked, emptied with --fresh
//! house     PostgreSQL -> AWS double -> local edges -> service -> admin token; stopped in the reverse order
//! screen    what is said on standard output (logs go to standard error)
//! demo      with --demo: a client of the public API tells a story and checks that it came true
//! ```
//!
//! Nothing that is started here outlives the process. Ctrl-C, SIGTERM and a closed terminal stop the
//! house in order; a second signal ends it at once; after `kill -9` the kernel ends PostgreSQL
//! (`super::postgres`), and everything else is in this process.

mod cloud;
pub mod demo;
mod edges;
mod folder;
mod house;
pub mod screen;
mod seam;
mod signals;
pub mod world;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use self::{demo::Demo, folder::DataFolder, house::House, screen::Screen};

pub use self::cloud::sdk_config;

/// What `greenlight dev` can be told.
#[derive(Debug, Clone, Args)]
pub struct DevOptions {
    /// Where the API listens. Without it 127.0.0.1:8080, or a free port if that one is taken.
    #[arg(long, env = "GREENLIGHT_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// Where the AWS double listens. Without it a free port of 127.0.0.1.
    #[arg(long, env = "GREENLIGHT_DEV_AWS_LISTEN")]
    pub aws_listen: Option<SocketAddr>,

    /// Where the local edge of the site `web` listens. Without it 127.0.0.1:8090, or a free port if that one is
    /// taken. Its points of presence and the other edge have free ports.
    #[arg(long, env = "GREENLIGHT_DEV_EDGE_LISTEN")]
    pub edge_listen: Option<SocketAddr>,

    /// The folder everything is kept in. Without it $XDG_DATA_HOME/greenlight or
    /// ~/.local/share/greenlight, and as root /var/tmp/greenlight-dev.
    #[arg(long, env = "GREENLIGHT_DEV_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where PostgreSQL's `initdb` and `postgres` are. Without it they are searched.
    #[arg(long, env = "GREENLIGHT_PG_BIN")]
    pub pg_bin: Option<PathBuf>,

    /// Forget what earlier runs kept in the folder.
    #[arg(long)]
    pub fresh: bool,

    /// Promote two releases, roll back, promote two more with a canary, and show what happens.
    #[arg(long)]
    pub demo: bool,

    /// End after the demo, with status 0 if all went as it should.
    #[arg(long, requires = "demo")]
    pub once: bool,

    /// How long the local edges hold on to the pointer, and the demo waits for them.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub edge_ttl_seconds: u32,

    /// How long an invalidation takes at the AWS double.
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub invalidation_seconds: u32,
}

/// Runs `greenlight dev` until it is told to stop, or, with `--once`, until the demo has ended.
///
/// # Errors
/// What could not be started; what ended although nobody asked it to; a demo that didn't go as it
/// should. Everything is stopped by then.
pub async fn run(options: DevOptions) -> anyhow::Result<()> {
    let told_to_stop = signals::listen().context("could not listen for signals")?;
    let screen = Screen::of_terminal();
    let folder = DataFolder::open(options.data_dir.clone(), options.fresh)?;
    screen.line(format!("Data is kept in {}.", folder.path().display()));
    let house = tokio::select! {
        started = House::start(&options, &folder, &screen) => started?,
        () = told_to_stop.cancelled() => {
            screen.line("Stopped before everything was started.");
            return Ok(());
        }
    };
    let lived = live(&house, &options, &folder, &screen, &told_to_stop).await;
    if !options.once {
        screen.line("Stopping.");
    }
    let stopped = house.stop().await;
    // What went wrong while it lived is the more telling of two errors.
    lived.and(stopped)
}

/// The time between start and stop.
async fn live(
    house: &House,
    options: &DevOptions,
    folder: &DataFolder,
    screen: &Screen,
    told_to_stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut told = None;
    if options.demo {
        let demo = Demo::new(house.stage(options.edge_ttl_seconds), &house.double, screen)?;
        told = Some(tokio::select! {
            told = demo.play() => told?,
            ended = house.ended() => return Err(ended),
            () = told_to_stop.cancelled() => return Ok(()),
        });
        if options.once {
            screen.line(screen.dim("Everything went as it should."));
            return Ok(());
        }
    }
    screen::announce(screen, house, folder, told.as_ref());
    tokio::select! {
        ended = house.ended() => Err(ended),
        () = told_to_stop.cancelled() => Ok(()),
    }
}
