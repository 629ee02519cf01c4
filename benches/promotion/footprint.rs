//! What the service takes when it has nothing to do: memory, CPU time, and the time to start.
//!
//! Ten thousand waiting jobs are one real job in its edge-TTL wait, and its [`copies`]. That they are real is seen at
//! the end: some are moved to the end of their wait, and must settle.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use greenlight::sandbox::double::AwsDouble;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::sleep;

use crate::{
    copies,
    house::{self, House, REGION, RELEASES, parameter},
    report::{aim, heading, median, millis, row},
};

const WAITING: u32 = 10_000;
const WOKEN: i32 = 100;
const WOKEN_DEADLINE: Duration = Duration::from_secs(60);
/// The longest wait that an environment may ask for: longer than this run.
const EDGE_TTL_SECONDS: u32 = 3600;
const TEMPLATE: &str = "waiting-template";
const IDLE_LIMIT_MIB: f64 = 40.0;
/// Clock ticks a second in /proc/PID/stat: USER_HZ, 100 on every architecture Rust's Linux targets have.
const TICKS_PER_SECOND: f64 = 100.0;
/// After a start or a change of many rows, until what follows from it is over.
const CALM: Duration = Duration::from_secs(3);

pub async fn measure(house: &House, quick: bool) -> anyhow::Result<()> {
    let watched = Duration::from_secs(if quick { 5 } else { 10 });
    let aws = house::aws(Duration::ZERO).await?;
    heading("A replica with nothing to do");
    starts(house, &aws, if quick { 3 } else { 9 }).await?;

    let (database, token) = house.database().await?;
    let replica = house.replica(&database, &aws).await?;
    sleep(CALM).await;
    let idle = resident_mib(replica.pid)?;
    row(
        "resident memory, idle",
        &mib(idle),
        &aim("under 40 MiB", idle < IDLE_LIMIT_MIB),
    );
    cpu(house, replica.pid, watched, "idle").await?;

    let client = replica.client(&token)?;
    client.set_up_app().await?;
    client.set_up_environment(&aws, TEMPLATE, EDGE_TTL_SECONDS).await?;
    let job = client.promote(TEMPLATE, RELEASES[0]).await?;
    let mut connection = PgConnection::connect(&database).await?;
    copies::until_waiting_for(&mut connection, &job, "timer").await?;
    copies::make(&mut connection, &job, TEMPLATE, WAITING).await?;
    copy_pointers(&aws)?;
    let with = format!("{WAITING} waiting jobs");
    heading(&format!("A replica with {with}"));
    connection.execute("SELECT pg_notify('greenlight_work', '')").await?;
    sleep(CALM).await;
    row(
        "resident memory, having run before",
        &mib(resident_mib(replica.pid)?),
        "",
    );
    cpu(house, replica.pid, watched, &with).await?;
    replica.stop().await?;

    let replica = house.replica(&database, &aws).await?;
    row("start until ready", &millis(replica.ready_after), "");
    sleep(CALM).await;
    row("resident memory, newly started", &mib(resident_mib(replica.pid)?), "");
    let took = wake_some(&mut connection).await?;
    row(
        &format!("{WOKEN} of them moved to the end of their wait, settled in"),
        &millis(took),
        "they are real",
    );
    connection.close().await?;
    replica.stop().await?;
    aws.shutdown().await;
    Ok(())
}

async fn starts(house: &House, aws: &AwsDouble, rounds: usize) -> anyhow::Result<()> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let database = house.empty_database().await?;
        for samples in [&mut first, &mut again] {
            let replica = house.replica(&database, aws).await?;
            samples.push(replica.ready_after);
            replica.stop().await?;
        }
    }
    let spread = format!("median of {rounds}");
    row(
        "start until ready, on an empty database",
        &millis(median(&mut first)),
        &spread,
    );
    row(
        "start until ready, on a migrated one",
        &millis(median(&mut again)),
        &spread,
    );
    Ok(())
}

/// The CPU time that the service, and PostgreSQL under it, use while nothing happens.
async fn cpu(house: &House, pid: u32, watched: Duration, when: &str) -> anyhow::Result<()> {
    let (service, postgres) = (cpu_seconds(pid)?, family_cpu_seconds(house.postgres.pid())?);
    sleep(watched).await;
    let (service, postgres) = (
        cpu_seconds(pid)? - service,
        family_cpu_seconds(house.postgres.pid())? - postgres,
    );
    let label = format!("CPU time of the service in {} s, {when}", watched.as_secs());
    row(
        &label,
        &in_ticks(service),
        &format!("PostgreSQL: {}", in_ticks(postgres)),
    );
    Ok(())
}

/// The kernel counts in ticks: nothing counted is less than one.
fn in_ticks(seconds: f64) -> String {
    let tick = 1000.0 / TICKS_PER_SECOND;
    let millis = seconds * 1000.0;
    if millis < tick {
        format!("< {tick:.0} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

/// What the copies' pointers say in AWS: the same as the template's.
fn copy_pointers(aws: &AwsDouble) -> anyhow::Result<()> {
    let (value, _) = aws
        .parameter(REGION, &parameter(TEMPLATE))
        .context("the template's pointer is gone")?;
    for number in 1..WAITING {
        let name = format!("waiting-{number}");
        aws.put_parameter(REGION, &parameter(&name), &value)
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    Ok(())
}

/// Moves some jobs to the end of their wait, and waits until they have settled.
async fn wake_some(connection: &mut PgConnection) -> anyhow::Result<Duration> {
    let moved = format!("interval '{EDGE_TTL_SECONDS} seconds'");
    let chosen = format!("(SELECT new_job FROM copies ORDER BY new_name LIMIT {WOKEN})");
    let started = Instant::now();
    let mut tx = connection.begin().await?;
    for sql in [
        format!(
            "UPDATE steps SET wake_at = wake_at - {moved}, started_at = started_at - {moved},
                    finished_at = finished_at - {moved} WHERE job_id IN {chosen}"
        ),
        format!("UPDATE jobs SET claimable_at = claimable_at - {moved} WHERE id IN {chosen}"),
        "SELECT pg_notify('greenlight_work', '')".to_owned(),
    ] {
        tx.execute(AssertSqlSafe(sql)).await?;
    }
    tx.commit().await?;
    loop {
        let settled: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE settled_at IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
        if settled >= i64::from(WOKEN) {
            return Ok(started.elapsed());
        }
        ensure!(
            started.elapsed() < WOKEN_DEADLINE,
            "only {settled} of {WOKEN} woken jobs have settled"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

pub fn mib(mib: f64) -> String {
    format!("{mib:.1} MiB")
}

/// VmRSS of a process.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in its status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// The parent of a process, and the CPU time it has used so far.
fn parent_and_cpu(pid: u32) -> anyhow::Result<(u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything, parentheses and spaces too; what follows the last one doesn't.
    let (_, rest) = stat.rsplit_once(')').context("an unreadable stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| {
        fields
            .get(number - 3)
            .context("a short stat")
            .map(|text| text.to_string())
    };
    let ticks = field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?;
    Ok((field(4)?.parse()?, ticks / TICKS_PER_SECOND))
}

/// The CPU time that a process has used so far.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    Ok(parent_and_cpu(pid)?.1)
}

/// A process and its children. One that ends in between is missed.
pub fn family_cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut seconds = cpu_seconds(pid)?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Ok((parent, used)) = parent_and_cpu(child)
            && parent == pid
        {
            seconds += used;
        }
    }
    Ok(seconds)
}
