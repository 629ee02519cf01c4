//! Pointers: who owns which, what each must say, and every intent to write one.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{Result, StoreError};
use crate::domain::{environment::PointerIdentity, names::Name, pointer};

/// A pointer as it is stored.
#[derive(Debug, Clone)]
pub struct Pointer {
    pub key: String,
    pub component: Name,
    pub target: String,
    pub taken: bool,
    /// What it said when the last job ended.
    pub value: Option<String>,
    pub version: Option<i64>,
    pub epoch: i64,
    pub release: Option<String>,
    pub drift: Option<Value>,
}

type Row = (
    String,
    String,
    String,
    bool,
    Option<String>,
    Option<i64>,
    i64,
    Option<String>,
    Option<Json<Value>>,
);

fn pointer((key, component, target, taken, value, version, epoch, release, drift): Row) -> Result<Pointer> {
    Ok(Pointer {
        key,
        component: Name::parse(&component).map_err(|why| StoreError::corrupt("pointer", why))?,
        target,
        taken,
        value,
        version,
        epoch,
        release,
        drift: drift.map(|Json(drift)| drift),
    })
}

/// The pointers of an environment.
pub async fn of_environment(connection: &mut PgConnection, environment: Uuid) -> Result<Vec<Pointer>> {
    sqlx::query_as::<_, Row>(
        "SELECT key, component, target, taken, value, version, epoch, release, drift
         FROM pointers WHERE environment_id = $1 ORDER BY component, target",
    )
    .bind(environment)
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(pointer)
    .collect()
}

/// Makes `identities` the pointers of an environment; those that stay keep what is known of them.
/// `Err(key)`: another environment owns that one.
pub async fn replace(
    connection: &mut PgConnection,
    environment: Uuid,
    identities: &[PointerIdentity],
) -> Result<std::result::Result<(), String>> {
    // One at a time: two environments that swap pointers would else wait for each other. It is rare and short.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('greenlight pointers'))")
        .execute(&mut *connection)
        .await?;
    let keys: Vec<&str> = identities.iter().map(|identity| identity.key.as_str()).collect();
    sqlx::query(
        "DELETE FROM pointers p WHERE environment_id = $1 AND NOT EXISTS (
             SELECT 1 FROM unnest($2::text[], $3::text[], $4::text[]) AS new (key, component, target)
             WHERE new.key = p.key AND new.component = p.component AND new.target = p.target)",
    )
    .bind(environment)
    .bind(&keys)
    .bind(
        identities
            .iter()
            .map(|identity| identity.component.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        identities
            .iter()
            .map(|identity| identity.target.as_str())
            .collect::<Vec<_>>(),
    )
    .execute(&mut *connection)
    .await?;
    for identity in identities {
        // The update changes nothing, but answers with the row's owner, also when it was there.
        let owner: Uuid = sqlx::query_scalar(
            "INSERT INTO pointers (key, environment_id, component, target) VALUES ($1, $2, $3, $4)
             ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING environment_id",
        )
        .bind(&identity.key)
        .bind(environment)
        .bind(identity.component.as_str())
        .bind(&identity.target)
        .fetch_one(&mut *connection)
        .await?;
        if owner != environment {
            return Ok(Err(identity.key.clone()));
        }
    }
    Ok(Ok(()))
}

/// An intent to write a pointer.
#[derive(Debug, Clone)]
pub struct NewWrite<'a> {
    pub key: &'a str,
    pub component: &'a Name,
    pub target: &'a str,
    pub value: Option<&'a str>,
    pub replaces: Option<&'a str>,
    pub replaces_version: Option<i64>,
}

/// Stores an intent before the call. The request is signed within `sign_within_secs`, or not at all. Its epoch is used up
/// from here on, whatever becomes of it: nobody may give it to another document.
pub async fn intend(
    connection: &mut PgConnection,
    job: Uuid,
    position: i32,
    write: &NewWrite<'_>,
    sign_within_secs: f64,
) -> Result<i64> {
    sqlx::query("UPDATE pointers SET epoch = greatest(epoch, $2) WHERE key = $1")
        .bind(write.key)
        .bind(pointer::epoch_of(write.value))
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        "INSERT INTO pointer_writes (pointer_key, job_id, position, component, target, value, replaces,
                                     replaces_version, sign_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9)) RETURNING id",
    )
    .bind(write.key)
    .bind(job)
    .bind(position)
    .bind(write.component.as_str())
    .bind(write.target)
    .bind(write.value)
    .bind(write.replaces)
    .bind(write.replaces_version)
    .bind(sign_within_secs)
    .fetch_one(connection)
    .await?)
}

/// The answer to a write: it took effect (with a version) or was surely refused.
#[derive(Debug, Clone)]
pub struct Answer {
    pub write: i64,
    pub version: Option<i64>,
    /// `written` or `refused`.
    pub outcome: &'static str,
    /// The road has a compare-and-swap, and this write moved what it compares: no write to the pointer that
    /// was intended before can land any more.
    pub fences: bool,
}

