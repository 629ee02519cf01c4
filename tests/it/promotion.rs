//! Promoting: what a release manager sees when it goes well, and when it does not.

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use crate::support::{
    API_PARAMETER, DISTRIBUTION, ENVIRONMENT, PARAMETER, REGION, SECOND_REGION, TestApp, TestAppOptions, api_and_web,
    web, web_in_two_regions, web_with,
};

fn refuse(code: &str) -> FaultAction {
    FaultAction::Error {
        status: 400,
        code: code.into(),
        message: "said the test".into(),
    }
}

fn warnings(job: &Value) -> Vec<&str> {
    job["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_promotion_flips_the_pointer_invalidates_once_and_is_recorded() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = app.promote_to_the_end("1.0.0").await;
    assert_eq!(first["from_release"], Value::Null);
    let second = app.promote_to_the_end("1.1.0").await;

    assert_eq!(
        app.pointer().unwrap(),
        r#"{"v":1,"active":"1.1.0","previous":"1.0.0","candidate":null,"weight":0,"epoch":1,"pin_seconds":1800}"#
    );
    assert_eq!(app.invalidations().len(), 2);
    app.assert_one_invalidation_per_step();
    assert_eq!(second["from_release"], "1.0.0");
    assert_eq!(second["created_by"], "admin");
    for field in [
        "created_at",
        "started_at",
        "traffic_shifted_at",
        "settled_at",
        "finished_at",
    ] {
        assert!(second[field].is_string(), "{field}: {second:#}");
    }
    let steps = second["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["preflight", "flip", "invalidate", "settle"]);
    assert!(steps.iter().all(|step| step["state"] == "succeeded"));
    assert_eq!(second["progress"], json!({"done": 4, "total": 4}));
    let sent = &app.invalidations()[1];
    assert_eq!(sent.caller_reference, steps[2]["token"].as_str().unwrap());
    assert_eq!(steps[2]["output"]["invalidation_id"], sent.id.as_str());

    let environment = app.environment().await;
    assert_eq!(environment["active"], "1.1.0");
    assert_eq!(environment["previous"], "1.0.0");
    assert_eq!(environment["current_job"], Value::Null);
    assert_eq!(environment["rollback_ready"], true);
    let history = app.get(&format!("{ENVIRONMENT}/deployments")).await.expect(200).json();
    let releases: Vec<&Value> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["release"])
        .collect();
    assert_eq!(releases, [&json!("1.1.0"), &json!("1.0.0"), &Value::Null]);
}

#[tokio::test]
async fn everything_that_happened_is_in_the_events() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    let kinds = app.event_kinds(job["id"].as_str().unwrap()).await;
    let milestones: Vec<&str> = kinds
        .iter()
        .map(String::as_str)
        .filter(|kind| !kind.starts_with("step."))
        .collect();
    assert_eq!(
        milestones,
        [
            "job.created",
            "job.activated",
            "pointer.intended",
            "invalidation.sent",
            "job.traffic_shifted",
            "job.settled",
            "job.succeeded"
        ]
    );
    assert_eq!(kinds.iter().filter(|kind| *kind == "step.started").count(), 4);
    assert_eq!(kinds.iter().filter(|kind| *kind == "step.succeeded").count(), 4);
}

#[tokio::test]
async fn a_plain_pointer_is_the_version_alone() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"format": "plain"})), &["1.0.0+build.7"])
        .await;
    app.promote_to_the_end("1.0.0+build.7").await;
    assert_eq!(app.pointer().as_deref(), Some("1.0.0+build.7"));
}

