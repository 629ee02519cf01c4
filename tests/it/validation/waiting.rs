//! `?wait=` until traffic has shifted, until it has settled.

use serde_json::{Value, json};

use super::canary::{shared, with};

#[tokio::test]
async fn a_pipeline_goes_on_when_traffic_has_shifted_and_need_not_wait_for_the_last_bake() {
    let app = with(shared(json!({"kind": "all_at_once", "bake_seconds": 3600}))).await;
    let id = app.promote("1.1.0").await;
    let path = format!("/v1/jobs/{id}?wait=30&until=traffic_shifted");
    let waiting = app.get(&path);
    let moving = app.timers_until(&id, |job| job["traffic_shifted_at"].is_string());
    let (answer, _) = tokio::join!(waiting, moving);
    let job = answer.expect(200).json();
    assert!(job["traffic_shifted_at"].is_string(), "{job:#}");
    assert_eq!((&job["settled_at"], &job["finished_at"]), (&Value::Null, &Value::Null));
    let path = format!("/v1/jobs/{id}?wait=30&until=settled");
    let waiting = app.get(&path);
    let (answer, _) = tokio::join!(waiting, app.finish(&id));
    assert!(answer.expect(200).json()["settled_at"].is_string());
}

#[tokio::test]
async fn who_waits_for_a_shift_that_never_comes_hears_of_the_end() {
    let app = with(shared(
        json!({"kind": "canary", "steps": [{"weight": 10, "bake_seconds": 600}]}),
    ))
    .await;
    let id = app.promote("1.1.0").await;
    let path = format!("/v1/jobs/{id}?wait=30&until=traffic_shifted");
    let waiting = app.get(&path);
    let aborting = async {
        app.job_until(&id, |job| job["weight"] == 10).await;
        app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
        app.finish_as(&id, "aborted").await
    };
    let (answer, _) = tokio::join!(waiting, aborting);
    let job = answer.expect(200).json();
    assert_eq!(
        (&job["state"], &job["traffic_shifted_at"]),
        (&json!("aborted"), &Value::Null)
    );
}
