//! The private PostgreSQL, started for real: it keeps its data, lets nobody else in, and never
//! outlives the process that started it.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use greenlight::sandbox::postgres::{PrivatePostgres, PrivatePostgresError, PrivatePostgresOptions};
use sqlx::{Connection, Executor, PgConnection, query_scalar};

use crate::support::folder::Folder;

/// Set for the helper below: the folder it is to start a server on.
const HELPER_DIR: &str = "GREENLIGHT_TEST_HELPER_DIR";
const PATIENCE: Duration = Duration::from_secs(60);

fn options(data_dir: &Path) -> PrivatePostgresOptions {
    PrivatePostgresOptions {
        durable: false,
        ..PrivatePostgresOptions::new(data_dir)
    }
}

async fn start(data_dir: &Path) -> PrivatePostgres {
    PrivatePostgres::start(options(data_dir)).await.unwrap()
}

async fn ask(postgres: &PrivatePostgres, database: &str, question: &'static str) -> String {
    let mut connection = PgConnection::connect(&postgres.url(database)).await.unwrap();
    query_scalar(question).fetch_one(&mut connection).await.unwrap()
}

fn is_running(pid: u32) -> bool {
    // A zombie has ended; who reaps it is not our business.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// Waits until none of the processes runs any more.
fn wait_until_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| is_running(*pid)) {
        assert!(Instant::now() < deadline, "still running: {pids:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The server's process and those it started.
fn family(server: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children.chain([server]).collect()
}

#[tokio::test]
async fn starts_takes_connections_and_stops() {
    let folder = Folder::new();
    let postgres = start(&folder.0).await;
    assert_eq!(
        ask(&postgres, "postgres", "SELECT current_user::text").await,
        "greenlight"
    );
    assert_eq!(ask(&postgres, "postgres", "SHOW server_encoding").await, "UTF8");
    assert_eq!(ask(&postgres, "postgres", "SHOW listen_addresses").await, "");
    assert_eq!(ask(&postgres, "postgres", "SHOW fsync").await, "off");
    assert_eq!(ask(&postgres, "postgres", "SELECT lower('Ä')").await, "ä");
    assert!(postgres.create_database("storefront").await.unwrap());
    assert!(!postgres.create_database("storefront").await.unwrap());
    assert_eq!(
        ask(&postgres, "storefront", "SELECT current_database()::text").await,
        "storefront"
    );
    let refused = postgres.create_database("a\"; DROP TABLE b").await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::DatabaseName(_)), "{refused}");
    let processes = family(postgres.pid());
    postgres.stop().await;
    assert!(
        processes.iter().all(|pid| !is_running(*pid)),
        "stop returns when everything has ended"
    );
}

#[tokio::test]
async fn a_second_run_on_the_folder_finds_the_data_of_the_first() {
    let folder = Folder::new();
    let first = start(&folder.0).await;
    first.create_database("kept").await.unwrap();
    let mut connection = PgConnection::connect(&first.url("kept")).await.unwrap();
    connection
        .execute("CREATE TABLE note (text text); INSERT INTO note VALUES ('still here')")
        .await
        .unwrap();
    drop(connection);
    first.stop().await;
    let second = start(&folder.0).await;
    assert_eq!(ask(&second, "kept", "SELECT text FROM note").await, "still here");
    let pid = second.pid();
    drop(second);
    assert!(!is_running(pid), "a handle that is dropped takes the server with it");
    let third = start(&folder.0).await;
    assert_eq!(ask(&third, "kept", "SELECT text FROM note").await, "still here");
}

#[tokio::test]
async fn an_erased_folder_starts_afresh_and_one_in_use_is_not_erased() {
    let folder = Folder::new();
    fs::write(folder.0.join("mine"), "stays").unwrap();
    let postgres = start(&folder.0).await;
    postgres.create_database("kept").await.unwrap();
    let refused = PrivatePostgres::erase(&folder.0).unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::InUse { .. }), "{refused}");
    postgres.stop().await;
    PrivatePostgres::erase(&folder.0).unwrap();
    assert!(folder.0.join("mine").exists());
    let postgres = start(&folder.0).await;
    assert!(postgres.create_database("kept").await.unwrap(), "it was gone");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_its_user_named() {
    let folder = Folder::new();
    let first = start(&folder.0).await;
    let refused = PrivatePostgres::start(options(&folder.0)).await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::InUse { .. }), "{refused}");
    let words = refused.to_string();
    assert!(words.contains(&format!("process {}", std::process::id())), "{words}");
    assert_eq!(ask(&first, "postgres", "SELECT 'unharmed'").await, "unharmed");
    first.stop().await;
    start(&folder.0).await.stop().await;
}

