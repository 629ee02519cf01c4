//! A job's events as pages of JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{all_pages, names, without_workers};
use crate::support::{TestApp, web};

#[track_caller]
fn ids(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn events_are_pages_oldest_first_with_ascending_ids() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{job}/events");
    let whole = all_pages(&app, &path, 200).await;
    assert!(whole.len() > 8, "{whole:#?}");
    assert!(
        ids(&whole).windows(2).all(|pair| pair[0] < pair[1]),
        "{:?}",
        ids(&whole)
    );
    for event in &whole {
        assert_eq!(names(event), BTreeSet::from(["id", "at", "kind", "data"]));
        assert!(event["data"].is_object(), "{event}");
    }
    assert_eq!(whole[0]["kind"], "job.created");
    assert_eq!(whole.last().unwrap()["kind"], "job.succeeded");
    for limit in [1, 2, 3, whole.len()] {
        assert_eq!(all_pages(&app, &path, limit).await, whole, "by {limit}");
    }
}

#[tokio::test]
async fn after_gives_exactly_the_rest() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{job}/events");
    let whole = all_pages(&app, &path, 200).await;
    assert_eq!(all_pages(&app, &format!("{path}?after=0"), 200).await, whole);
    for (at, id) in ids(&whole).into_iter().enumerate() {
        let rest = app
            .get(&format!("{path}?after={id}&limit=200"))
            .await
            .expect(200)
            .json();
        assert_eq!(rest["items"].as_array().unwrap(), &whole[at + 1..]);
        assert_eq!(rest["next_cursor"], Value::Null);
    }
    let none = app.get(&format!("{path}?after={}", i64::MAX)).await.expect(200).json();
    assert_eq!(none["items"], serde_json::json!([]));
}

#[tokio::test]
async fn a_job_has_only_its_own_events() {
    let app = without_workers().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let first = app.promote("1.0.0").await;
    let second = app
        .promote_with(serde_json::json!({"release": "1.1.0", "on_conflict": "queue"}))
        .await;
    assert_eq!(app.event_kinds(&first).await, ["job.created", "job.activated"]);
    assert_eq!(app.event_kinds(&second).await, ["job.created", "job.queued"]);
}
