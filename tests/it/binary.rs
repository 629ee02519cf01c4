//! The real binary over real HTTP: what a user of `greenlight serve` sees, and what becomes of a job when
//! its process is killed, stopped, or loses its database.

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use greenlight::{
    sandbox::{
        double::{AwsDouble, DoubleOptions, Fault, FaultAction},
        postgres::{PrivatePostgres, PrivatePostgresOptions},
    },
    store::Store,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::folder::Folder;
use crate::support::{
    DISTRIBUTION, ENVIRONMENT, PARAMETER, REGION,
    process::{Api, PATIENCE, Replica, Site, create_token, empty_database, eventually, has_ended, printed, run, serve},
    time, web, web_with,
};

/// A moment after the lease of `Site`'s replicas.
const AFTER_THE_LEASE: Duration = Duration::from_secs(16);
/// Well below the lease: whoever is done within it has not waited the lease out.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A site whose AWS is the strict double, and whose time can be moved.
struct Stage {
    site: Site,
    store: Store,
    double: AwsDouble,
}

impl Stage {
    async fn start() -> Self {
        Self::with(Duration::ZERO).await
    }

    /// Invalidations take so long, by the double's clock.
    async fn with(invalidation_duration: Duration) -> Self {
        let options = DoubleOptions {
            invalidation_duration,
            ..DoubleOptions::default()
        };
        let double = AwsDouble::start(options).await.unwrap();
        double.add_distribution(DISTRIBUTION);
        let site = Site::new(&double.endpoint_url()).await;
        // One connection, which `gone` leaves out.
        let store = Store::connect(&site.database_url, 1).unwrap();
        Self { site, store, double }
    }

    fn fault(&self, fault: Fault) -> greenlight::sandbox::double::FaultHandle {
        self.double.faults().add(fault)
    }

    /// `kill -9`, until the database has nothing of it in hand either. Only for the one replica there is.
    async fn kill(&self, mut replica: Replica) {
        replica.process.kill();
        eventually("the database has noticed", async || {
            let others: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .fetch_one(self.store.pool())
            .await
            .unwrap();
            (others == 0).then_some(())
        })
        .await;
    }

    async fn advance(&self, by: Duration) {
        time::advance(&self.store, &self.double, by).await;
    }

    /// Moves time on from timer to timer until the job has ended so.
    async fn finish_as(&self, api: &Api, id: &str, state: &str) -> Value {
        let job = eventually("the job ends", async || {
            let job = api.job(id).await;
            if has_ended(&job) {
                return Some(job);
            }
            time::to_the_next_timer(&self.store, &self.double).await;
            None
        })
        .await;
        assert_eq!(job["state"], state, "{job:#}");
        job
    }

    /// Which release the JSON pointer names.
    fn active(&self) -> String {
        self.active_at(PARAMETER)
    }

    fn active_at(&self, parameter: &str) -> String {
        let (value, _) = self.double.parameter(REGION, parameter).unwrap();
        let value: Value = serde_json::from_str(&value).unwrap();
        value["active"].as_str().unwrap().to_owned()
    }

    fn calls(&self, operation: &str) -> usize {
        self.double
            .calls()
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }

    fn invalidations(&self) -> usize {
        self.double.invalidations(DISTRIBUTION).len()
    }

    /// The job's invalidation went out once, under the reference of its step.
    #[track_caller]
    fn assert_one_invalidation(&self, job: &Value) {
        let steps = job["steps"].as_array().unwrap();
        let tokens: Vec<&str> = steps
            .iter()
            .filter(|s| s["kind"] == "invalidate")
            .map(|s| s["token"].as_str().unwrap())
            .collect();
        let [token] = tokens[..] else {
            panic!("one step invalidates: {job:#}")
        };
        let sent = self.double.invalidations(DISTRIBUTION);
        assert_eq!(
            sent.iter().filter(|sent| sent.caller_reference == token).count(),
            1,
            "{sent:#?}"
        );
    }
}

#[tokio::test]
async fn the_main_flow_over_http() {
    let stage = Stage::with(Duration::from_millis(200)).await;
    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &["1.0.0", "1.1.0"]).await;

    stage.fault(Fault::on(
        "PutParameter",
        FaultAction::Delay(Duration::from_millis(300)),
    ));
    let promotions = format!("{ENVIRONMENT}/promotions");
    let accepted = api
        .post(&promotions, json!({"release": "1.0.0", "reason": "first"}))
        .await
        .expect(202);
    let (id, location) = (accepted.id(), accepted.header("location").unwrap().to_owned());
    assert_eq!(location, format!("/v1/jobs/{id}"));
    let asked = Instant::now();
    let first = api.get(&format!("{location}?wait=30")).await.expect(200).json();
    assert_eq!(
        (&first["state"], &first["created_by"]),
        (&json!("succeeded"), &json!("ci")),
        "{first:#}"
    );
    assert!(asked.elapsed() > Duration::from_millis(200), "it waited");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "it answered at the end, and not after 30 s"
    );
    assert_eq!(stage.active(), "1.0.0");

    let second = api.promote("1.1.0").await;
    api.end_as(&second, "succeeded").await;
    assert_eq!(stage.active(), "1.1.0");
    let back = api.roll_back().await;
    let back = api.end_as(&back, "succeeded").await;
    assert_eq!((&back["kind"], &back["release"]), (&json!("rollback"), &json!("1.0.0")));
    assert_eq!(stage.active(), "1.0.0");

    let environment = api.environment().await;
    assert_eq!(
        (&environment["active"], &environment["drift"]),
        (&json!("1.0.0"), &Value::Null)
    );
    let history = api.get(&format!("{ENVIRONMENT}/deployments")).await.expect(200).json();
    let releases: Vec<&Value> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["release"])
        .collect();
    assert_eq!(
        releases,
        [&json!("1.0.0"), &json!("1.1.0"), &json!("1.0.0"), &Value::Null]
    );
    let sent = stage.double.invalidations(DISTRIBUTION);
    let references: BTreeSet<&str> = sent.iter().map(|sent| sent.caller_reference.as_str()).collect();
    assert_eq!((sent.len(), references.len()), (3, 3));
}

