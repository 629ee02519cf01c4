//! One private PostgreSQL for the whole test binary, and a fresh database for each test.
//!
//! The server dies with the process: the kernel sees to that. What an earlier process left in the
//! temporary folder is swept when the next one starts.

use std::{
    env, fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use greenlight::{
    sandbox::postgres::{PrivatePostgres, PrivatePostgresOptions},
    store::Store,
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{runtime::Runtime, sync::OnceCell};

const PREFIX: &str = "greenlight-it-";
const TEMPLATE: &str = "template_greenlight";

static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);
/// The server's own tasks must outlive the runtime of the test that happened to be first.
static RUNTIME: std::sync::LazyLock<Runtime> = std::sync::LazyLock::new(|| Runtime::new().unwrap());

/// A new, migrated database. Returns its URL.
pub async fn fresh() -> String {
    RUNTIME.spawn(make()).await.unwrap()
}

async fn make() -> String {
    let server = SERVER.get_or_init(start).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    // Copying a template takes 40 ms; migrating each time would take longer.
    let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"));
    connection.execute(sqlx::raw_sql(sql)).await.unwrap();
    server.url(&name)
}

async fn start() -> PrivatePostgres {
    sweep();
    let data_dir = env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    let options = PrivatePostgresOptions {
        durable: false,
        max_connections: 400,
        ..PrivatePostgresOptions::new(data_dir)
    };
    let server = PrivatePostgres::start(options)
        .await
        .expect("the tests need PostgreSQL: scripts/setup.sh test");
    server.create_database(TEMPLATE).await.unwrap();
    Store::migrate(&server.url(TEMPLATE)).await.unwrap();
    server
}

/// Removes the folders of test processes that are gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
