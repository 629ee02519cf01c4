//! A hundred promotions and rollbacks while newcomers open the page at every point of presence of the local edge.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::json;

use crate::{
    house::{self, APP, House},
    load::{self, Load},
    report::{aim, heading, median_and_p90, row},
};

const TTL: Duration = Duration::from_secs(1);
const RELEASES: [&str; 4] = ["1.0.0", "1.1.0", "1.2.0", "2.0.0+build.7"];
const NEWCOMERS_PER_POINT: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(house: &House, quick: bool) -> anyhow::Result<()> {
    let flips = if quick { 10 } else { 100 };
    heading(&format!(
        "{flips} promotions and rollbacks under load, edge TTL {} s",
        TTL.as_secs()
    ));
    let aws = house::aws(Duration::ZERO).await?;
    aws.add_distribution("E2EXAMPLE");
    let arn = aws.add_key_value_store("edge");
    let edge = load::edge(&aws, &arn, TTL).await;
    let (database, token) = house.database().await?;
    let replica = house.replica(&database, &aws).await?;
    let client = replica.client(&token)?;
    client.call(Method::PUT, APP, Some(&json!({}))).await?;
    let environment = house::environment("production");
    let document = load::document(&arn, &edge, TTL);
    client.call(Method::PUT, &environment, Some(&document)).await?;
    for version in RELEASES {
        load::upload(&aws, version);
        let release = json!({"version": version, "artifacts": {"web": {}}});
        client
            .call(Method::POST, &format!("{APP}/releases"), Some(&release))
            .await?;
    }
    client.promote_to_the_end("production", RELEASES[0]).await?;

    let points = edge.pop_addresses().to_vec();
    let mut load = Load::start(&points, NEWCOMERS_PER_POINT, TTL, load::active(&aws, &arn));
    let began = Instant::now();
    let (mut everywhere, mut settled) = (Vec::new(), Vec::new());
    let mut active = RELEASES[0].to_owned();
    for flip in 0..flips {
        let started = Instant::now();
        // To and fro: a promotion of the next release, then back.
        let (call, body) = if flip % 2 == 0 {
            (
                "promotions",
                json!({"release": RELEASES[1 + (flip / 2) % (RELEASES.len() - 1)]}),
            )
        } else {
            ("rollbacks", json!({"to": RELEASES[0]}))
        };
        let job = client
            .call(Method::POST, &format!("{environment}/{call}"), Some(&body))
            .await?;
        let id = job["id"].as_str().context("the job has no id")?;
        active = job["release"].as_str().context("the job has no release")?.to_owned();
        load.until_everywhere(&active, points.len(), PATIENCE).await;
        everywhere.push(started.elapsed());
        client.settled(id).await?;
        settled.push(started.elapsed());
    }
    let took = began.elapsed();
    let outcome = load.end().await;
    replica.stop().await?;
    edge.shutdown().await;
    aws.shutdown().await;
    let seconds = |duration: Duration| format!("{:.2} s", duration.as_secs_f64());
    row(
        "requests",
        &outcome.requests.to_string(),
        &format!(
            "{:.0} /s at {} points of presence",
            outcome.requests as f64 / took.as_secs_f64(),
            points.len()
        ),
    );
    row(
        "5xx, and answers of a release not named within the TTL",
        &outcome.failures.len().to_string(),
        &aim("0", outcome.failures.is_empty()),
    );
    let (median, _) = median_and_p90(&mut everywhere);
    let worst = everywhere.last().copied().unwrap_or_default();
    row(
        "POST until every point of presence served the release",
        &seconds(median),
        &format!("median; worst {}", seconds(worst)),
    );
    let (median, _) = median_and_p90(&mut settled);
    let worst = settled.last().copied().unwrap_or_default();
    row(
        "POST until settled, seen from outside",
        &seconds(median),
        &format!("median; worst {}", seconds(worst)),
    );
    ensure!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
    ensure!(active == RELEASES[0], "the last rollback led to {active}");
    Ok(())
}