#[tokio::test]
async fn health_docs_and_openapi_need_no_token_and_everything_else_does() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let anyone = Api::new(replica.address, None);
    for (path, kind) in [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/docs", "text/html"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = anyone.get(path).await.expect(200);
        assert!(
            answer.header("content-type").unwrap().starts_with(kind),
            "{path}: {answer:?}"
        );
    }
    let ready = anyone.get("/readyz").await.json();
    let checks: Vec<&str> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["database", "migrations", "worker"], "{ready}");
    assert!(anyone.get("/openapi.json").await.json()["paths"]["/v1/jobs/{id}"].is_object());
    for path in ["/v1/apps", "/v1/jobs", ENVIRONMENT] {
        anyone.get(path).await.expect_problem(401, "unauthenticated");
        let stranger = Api::new(replica.address, Some("glt_nobody"));
        stranger.get(path).await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn logs_are_json_with_request_and_job_ids_and_never_hold_a_secret() {
    let stage = Stage::start().await;
    let replica = stage.site.replica_logging("debug", &[]).await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &["1.0.0"]).await;
    // Something for the worker to say.
    stage.fault(Fault::on("GetParameter", FaultAction::Unavailable).once());
    let promotions = format!("{ENVIRONMENT}/promotions");
    let accepted = api
        .post(&promotions, json!({"release": "1.0.0", "reason": "not for the log"}))
        .await
        .expect(202);
    let (id, request) = (accepted.id(), accepted.header("x-request-id").unwrap().to_owned());
    api.end_as(&id, "succeeded").await;

    let log = eventually("the request is logged", async || {
        let log = replica.log();
        log.iter()
            .any(|line| line["span"]["request.id"] == request.as_str())
            .then_some(log)
    })
    .await;
    let answered = |line: &&Value| line["span"]["request.id"] == request.as_str() && line["http.status"] == 202;
    let answered = log.iter().find(answered).expect("one line a request");
    assert_eq!(answered["level"], "INFO");
    assert_eq!(answered["span"]["http.method"], "POST");
    let retried = log
        .iter()
        .find(|line| line["level"] == "WARN" && line["span"]["job.id"] == id.as_str());
    assert!(
        retried.is_some_and(|line| line["error"].as_str().unwrap().contains("ssm:GetParameter")),
        "{log:#?}"
    );

    let said = replica.process.said().join("\n");
    let lower = said.to_ascii_lowercase();
    assert!(!said.contains(&stage.site.token), "the token is in the log");
    for never in ["authorization", "bearer", "not-a-secret", "not for the log"] {
        let line = lower.lines().find(|line| line.contains(never));
        assert_eq!(line, None, "{never:?} is in the log");
    }
}

