//! Ten thousand environments that bake at once: what a worker takes while they wait, and how late it is when their
//! timers fire.
//!
//! One promotion with a canary step is brought to its bake through the API, and its [`copies`] bake beside it. When a
//! bake is over its job comes to its gate and waits there: no call to AWS is part of it, only timers, leases and rows.
//! The service is a worker without the API, with default settings.
//!
//! Lateness is counted on the database's clock, from when the bake should have ended until the transaction that ended
//! it. It includes everything: the worker's sleep, the claim, and whatever queues up.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenlight::sandbox::double::AwsDouble;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;

use crate::{
    copies,
    footprint::{cpu_seconds, family_cpu_seconds, mib, resident_mib},
    house::{self, House, RELEASES, Replica},
    report::{heading, row},
};

const TEMPLATE: &str = "bakes-template";
/// Longer than this run: until they are given a time nobody's bake ends.
const BAKE_SECONDS: u32 = 7200;
/// After a start, until what follows from it is over.
const CALM: Duration = Duration::from_secs(3);
/// From when the times are given until the first is due: everything that follows from giving them is over by then.
const LEAD: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const THROUGH_DEADLINE: Duration = Duration::from_secs(900);

pub async fn measure(house: &House, quick: bool) -> anyhow::Result<()> {
    let count = if quick { 1000 } else { 10_000 };
    let spread = Duration::from_secs(if quick { 6 } else { 60 });
    let quiet = Duration::from_secs(if quick { 10 } else { 30 });
    heading(&format!("{count} environments that bake at once"));
    let aws = house::aws(Duration::ZERO).await?;
    let baking = all_bake(house, &aws, count).await?;
    for (workers, spread, quiet) in [(1, spread, Some(quiet)), (2, spread, None), (1, Duration::ZERO, None)] {
        let database = house.copy_of(&baking).await?;
        let mut connection = PgConnection::connect(&database).await?;
        let mut replicas = Vec::new();
        for _ in 0..workers {
            replicas.push(house.worker(&database, &aws).await?);
        }
        sleep(CALM).await;
        if let Some(watched) = quiet {
            while_all_wait(house, &mut connection, &replicas, watched).await?;
        }
        all_fall_due(house, &mut connection, &replicas, count, spread).await?;
        connection.close().await?;
        for replica in replicas {
            replica.stop().await?;
        }
    }
    aws.shutdown().await;
    Ok(())
}

/// Makes the database in which all bake, and leaves it.
async fn all_bake(house: &House, aws: &AwsDouble, count: u32) -> anyhow::Result<String> {
    let (database, token) = house.database().await?;
    let job = baking(house, aws, &database, &token).await?;
    let mut connection = PgConnection::connect(&database).await?;
    copies::make(&mut connection, &job, TEMPLATE, count).await?;
    connection.close().await?;
    Ok(database)
}

/// A promotion in its bake. Returns the job.
async fn baking(house: &House, aws: &AwsDouble, database: &str, token: &str) -> anyhow::Result<String> {
    let replica = house.replica(database, aws).await?;
    let client = replica.client(token)?;
    client.set_up_app().await?;
    client.set_up_environment(aws, TEMPLATE, 0).await?;
    client.put_environment(TEMPLATE, &canary()).await?;
    // What was active before is part of an environment that gives a share to something new.
    let strategy = json!({"kind": "all_at_once"});
    let first = client.promote_as(TEMPLATE, RELEASES[0], Some(&strategy)).await?;
    client.settled(&first).await?;
    let job = client.promote(TEMPLATE, RELEASES[1]).await?;
    let mut connection = PgConnection::connect(database).await?;
    copies::until_waiting_for(&mut connection, &job, "timer").await?;
    connection.close().await?;
    replica.stop().await?;
    Ok(job)
}

fn canary() -> Value {
    let mut document = house::document(TEMPLATE, 0);
    let web = &mut document["components"][0];
    web["router"]["format"] = json!("json");
    web["edge"] = json!({"mode": "viewer_rewrite"});
    web["cdn"]["invalidate"] = json!({"mode": "none"});
    document["strategy"] = json!({
        "kind": "canary",
        "steps": [{"weight": 5, "bake_seconds": BAKE_SECONDS, "approval": true}]
    });
    document
}

