//! What the benchmark runs on: a private PostgreSQL, AWS doubles, replicas of the real binary, and a client.
//!
//! Nothing here measures. Dropping anything ends it.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use greenlight::{
    domain::role::Role,
    sandbox::{
        double::{AwsDouble, DoubleOptions},
        postgres::{PrivatePostgres, PrivatePostgresOptions},
    },
    service::tokens,
    store::Store,
};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use uuid::Uuid;

pub const REGION: &str = "us-east-1";
pub const APP: &str = "/v1/apps/bench";
/// The two releases that every environment goes back and forth between.
pub const RELEASES: [&str; 2] = ["1.0.0", "2.0.0"];

const PREFIX: &str = "greenlight-bench-";
const MAX_CONNECTIONS: u32 = 200;
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(2);
/// How long one `?wait=` may take, and one call at most.
const WAIT_SECS: u64 = 30;
const CALL_DEADLINE: Duration = Duration::from_secs(WAIT_SECS + 30);
/// Longer than any job here takes.
const JOB_DEADLINE: Duration = Duration::from_secs(300);

/// Everything that stays for the whole run.
pub struct House {
    pub postgres: PrivatePostgres,
    folder: PathBuf,
    next: AtomicU32,
}

impl House {
    pub async fn build() -> anyhow::Result<Self> {
        sweep();
        let folder = env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        let options = PrivatePostgresOptions {
            // What a commit costs is part of what a promotion costs.
            durable: true,
            max_connections: MAX_CONNECTIONS,
            ..PrivatePostgresOptions::new(&folder)
        };
        let postgres = PrivatePostgres::start(options)
            .await
            .context("could not start PostgreSQL")?;
        Ok(Self {
            postgres,
            folder,
            next: AtomicU32::new(0),
        })
    }

    /// Ends PostgreSQL and removes everything, or keeps the logs if something went wrong.
    pub async fn tear_down(self, keep_logs: bool) {
        self.postgres.stop().await;
        if keep_logs {
            let _ = PrivatePostgres::erase(&self.folder);
            eprintln!("bench: the logs of the service are in {}", self.folder.display());
        } else if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("bench: could not remove {}: {error}", self.folder.display());
        }
    }

    /// A new database, empty.
    pub async fn empty_database(&self) -> anyhow::Result<String> {
        let name = format!("bench_{}", self.next());
        self.postgres.create_database(&name).await?;
        Ok(self.postgres.url(&name))
    }

    /// A new database with the schema, and an admin's token.
    pub async fn database(&self) -> anyhow::Result<(String, String)> {
        let url = self.empty_database().await?;
        Store::migrate(&url).await?;
        let store = Store::connect(&url, 1)?;
        let mut tx = store.begin().await?;
        let created = tokens::create(&mut tx, "bench", Role::Admin, None).await?;
        tx.commit().await?;
        Ok((url, created.token))
    }

    /// A new database with everything that is in another, to which nobody may be connected.
    pub async fn copy_of(&self, database_url: &str) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(database_url).await?;
        let original: String = sqlx::query_scalar("SELECT current_database()")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        let name = format!("bench_{}", self.next());
        let mut connection = PgConnection::connect(&self.postgres.url("postgres")).await?;
        let sql = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {original}"));
        connection.execute(sql).await.context("could not copy a database")?;
        connection.close().await?;
        Ok(self.postgres.url(&name))
    }

    /// Starts the binary as `serve` and waits until it is ready.
    pub async fn replica(&self, database_url: &str, aws: &AwsDouble) -> anyhow::Result<Replica> {
        self.start("all", database_url, aws).await
    }

    /// The same without the API.
    pub async fn worker(&self, database_url: &str, aws: &AwsDouble) -> anyhow::Result<Replica> {
        self.start("worker", database_url, aws).await
    }

    async fn start(&self, role: &str, database_url: &str, aws: &AwsDouble) -> anyhow::Result<Replica> {
        let log = self.folder.join(format!("replica-{}.log", self.next()));
        Replica::start(role, database_url, &aws.endpoint_url(), &log)
            .await
            .with_context(|| format!("could not start the service (its log: {})", log.display()))
    }

    fn next(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Removes the folders of runs that are gone.
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

/// An AWS whose every call takes `answer_delay`, and whose invalidations are completed at once.
pub async fn aws(answer_delay: Duration) -> anyhow::Result<AwsDouble> {
    let options = DoubleOptions {
        answer_delay,
        invalidation_duration: Duration::ZERO,
        ..DoubleOptions::default()
    };
    AwsDouble::start(options)
        .await
        .context("could not start the AWS double")
}

/// What a client of the double sets, and nothing else that could lead to a real AWS.
pub fn aws_environment(endpoint: &str) -> [(&'static str, &str); 7] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
}

/// A running `greenlight serve`.
pub struct Replica {
    pub base_url: String,
    pub pid: u32,
    /// From its start until /readyz said so.
    pub ready_after: Duration,
    child: Child,
}

impl Replica {
    async fn start(role: &str, database_url: &str, aws_endpoint: &str, log: &Path) -> anyhow::Result<Self> {
        // Free a moment ago: another process could take it, and then this run fails.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let http = http()?;
        let started = Instant::now();
        let mut child = Command::new(binary())
            .args(["serve", "--role", role, "--listen", &format!("127.0.0.1:{port}")])
            .env_clear()
            .env("DATABASE_URL", database_url)
            .env("AWS_REGION", REGION)
            // The local edge is on loopback.
            .env("GREENLIGHT_OUTBOUND_ALLOW", "127.0.0.0/8")
            .envs(aws_environment(aws_endpoint))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("it has ended already")?;
        let base_url = format!("http://127.0.0.1:{port}");
        loop {
            let answer = http.get(format!("{base_url}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return Ok(Self {
                    base_url,
                    pid,
                    ready_after: started.elapsed(),
                    child,
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(started.elapsed() < START_DEADLINE, "it was not ready in time");
            sleep(READY_POLL).await;
        }
    }

    pub fn client(&self, token: &str) -> anyhow::Result<Client> {
        Ok(Client {
            http: http()?,
            base_url: self.base_url.clone(),
            token: token.to_owned(),
        })
    }

    /// Stops it as an orchestrator would.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let status = timeout(STOP_DEADLINE, self.child.wait())
            .await
            .context("the service did not stop in time")??;
        ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }
}

/// This build's own, or that of another one to compare with.
fn binary() -> PathBuf {
    env::var_os("GREENLIGHT_BENCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_greenlight").into(), PathBuf::from)
}

fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(CALL_DEADLINE).build()?)
}

