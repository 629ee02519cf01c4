//! `make bench`: what a promotion costs, against the same AWS calls without Greenlight.
//!
//! Everything is real but AWS: the service is this build's own binary as a child process with API and worker,
//! called over HTTP; PostgreSQL is a private one that syncs to disk; AWS is the strict double, in this process.
//! Whatever is compared runs alternately in the same run, so that the ratios hold on a busy machine too.
//!
//! | file | measures |
//! |---|---|
//! | `latency` | POST until settled; against a bare loop of the same calls, and a script of `aws` commands |
//! | `throughput` | two hundred environments at once, one replica and two |
//! | `footprint` | memory, CPU time and start of the service, idle and with ten thousand waiting jobs |
//! | `bakes` | ten thousand environments that bake at once: what waiting costs, and how late their timers fire |
//! | `edge` | a hundred promotions and rollbacks under a constant load on the local edge |
//! | `copies` | ten thousand jobs from one |
//! | `house` | what it all runs on |
//! | `report` | medians and lines |
//!
//! To add a figure: a function in the file that it belongs to, and a `report::row` that names its aim.

#[path = "promotion/bakes.rs"]
mod bakes;
#[path = "promotion/copies.rs"]
mod copies;
#[path = "promotion/edge.rs"]
mod edge;
#[path = "promotion/footprint.rs"]
mod footprint;
#[path = "promotion/house.rs"]
mod house;
#[path = "promotion/latency.rs"]
mod latency;
#[path = "../tests/it/support/load.rs"]
mod load;
#[path = "promotion/report.rs"]
mod report;
#[path = "promotion/throughput.rs"]
mod throughput;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, anyhow, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use house::House;

/// Far more than a run needs: something hangs.
const DEADLINE: Duration = Duration::from_secs(1800);

const USAGE: &str =
    "usage: cargo bench --bench promotion -- [--quick] [--only latency|throughput|footprint|bakes|edge]";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Options {
    quick: bool,
    only: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Latency,
    Throughput,
    Footprint,
    Bakes,
    Edge,
}

impl Options {
    /// `None`: only help was asked for.
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut options = Self {
            quick: false,
            only: None,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--only" => {
                    options.only = Some(match arguments.next().as_deref() {
                        Some("latency") => Part::Latency,
                        Some("throughput") => Part::Throughput,
                        Some("footprint") => Part::Footprint,
                        Some("bakes") => Part::Bakes,
                        Some("edge") => Part::Edge,
                        _ => bail!("{USAGE}"),
                    });
                }
                "--help" | "-h" => return Ok(None),
                _ => bail!("{argument} is not known; {USAGE}"),
            }
        }
        Ok(Some(options))
    }

    fn includes(self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => bench(options).await,
        Ok(None) => {
            println!("{USAGE}");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whatever ends it, nothing that it started is left.
async fn bench(options: Options) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let house = House::build().await?;
    let (result, keep_logs) = tokio::select! {
        result = timeout(DEADLINE, measure(&house, options)) => {
            let result = result.context("it took too long").flatten();
            let failed = result.is_err();
            (result, failed)
        }
        _ = interrupt.recv() => (Err(anyhow!("interrupted")), false),
        _ = terminate.recv() => (Err(anyhow!("told to end")), false),
    };
    house.tear_down(keep_logs).await;
    result
}

async fn measure(house: &House, options: Options) -> anyhow::Result<()> {
    report::machine(house).await?;
    if options.includes(Part::Latency) {
        latency::measure(house, options.quick).await?;
    }
    if options.includes(Part::Throughput) {
        throughput::measure(house, options.quick).await?;
    }
    if options.includes(Part::Footprint) {
        footprint::measure(house, options.quick).await?;
    }
    if options.includes(Part::Bakes) {
        bakes::measure(house, options.quick).await?;
    }
    if options.includes(Part::Edge) {
        edge::measure(house, options.quick).await?;
    }
    Ok(())
}