#[tokio::test]
async fn every_region_is_written() {
    let app = TestApp::start().await;
    app.set_up(web_in_two_regions(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!(app.pointer_in(REGION), app.pointer_in(SECOND_REGION));
    assert_eq!(app.active_in(SECOND_REGION).as_deref(), Some("1.0.0"));
    assert_eq!(app.invalidations().len(), 1);
    let targets = job["steps"][1]["output"]["targets"].as_object().unwrap();
    assert_eq!(targets.len(), 2);
    assert!(targets.values().all(|target| target["version"] == 1), "{targets:?}");
}

#[tokio::test]
async fn components_flip_in_their_order() {
    let app = TestApp::start().await;
    app.set_up(api_and_web(), &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let writes: Vec<String> = app
        .double
        .calls()
        .into_iter()
        .filter(|call| call.operation == "PutParameter")
        .filter_map(|call| call.resource)
        .collect();
    assert_eq!(writes, [API_PARAMETER, PARAMETER]);
}

#[tokio::test]
async fn the_edges_ttl_passes_between_flip_and_invalidation() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let waiting = app.job_until(&id, |job| job["state"] == "waiting").await;
    assert_eq!(waiting["waiting_for"], "timer");
    assert!(
        waiting["waiting_reason"].as_str().unwrap().contains("60 s"),
        "{waiting:#}"
    );
    assert!(waiting["waiting_until"].is_string());
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert!(app.invalidations().is_empty(), "not before the edge has let go");

    app.advance(Duration::from_secs(50)).await;
    app.double.clear_calls();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(app.double.calls().is_empty(), "not yet: {:?}", app.double.calls());
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.invalidations().len(), 1);
}

#[tokio::test]
async fn a_parameter_that_does_not_exist_is_found_before_anything_moves() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"create_parameter": false})), &["1.0.0"])
        .await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "parameter_not_found");
    assert_eq!(job["error"]["step"], "preflight/preflight");
    assert!(job["error"]["hint"].as_str().unwrap().contains("create_parameter"));
    assert_eq!(app.pointer(), None);
    assert_eq!(app.environment().await["current_job"], Value::Null);
}

#[tokio::test]
async fn a_distribution_that_does_not_exist_is_found_before_anything_moves() {
    let app = TestApp::start().await;
    let mut document = web();
    document["components"][0]["cdn"]["distribution_id"] = json!("E0MISSING");
    app.set_up(document, &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "distribution_not_found");
    assert_eq!(app.pointer(), None);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    for (operation, permission) in [
        ("GetParameter", "ssm:GetParameter"),
        ("PutParameter", "ssm:PutParameter"),
        ("GetDistribution", "cloudfront:GetDistribution"),
        ("CreateInvalidation", "cloudfront:CreateInvalidation"),
    ] {
        let app = TestApp::start().await;
        app.set_up(web(), &["1.0.0"]).await;
        app.double.put_parameter(REGION, PARAMETER, "as it was").unwrap();
        let denied = app.double.faults().add(Fault::on(operation, FaultAction::AccessDenied));
        let id = app.promote("1.0.0").await;
        let job = app
            .job_until(&id, |job| ["failed", "stuck"].contains(&job["state"].as_str().unwrap()))
            .await;
        assert!(denied.hits() > 0);
        assert_eq!(
            job["error"]["code"],
            if job["state"] == "stuck" {
                "undo_incomplete"
            } else {
                "aws_access_denied"
            }
        );
        assert!(
            job["error"].to_string().contains(permission),
            "{operation}: {:#}",
            job["error"]
        );
        assert_eq!(app.pointer().as_deref(), Some("as it was"), "{operation}");
    }
}

#[tokio::test]
async fn a_pointer_changed_behind_our_back_is_not_touched() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double.put_parameter(REGION, PARAMETER, "by hand").unwrap();
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "pointer_drifted");
    assert!(job["error"]["message"].as_str().unwrap().contains("\"by hand\""));
    assert_eq!(app.pointer().as_deref(), Some("by hand"));
    assert_eq!(app.environment().await["drift"][0]["seen"]["found"], "by hand");

    let id = app
        .promote_with(json!({"release": "1.1.0", "on_drift": "overwrite"}))
        .await;
    let job = app.finish_as(&id, "succeeded").await;
    assert!(warnings(&job).contains(&"pointer_drifted"), "{job:#}");
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
    assert_eq!(app.environment().await["drift"], Value::Null);
}