#[tokio::test]
async fn the_default_log_tells_what_became_of_a_job() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &["1.0.0"]).await;
    let id = api.promote("1.0.0").await;
    api.end_as(&id, "succeeded").await;
    let log = replica.log();
    assert!(
        log.iter()
            .any(|line| line["span"]["job.id"] == id.as_str() || line["job.id"] == id.as_str()),
        "{log:#?}"
    );
}

/// Kills the one replica at each kind of call that a promotion makes, before and after its effect.
#[tokio::test]
async fn killed_at_each_call_to_aws_and_started_again_the_job_finishes() {
    let stage = Stage::with(Duration::from_secs(3)).await;
    let mut replica = stage.site.replica().await;
    stage.site.api(&replica).set_up(web(), &[]).await;
    // How often a promotion makes each call: preflight, flip and its proof, settle; two looks are enough.
    for (operation, calls) in [
        ("GetParameter", 4),
        ("GetDistribution", 1),
        ("PutParameter", 1),
        ("CreateInvalidation", 1),
        ("GetInvalidation", 2),
    ] {
        for (action, skip) in [FaultAction::HangBeforeEffect, FaultAction::HangAfterEffect]
            .into_iter()
            .flat_map(|action| (0..calls).map(move |skip| (action.clone(), skip)))
        {
            let api = stage.site.api(&replica);
            let release = format!("{operation}-{skip}-{action:?}");
            api.register(&release).await;
            let before = stage.invalidations();
            let hang = stage.fault(Fault::on(operation, action).skip(skip).once());
            let id = api.promote(&release).await;
            eventually("the call is made", async || {
                if hang.hits() > 0 {
                    return Some(());
                }
                time::to_the_next_timer(&stage.store, &stage.double).await;
                None
            })
            .await;
            stage.kill(replica).await;
            stage.advance(AFTER_THE_LEASE).await;
            replica = stage.site.replica().await;
            let api = stage.site.api(&replica);
            let job = stage.finish_as(&api, &id, "succeeded").await;
            let about = format!("{release}: {job:#}");
            assert_eq!(stage.active(), release, "{about}");
            assert_eq!(stage.invalidations(), before + 1, "{about}");
            stage.assert_one_invalidation(&job);
            assert_eq!(api.environment().await["drift"], Value::Null, "{about}");
        }
    }
}

/// Kills the one replica so many milliseconds into a promotion, wherever that is: mostly in the database.
#[tokio::test]
async fn killed_at_any_time_and_started_again_the_job_finishes() {
    let stage = Stage::start().await;
    let mut replica = stage.site.replica().await;
    stage.site.api(&replica).set_up(web(), &[]).await;
    for (n, millis) in [0, 1, 2, 4, 6, 9, 12, 16, 20, 25, 30, 40, 60].into_iter().enumerate() {
        let api = stage.site.api(&replica);
        let release = format!("1.{n}.0");
        api.register(&release).await;
        let id = api.promote(&release).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        stage.kill(replica).await;
        stage.advance(AFTER_THE_LEASE).await;
        replica = stage.site.replica().await;
        let job = stage.finish_as(&stage.site.api(&replica), &id, "succeeded").await;
        assert_eq!(stage.active(), release, "killed after {millis} ms: {job:#}");
        assert_eq!(stage.invalidations(), n + 1, "killed after {millis} ms: {job:#}");
        stage.assert_one_invalidation(&job);
    }
}

