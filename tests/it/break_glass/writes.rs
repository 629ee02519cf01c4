//! What is written, in which order, and what becomes of a part that fails.

use super::*;

#[tokio::test]
async fn every_pointer_is_written_and_the_cache_is_cleared_after_the_edges_time() {
    let night = Night::with(Duration::from_millis(300)).await;
    let store = night.double.add_key_value_store("shared");
    night.says(REGION, PARAMETER, &pointer("1.1.0", Some("1.0.0"), 7));
    night.says(SECOND_REGION, PARAMETER, &pointer("1.2.0", Some("1.1.0"), 9));
    night
        .double
        .set_kvs_value(&store, KEY, &pointer("1.1.0", Some("1.0.0"), 7))
        .unwrap();
    let document = web_with(
        json!({"regions": [REGION, SECOND_REGION], "kvs_arn": store, "kvs_key": KEY,
                                   "edge_ttl_seconds": 1, "create_parameter": false}),
    );
    let said = night.break_glass(&document, "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");

    // One epoch for all, above every one that was seen; each keeps what it said as the release before.
    let (first, second) = (written("1.0.0", "1.1.0", 10), written("1.0.0", "1.2.0", 10));
    assert_eq!(night.parameter(REGION).unwrap(), first);
    assert_eq!(night.parameter(SECOND_REGION).unwrap(), second);
    assert_eq!(night.double.kvs_value(&store, KEY).unwrap(), first);
    assert_eq!(night.double.kvs_value(&store, LAST_GOOD).unwrap(), first);

    let sent = night.double.invalidations(DISTRIBUTION);
    let [sent] = &sent[..] else { panic!("one: {sent:#?}") };
    assert_eq!(
        (sent.paths.as_slice(), sent.status.as_str()),
        (&["/*".to_owned()][..], "Completed")
    );
    let last = |region: &str| -> DateTime<Utc> { night.double.history(region, PARAMETER).last().unwrap().modified_at };
    let since = sent.created_at - last(REGION).max(last(SECOND_REGION));
    assert!(
        since >= chrono::TimeDelta::seconds(1),
        "the edge's TTL is waited out: {since}"
    );

    for part in [
        &first,
        &second,
        &pointer("1.2.0", Some("1.1.0"), 9),
        &format!("parameter {PARAMETER} in {REGION}"),
        &format!("parameter {PARAMETER} in {SECOND_REGION}"),
        &format!("key {KEY} of KeyValueStore {store}"),
        &sent.caller_reference,
        &sent.id,
        DISTRIBUTION,
        "past Greenlight's database",
        "\"on_drift\": \"overwrite\"",
        "version 2",
    ] {
        assert!(said.out.contains(part), "{part} is not said: {said:#?}");
    }
    assert!(!said.out.contains("NOT"), "{said:#?}");
}