#[tokio::test]
async fn throttling_waits_and_goes_on() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    for operation in ["GetParameter", "PutParameter", "GetDistribution", "CreateInvalidation"] {
        app.double
            .faults()
            .add(Fault::on(operation, FaultAction::Throttle).times(10));
    }
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.invalidations().len(), 1);
}

#[tokio::test]
async fn too_many_invalidations_in_progress_wait_for_room() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", refuse("TooManyInvalidationsInProgress")).times(20));
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(warnings(&job), [""; 0]);
    assert_eq!(job["steps"][2]["attempts"], 1, "waiting burns no attempt");
}

#[tokio::test]
async fn an_invalidation_is_waited_for() {
    let options = TestAppOptions {
        invalidation: Duration::from_secs(20),
        ..TestAppOptions::default()
    };
    let app = TestApp::with(options).await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(job["steps"][2]["output"]["status"], "Completed");
    let looks = app
        .double
        .calls()
        .into_iter()
        .filter(|call| call.operation == "GetInvalidation")
        .count();
    assert!((4..=12).contains(&looks), "{looks} looks in 20 s");
}

#[tokio::test]
async fn a_late_invalidation_is_a_warning_or_the_end_of_the_promotion() {
    for (on_timeout, state) in [("continue", "succeeded"), ("fail", "failed")] {
        let options = TestAppOptions {
            invalidation: Duration::from_secs(3600),
            ..TestAppOptions::default()
        };
        let app = TestApp::with(options).await;
        let mut document = web();
        document["components"][0]["cdn"]["invalidate"]["timeout_seconds"] = json!(30);
        document["components"][0]["cdn"]["invalidate"]["on_timeout"] = json!(on_timeout);
        app.set_up(document, &["1.0.0"]).await;
        app.double.put_parameter(REGION, PARAMETER, "as it was").unwrap();
        let id = app.promote("1.0.0").await;
        let job = app.finish_as(&id, state).await;
        assert!(warnings(&job).contains(&"invalidation_late"), "{job:#}");
        if on_timeout == "fail" {
            assert_eq!(job["error"]["code"], "invalidation_late");
            assert_eq!(app.pointer().as_deref(), Some("as it was"));
        } else {
            assert_eq!(app.active().as_deref(), Some("1.0.0"));
        }
    }
}

#[tokio::test]
async fn a_caller_reference_that_aws_refuses_to_see_again_is_looked_up() {
    use greenlight::sandbox::double::{AwsDouble, CallerReferenceReuse, DoubleOptions};
    let app = TestApp::start().await;
    let strict = AwsDouble::start(DoubleOptions {
        caller_reference_reuse: CallerReferenceReuse::AlwaysRefused,
        ..DoubleOptions::default()
    })
    .await
    .unwrap();
    strict.add_distribution(DISTRIBUTION);
    let aws = greenlight::aws::Aws::with_config(&greenlight::sandbox::dev::sdk_config(&strict.endpoint_url()));
    let account = serde_json::from_value(json!({"region": REGION})).unwrap();
    let cloudfront = aws.cloudfront(&account).await;
    let paths = ["/*".to_owned()];
    let first = cloudfront
        .create_invalidation(DISTRIBUTION, "reference", &paths)
        .await
        .unwrap();
    let again = cloudfront
        .create_invalidation(DISTRIBUTION, "reference", &paths)
        .await
        .unwrap();
    assert_eq!(first.id, again.id);
    assert_eq!(strict.invalidations(DISTRIBUTION).len(), 1);
    drop(app);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let app = TestApp::start().await;
    app.set_up(api_and_web(), &["1.0.0"]).await;
    let body = json!({"release": "1.0.0", "dry_run": true});
    let plan = app
        .post(&format!("{ENVIRONMENT}/promotions"), body)
        .await
        .expect(200)
        .json();
    let kinds: Vec<&str> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["preflight", "preflight", "flip", "flip", "invalidate", "settle"]
    );
    assert!(app.double.calls().is_empty());
    assert_eq!(app.get("/v1/jobs").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn one_job_at_a_time_holds_an_environment() {
    let app = TestApp::start().await;
    app.set_up(
        web_with(json!({"edge_ttl_seconds": 60})),
        &["1.0.0", "1.1.0", "1.2.0", "1.3.0"],
    )
    .await;
    let first = app.promote("1.0.0").await;
    let path = format!("{ENVIRONMENT}/promotions");
    let problem = app
        .post(&path, json!({"release": "1.1.0"}))
        .await
        .expect_problem(409, "job_in_progress");
    assert_eq!(problem["job_id"], first.as_str());

    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    let stale = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "queue", "expected_active": "1.0.0"}))
        .await;
    let waiting = app.job(&queued).await;
    assert_eq!(
        (&waiting["state"], &waiting["waiting_for"]),
        (&json!("queued"), &json!("environment"))
    );
    assert_eq!(waiting["steps"], json!([]), "a queued job has only its request");

    app.finish_as(&first, "succeeded").await;
    let done = app.finish_as(&queued, "succeeded").await;
    assert_eq!(done["from_release"], "1.0.0");
    let stale = app.finish_as(&stale, "failed").await;
    assert_eq!(stale["error"]["code"], "active_changed");
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
}