/// Its write is on the way when the replica is killed, and lands after a rollback has taken its place.
#[tokio::test]
async fn the_late_write_of_a_killed_replica_is_put_right() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = api.promote("1.0.0").await;
    api.end_as(&first, "succeeded").await;
    let held = stage.fault(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    let promotion = api.promote("1.1.0").await;
    timeout(PATIENCE, held.wait_hit(1)).await.unwrap();
    stage.kill(replica).await;

    let replica = stage.site.replica().await;
    let api = stage.site.api(&replica);
    let rollback = api.roll_back().await;
    eventually("the rollback watches", async || {
        (api.job(&rollback).await["state"] == "waiting").then_some(())
    })
    .await;
    assert_eq!(stage.active(), "1.0.0");
    assert_eq!(held.release(), 1);
    assert_eq!(stage.active(), "1.1.0", "it landed");
    let job = stage.finish_as(&api, &rollback, "succeeded").await;
    assert_eq!(stage.active(), "1.0.0");
    assert!(job["warnings"].to_string().contains("late_write_landed"), "{job:#}");
    assert_eq!(api.job(&promotion).await["superseded_by"], rollback.as_str());
}

#[tokio::test]
async fn another_replica_takes_over_from_one_that_is_killed() {
    let stage = Stage::start().await;
    let mut first = stage.site.replica().await;
    let api = stage.site.api(&first);
    api.set_up(web(), &["1.0.0"]).await;
    let hang = stage.fault(Fault::on("PutParameter", FaultAction::HangAfterEffect).once());
    let id = api.promote("1.0.0").await;
    timeout(PATIENCE, hang.wait_hit(1)).await.unwrap();
    let second = stage.site.replica().await;
    let api = stage.site.api(&second);
    first.process.kill();
    assert_eq!(api.job(&id).await["state"], "running", "the lease has not run out");
    stage.advance(AFTER_THE_LEASE).await;
    let job = stage.finish_as(&api, &id, "succeeded").await;
    let kinds = api.event_kinds(&id).await;
    assert!(kinds.contains(&"job.taken_over".to_owned()), "{kinds:?}");
    assert_eq!((stage.active().as_str(), stage.calls("PutParameter")), ("1.0.0", 1));
    stage.assert_one_invalidation(&job);
}

#[tokio::test]
async fn two_replicas_share_the_promotions_of_many_environments() {
    const ENVIRONMENTS: usize = 12;
    let stage = Stage::start().await;
    let (first, second) = tokio::join!(
        stage.site.replica_logging("info", &["--worker-jobs", "1"]),
        stage.site.replica_logging("info", &["--worker-jobs", "1"])
    );
    first.ready().await;
    second.ready().await;
    let apis = [stage.site.api(&first), stage.site.api(&second)];
    apis[0].put("/v1/apps/storefront", json!({})).await.expect(201);
    apis[0].register("1.0.0").await;
    let slow = FaultAction::Delay(Duration::from_millis(100));
    stage.fault(Fault::on("PutParameter", slow));
    // Each replica meets refusals, so that each says which jobs are its own.
    stage.fault(Fault::on("GetDistribution", FaultAction::Unavailable).times(ENVIRONMENTS as u64));
    let mut jobs = Vec::new();
    for n in 0..ENVIRONMENTS {
        let environment = format!("/v1/apps/storefront/environments/e{n}");
        let document = web_with(json!({"parameter": format!("/storefront/e{n}/release")}));
        apis[n % 2].put(&environment, document).await.expect(201);
        let body = json!({"release": "1.0.0"});
        jobs.push(
            apis[n % 2]
                .post(&format!("{environment}/promotions"), body)
                .await
                .expect(202)
                .id(),
        );
    }
    for (n, id) in jobs.iter().enumerate() {
        // Whichever replica is asked, and whichever has run it.
        let job = apis[(n + 1) % 2].end_as(id, "succeeded").await;
        assert_eq!(stage.active_at(&format!("/storefront/e{n}/release")), "1.0.0");
        stage.assert_one_invalidation(&job);
    }
    assert_eq!(stage.calls("PutParameter"), ENVIRONMENTS);
    assert_eq!(stage.invalidations(), ENVIRONMENTS);
    for replica in [&first, &second] {
        let log = replica.log();
        assert!(
            log.iter().any(|line| line["span"]["job.id"].is_string()),
            "it had a share: {log:#?}"
        );
    }
}

