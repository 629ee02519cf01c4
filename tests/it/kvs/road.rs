//! `cloudfront_kvs` from the first promotion to the last rollback.

use std::{collections::BTreeMap, time::Duration};

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use super::codes;
use crate::support::{ENVIRONMENT, KEY, LAST_GOOD, TestApp, web_in_kvs};

fn document(active: &str, previous: Value, epoch: u32) -> String {
    format!(
        r#"{{"v":1,"active":"{active}","previous":{previous},"candidate":null,"weight":0,"epoch":{epoch},"pin_seconds":1800}}"#
    )
}

fn both(value: &str) -> BTreeMap<String, String> {
    [KEY, LAST_GOOD].map(|key| (key.to_owned(), value.to_owned())).into()
}

fn slow(arn: &str) -> Value {
    let mut document = web_in_kvs(arn);
    document["components"][0]["router"]["edge_ttl_seconds"] = json!(30);
    document
}

#[tokio::test]
async fn a_promotion_swaps_key_and_copy_in_one_call_and_is_recorded() {
    let app = TestApp::start().await;
    let arn = app.store_arn();
    app.set_up(web_in_kvs(&arn), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.set_key("others/key", "stays");
    let etag = app.double.kvs_etag(&arn).unwrap();
    let job = app.promote_to_the_end("1.1.0").await;

    let mut keys = both(&document("1.1.0", json!("1.0.0"), 1));
    keys.insert("others/key".into(), "stays".into());
    assert_eq!(app.double.kvs_snapshot(&arn), keys);
    let writes = app.store_writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(
        writes[1].details["if_match"],
        etag.as_str(),
        "the ETag that was looked at"
    );
    assert_eq!(writes[1].details["puts"].as_object().unwrap().len(), 2);
    assert_eq!(codes(&job), [""; 0]);
    assert_eq!(job["steps"][1]["output"]["targets"]["kvs"]["outcome"], "written");
    assert_eq!(app.invalidations().len(), 2);
    let environment = app.environment().await;
    assert_eq!(environment["active"], "1.1.0");
    let pointer = &environment["pointers"][0];
    assert_eq!(
        (
            &pointer["target"],
            &pointer["pointer"],
            &pointer["version"],
            &pointer["taken"]
        ),
        (
            &json!("kvs"),
            &json!(format!("kvs:{arn}:{KEY}")),
            &Value::Null,
            &json!(true)
        )
    );
}

#[tokio::test]
async fn the_ttl_passes_before_the_invalidation() {
    let app = TestApp::start().await;
    app.set_up(slow(&app.store_arn()), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let waiting = app.job_until(&id, |job| job["state"] == "waiting").await;
    assert!(
        waiting["waiting_reason"].as_str().unwrap().contains("30 s"),
        "{waiting:#}"
    );
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    assert!(app.invalidations().is_empty());
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.invalidations().len(), 1);
}

#[tokio::test]
async fn a_rollback_and_an_abort_put_the_release_before_back_with_a_greater_epoch() {
    // An undo puts the document back as it was; a rollback names the release that it leaves.
    for (abort, previous) in [(false, json!("1.1.0")), (true, Value::Null)] {
        let app = TestApp::start().await;
        let arn = app.store_arn();
        app.set_up(slow(&arn), &["1.0.0", "1.1.0"]).await;
        app.promote_to_the_end("1.0.0").await;
        let promotion = app.promote("1.1.0").await;
        app.job_until(&promotion, |job| job["state"] == "waiting").await;
        assert_eq!(app.active_in_key(LAST_GOOD).as_deref(), Some("1.1.0"));
        if abort {
            app.post(&format!("/v1/jobs/{promotion}/abort"), json!({}))
                .await
                .expect(202);
            app.finish_as(&promotion, "aborted").await;
        } else {
            let rollback = app.roll_back().await;
            app.finish_as(&rollback, "succeeded").await;
        }
        assert_eq!(app.double.kvs_snapshot(&arn), both(&document("1.0.0", previous, 2)));
        let environment = app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&json!("1.0.0"), &Value::Null)
        );
    }
}

