//! Two hundred environments promoted at once, by one replica and by two on one database.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};

use crate::{
    footprint::{cpu_seconds, family_cpu_seconds, resident_mib},
    house::{self, House, RELEASES, Replica},
    report::{heading, median, row},
};

const ENVIRONMENTS: usize = 200;
const SET_UP_AT_ONCE: usize = 8;

pub async fn measure(house: &House, quick: bool) -> anyhow::Result<()> {
    heading(&format!("{ENVIRONMENTS} environments at once, until all have settled"));
    for delay in [Duration::ZERO, Duration::from_millis(25)] {
        for replicas in [1, 2] {
            run(house, replicas, delay, if quick { 2 } else { 7 }).await?;
        }
    }
    Ok(())
}

async fn run(house: &House, count: usize, delay: Duration, rounds: usize) -> anyhow::Result<()> {
    let aws = house::aws(delay).await?;
    let (database, token) = house.database().await?;
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(house.replica(&database, &aws).await?);
    }
    let clients = replicas
        .iter()
        .map(|replica| replica.client(&token))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<String> = (0..ENVIRONMENTS).map(|number| format!("env-{number}")).collect();
    clients[0].set_up_app().await?;
    stream::iter(&names)
        .map(|name| clients[0].set_up_environment(&aws, name, 0))
        .buffer_unordered(SET_UP_AT_ONCE)
        .try_collect::<()>()
        .await?;

    let mut samples = Vec::new();
    let mut before = Cpu::default();
    for round in 0..=rounds {
        let started = Instant::now();
        let promotions = names.iter().zip(clients.iter().cycle());
        try_join_all(promotions.map(|(name, client)| client.promote_to_the_end(name, RELEASES[round % 2]))).await?;
        // The first round opens connections and takes over what the pointers said.
        if round > 0 {
            samples.push(started.elapsed());
        } else {
            before = Cpu::used(house, &replicas)?;
        }
    }
    let after = Cpu::used(house, &replicas)?;
    let rss = resident_mib(replicas[0].pid)?;
    for replica in replicas {
        replica.stop().await?;
    }
    aws.shutdown().await;
    let rate = ENVIRONMENTS as f64 / median(&mut samples).as_secs_f64();
    let replicas = if count == 1 { "one replica" } else { "two replicas" };
    row(
        &format!("AWS answers in {} ms: {replicas}", delay.as_millis()),
        &format!("{rate:.0} /s"),
        &format!("median of {rounds} rounds; then {rss:.1} MiB resident"),
    );
    let each = |before: f64, after: f64| {
        let millis = (after - before) * 1000.0 / (ENVIRONMENTS * rounds) as f64;
        format!("{millis:.1} ms")
    };
    row(
        "    CPU time of the service for each",
        &each(before.service, after.service),
        &format!(
            "PostgreSQL: {}; callers and AWS: {}",
            each(before.postgres, after.postgres),
            each(before.ours, after.ours)
        ),
    );
    Ok(())
}

/// CPU time used so far, in seconds: where the machine's cores go.
#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    service: f64,
    postgres: f64,
    ours: f64,
}

impl Cpu {
    fn used(house: &House, replicas: &[Replica]) -> anyhow::Result<Self> {
        Ok(Self {
            service: replicas
                .iter()
                .map(|replica| cpu_seconds(replica.pid))
                .sum::<anyhow::Result<f64>>()?,
            postgres: family_cpu_seconds(house.postgres.pid())?,
            ours: cpu_seconds(std::process::id())?,
        })
    }
}