#[tokio::test]
async fn sigterm_hands_a_running_job_over_at_once_and_ends_what_is_open() {
    let stage = Stage::start().await;
    let mut first = stage.site.replica().await;
    let api = stage.site.api(&first);
    api.set_up(web(), &["1.0.0"]).await;
    // Long enough for the second replica to start meanwhile, and less than a write may take.
    let slow = stage.fault(Fault::on("PutParameter", FaultAction::Delay(Duration::from_secs(3))));
    let id = api.promote("1.0.0").await;
    timeout(PATIENCE, slow.wait_hit(1)).await.unwrap();
    let mut stream = api.stream(&format!("/v1/jobs/{id}/events")).await;
    let streaming = tokio::spawn(async move {
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunk().await.expect("the stream is ended, not cut off") {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    });
    let waiting = tokio::spawn({
        let (api, path) = (api.clone(), format!("/v1/jobs/{id}?wait=60"));
        async move { api.get(&path).await }
    });
    let second = stage.site.replica().await;
    assert!(!waiting.is_finished() && !streaming.is_finished());
    assert_eq!(stage.calls("CreateInvalidation"), 0, "the write is still on its way");

    let told = Instant::now();
    first.process.terminate();
    let waited = timeout(AT_ONCE, waiting).await.unwrap().unwrap().expect(200).json();
    assert!(!has_ended(&waited), "what it is then: {waited:#}");
    let streamed = timeout(AT_ONCE, streaming).await.unwrap().unwrap();
    assert!(
        streamed.contains("job.created") && streamed.contains("pointer.intended"),
        "{streamed}"
    );
    let status = first.process.ended().await;
    assert_eq!(status.code(), Some(0), "{:#?}", first.log());
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());

    let handed_over = Instant::now();
    let api = stage.site.api(&second);
    let job = api.end_as(&id, "succeeded").await;
    assert!(
        handed_over.elapsed() < AT_ONCE,
        "the lease was given back, not waited out"
    );
    let kinds = api.event_kinds(&id).await;
    assert!(!kinds.contains(&"job.taken_over".to_owned()), "{kinds:?}");
    assert_eq!((stage.active().as_str(), stage.calls("PutParameter")), ("1.0.0", 1));
    stage.assert_one_invalidation(&job);
}