#[tokio::test]
async fn a_promotion_can_take_the_place_of_another() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    let first = app.promote("1.1.0").await;
    app.job_until(&first, |job| job["state"] == "waiting").await;
    let second = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "supersede"}))
        .await;
    let ended = app.job(&first).await;
    assert_eq!(
        (&ended["state"], &ended["superseded_by"]),
        (&json!("aborted"), &json!(second))
    );
    let done = app.finish_as(&second, "succeeded").await;
    assert_eq!(done["from_release"], "1.0.0");
    assert_eq!(app.active().as_deref(), Some("1.2.0"));
}

#[tokio::test]
async fn a_successor_that_fails_puts_back_what_was_before_both() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    let first = app.promote("1.1.0").await;
    app.job_until(&first, |job| job["state"] == "waiting").await;
    app.double
        .faults()
        .add(Fault::on("GetDistribution", FaultAction::AccessDenied));
    let second = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "supersede"}))
        .await;
    let sent = app.invalidations().len();
    app.finish_as(&second, "failed").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(
        app.invalidations().len(),
        sent + 1,
        "the first one's flip may have reached the cache"
    );
}

#[tokio::test]
async fn an_abort_takes_back_what_was_done() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["state"] == "waiting").await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(job["superseded_by"], Value::Null);
    let flip = &job["steps"].as_array().unwrap()[1];
    assert_eq!((&flip["kind"], &flip["state"]), (&json!("flip"), &json!("undone")));
    assert_eq!(app.environment().await["active"], "1.0.0");
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    app.post(&format!("/v1/jobs/{id}/retry"), json!({}))
        .await
        .expect_problem(409, "not_retryable");
}

#[tokio::test]
async fn a_queued_promotion_is_aborted_at_once() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0", "1.1.0"])
        .await;
    let first = app.promote("1.0.0").await;
    let queued = app
        .promote_with(json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    let job = app
        .post(&format!("/v1/jobs/{queued}/abort"), json!({}))
        .await
        .expect(202)
        .json();
    assert_eq!(job["state"], "aborted");
    app.finish_as(&first, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id() {
    let app = TestApp::start().await;
    let role = "arn:aws:iam::111122223333:role/greenlight";
    app.double.register_role(role, Some("example-id"));
    app.double.add_distribution_in("111122223333", DISTRIBUTION);
    let mut document = web();
    document["aws"] = json!({"region": REGION, "role_arn": role, "external_id": "example-id"});
    app.set_up(document.clone(), &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    assert!(app.double.parameter_in("111122223333", REGION, PARAMETER).is_some());
    assert_eq!(app.pointer(), None, "not in the service's own account");

    document["aws"]["external_id"] = json!("wrong-id");
    app.put(ENVIRONMENT, document).await.expect(200);
    app.register("1.1.0").await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "aws_credentials", "{job:#}");
}