#[tokio::test]
async fn what_was_taken_over_is_put_back_byte_for_byte() {
    let ours = document("0.9.0", json!(null), 4);
    for (before, copy) in [("  not ours, byte for byte ", None), ("", None), (&ours, Some(&ours))] {
        for settled in [true, false] {
            let app = TestApp::start().await;
            let arn = app.store_arn();
            app.set_key(KEY, before);
            let mut settings = slow(&arn);
            settings["components"][0]["router"]["create_key"] = json!(false);
            app.set_up(settings, &["1.0.0"]).await;
            let first = app.promote("1.0.0").await;
            if settled {
                app.finish_as(&first, "succeeded").await;
            } else {
                app.job_until(&first, |job| job["state"] == "waiting").await;
            }
            assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
            let id = app.roll_back().await;
            let job = app.finish_as(&id, "succeeded").await;
            assert_eq!((&job["release"], codes(&job)), (&Value::Null, vec![]));
            assert_eq!(app.key(KEY).as_deref(), Some(before));
            assert_eq!(
                app.key(LAST_GOOD).as_ref(),
                copy,
                "{before:?}: only a pointer of ours has a copy"
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_the_first_promotion_created_is_deleted_again() {
    for settled in [true, false] {
        let app = TestApp::start().await;
        let arn = app.store_arn();
        app.set_up(slow(&arn), &["1.0.0"]).await;
        let first = app.promote("1.0.0").await;
        if settled {
            app.finish_as(&first, "succeeded").await;
        } else {
            app.job_until(&first, |job| job["state"] == "waiting").await;
        }
        let id = app.roll_back().await;
        app.finish_as(&id, "succeeded").await;
        assert_eq!(app.double.kvs_snapshot(&arn), BTreeMap::new());
        // And again, from the start.
        app.promote_to_the_end("1.0.0").await;
        assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    }
}

#[tokio::test]
async fn a_key_or_a_store_that_does_not_exist_is_found_before_anything_moves() {
    let app = TestApp::start().await;
    let arn = app.store_arn();
    let mut settings = web_in_kvs(&arn);
    settings["components"][0]["router"]["create_key"] = json!(false);
    app.set_up(settings, &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "key_not_found", "{job:#}");
    assert_eq!(job["error"]["step"], "preflight/preflight");
    assert!(
        job["error"]["message"]
            .as_str()
            .unwrap()
            .contains(&format!("key {KEY} of")),
        "{job:#}"
    );
    assert!(job["error"]["hint"].as_str().unwrap().contains("create_key"));

    let missing = "arn:aws:cloudfront::000000000000:key-value-store/missing";
    app.put(ENVIRONMENT, web_in_kvs(missing)).await.expect(200);
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "kvs_not_found", "{job:#}");
    assert!(job["error"]["message"].as_str().unwrap().contains(missing), "{job:#}");
    assert!(job["error"]["hint"].as_str().unwrap().contains("kvs_arn"));
    assert_eq!(app.store_writes().len(), 0);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    for operation in ["DescribeKeyValueStore", "GetKey", "UpdateKeys"] {
        let app = TestApp::start().await;
        app.set_key(KEY, "as it was");
        app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0"]).await;
        let denied = app.double.faults().add(Fault::on(operation, FaultAction::AccessDenied));
        let id = app.promote("1.0.0").await;
        let job = app.finish(&id).await;
        assert!(denied.hits() > 0);
        let code = match job["state"].as_str() {
            Some("failed") => "aws_access_denied",
            _ => "undo_incomplete",
        };
        assert_eq!(job["error"]["code"], code, "{operation}: {job:#}");
        let permission = format!("cloudfront-keyvaluestore:{operation}");
        assert!(job["error"].to_string().contains(&permission), "{:#}", job["error"]);
        assert_eq!(app.key(KEY).as_deref(), Some("as it was"), "{operation}");
    }
}

#[tokio::test]
async fn a_key_changed_or_deleted_behind_our_back_is_not_touched() {
    for by_hand in [Some("by hand"), None] {
        let app = TestApp::start().await;
        let arn = app.store_arn();
        app.set_up(web_in_kvs(&arn), &["1.0.0", "1.1.0"]).await;
        app.promote_to_the_end("1.0.0").await;
        match by_hand {
            Some(value) => app.set_key(KEY, value),
            None => app.double.delete_kvs_value(&arn, KEY).unwrap(),
        }
        let before = app.double.kvs_etag(&arn);
        let id = app.promote("1.1.0").await;
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], "pointer_drifted");
        assert_eq!(app.double.kvs_etag(&arn), before, "nothing was touched");
        let drift = &app.environment().await["drift"][0];
        assert_eq!(
            (&drift["seen"]["target"], &drift["seen"]["found"]),
            (&json!("kvs"), &json!(by_hand))
        );

        let id = app
            .promote_with(json!({"release": "1.1.0", "on_drift": "overwrite"}))
            .await;
        let job = app.finish_as(&id, "succeeded").await;
        assert!(codes(&job).contains(&"pointer_drifted"), "{job:#}");
        assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.1.0"));
        assert_eq!(app.environment().await["drift"], Value::Null);
    }
}

#[tokio::test]
async fn a_rollback_writes_over_what_somebody_else_wrote_and_an_undo_leaves_it() {
    let app = TestApp::start().await;
    app.set_up(slow(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["state"] == "waiting").await;
    app.set_key(KEY, "by hand");
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    let job = app.finish_as(&id, "aborted").await;
    assert_eq!(codes(&job), ["pointer_left"]);
    assert_eq!(app.key(KEY).as_deref(), Some("by hand"));
    assert_eq!(app.environment().await["drift"][0]["seen"]["found"], "by hand");

    let body = json!({"to": "1.0.0"});
    let id = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), body)
        .await
        .expect(202)
        .id();
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(codes(&job), ["pointer_overwritten"]);
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    assert_eq!(app.key(KEY), app.key(LAST_GOOD));
}

