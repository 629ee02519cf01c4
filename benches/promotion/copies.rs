//! Ten thousand jobs from one: a job that really waits, copied row by row with its environment, pointer and steps.
//! Whatever its rows say, the copies say too, with other ids and another name. Of its events only the last is copied.
//!
//! What is in AWS is not copied.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::sleep;
use uuid::Uuid;

const WAIT_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is copied, in the order of its references, and which of its columns says that a row belongs to the template.
const TABLES: [(&str, Owner); 7] = [
    ("environments", Owner::Environment("id")),
    ("pointers", Owner::Environment("environment_id")),
    ("deployments", Owner::Environment("environment_id")),
    ("jobs", Owner::Job("id")),
    ("steps", Owner::Job("job_id")),
    ("job_events", Owner::LastOfJob("job_id")),
    ("pointer_writes", Owner::Job("job_id")),
];

#[derive(Debug, Clone, Copy)]
enum Owner {
    Environment(&'static str),
    Job(&'static str),
    /// Of the job's rows the one with the highest `id`.
    LastOfJob(&'static str),
}

/// Waits until the job waits for `what`.
pub async fn until_waiting_for(connection: &mut PgConnection, job: &str, what: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + WAIT_DEADLINE;
    loop {
        let (state, waiting_for): (String, Option<String>) =
            sqlx::query_as("SELECT state, waiting_for FROM jobs WHERE id = $1::uuid")
                .bind(job)
                .fetch_one(&mut *connection)
                .await?;
        if state == "waiting" && waiting_for.as_deref() == Some(what) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the template job does not wait for {what}, it is {state}"
        );
        sleep(LOOK_EVERY).await;
    }
}

/// Copies the job until there are `count` of it. The copies' environments are called `waiting-1` and so on; which job
/// is whose is in the temporary table `copies (new_environment, new_job, new_name)` of this connection.
pub async fn make(connection: &mut PgConnection, job: &str, template: &str, count: u32) -> anyhow::Result<()> {
    let environment: Uuid = sqlx::query_scalar("SELECT environment_id FROM jobs WHERE id = $1::uuid")
        .bind(job)
        .fetch_one(&mut *connection)
        .await?;
    let mut tx = connection.begin().await?;
    tx.execute(AssertSqlSafe(format!(
        "CREATE TEMPORARY TABLE copies AS
         SELECT gen_random_uuid() AS new_environment, gen_random_uuid() AS new_job, 'waiting-' || n AS new_name
         FROM generate_series(1, {count} - 1) AS n"
    )))
    .await?;
    for (table, owner) in TABLES {
        let counted: Option<String> = sqlx::query_scalar(
            "SELECT max(column_name::text) FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = $1 AND is_identity = 'YES'",
        )
        .bind(table)
        .fetch_one(&mut *tx)
        .await?;
        let fresh = counted.map_or_else(String::new, |column| {
            format!("|| jsonb_build_object('{column}', nextval(pg_get_serial_sequence('{table}', '{column}')))")
        });
        let owned = match owner {
            Owner::Environment(column) => format!("t.{column} = '{environment}'"),
            Owner::Job(column) => format!("t.{column} = '{job}'"),
            Owner::LastOfJob(column) => {
                format!("t.{column} = '{job}' AND t.id = (SELECT max(id) FROM {table} WHERE {column} = '{job}')")
            }
        };
        let sql = format!(
            "INSERT INTO {table} OVERRIDING SYSTEM VALUE
             SELECT (jsonb_populate_record(NULL::{table},
                 replace(replace(replace(to_jsonb(t)::text, '{environment}', new_environment::text), '{job}', new_job::text),
                         '{template}', new_name)::jsonb {fresh})).*
             FROM {table} t, copies WHERE {owned}"
        );
        tx.execute(AssertSqlSafe(sql))
            .await
            .with_context(|| format!("could not copy {table}"))?;
    }
    tx.commit().await?;
    connection.execute("VACUUM ANALYZE").await?;
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'waiting'")
        .fetch_one(connection)
        .await?;
    ensure!(waiting == i64::from(count), "there are {waiting} waiting jobs");
    Ok(())
}
