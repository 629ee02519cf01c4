//! How replicas start and stop, and what each role does.

use super::*;

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