#[tokio::test]
async fn a_key_written_over_while_the_job_runs_is_drift_when_it_ends() {
    let app = TestApp::start().await;
    app.set_up(slow(&app.store_arn()), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    app.job_until(&id, |job| job["state"] == "waiting").await;
    app.set_key(KEY, "by hand");
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(codes(&job), ["pointer_drifted"]);
    assert_eq!(app.key(KEY).as_deref(), Some("by hand"));
    assert_eq!(app.environment().await["drift"][0]["seen"]["found"], "by hand");
}

#[tokio::test]
async fn throttling_waits_and_goes_on() {
    let app = TestApp::start().await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0"]).await;
    for operation in ["DescribeKeyValueStore", "GetKey", "UpdateKeys"] {
        let fault = Fault::on(operation, FaultAction::Throttle).times(10);
        app.double.faults().add(fault);
    }
    let id = app.promote("1.0.0").await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_role_works_in_the_account_of_its_store() {
    let app = TestApp::start().await;
    let role = "arn:aws:iam::111122223333:role/greenlight";
    let arn = app.double.add_key_value_store_in("111122223333", "theirs");
    app.double
        .add_distribution_in("111122223333", crate::support::DISTRIBUTION);
    let mut settings = web_in_kvs(&arn);
    settings["aws"]["role_arn"] = json!(role);
    app.set_up(settings, &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    assert!(app.double.kvs_value(&arn, KEY).is_some());

    app.put(ENVIRONMENT, web_in_kvs(&arn)).await.expect(200);
    app.register("1.1.0").await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "aws_access_denied", "another account's: {job:#}");
}

/// Reads that have not heard of our write yet are looked at again.
#[tokio::test]
async fn a_write_that_cannot_be_read_back_at_once_is_verified_later() {
    let app = TestApp::start().await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    // preflight, the flip's look; then its looks back.
    let stale = Fault::on("GetKey", FaultAction::StaleRead).skip(2).times(2);
    let stale = app.double.faults().add(stale);
    let job = app.promote_to_the_end("1.1.0").await;
    assert_eq!((stale.hits(), codes(&job)), (2, vec![]));
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(app.environment().await["drift"], Value::Null);
}
