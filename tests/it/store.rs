//! The store against a real PostgreSQL: what callers may do to it without harm.

use std::{pin::pin, time::Duration};

use futures::{FutureExt, poll};
use greenlight::store::Store;
use sqlx::Row;

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