/// A caller of the API, with connections of its own.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    token: String,
}

impl Client {
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base_url))
            .bearer_auth(&self.token);
        if method == Method::POST {
            request = request.header("Idempotency-Key", Uuid::now_v7().to_string());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path} got no answer"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{method} {path} answered with what is no JSON"))
    }

    /// The application with its two releases.
    pub async fn set_up_app(&self) -> anyhow::Result<()> {
        self.call(Method::PUT, APP, Some(&json!({}))).await?;
        for version in RELEASES {
            let release = json!({"version": version, "artifacts": {"web": {}}});
            self.call(Method::POST, &format!("{APP}/releases"), Some(&release))
                .await?;
        }
        Ok(())
    }

    /// An environment with one pointer and one distribution, both of them there in AWS.
    pub async fn set_up_environment(&self, aws: &AwsDouble, name: &str, edge_ttl_seconds: u32) -> anyhow::Result<()> {
        aws.put_parameter(REGION, &parameter(name), "0.9.0")
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        aws.add_distribution(&distribution(name));
        self.put_environment(name, &document(name, edge_ttl_seconds)).await
    }

    pub async fn put_environment(&self, name: &str, document: &Value) -> anyhow::Result<()> {
        self.call(Method::PUT, &environment(name), Some(document)).await?;
        Ok(())
    }

    /// Starts a promotion as the environment's document says. Returns the job's id.
    pub async fn promote(&self, name: &str, release: &str) -> anyhow::Result<String> {
        self.promote_as(name, release, None).await
    }

    /// The same with a strategy of its own.
    pub async fn promote_as(&self, name: &str, release: &str, strategy: Option<&Value>) -> anyhow::Result<String> {
        let path = format!("{}/promotions", environment(name));
        let mut request = json!({"release": release});
        if let Some(strategy) = strategy {
            request["strategy"] = strategy.clone();
        }
        let job = self.call(Method::POST, &path, Some(&request)).await?;
        Ok(job["id"].as_str().context("the job has no id")?.to_owned())
    }

    /// Waits until the job has settled.
    pub async fn settled(&self, id: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + JOB_DEADLINE;
        loop {
            let job = self
                .call(Method::GET, &format!("/v1/jobs/{id}?wait={WAIT_SECS}"), None)
                .await?;
            match job["state"].as_str() {
                Some("succeeded") if !job["settled_at"].is_null() => return Ok(()),
                Some("failed" | "aborted" | "stuck") => bail!("a job did not succeed: {job:#}"),
                _ => ensure!(Instant::now() < deadline, "a job does not settle: {job:#}"),
            }
        }
    }

    /// A whole promotion, and how long it took.
    pub async fn promote_to_the_end(&self, name: &str, release: &str) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let id = self.promote(name, release).await?;
        self.settled(&id).await?;
        Ok(started.elapsed())
    }
}

pub fn environment(name: &str) -> String {
    format!("{APP}/environments/{name}")
}

/// Where the pointer of an environment is.
pub fn parameter(name: &str) -> String {
    format!("/bench/{name}/release")
}

/// An environment with one pointer and one distribution.
pub fn document(name: &str, edge_ttl_seconds: u32) -> Value {
    json!({
        "aws": {"region": REGION},
        "components": [{
            "name": "web",
            "router": {"kind": "ssm_pointer", "parameter": parameter(name), "edge_ttl_seconds": edge_ttl_seconds},
            "cdn": {"distribution_id": distribution(name), "invalidate": {"mode": "paths", "paths": ["/*"]}}
        }]
    })
}

fn distribution(name: &str) -> String {
    format!("E{}", name.replace('-', "").to_ascii_uppercase())
}

/// How many transactions have written to the server so far, this question not counted.
pub async fn writing_transactions(database_url: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(database_url).await?;
    let next = sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(next)
}