/// What has been used and done so far.
#[derive(Debug, Clone, Copy)]
struct Used {
    at: Instant,
    service: f64,
    postgres: f64,
    transactions: f64,
}

impl Used {
    async fn now(house: &House, connection: &mut PgConnection, replicas: &[Replica]) -> anyhow::Result<Self> {
        let transactions: f64 = sqlx::query_scalar(
            "SELECT xact_commit::float8 + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self {
            at: Instant::now(),
            service: replicas
                .iter()
                .map(|replica| cpu_seconds(replica.pid))
                .sum::<anyhow::Result<f64>>()?,
            postgres: family_cpu_seconds(house.postgres.pid())?,
            transactions,
        })
    }

    fn since(self, before: Self) -> Spent {
        Spent {
            secs: self.at.duration_since(before.at).as_secs_f64(),
            service: self.service - before.service,
            postgres: self.postgres - before.postgres,
            transactions: self.transactions - before.transactions,
        }
    }
}

/// What was used and done in a while.
#[derive(Debug, Clone, Copy)]
struct Spent {
    secs: f64,
    service: f64,
    postgres: f64,
    transactions: f64,
}

impl Spent {
    /// Of one core.
    fn percent(self, cpu: f64) -> String {
        format!("{:.2} %", cpu / self.secs * 100.0)
    }
}

fn most_resident(replicas: &[Replica]) -> anyhow::Result<f64> {
    let each = replicas.iter().map(|replica| resident_mib(replica.pid));
    each.collect::<anyhow::Result<Vec<_>>>()
        .map(|all| all.into_iter().fold(0.0, f64::max))
}

async fn while_all_wait(
    house: &House,
    connection: &mut PgConnection,
    replicas: &[Replica],
    watched: Duration,
) -> anyhow::Result<()> {
    let before = Used::now(house, connection, replicas).await?;
    sleep(watched).await;
    let spent = Used::now(house, connection, replicas).await?.since(before);
    row(
        "while all wait: CPU of the worker, of one core",
        &spent.percent(spent.service),
        &format!(
            "PostgreSQL: {}; over {:.0} s",
            spent.percent(spent.postgres),
            spent.secs
        ),
    );
    row("    its resident memory", &mib(most_resident(replicas)?), "");
    row(
        "    transactions a second",
        &format!("{:.1}", spent.transactions / spent.secs),
        "this benchmark's and autovacuum's with it",
    );
    Ok(())
}

/// Has the bakes end one after the other, evenly over `spread`, and waits until all have come to their gate.
async fn all_fall_due(
    house: &House,
    connection: &mut PgConnection,
    replicas: &[Replica],
    count: u32,
    spread: Duration,
) -> anyhow::Result<()> {
    give_times(connection, count, spread).await?;
    let before = Used::now(house, connection, replicas).await?;
    let resident = until_all_are_through(connection, replicas).await?;
    let spent = Used::now(house, connection, replicas).await?.since(before);
    let late = Lateness::read(connection, count).await?;

    let workers = match replicas.len() {
        1 => "one worker".to_owned(),
        several => format!("{several} workers"),
    };
    let when = if spread.is_zero() {
        "all due in the same second".to_owned()
    } else {
        format!("due evenly over {} s", spread.as_secs())
    };
    let millis = |secs: f64| format!("{:.1} ms", secs * 1000.0);
    row(
        &format!("{when}, {workers}: late, median"),
        &millis(late.median),
        &format!("99th percentile {}, the latest {}", millis(late.p99), millis(late.max)),
    );
    let each = |what: f64| what / f64::from(count);
    row(
        "    first due until the last was through",
        &format!("{:.1} s", late.through),
        &format!("{:.0} jobs a second", f64::from(count) / late.through),
    );
    row(
        "    CPU time for each job, of the worker",
        &millis(each(spent.service)),
        &format!(
            "PostgreSQL: {}; together {:.0} % of one core",
            millis(each(spent.postgres)),
            (spent.service + spent.postgres) / late.through * 100.0
        ),
    );
    row(
        "    transactions for each job",
        &format!("{:.1}", each(spent.transactions)),
        &format!("resident memory of the worker at most {}", mib(resident)),
    );
    Ok(())
}

