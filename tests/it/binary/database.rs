//! What becomes of a replica whose database is gone, and of requests that are given up.

use super::*;

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