/// Records the answer to a write, and that those it fences are over.
pub async fn answer(connection: &mut PgConnection, answer: &Answer) -> Result<()> {
    sqlx::query("UPDATE pointer_writes SET answered_at = now(), version = $2, outcome = $3 WHERE id = $1")
        .bind(answer.write)
        .bind(answer.version)
        .bind(answer.outcome)
        .execute(&mut *connection)
        .await?;
    if answer.fences {
        // Intents are stored under the lease of the one job that holds the environment: their ids are in the
        // order of the looks that they rest on.
        sqlx::query(
            "UPDATE pointer_writes SET answered_at = now(), outcome = 'fenced'
             WHERE answered_at IS NULL AND id < $1
               AND pointer_key = (SELECT pointer_key FROM pointer_writes WHERE id = $1)",
        )
        .bind(answer.write)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Values somebody of ours meant to write here and may still land, or that these jobs wrote.
pub async fn ours(connection: &mut PgConnection, key: &str, jobs: &[Uuid]) -> Result<Vec<Option<String>>> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT value FROM pointer_writes
         WHERE pointer_key = $1
           AND (job_id = ANY($2)
                OR ((answered_at IS NULL OR outcome = 'landed') AND sign_by > now() - interval '1 hour'))",
    )
    .bind(key)
    .bind(jobs)
    .fetch_all(connection)
    .await?)
}

/// Seconds for which an unanswered write of another value than `value` may still land on a pointer.
/// Zero or less: none can any more.
pub async fn late_for(
    connection: &mut PgConnection,
    key: &str,
    value: Option<&str>,
    watch_secs: f64,
) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar(
        "SELECT extract(epoch FROM max(sign_by) - now())::float8 + $3 FROM pointer_writes
         WHERE pointer_key = $1 AND answered_at IS NULL AND value IS DISTINCT FROM $2",
    )
    .bind(key)
    .bind(value)
    .bind(watch_secs)
    .fetch_one(connection)
    .await?)
}

/// Marks an unanswered write as landed: its value was observed, in a version later than the one it
/// replaces, that no answered write made. Only where versions are counted: without them a value alone does
/// not tell which write it is of. Only when it is the one unanswered write of that value: a
/// request is sent once, so it can't land again. The caller holds the fence, so nobody stores an intent
/// between the observation and this.
pub async fn landed(connection: &mut PgConnection, key: &str, value: &str, version: i64) -> Result<()> {
    sqlx::query(
        "UPDATE pointer_writes SET answered_at = now(), version = $3, outcome = 'landed'
         WHERE pointer_key = $1 AND answered_at IS NULL AND value = $2
           AND (replaces_version IS NULL OR replaces_version < $3)
           AND (SELECT count(*) FROM pointer_writes
                WHERE pointer_key = $1 AND answered_at IS NULL AND value = $2) = 1
           AND NOT EXISTS (SELECT 1 FROM pointer_writes
                           WHERE pointer_key = $1 AND answered_at IS NOT NULL AND value = $2 AND version = $3)",
    )
    .bind(key)
    .bind(value)
    .bind(version)
    .execute(connection)
    .await?;
    Ok(())
}

/// True when `value`, seen in `version`, is of a write of ours whose answer never came: it may have just
/// landed, or was noted as landed before.
pub async fn is_late_write(
    connection: &mut PgConnection,
    key: &str,
    value: Option<&str>,
    version: Option<i64>,
) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pointer_writes
         WHERE pointer_key = $1 AND value IS NOT DISTINCT FROM $2
           AND (answered_at IS NULL OR (outcome = 'landed' AND version = $3)))",
    )
    .bind(key)
    .bind(value)
    .bind(version)
    .fetch_one(connection)
    .await?)
}

/// What is true of a pointer once a job has ended.
#[derive(Debug, Clone)]
pub struct Settled {
    pub key: String,
    pub taken: bool,
    pub value: Option<String>,
    pub version: Option<i64>,
    pub epoch: i64,
    pub release: Option<String>,
    pub drift: Option<Value>,
}

/// Records what a pointer must say from now on.
pub async fn settle(connection: &mut PgConnection, settled: &Settled) -> Result<()> {
    sqlx::query(
        "UPDATE pointers SET taken = $2, value = $3, version = $4, epoch = greatest(epoch, $5), release = $6,
                             drift = $7, updated_at = now()
         WHERE key = $1",
    )
    .bind(&settled.key)
    .bind(settled.taken)
    .bind(&settled.value)
    .bind(settled.version)
    .bind(settled.epoch)
    .bind(&settled.release)
    .bind(settled.drift.as_ref().map(Json))
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that a pointer says something nobody of ours wrote.
pub async fn set_drift(connection: &mut PgConnection, drift: &BTreeMap<String, Value>) -> Result<()> {
    for (key, found) in drift {
        sqlx::query("UPDATE pointers SET drift = $2, updated_at = now() WHERE key = $1")
            .bind(key)
            .bind(Json(found))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
