//! Locks and blocks stop promotions, and never a rollback.

use std::sync::Arc;

use axum::http::{Method, header};
use greenlight::domain::role::Role;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    canary::{five_and_fifty, shared, with},
    pauses::baking,
    site::{Answers, Site},
};
use crate::support::{ENVIRONMENT, TestApp};

const LOCK: &str = "/v1/apps/storefront/environments/production/lock";
const BLOCK: &str = "/v1/apps/storefront/releases/1.1.0/block";

async fn everyone() -> TestApp {
    with(shared(json!({"kind": "all_at_once"}))).await
}

#[tokio::test]
async fn a_locked_environment_refuses_promotions_and_says_who_why_and_since_when() {
    let app = everyone().await;
    let lock = app
        .put(LOCK, json!({"reason": "incident 4711"}))
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&lock["scope"], &lock["by"], &lock["reason"]),
        (&json!("environment"), &json!("admin"), &json!("incident 4711"))
    );
    let refused = app
        .post(&format!("{ENVIRONMENT}/promotions"), json!({"release": "1.1.0"}))
        .await
        .expect(423)
        .json();
    assert_eq!(refused["code"], "environment_locked");
    assert_eq!(refused["lock"], lock);
    for part in [
        "admin",
        "incident 4711",
        lock["at"].as_str().unwrap().split('.').next().unwrap(),
    ] {
        assert!(refused["detail"].as_str().unwrap().contains(part), "{refused:#}");
    }
    assert_eq!(app.environment().await["lock"], lock);
    // A new reason keeps since when.
    let again = app.put(LOCK, json!({"reason": "still"})).await.expect(200).json();
    assert_eq!((&again["reason"], &again["at"]), (&json!("still"), &lock["at"]));
    app.delete(LOCK).await.expect(204);
    app.delete(LOCK).await.expect(204);
    assert_eq!(app.environment().await["lock"], Value::Null);
    app.promote_to_the_end("1.1.0").await;
    // Rollbacks always pass.
    app.put(LOCK, json!({"reason": "incident"})).await.expect(201);
    app.put("/v1/lock", json!({"reason": "everything"})).await.expect(201);
    app.put("/v1/apps/storefront/releases/1.0.0/block", json!({"reason": "old"}))
        .await
        .expect(201);
    app.roll_back_to_the_end().await;
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_lock_on_everything_refuses_new_promotions_and_holds_those_that_run() {
    let app = with(shared(five_and_fifty())).await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["weight"] == 5).await;
    app.put("/v1/lock", json!({"reason": "outage"})).await.expect(201);
    assert_eq!(app.get("/v1/lock").await.expect(200).json()["scope"], "everything");
    let refused = app
        .post(
            &format!("{ENVIRONMENT}/promotions"),
            json!({"release": "1.1.0", "on_conflict": "queue"}),
        )
        .await;
    assert_eq!(refused.expect(423).json()["lock"]["scope"], "everything");
    let held = app.timers_until(&id, |job| job["waiting_for"] == "pause").await;
    assert!(held["waiting_reason"].as_str().unwrap().contains("locked"), "{held:#}");
    app.advance(std::time::Duration::from_secs(7200)).await;
    app.job_until(&id, |job| job["waiting_for"] == "pause").await;
    assert_eq!(app.job(&id).await["weight"], 5, "the share does not grow");
    app.delete("/v1/lock").await.expect(204);
    app.get("/v1/lock").await.expect(404);
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_blocked_release_is_not_promoted_and_a_rollback_can_block_what_it_leaves() {
    let app = everyone().await;
    app.promote_to_the_end("1.1.0").await;
    let body = json!({"block": true, "reason": "checkout fails"});
    let id = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), body)
        .await
        .expect(202)
        .id();
    app.finish_as(&id, "succeeded").await;
    let refused = app
        .post(&format!("{ENVIRONMENT}/promotions"), json!({"release": "1.1.0"}))
        .await
        .expect(409)
        .json();
    assert_eq!(
        (&refused["code"], &refused["block"]["reason"]),
        (&json!("release_blocked"), &json!("checkout fails"))
    );
    let release = app.get("/v1/apps/storefront/releases/1.1.0").await.expect(200).json();
    assert_eq!(release["block"], refused["block"]);
    // A rollback to it passes all the same.
    let to = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), json!({"to": "1.1.0"}))
        .await
        .expect(202)
        .id();
    app.finish_as(&to, "succeeded").await;
    app.roll_back_to_the_end().await;
    app.delete(BLOCK).await.expect(204);
    app.promote_to_the_end("1.1.0").await;
    app.put("/v1/apps/storefront/releases/9.9.9/block", json!({"reason": "x"}))
        .await
        .expect(404);
}