#[tokio::test]
async fn a_region_that_refuses_does_not_stop_the_other() {
    let night = Night::new().await;
    for region in [REGION, SECOND_REGION] {
        night.says(region, PARAMETER, &pointer("1.1.0", None, 3));
    }
    let refused = Fault::on("PutParameter", FaultAction::AccessDenied).in_region(SECOND_REGION);
    let fault = night.double.faults().add(refused);
    let said = night.break_glass(&web_in_two_regions(), "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert_eq!(
        (night.active(REGION), night.active(SECOND_REGION)),
        (json!("1.0.0"), json!("1.1.0"))
    );
    assert_eq!(fault.hits(), 1, "what AWS refuses is not tried again");
    assert_eq!(
        night.double.invalidations(DISTRIBUTION).len(),
        1,
        "who is there must see it"
    );
    for part in [
        "NOT done:",
        "AccessDeniedException",
        "Grant ssm:PutParameter on parameter",
        SECOND_REGION,
    ] {
        assert!(said.out.contains(part), "{part} is not said: {said:#?}");
    }
    fault.remove();

    // One that can't even be read is told before anybody is asked, and left.
    let dark = Fault::on("GetParameter", FaultAction::AccessDenied).in_region(SECOND_REGION);
    night.double.faults().add(dark);
    let said = night.break_glass(&web_in_two_regions(), "1.2.0", &["--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert_eq!(
        (night.active(REGION), night.active(SECOND_REGION)),
        (json!("1.2.0"), json!("1.1.0"))
    );
    assert!(
        said.out.contains("LEFT AS IT IS") && said.out.contains("Grant ssm:GetParameter"),
        "{said:#?}"
    );
    // Where nothing can be read, nothing is begun.
    night
        .double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::AccessDenied));
    let said = night.break_glass(&web_in_two_regions(), "1.3.0", &["--yes"]).await;
    assert_eq!(said.code, Some(2), "{said:#?}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let night = Night::new().await;
    let store = night.double.add_key_value_store("shared");
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    night
        .double
        .set_kvs_value(&store, KEY, &pointer("1.1.0", None, 3))
        .unwrap();
    for fault in [
        Fault::on("GetParameter", FaultAction::Unavailable).once(),
        Fault::on("PutParameter", FaultAction::Throttle).once(),
        Fault::on("PutParameter", FaultAction::LoseAnswer).once(),
        Fault::on("GetKey", FaultAction::StaleRead).skip(1).once(),
        Fault::on("UpdateKeys", FaultAction::Throttle).once(),
        Fault::on("UpdateKeys", FaultAction::LoseAnswer).once(),
    ] {
        night.double.faults().add(fault);
    }
    // An ETag that moves at the same time: it is looked at again.
    night.double.faults().add(
        Fault::on(
            "UpdateKeys",
            FaultAction::Error {
                status: 409,
                code: "ConflictException".to_owned(),
                message: "The ETag is another.".to_owned(),
            },
        )
        .once(),
    );
    let document = web_with(json!({"kvs_arn": store, "kvs_key": KEY}));
    let said = night.break_glass(&document, "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(night.active(REGION), "1.0.0");
    assert_eq!(night.double.kvs_value(&store, KEY), Some(written("1.0.0", "1.1.0", 4)));
    assert_eq!(night.double.invalidations(DISTRIBUTION).len(), 1);
}

#[tokio::test]
async fn a_pointer_with_another_hand_on_it_is_left() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    night.says(REGION, PARAMETER, &pointer("1.2.0", Some("1.1.0"), 3));
    // What is shown is the value before: as if somebody had written while the question stood.
    night
        .double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::StaleRead).once());
    let said = night.break_glass(&web(), "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.out.contains("it was changed meanwhile"), "{said:#?}");
    assert_eq!((night.active(REGION), night.writes()), (json!("1.2.0"), 0));
}

#[tokio::test]
async fn a_plain_pointer_gets_the_version_alone() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, "1.1.0");
    let document = web_with(json!({"format": "plain"}));
    let said = night.break_glass(&document, "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(night.parameter(REGION).unwrap(), "1.0.0");
    // Once more: it says so, and who got the first half done may still need the second.
    let said = night.break_glass(&document, "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.contains("said so already"), "{said:#?}");
    assert_eq!(
        (
            night.calls("PutParameter"),
            night.double.invalidations(DISTRIBUTION).len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn components_go_in_their_order_or_alone() {
    let night = Night::new().await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    night.says(REGION, API_PARAMETER, &pointer("1.1.0", None, 5));
    let said = night
        .break_glass(&api_and_web(), "1.0.0", &["--yes", "--component", "web"])
        .await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    let api = || night.double.parameter(REGION, API_PARAMETER).unwrap().0;
    assert_eq!(
        (night.active(REGION), api()),
        (json!("1.0.0"), pointer("1.1.0", None, 5))
    );
    night.double.clear_calls();
    let said = night.break_glass(&api_and_web(), "1.2.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(api(), written("1.2.0", "1.1.0", 6));
    let calls = night.double.calls();
    let puts: Vec<&str> = calls
        .iter()
        .filter(|call| call.operation == "PutParameter")
        .filter_map(|call| call.resource.as_deref())
        .collect();
    assert_eq!(puts, [API_PARAMETER, PARAMETER]);
}

#[tokio::test]
async fn an_invalidation_that_is_late_is_a_warning_and_one_that_is_refused_is_not_done() {
    let night = Night::with(Duration::from_secs(600)).await;
    night.says(REGION, PARAMETER, &pointer("1.1.0", None, 3));
    let mut document = web();
    document["components"][0]["cdn"]["invalidate"]["timeout_seconds"] = json!(1);
    document["components"][0]["cdn"]["invalidate"]["on_timeout"] = json!("fail");
    let said = night.break_glass(&document, "1.0.0", &["--yes"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(
        said.out.contains("Warnings:") && said.out.contains("not completed within 1 s"),
        "{said:#?}"
    );

    night
        .double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied));
    let said = night.break_glass(&document, "1.2.0", &["--yes"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    for part in [
        "NOT SENT",
        "Grant cloudfront:CreateInvalidation",
        "CallerReference greenlight-break-glass-",
    ] {
        assert!(said.out.contains(part), "{part} is not said: {said:#?}");
    }
    assert_eq!(night.active(REGION), "1.2.0");
}

#[tokio::test]
async fn the_service_sees_drift_afterwards_and_a_rollback_gets_through() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0", "1.2.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    // What GET answered is a document too: every member that only an answer has is known for one.
    let folder = Folder::new();
    let file = folder.0.join("production.json");
    fs::write(&file, app.environment().await.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["--environment-file", file, "--release", "1.0.0", "--yes"];
    let said = break_glass(&app.double, &arguments, run).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"));

    let id = app.promote("1.2.0").await;
    let failed = app.finish_as(&id, "failed").await;
    assert_eq!(failed["error"]["code"], "pointer_drifted", "{failed:#}");
    assert_eq!(failed["error"]["step"], "preflight/preflight", "{failed:#}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"), "nothing was touched");
    let environment = app.environment().await;
    assert!(environment["drift"].is_array(), "{environment:#}");

    let id = app.roll_back().await;
    let back = app.finish_as(&id, "succeeded").await;
    assert_eq!(back["release"], "1.0.0", "{back:#}");
    let environment = app.environment().await;
    assert_eq!(
        (&environment["active"], &environment["drift"]),
        (&json!("1.0.0"), &Value::Null)
    );
    // And the other way: what was written by hand is made the record.
    let arguments = ["--environment-file", file, "--release", "1.1.0", "--yes"];
    let said = break_glass(&app.double, &arguments, run).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    let id = app
        .promote_with(json!({"release": "1.1.0", "on_drift": "overwrite"}))
        .await;
    app.finish_as(&id, "succeeded").await;
    let environment = app.environment().await;
    assert_eq!(
        (&environment["active"], &environment["drift"]),
        (&json!("1.1.0"), &Value::Null)
    );
    app.get(ENVIRONMENT).await.expect(200);
}
