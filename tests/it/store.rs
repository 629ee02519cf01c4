//! The store against a real PostgreSQL: what callers may do to it without harm.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use futures::{FutureExt, future::join_all, poll};
use greenlight::store::{JOBS_CHANNEL, Store, leases};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, postgres::PgListener};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::database;

/// A client that hangs up, or a lease that is lost, cancels whatever is awaited. At no point may that
/// leave a connection in the pool with a transaction open.
#[tokio::test]
async fn a_cancelled_begin_leaves_no_open_transaction_in_the_pool() {
    let store = Store::connect(&database::fresh().await, 1).unwrap();
    for polls in 0..40 {
        for read_only in [false, true] {
            let mut begin = pin!(if read_only {
                store.snapshot().boxed()
            } else {
                store.begin().boxed()
            });
            for _ in 0..polls {
                if poll!(&mut begin).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
        }
        let row = sqlx::query(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(store.pool())
        .await
        .unwrap();
        assert_eq!(row.get::<i64, _>(0), 0);
        // In an open transaction `now()` would stand still.
        let first: f64 = now(&store).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(
            now(&store).await > first,
            "the connection is inside somebody's transaction after {polls} polls"
        );
    }
}

async fn now(store: &Store) -> f64 {
    sqlx::query_scalar("SELECT extract(epoch FROM now())::float8")
        .fetch_one(store.pool())
        .await
        .unwrap()
}

/// Jobs that wait, the first for a minute, each second one more.
async fn with_waiting_jobs(database: &str, count: i32) {
    let mut connection = PgConnection::connect(database).await.unwrap();
    let sql = format!(
        "INSERT INTO apps (name) VALUES ('storefront');
         INSERT INTO environments (id, app, name, document) VALUES (gen_random_uuid(), 'storefront', 'production', '{{}}');
         INSERT INTO jobs (id, kind, environment_id, app, environment, request, state, waiting_for, claimable_at, created_by)
         SELECT gen_random_uuid(), 'promotion', environments.id, app, name, '{{}}', 'waiting', 'timer',
                now() + make_interval(secs => 59 + n), 'ci'
         FROM environments, generate_series(1, {count}) AS n;
         ANALYZE jobs"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    connection.close().await.unwrap();
}

/// Runs `sql`, and returns every node of its plan. `generic`: planned without knowing the parameters.
async fn plan_of(connection: &mut PgConnection, sql: &str, generic: bool, arguments: &str) -> Vec<Value> {
    let mode = if generic {
        "force_generic_plan"
    } else {
        "force_custom_plan"
    };
    let prepare = format!("SET plan_cache_mode = {mode}; DEALLOCATE ALL; PREPARE asked AS {sql}");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked{arguments}");
    let row = connection
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(explain)))
        .await
        .unwrap();
    let mut nodes = Vec::new();
    let mut left = vec![row.get::<Value, _>(0)[0]["Plan"].clone()];
    while let Some(node) = left.pop() {
        left.extend(node["Plans"].as_array().cloned().unwrap_or_default());
        nodes.push(node);
    }
    nodes
}

/// However many jobs wait: whoever asks what is due, and when the next one is, reads what is due and one more.
#[tokio::test]
async fn ten_thousand_waiting_jobs_cost_one_look_at_an_index() {
    let database = database::fresh().await;
    with_waiting_jobs(&database, 10_000).await;
    let mut connection = PgConnection::connect(&database).await.unwrap();
    let claim = format!("('{}', 30, 64)", Uuid::now_v7());
    for generic in [true, false] {
        for (sql, arguments, due) in [
            (leases::CLAIM, claim.as_str(), 0),
            (leases::SECONDS_TO_NEXT, "", 1),
            (leases::CLAIM, claim.as_str(), 3),
        ] {
            if due == 3 {
                let made = connection
                    .execute(
                        "UPDATE jobs SET claimable_at = now() - interval '1 s'
                         WHERE id IN (SELECT id FROM jobs WHERE lease_owner IS NULL LIMIT 3)",
                    )
                    .await
                    .unwrap();
                assert_eq!(made.rows_affected(), 3);
            }
            let nodes = plan_of(&mut connection, sql, generic, arguments).await;
            let looks: Vec<&Value> = nodes
                .iter()
                .filter(|node| node["Index Name"] == "jobs_claimable")
                .collect();
            assert_eq!(looks.len(), 1, "{nodes:#?}");
            assert_eq!(looks[0]["Actual Rows"].as_f64(), Some(f64::from(due)), "{nodes:#?}");
            for node in &nodes {
                assert_ne!(node["Node Type"], "Seq Scan", "{nodes:#?}");
                assert!(
                    node["Actual Rows"].as_f64().unwrap() <= f64::from(due.max(1)),
                    "{nodes:#?}"
                );
                assert!(node["Rows Removed by Filter"].is_null(), "{nodes:#?}");
            }
        }
    }
    connection.close().await.unwrap();
}

/// Workers tell readers after their commits, many jobs at once: none may be forgotten in between.
#[tokio::test]
async fn readers_hear_of_every_job_that_a_worker_has_changed() {
    let database = database::fresh().await;
    with_waiting_jobs(&database, 200).await;
    let store = Store::connect(&database, 8).unwrap();
    let mut listener = PgListener::connect(&database).await.unwrap();
    listener.listen(JOBS_CHANNEL).await.unwrap();
    let mut connection = store.pool().acquire().await.unwrap();
    connection
        .execute("UPDATE jobs SET claimable_at = now()")
        .await
        .unwrap();
    let claimed = leases::claim(&mut connection, Uuid::now_v7(), 30.0, 200).await.unwrap();
    drop(connection);
    let mut untold: BTreeSet<Uuid> = claimed.iter().map(|claimed| claimed.lease.job).collect();
    assert_eq!(untold.len(), 200);
    join_all(claimed.iter().map(|claimed| async {
        let mut fenced = store.fence(claimed.lease).await.unwrap().unwrap();
        fenced.event("job.warning", json!({}));
        fenced.commit("turn").await.unwrap();
    }))
    .await;
    while !untold.is_empty() {
        let news = timeout(Duration::from_secs(20), listener.recv()).await;
        let news = news
            .unwrap_or_else(|_| panic!("{} jobs were never told of", untold.len()))
            .unwrap();
        untold.remove(&news.payload().parse().unwrap());
    }
}
