//! KVS as a projection of `ssm_pointer`: parameter and key are one flip.

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use super::codes;
use crate::support::{ENVIRONMENT, KEY, LAST_GOOD, PARAMETER, REGION, SECOND_REGION, TestApp, web, web_projected};

#[tokio::test]
async fn parameter_and_key_say_the_same_bytes() {
    let app = TestApp::start().await;
    let mut document = web_projected(&app.store_arn());
    document["components"][0]["router"]["regions"] = json!([REGION, SECOND_REGION]);
    // Without a key of its own, the parameter's name is the key.
    document["components"][0]["router"]
        .as_object_mut()
        .unwrap()
        .remove("kvs_key");
    let key = PARAMETER.trim_start_matches('/');
    app.set_up(document, &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let job = app.promote_to_the_end("1.1.0").await;
    let value = app.pointer();
    assert!(value.as_ref().unwrap().contains(r#""active":"1.1.0""#), "{value:?}");
    assert_eq!(app.pointer_in(SECOND_REGION), value);
    assert_eq!(
        (app.key(key), app.key(&format!("{key}.last-good"))),
        (value.clone(), value)
    );
    let targets = job["steps"][1]["output"]["targets"].as_object().unwrap();
    assert_eq!(targets.keys().collect::<Vec<_>>(), [SECOND_REGION, "kvs", REGION]);
    assert_eq!(app.invalidations().len(), 2, "one for both");

    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(app.key(key), app.pointer());
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(
        (app.pointer(), app.key(key)),
        (None, None),
        "what was created is deleted"
    );
    assert!(app.double.kvs_snapshot(&app.store_arn()).is_empty());
}

#[tokio::test]
async fn the_key_may_be_created_although_the_parameter_must_be_there() {
    let app = TestApp::start().await;
    let mut document = web_projected(&app.store_arn());
    document["components"][0]["router"]["create_parameter"] = json!(false);
    app.set_up(document, &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "parameter_not_found", "{job:#}");
    assert_eq!(app.key(KEY), None);

    app.double.put_parameter(REGION, PARAMETER, "before us").unwrap();
    app.promote_to_the_end("1.0.0").await;
    assert_eq!(app.key(KEY), app.pointer());
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("before us"));
    assert_eq!((app.key(KEY), app.key(LAST_GOOD)), (None, None));
}

#[tokio::test]
async fn when_one_refuses_the_flip_is_undone_on_both() {
    for operation in ["UpdateKeys", "PutParameter"] {
        let app = TestApp::start().await;
        app.set_up(web_projected(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
        app.promote_to_the_end("1.0.0").await;
        app.double
            .faults()
            .add(Fault::on(operation, FaultAction::AccessDenied).once());
        let id = app.promote("1.1.0").await;
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], "aws_access_denied", "{operation}: {job:#}");
        assert_eq!(app.active().as_deref(), Some("1.0.0"), "{operation}");
        assert_eq!(
            (app.key(KEY), app.key(LAST_GOOD)),
            (app.pointer(), app.pointer()),
            "{operation}"
        );
        let environment = app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&json!("1.0.0"), &Value::Null)
        );
        app.promote_to_the_end("1.1.0").await;
        assert_eq!(app.key(KEY), app.pointer());
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_found_before_the_parameter_moves() {
    let app = TestApp::start().await;
    let missing = "arn:aws:cloudfront::000000000000:key-value-store/missing";
    app.set_up(web_projected(missing), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "kvs_not_found", "{job:#}");
    assert_eq!(app.pointer(), None);
}

#[tokio::test]
async fn drift_of_the_key_alone_is_drift() {
    let app = TestApp::start().await;
    app.set_up(web_projected(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.set_key(KEY, "by hand");
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "pointer_drifted");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("key {KEY}")) && !message.contains("parameter /"),
        "{message}"
    );
    let drift = app.environment().await["drift"].clone();
    assert_eq!(drift.as_array().unwrap().len(), 1, "{drift:#}");
    assert_eq!(
        (&drift[0]["seen"]["target"], &drift[0]["seen"]["found"]),
        (&json!("kvs"), &json!("by hand"))
    );
    assert_eq!(app.active().as_deref(), Some("1.0.0"));

    let body = json!({"to": "1.0.0"});
    let id = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), body)
        .await
        .expect(202)
        .id();
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(codes(&job), ["pointer_overwritten"]);
    assert_eq!(app.key(KEY), app.pointer());
    assert_eq!(app.environment().await["drift"], Value::Null);
}

/// A projection that is added later is part of deployment 0, as a region is.
#[tokio::test]
async fn a_projection_that_came_later_is_taken_over_and_put_back() {
    let app = TestApp::start().await;
    app.double.put_parameter(REGION, PARAMETER, "before us").unwrap();
    app.set_key(KEY, "key before us");
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.put(ENVIRONMENT, web_projected(&app.store_arn())).await.expect(200);
    app.promote_to_the_end("1.1.0").await;
    assert_eq!(app.key(KEY), app.pointer());
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
    let id = app.roll_back().await;
    app.finish_as(&id, "succeeded").await;
    assert_eq!(app.pointer().as_deref(), Some("before us"));
    assert_eq!(
        (app.key(KEY).as_deref(), app.key(LAST_GOOD)),
        (Some("key before us"), None)
    );
}

/// The parameter's write is held, the key's is answered: only the parameter has to be watched for.
#[tokio::test]
async fn a_late_write_to_the_parameter_is_watched_for_and_put_right_also_beside_a_key() {
    let app = TestApp::start().await;
    app.set_up(web_projected(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let held = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    app.promote("1.1.0").await;
    super::hit(&held).await;
    let rollback = app.roll_back().await;
    let watching = app.job_until(&rollback, |job| job["state"] == "waiting").await;
    assert!(watching["waiting_reason"].as_str().unwrap().contains("may still land"));
    assert_eq!(held.release(), 1);
    let late = |call: &greenlight::sandbox::double::Call| {
        call.outcome.took_effect()
            && call.details["value"]
                .as_str()
                .is_some_and(|value| value.contains("1.1.0\",\"previous"))
    };
    app.double.wait_for_call(late).await;
    let job = app.finish_as(&rollback, "succeeded").await;
    assert!(codes(&job).contains(&"late_write_landed"), "{job:#}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
}
