//! What a user sees of a replica that runs: the main flow, open addresses, logs.

use super::*;

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
    api.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let good = api.promote("1.0.0").await;
    api.end_as(&good, "succeeded").await;
    // Nothing was touched when this one fails: the commonest failure must not be the quietest.
    stage.fault(Fault::on("GetParameter", FaultAction::AccessDenied).once());
    let bad = api.promote("1.1.0").await;
    api.end_as(&bad, "failed").await;
    let log = replica.log();
    for (id, state) in [(&good, "succeeded"), (&bad, "failed")] {
        let said = |line: &&Value| {
            line["message"] == "a job has ended" && line["job.id"] == id.as_str() && line["state"] == state
        };
        assert_eq!(log.iter().filter(said).count(), 1, "{id} {state}: {log:#?}");
    }
}
