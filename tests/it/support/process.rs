//! The real programs as child processes: `greenlight`, and emulators.
//!
//! Nothing started here outlives its handle, nor the test: a handle that is dropped kills (also when the
//! test panics), and the kernel kills when the thread that started the process has ended. So start
//! processes from the test's own thread.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, Response};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use super::{Answer, ENVIRONMENT, REGION, database};

/// How long anything may take in real time.
pub const PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a job's state is when it has ended.
const ENDS: [&str; 4] = ["succeeded", "failed", "aborted", "stuck"];

/// Waits for a condition; what it says is what is returned.
///
/// # Panics
/// When it does not come true within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A child process and what it has said on standard error.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        Self::try_start(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub fn try_start(command: &mut Command) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        die_with_us(command);
        let mut child = command.spawn()?;
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        // Ends with the process, which closes the other end.
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push(line))
        });
        Ok(Self { child, said })
    }

    /// Every line so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Its exit status, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`. It is gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the process ends", async || self.status()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let last = said.len().saturating_sub(40);
            eprintln!(
                "the last that process {} said:\n{}",
                self.child.id(),
                said[last..].join("\n")
            );
        }
    }
}

/// Has the kernel kill the child when the thread that starts it ends.
fn die_with_us(command: &mut Command) {
    let us = std::process::id();
    // SAFETY: between fork and exec the closure makes two system calls and builds an error from a number:
    // it neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            let still_there = getppid().is_some_and(|parent| parent.as_raw_pid().cast_unsigned() == us);
            if still_there {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()))
            }
        });
    }
}

/// The program, without anything of the environment: neither settings nor credentials of whoever runs the tests.
fn greenlight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenlight"));
    command.env_clear();
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    greenlight()
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Runs the program to its end, with this on its standard input.
pub fn run_reading(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
    let mut command = greenlight();
    command.args(arguments).envs(environment.iter().copied());
    fed(command, input)
}

/// Runs the program to its end at a terminal, on which this is typed. What it says, on either output, is in `stdout`,
/// after what was typed.
pub fn run_at_a_terminal(arguments: &[&str], environment: &[(&str, &str)], typed: &str) -> Output {
    let quoted = arguments.iter().map(|argument| format!("'{argument}'"));
    let line: Vec<String> = [format!("'{}'", env!("CARGO_BIN_EXE_greenlight"))]
        .into_iter()
        .chain(quoted)
        .collect();
    // Of util-linux, which every Debian has: it makes the terminal.
    let mut command = Command::new("script");
    command
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("SHELL", "/bin/sh")]);
    command.envs(environment.iter().copied());
    command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    fed(command, typed.as_bytes())
}

fn fed(mut command: Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Who doesn't read it needn't have it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Standard output of a run that must succeed, without the line's end.
#[track_caller]
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}

/// Where replicas work: a database, an AWS, and a token made by the program itself.
pub struct Site {
    pub database_url: String,
    pub endpoint_url: String,
    pub token: String,
}

impl Site {
    /// On a fresh database.
    pub async fn new(endpoint_url: &str) -> Self {
        Self::on(&database::fresh().await, endpoint_url)
    }

    /// On this database, which has been migrated.
    pub fn on(database_url: &str, endpoint_url: &str) -> Self {
        Self {
            database_url: database_url.to_owned(),
            endpoint_url: endpoint_url.to_owned(),
            token: create_token(database_url),
        }
    }

    /// Starts a replica with the shortest lease there is, and waits until it is ready.
    pub async fn replica(&self) -> Replica {
        self.replica_with(&[]).await
    }

    pub async fn replica_with(&self, arguments: &[&str]) -> Replica {
        let replica = self.replica_logging("info", arguments).await;
        replica.ready().await;
        replica
    }

    /// Starts a replica, and waits until it listens.
    pub async fn replica_logging(&self, log: &str, arguments: &[&str]) -> Replica {
        let mut command = serve(&self.database_url, &self.endpoint_url);
        command.env("RUST_LOG", log).args(arguments);
        Replica::start(command).await
    }

    /// The API of a replica, for the token's bearer.
    pub fn api(&self, replica: &Replica) -> Api {
        Api::new(replica.address, Some(&self.token))
    }
}

/// A token of an administrator.
pub fn create_token(database_url: &str) -> String {
    let token = run(
        &["token", "create", "--name", "ci", "--role", "admin"],
        &[("DATABASE_URL", database_url)],
    );
    printed(&token)
}