/// As if each bake had begun so long ago that it ends when it should..
async fn give_times(connection: &mut PgConnection, count: u32, spread: Duration) -> anyhow::Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query(
        "CREATE TEMPORARY TABLE due AS
         SELECT id AS job, now() + make_interval(secs => $1 + $2 * (row_number() OVER (ORDER BY id) - 1) / $3) AS at
         FROM jobs WHERE state = 'waiting'",
    )
    .bind(LEAD.as_secs_f64())
    .bind(spread.as_secs_f64())
    .bind(f64::from(count))
    .execute(&mut *tx)
    .await
    .context("could not choose when each is due")?;
    let steps = sqlx::query(
        "UPDATE steps SET started_at = due.at - make_interval(secs => $1), wake_at = due.at
         FROM due WHERE steps.job_id = due.job AND steps.kind = 'bake' AND steps.state = 'waiting'",
    )
    .bind(f64::from(BAKE_SECONDS))
    .execute(&mut *tx)
    .await?;
    ensure!(
        steps.rows_affected() == u64::from(count),
        "{} of {count} jobs bake",
        steps.rows_affected()
    );
    tx.execute("UPDATE jobs SET claimable_at = due.at FROM due WHERE jobs.id = due.job")
        .await?;
    // A worker that had put them to wait would know; this one is told.
    tx.execute("SELECT pg_notify('greenlight_work', '')").await?;
    tx.commit().await?;
    connection.execute("VACUUM ANALYZE jobs, steps").await?;
    Ok(())
}

/// Returns the most memory that a worker had meanwhile, in MiB.
async fn until_all_are_through(connection: &mut PgConnection, replicas: &[Replica]) -> anyhow::Result<f64> {
    let deadline = Instant::now() + THROUGH_DEADLINE;
    let mut resident = 0.0_f64;
    loop {
        resident = resident.max(most_resident(replicas)?);
        // Gates expire tomorrow; a timer and a lease are nearer. The index knows.
        let under_way: i64 =
            sqlx::query_scalar("SELECT count(*) FROM jobs WHERE claimable_at < now() + interval '1 hour'")
                .fetch_one(&mut *connection)
                .await?;
        if under_way == 0 {
            return Ok(resident);
        }
        ensure!(
            Instant::now() < deadline,
            "{under_way} jobs have not come to their gate"
        );
        sleep(LOOK_EVERY).await;
    }
}

/// Seconds.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Lateness {
    median: f64,
    p99: f64,
    max: f64,
    /// From when the first was due until the last was through its bake.
    through: f64,
}

impl Lateness {
    async fn read(connection: &mut PgConnection, count: u32) -> anyhow::Result<Self> {
        let (early, ended): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE steps.finished_at < due.at), count(*)
             FROM steps JOIN due ON due.job = steps.job_id JOIN jobs ON jobs.id = due.job
             WHERE steps.kind = 'bake' AND steps.state = 'succeeded' AND jobs.waiting_for = 'approval'",
        )
        .fetch_one(&mut *connection)
        .await?;
        ensure!(ended == i64::from(count), "{ended} of {count} wait for approval");
        ensure!(early == 0, "{early} bakes ended before their time");
        Ok(sqlx::query_as(
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY late) AS median,
                    percentile_disc(0.99) WITHIN GROUP (ORDER BY late) AS p99, max(late) AS max,
                    extract(epoch FROM max(finished_at) - min(at))::float8 AS through
             FROM (SELECT due.at, finished_at, extract(epoch FROM finished_at - due.at)::float8 AS late
                   FROM steps JOIN due ON due.job = steps.job_id WHERE steps.kind = 'bake') AS bakes",
        )
        .fetch_one(connection)
        .await?)
    }
}