#[tokio::test]
async fn an_idle_replica_ends_at_once_on_sigterm() {
    let stage = Stage::start().await;
    let mut replica = stage.site.replica().await;
    let told = Instant::now();
    replica.process.terminate();
    assert_eq!(replica.process.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    let log = replica.log();
    assert_eq!(log.last().unwrap()["message"], "stopped", "{log:#?}");
}

#[tokio::test]
async fn an_api_replica_runs_nothing_and_a_worker_answers_only_how_it_is() {
    let stage = Stage::start().await;
    let front = stage.site.replica_with(&["--role", "api"]).await;
    let api = stage.site.api(&front);
    api.set_up(web(), &["1.0.0"]).await;
    let id = api.promote("1.0.0").await;
    // Longer than its poll would take.
    let job = api.get(&format!("/v1/jobs/{id}?wait=2")).await.expect(200).json();
    assert!(!has_ended(&job) && job["started_at"].is_null(), "{job:#}");
    assert!(stage.double.calls().is_empty(), "{:?}", stage.double.calls());
    let ready = api.get("/readyz").await.expect(200).json();
    assert!(!ready.to_string().contains("worker"), "{ready}");

    let worker = stage.site.replica_with(&["--role", "worker"]).await;
    api.end_as(&id, "succeeded").await;
    assert_eq!(stage.active(), "1.0.0");
    let only_health = stage.site.api(&worker);
    only_health.get("/healthz").await.expect(200);
    only_health.get("/readyz").await.expect(200);
    let job = format!("/v1/jobs/{id}");
    for path in ["/v1/apps", &job, "/docs", "/openapi.json", "/"] {
        assert_eq!(only_health.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn replicas_started_at_once_on_an_empty_database_both_come_up() {
    let double = AwsDouble::start(DoubleOptions::default()).await.unwrap();
    let url = empty_database().await;
    let start = || Replica::start(serve(&url, &double.endpoint_url()));
    let (first, second) = tokio::join!(start(), start());
    first.ready().await;
    second.ready().await;
    let api = Api::new(second.address, Some(&create_token(&url)));
    assert_eq!(api.get("/v1/apps").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn a_replica_that_must_not_migrate_says_that_the_schema_is_missing() {
    let double = AwsDouble::start(DoubleOptions::default()).await.unwrap();
    let url = empty_database().await;
    let mut command = serve(&url, &double.endpoint_url());
    command.arg("--no-migrate");
    let replica = Replica::start(command).await;
    let api = Api::new(replica.address, None);
    let ready = api.get("/readyz").await.expect(503).json();
    assert!(ready.to_string().contains("greenlight migrate"), "{ready}");
    printed(&run(&["migrate"], &[("DATABASE_URL", &url)]));
    replica.ready().await;
}

async fn postgres_on(folder: &Path) -> PrivatePostgres {
    let options = PrivatePostgresOptions {
        durable: false,
        ..PrivatePostgresOptions::new(folder)
    };
    PrivatePostgres::start(options).await.unwrap()
}

#[tokio::test]
async fn a_database_that_goes_away_and_comes_back_is_survived() {
    let folder = Folder::new();
    let postgres = postgres_on(&folder.0).await;
    postgres.create_database("greenlight").await.unwrap();
    let url = postgres.url("greenlight");
    printed(&run(&["migrate", "--database-url", &url], &[]));
    let double = AwsDouble::start(DoubleOptions {
        invalidation_duration: Duration::ZERO,
        ..DoubleOptions::default()
    });
    let double = double.await.unwrap();
    double.add_distribution(DISTRIBUTION);
    let site = Site::on(&url, &double.endpoint_url());
    // Nobody stores that the write below was answered, so the rollback watches whether it lands once more.
    let mut replica = site.replica_with(&["--late-write-watch-seconds", "5"]).await;
    let api = site.api(&replica);
    api.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = api.promote("1.0.0").await;
    api.end_as(&first, "succeeded").await;

    // In the middle of a promotion: the write to SSM lands while nobody can store that.
    let slow = double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::Delay(Duration::from_millis(1500))).once());
    let second = api.promote("1.1.0").await;
    timeout(PATIENCE, slow.wait_hit(1)).await.unwrap();
    postgres.stop().await;

    let job = format!("/v1/jobs/{second}");
    for path in ["/v1/apps", ENVIRONMENT, &job] {
        let asked = Instant::now();
        api.get(path).await.expect_problem(503, "database_unavailable");
        assert!(
            asked.elapsed() < Duration::from_secs(12),
            "{path}: {:?}",
            asked.elapsed()
        );
    }
    let promotions = format!("{ENVIRONMENT}/promotions");
    api.post(&promotions, json!({"release": "1.0.0"}))
        .await
        .expect_problem(503, "database_unavailable");
    let ready = api.get("/readyz").await.expect(503).json();
    assert_eq!(
        (&ready["status"], &ready["checks"][0]["ok"]),
        (&json!("failing"), &json!(false)),
        "{ready}"
    );
    api.get("/healthz").await.expect(200);
    let landed =
        double.wait_for_call(|call| call.details["value"].to_string().contains("1.1.0") && call.outcome.is_ok());
    timeout(PATIENCE, landed).await.unwrap();

    let postgres = postgres_on(&folder.0).await;
    assert_eq!(postgres.url("greenlight"), url, "it is where it was");
    replica.ready().await;
    let job = api.end_as(&second, "succeeded").await;
    assert_eq!(job["error"], Value::Null, "{job:#}");
    assert_eq!(api.environment().await["active"], "1.1.0");
    assert_eq!(double.invalidations(DISTRIBUTION).len(), 2);
    let back = api.roll_back().await;
    api.end_as(&back, "succeeded").await;
    assert_eq!(replica.process.status(), None);
}

/// A client that goes away cancels its request wherever that is, also between `BEGIN` and its answer.
#[tokio::test]
async fn requests_that_are_given_up_leave_no_transaction_open() {
    let stage = Stage::start().await;
    let replica = stage.site.replica_with(&["--role", "api"]).await;
    let api = stage.site.api(&replica);
    api.set_up(web(), &[]).await;
    let app = json!({});
    for n in 0..600 {
        let micros = Duration::from_micros(300 + 20 * (n % 300));
        let _ = match n % 3 {
            0 => timeout(micros, api.get(ENVIRONMENT)).await,
            1 => timeout(micros, api.get("/v1/jobs")).await,
            _ => timeout(micros, api.put("/v1/apps/storefront", app.clone())).await,
        };
    }
    eventually("every transaction has ended", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'",
        )
        .fetch_one(stage.store.pool())
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    // Nobody reads a moment that has passed.
    api.register("1.0.0").await;
    for _ in 0..16 {
        let releases = api.get("/v1/apps/storefront/releases").await.expect(200).json();
        assert_eq!(releases["items"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn serve_without_its_database_ends_with_words_and_without_the_password() {
    let url = empty_database()
        .await
        .replace("/empty_", "/missing_")
        .replace("greenlight@", "greenlight:hunter2@");
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("could not migrate the database") && said.contains("missing_"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn the_committed_openapi_document_is_what_the_router_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let output = run(&["openapi"], &[]);
    assert!(output.status.success(), "{output:?}");
    let now = String::from_utf8(output.stdout).unwrap();
    if committed == now {
        return;
    }
    let at = committed.lines().zip(now.lines()).position(|(was, is)| was != is);
    let at = at.unwrap_or_else(|| committed.lines().count().min(now.lines().count()));
    panic!(
        "openapi/openapi.json is not what the router says: run `make openapi` and commit it. Line {}:\n- {:?}\n+ {:?}",
        at + 1,
        committed.lines().nth(at),
        now.lines().nth(at)
    );
}

#[tokio::test]
async fn healthcheck_tells_by_its_exit_status() {
    let stage = Stage::start().await;
    let mut replica = stage.site.replica().await;
    let address = replica.address.to_string();
    // It asks the replica, not the double: nothing in this process has to answer.
    let asked = run(&["healthcheck", "--listen", &address], &[]);
    assert!(asked.status.success(), "{asked:?}");
    let asked = run(
        &["healthcheck"],
        &[("GREENLIGHT_LISTEN", &address.replace("127.0.0.1", "0.0.0.0"))],
    );
    assert!(asked.status.success(), "{asked:?}");
    replica.process.kill();
    let asked = run(&["healthcheck", "--listen", &address], &[]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(!asked.stderr.is_empty());
}

#[tokio::test]
async fn migrating_twice_is_fine() {
    let url = empty_database().await;
    for _ in 0..2 {
        let said = printed(&run(&["migrate"], &[("DATABASE_URL", &url)]));
        assert_eq!(said, "The database is up to date.");
    }
}

#[tokio::test]
async fn a_token_needs_a_role_that_exists_and_a_database_that_was_migrated() {
    let url = empty_database().await;
    let create = |role: &str| {
        run(
            &["token", "create", "--name", "ci", "--role", role],
            &[("DATABASE_URL", &url)],
        )
    };
    let refused = create("owner");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("viewer, deployer, releaser or admin"), "{said}");
    assert!(refused.stdout.is_empty());

    let refused = create("viewer");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("has the database been migrated?"), "{said}");

    printed(&run(&["migrate"], &[("DATABASE_URL", &url)]));
    let token = printed(&create("viewer"));
    assert_eq!(token.split_whitespace().count(), 1, "the token alone: {token}");
}

#[tokio::test]
async fn a_token_may_what_its_role_may() {
    let stage = Stage::start().await;
    let replica = stage.site.replica().await;
    let admin = stage.site.api(&replica);
    admin.set_up(web(), &["1.0.0"]).await;
    let arguments = ["token", "create", "--name", "eyes", "--role", "viewer"];
    let token = printed(&run(&arguments, &[("DATABASE_URL", &stage.site.database_url)]));
    let viewer = Api::new(replica.address, Some(&token));
    viewer.get(ENVIRONMENT).await.expect(200);
    let promotions = format!("{ENVIRONMENT}/promotions");
    let refused = viewer
        .post(&promotions, json!({"release": "1.0.0"}))
        .await
        .expect_problem(403, "forbidden");
    assert_eq!(refused["required_role"], "releaser");
}