/// `greenlight serve` on a free port.
pub fn serve(database_url: &str, endpoint_url: &str) -> Command {
    let mut command = greenlight();
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--lease-seconds",
            "15",
            "--poll-seconds",
            "1",
        ])
        .args(["--database-connections", "8", "--database-url", database_url])
        .env("AWS_ENDPOINT_URL", endpoint_url)
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        .env("AWS_REGION", REGION);
    command
}

/// A running `greenlight serve`.
pub struct Replica {
    pub process: Process,
    pub address: SocketAddr,
}

impl Replica {
    /// Starts it, and waits until it says where it listens.
    pub async fn start(command: Command) -> Self {
        let mut process = Process::start(command);
        let address = eventually("the replica listens", async || {
            let address = process.said().iter().find_map(|line| address_in(line));
            if address.is_none() {
                assert_eq!(process.status(), None, "it has ended: {:#?}", process.said());
            }
            address
        })
        .await;
        Self { process, address }
    }

    /// Waits until it says that it can work.
    pub async fn ready(&self) {
        let api = Api::new(self.address, None);
        eventually("the replica is ready", async || {
            (api.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Its log. Every line is a JSON object.
    #[track_caller]
    pub fn log(&self) -> Vec<Value> {
        let object = |line: String| match serde_json::from_str(&line) {
            Ok(Value::Object(line)) => Value::Object(line),
            other => panic!("not a JSON object: {line}: {other:?}"),
        };
        self.process.said().into_iter().map(object).collect()
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "serving").then(|| line["address"].as_str().unwrap().parse().unwrap())
}

/// The API over real HTTP.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Api {
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(90))
            .build()
            .unwrap();
        Self {
            client,
            base: format!("http://{address}"),
            token: token.map(str::to_owned),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    /// Like [`Self::get`], of a server that may be gone.
    pub async fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        Ok(read(self.request(Method::GET, path).send().await?).await)
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &body).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        read(self.request(method, path).json(body).send().await.unwrap()).await
    }

    /// Opens a stream of events.
    pub async fn stream(&self, path: &str) -> Response {
        let answer = self
            .request(Method::GET, path)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        answer
    }

    /// `storefront` with `production` as in `document`, and these releases.
    pub async fn set_up(&self, document: Value, releases: &[&str]) {
        self.put("/v1/apps/storefront", json!({})).await.expect(201);
        self.put(ENVIRONMENT, document).await.expect(201);
        for release in releases {
            self.register(release).await;
        }
    }

    pub async fn register(&self, version: &str) {
        let body = json!({"version": version, "artifacts": {"web": {}}});
        self.post("/v1/apps/storefront/releases", body).await.expect(201);
    }

    /// Starts a promotion. Returns the job's id.
    pub async fn promote(&self, release: &str) -> String {
        self.post(&format!("{ENVIRONMENT}/promotions"), json!({"release": release}))
            .await
            .expect(202)
            .id()
    }

    /// Starts a rollback. Returns the job's id.
    pub async fn roll_back(&self) -> String {
        self.post(&format!("{ENVIRONMENT}/rollbacks"), json!({}))
            .await
            .expect(202)
            .id()
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.expect(200).json()
    }

    /// The job when it has ended, as `wait` says; and it must have ended so.
    pub async fn end_as(&self, id: &str, state: &str) -> Value {
        let job = self.get(&format!("/v1/jobs/{id}?wait=30")).await.expect(200).json();
        assert_eq!(job["state"], state, "{job:#}");
        job
    }

    pub async fn environment(&self) -> Value {
        self.get(ENVIRONMENT).await.expect(200).json()
    }

    /// The kinds of a job's events, in order.
    pub async fn event_kinds(&self, id: &str) -> Vec<String> {
        let events = self
            .get(&format!("/v1/jobs/{id}/events?limit=200"))
            .await
            .expect(200)
            .json();
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["kind"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    Answer {
        status,
        headers,
        body: response.bytes().await.unwrap().to_vec(),
    }
}

pub fn has_ended(job: &Value) -> bool {
    ENDS.contains(&job["state"].as_str().unwrap())
}

/// A new database without anything in it. Returns its URL.
pub async fn empty_database() -> String {
    let other = database::fresh().await;
    let name = format!("empty_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&other).await.unwrap();
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))))
        .await
        .unwrap();
    let (server, query) = other.split_once('?').unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}?{query}")
}
