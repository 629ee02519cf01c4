//! What is printed: lines of a label, a figure and its aim. Medians, because a shared machine has outliers.

use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection};

use crate::house::House;

const COMMITS: usize = 200;

/// The heading of a group of lines.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// One line. `note`: an aim and whether it is met, or what to know.
pub fn row(label: &str, figure: &str, note: &str) {
    println!("  {label:<58} {figure:>12}  {note}");
}

/// "aim ≤ 1.5: met", or that it is not.
pub fn aim(text: &str, met: bool) -> String {
    format!("aim {text}: {}", if met { "met" } else { "NOT MET" })
}

pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// The middle one, and the one that nine of ten are not slower than.
pub fn median_and_p90(samples: &mut [Duration]) -> (Duration, Duration) {
    samples.sort_unstable();
    let at = |percent: usize| {
        samples
            .get(samples.len().saturating_sub(1) * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    (at(50), at(90))
}

pub fn median(samples: &mut [Duration]) -> Duration {
    median_and_p90(samples).0
}

pub fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(f64::EPSILON)
}

/// What the figures depend on.
pub async fn machine(house: &House) -> anyhow::Result<()> {
    heading("The machine");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    row(
        "cores, for everything: service, PostgreSQL, AWS, callers",
        &cores.to_string(),
        "",
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    row(
        "others' load before the first figure",
        load.split(' ').next().unwrap_or("?"),
        "",
    );
    row("one commit of one row", &millis(commit(house).await?), "synced to disk");
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    row(
        "build",
        build,
        if cfg!(debug_assertions) {
            "figures mean nothing"
        } else {
            ""
        },
    );
    Ok(())
}

async fn commit(house: &House) -> anyhow::Result<Duration> {
    let mut connection = PgConnection::connect(&house.empty_database().await?).await?;
    connection.execute("CREATE TABLE commits (number integer)").await?;
    let mut samples = Vec::new();
    for _ in 0..COMMITS {
        let started = Instant::now();
        connection.execute("INSERT INTO commits VALUES (1)").await?;
        samples.push(started.elapsed());
    }
    connection.close().await?;
    Ok(median(&mut samples))
}
