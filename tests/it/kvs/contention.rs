//! One store, many writers: its ETag moves with every key. What is written again is decided again.

use std::{collections::BTreeSet, time::Duration};

use greenlight::sandbox::double::{Fault, FaultAction, StaleEtag};
use serde_json::{Value, json};

use super::{codes, hit};
use crate::support::{KEY, LAST_GOOD, TestApp, TestAppOptions, web_in_kvs, web_projected};

async fn with(stale_etag: StaleEtag) -> TestApp {
    TestApp::with(TestAppOptions {
        workers: 2,
        stale_etag,
        ..TestAppOptions::default()
    })
    .await
}

/// Makes every write take a while, so that those of several environments meet.
fn slow_writes(app: &TestApp) {
    let delay = FaultAction::Delay(Duration::from_millis(30));
    app.double.faults().add(Fault::on("UpdateKeys", delay));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_environments_in_one_store_are_promoted_at_once() {
    for stale_etag in [StaleEtag::AsDocumented, StaleEtag::AsSeen] {
        let app = with(stale_etag).await;
        let arn = app.store_arn();
        app.put("/v1/apps/storefront", json!({})).await.expect(201);
        app.register("1.0.0").await;
        slow_writes(&app);
        let mut jobs = Vec::new();
        for n in 0..20 {
            // Both roads, side by side.
            let mut document = if n % 2 == 0 {
                web_in_kvs(&arn)
            } else {
                web_projected(&arn)
            };
            document["components"][0]["router"]["kvs_key"] = json!(format!("storefront/{n}"));
            if n % 2 == 1 {
                document["components"][0]["router"]["parameter"] = json!(format!("/storefront/{n}/release"));
            }
            let environment = format!("/v1/apps/storefront/environments/e{n}");
            app.put(&environment, document).await.expect(201);
            let body = json!({"release": "1.0.0"});
            let job = app.post(&format!("{environment}/promotions"), body).await.expect(202);
            jobs.push(job.id());
        }
        for id in &jobs {
            let job = app.finish_as(id, "succeeded").await;
            assert_eq!(codes(&job), [""; 0], "{job:#}");
        }
        let keys = app.double.kvs_snapshot(&arn);
        assert_eq!(keys.len(), 40);
        assert!(keys.values().all(|value| value.contains(r#""active":"1.0.0""#)));

        let writes = app.store_writes();
        let refused = writes.iter().filter(|call| !call.outcome.took_effect()).count();
        assert!(refused > 0, "the environments meet");
        assert_eq!(writes.len() - refused, 20);
        // Never blindly: no environment has sent the same ETag twice, and every write had an intent.
        let sent: BTreeSet<String> = writes
            .iter()
            .map(|call| format!("{} {}", call.details["if_match"], call.details["puts"]))
            .collect();
        assert_eq!(sent.len(), writes.len());
        let outcomes = app.outcomes().await;
        let of = |outcome: &str| outcomes.iter().filter(|it| *it == outcome).count();
        assert_eq!((of("written"), of("refused")), (30, refused), "{outcomes:?}");
    }
}

#[tokio::test]
async fn another_key_that_moved_the_etag_changes_nothing_but_the_etag() {
    for stale_etag in [StaleEtag::AsDocumented, StaleEtag::AsSeen] {
        let app = with(stale_etag).await;
        app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0"]).await;
        let delay = FaultAction::Delay(Duration::from_millis(300));
        let slow = app.double.faults().add(Fault::on("UpdateKeys", delay).once());
        let id = app.promote("1.0.0").await;
        hit(&slow).await;
        app.set_key("others/key", "moved");
        let job = app.finish_as(&id, "succeeded").await;
        assert_eq!(codes(&job), [""; 0]);
        assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
        let writes = app.store_writes();
        assert_eq!(writes.len(), 2);
        assert_ne!(writes[0].details["if_match"], writes[1].details["if_match"]);
        assert_eq!(app.outcomes().await, ["refused", "written"]);
        assert_eq!(job["steps"][1]["attempts"], 1, "within one attempt of the step");
    }
}

#[tokio::test]
async fn our_key_that_was_changed_in_between_is_decided_anew_and_not_written_over() {
    for stale_etag in [StaleEtag::AsDocumented, StaleEtag::AsSeen] {
        let app = with(stale_etag).await;
        app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
        app.promote_to_the_end("1.0.0").await;
        let delay = FaultAction::Delay(Duration::from_millis(300));
        let slow = app.double.faults().add(Fault::on("UpdateKeys", delay).once());
        let id = app.promote("1.1.0").await;
        hit(&slow).await;
        app.set_key(KEY, "by hand");
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], "pointer_drifted", "{job:#}");
        assert_eq!(app.key(KEY).as_deref(), Some("by hand"));
        assert_eq!(app.active_in_key(LAST_GOOD).as_deref(), Some("1.0.0"));
        assert_eq!(
            app.store_writes().len(),
            2,
            "the first promotion's, and the one that was refused"
        );
        assert_eq!(app.environment().await["drift"][0]["seen"]["found"], "by hand");
        assert!(app.event_kinds(&id).await.contains(&"step.retrying".to_owned()));
    }
}

#[tokio::test]
async fn a_rollback_whose_key_was_changed_in_between_looks_again_and_writes_over_it() {
    let app = with(StaleEtag::AsDocumented).await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    let delay = FaultAction::Delay(Duration::from_millis(300));
    let slow = app.double.faults().add(Fault::on("UpdateKeys", delay).once());
    let id = app.roll_back().await;
    hit(&slow).await;
    app.set_key(KEY, "by hand");
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(codes(&job), ["pointer_overwritten"]);
    assert!(
        job["warnings"][0]["message"].as_str().unwrap().contains("by hand"),
        "{job:#}"
    );
    assert_eq!(app.active_in_key(KEY).as_deref(), Some("1.0.0"));
}

/// More contention than one attempt of the step bears: the engine tries again.
#[tokio::test]
async fn a_store_that_is_never_still_is_tried_again_with_pauses() {
    let app = with(StaleEtag::AsDocumented).await;
    app.set_up(web_in_kvs(&app.store_arn()), &["1.0.0"]).await;
    let conflict = FaultAction::Error {
        status: 409,
        code: "ConflictException".into(),
        message: "said the test".into(),
    };
    let conflict = app.double.faults().add(Fault::on("UpdateKeys", conflict).times(9));
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(conflict.hits(), 9);
    assert_eq!(job["steps"][1]["attempts"], 2, "{job:#}");
    assert_eq!(job["steps"][1]["error"], Value::Null);
    let events = app
        .get(&format!("/v1/jobs/{id}/events?limit=200"))
        .await
        .expect(200)
        .json();
    let retrying = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["kind"] == "step.retrying");
    assert_eq!(retrying.unwrap()["data"]["error"]["code"], "pointer_contended");
    let outcomes = app.outcomes().await;
    assert_eq!(
        (outcomes.len(), outcomes.last().map(String::as_str)),
        (10, Some("written"))
    );
}