#[tokio::test]
async fn a_long_folder_has_its_socket_elsewhere_and_nothing_stays_there() {
    let folder = Folder::new();
    let long = folder.0.join("long-name-".repeat(12));
    let postgres = start(&long).await;
    let socket_dir = postgres.socket_dir().to_owned();
    assert!(!socket_dir.starts_with(&long));
    assert_eq!(
        ask(&postgres, "postgres", "SELECT 'short enough'").await,
        "short enough"
    );
    postgres.stop().await;
    assert!(!socket_dir.exists());
}

#[tokio::test]
async fn a_server_that_cannot_start_is_explained_by_the_end_of_its_log() {
    let folder = Folder::new();
    start(&folder.0).await.stop().await;
    fs::write(folder.0.join("cluster/postgresql.conf"), "shared_buffers = 'a lot'\n").unwrap();
    let refused = PrivatePostgres::start(options(&folder.0)).await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::Died { .. }), "{refused}");
    assert!(refused.to_string().contains("shared_buffers"), "{refused}");
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_does_not_stop_a_start() {
    let folder = Folder::new();
    start(&folder.0).await.stop().await;
    // Our own number: a process that is there, and is no server.
    fs::write(
        folder.0.join("cluster/postmaster.pid"),
        format!("{}\n", std::process::id()),
    )
    .unwrap();
    start(&folder.0).await.stop().await;
}

#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing() {
    let folder = Folder::new();
    start(&folder.0).await.stop().await;
    for microseconds in [100, 3_000, 8_000, 15_000, 40_000] {
        let attempt = PrivatePostgres::start(options(&folder.0));
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), attempt).await;
    }
    // The folder is free again as soon as the last server has ended.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match PrivatePostgres::start(options(&folder.0)).await {
            Ok(postgres) => return postgres.stop().await,
            Err(PrivatePostgresError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Not a test: the process that `kill -9` is tried on. Says the server's number, then waits for its end.
#[tokio::test]
#[ignore = "started by kill_9_of_the_parent_ends_the_server"]
async fn helper_that_is_killed() {
    let Some(folder) = env::var_os(HELPER_DIR) else {
        return;
    };
    let postgres = start(Path::new(&folder)).await;
    println!("\nserver {}", postgres.pid());
    std::future::pending().await
}

/// Starts this test binary again as the helper; its process and the server's number.
fn helper(folder: &Path) -> (Child, u32) {
    // As the test harness calls it: the path in the test binary, without the binary's own name.
    let module = module_path!().split_once("::").map(|(_, module)| format!("{module}::"));
    let name = format!("{}helper_that_is_killed", module.unwrap_or_default());
    let mut helper = Command::new(env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env(HELPER_DIR, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    let server = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ").map(|number| number.parse().unwrap()))
        .expect("the helper's server starts");
    (helper, server)
}

#[tokio::test]
async fn kill_9_of_the_parent_ends_the_server() {
    let folder = Folder::new();
    let long = folder.0.join("long-name-".repeat(12));
    let (mut parent, server) = helper(&long);
    let processes = family(server);
    assert!(processes.len() > 1, "a server has processes of its own");
    assert!(is_running(server));
    let noted = PathBuf::from(fs::read_to_string(long.join("socket-dir")).unwrap());
    assert!(noted.exists());
    parent.kill().unwrap();
    parent.wait().unwrap();
    // At once: whatever of the old server is still ending must not get in the way.
    let next = start(&long).await;
    assert_eq!(ask(&next, "postgres", "SELECT 'recovered'").await, "recovered");
    wait_until_gone(&processes);
    assert!(
        !noted.exists(),
        "the killed run's socket folder is cleaned up by the next"
    );
    next.stop().await;
}

#[tokio::test]
async fn kill_9_of_parent_and_server_does_not_stop_the_next_start() {
    let folder = Folder::new();
    let (mut parent, server) = helper(&folder.0);
    let processes = family(server);
    assert!(
        Command::new("kill")
            .args(["-9", &server.to_string()])
            .status()
            .unwrap()
            .success()
    );
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(folder.0.join("cluster/postmaster.pid").exists());
    start(&folder.0).await.stop().await;
    wait_until_gone(&processes);
}

#[tokio::test]
async fn as_root_a_folder_out_of_the_servers_reach_is_refused_by_name() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = Folder::new();
    if fs::metadata(&folder.0).unwrap().uid() != 0 {
        return; // Only root has anybody to drop to.
    }
    let closed = folder.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let refused = PrivatePostgres::start(options(&closed.join("data"))).await.unwrap_err();
    assert!(
        matches!(refused, PrivatePostgresError::NotTraversable { .. }),
        "{refused}"
    );
    let words = refused.to_string();
    assert!(
        words.contains(&format!("may not enter {}", closed.canonicalize().unwrap().display())),
        "{words}"
    );
    assert!(words.contains("choose another"), "{words}");
}