#[tokio::test]
async fn an_admin_breaks_the_glass_with_a_reason_that_stays_on_the_job() {
    let app = everyone().await;
    app.put(LOCK, json!({"reason": "freeze"})).await.expect(201);
    app.put("/v1/lock", json!({"reason": "outage"})).await.expect(201);
    app.put(BLOCK, json!({"reason": "bad"})).await.expect(201);
    let body = json!({"release": "1.1.0", "break_glass": {"reason": "hotfix"}});
    let releaser = app.token_named("alice", Role::Releaser).await;
    let mut request = app.request(Method::POST, &format!("{ENVIRONMENT}/promotions"), Some(&body));
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, format!("Bearer {releaser}").parse().unwrap());
    let refused = app.send(request).await.expect(403).json();
    assert_eq!(
        (&refused["code"], &refused["required_role"]),
        (&json!("forbidden"), &json!("admin"))
    );
    let id = app.promote_with(body).await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(job["break_glass"], json!({"by": "admin", "reason": "hotfix"}));
    assert_eq!(app.active().as_deref(), Some("1.1.0"));
}

#[tokio::test]
async fn the_glass_that_an_admin_broke_is_whole_for_who_retries() {
    let site = Site::start().await;
    site.answer("/smoke", 500, "");
    let mut document = shared(json!({"kind": "all_at_once"}));
    document["checks"] = json!([{"name": "smoke", "when": "before_traffic", "kind": "http",
                                 "url": format!("{}/smoke", site.url)}]);
    let app = with(document).await;
    app.put(LOCK, json!({"reason": "freeze"})).await.expect(201);
    let id = app
        .promote_with(json!({"release": "1.1.0", "break_glass": {"reason": "hotfix"}}))
        .await;
    app.finish_as(&id, "failed").await;
    let retry = format!("/v1/jobs/{id}/retry");
    let releaser = app.token_named("alice", Role::Releaser).await;
    let mut request = app.request(Method::POST, &retry, Some(&json!({})));
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, format!("Bearer {releaser}").parse().unwrap());
    let refused = app.send(request).await.expect(423).json();
    assert_eq!(refused["code"], "environment_locked");
    site.answer("/smoke", 200, "");
    app.post(&retry, json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_lock_that_is_lifted_while_a_check_is_being_asked_lets_the_bake_go_on() {
    let site = Site::start().await;
    let mut document = shared(five_and_fifty());
    document["checks"] = json!([{"name": "errors", "when": "during_bake", "kind": "http",
                                 "url": format!("{}/errors", site.url), "interval_seconds": 60}]);
    let app = with(document).await;
    let id = baking(&app, 5).await;
    app.put("/v1/lock", json!({"reason": "outage"})).await.expect(201);
    // Far beyond the bake's time: the lock alone holds it open.
    for _ in 0..8 {
        let asked = site.sent_to("/errors").len();
        app.advance(std::time::Duration::from_secs(60)).await;
        app.job_until(&id, |_| site.sent_to("/errors").len() > asked).await;
        app.rest().await;
    }
    let said = Arc::new(Notify::new());
    site.answer_in_turn(
        "/errors",
        vec![Answers::When(200, said.clone()), Answers::With(200, String::new())],
    );
    let asked = site.sent_to("/errors").len();
    app.advance(std::time::Duration::from_secs(60)).await;
    app.job_until(&id, |_| site.sent_to("/errors").len() > asked).await;
    app.delete("/v1/lock").await.expect(204);
    said.notify_one();
    // No time moves.
    app.job_until(&id, |job| job["weight"] == 50).await;
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_block_without_a_reason_says_where_it_comes_from() {
    let app = everyone().await;
    app.promote_to_the_end("1.1.0").await;
    let body = json!({"block": true, "reason": " "});
    let id = app
        .post(&format!("{ENVIRONMENT}/rollbacks"), body)
        .await
        .expect(202)
        .id();
    app.finish_as(&id, "succeeded").await;
    let release = app.get("/v1/apps/storefront/releases/1.1.0").await.expect(200).json();
    assert_eq!(release["block"]["reason"], "rolled back from in storefront/production");
}

#[tokio::test]
async fn a_queued_promotion_meets_the_lock_when_its_turn_comes() {
    let app = with(shared(five_and_fifty())).await;
    app.register("1.2.0").await;
    let first = app.promote("1.1.0").await;
    let queued = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "queue"}))
        .await;
    app.put(LOCK, json!({"reason": "freeze"})).await.expect(201);
    // What runs goes on.
    app.finish_as(&first, "succeeded").await;
    let job = app.finish_as(&queued, "failed").await;
    assert_eq!(job["error"]["code"], "environment_locked", "{job:#}");
}
