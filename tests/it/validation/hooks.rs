//! Hooks: called in their places, and taken back when the job is.

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use super::{
    canary::{shared, with},
    site::{Answers, Site},
};
use crate::support::TestApp;

pub fn hook(site: &Site, name: &str, when: &str) -> Value {
    json!({"name": name, "when": when, "url": format!("{}/{name}", site.url), "interval_seconds": 5,
           "undo": {"url": format!("{}/{name}/undo?release={{release}}", site.url)}})
}

pub fn hooked(hooks: Value) -> Value {
    let mut document = shared(json!({"kind": "canary", "steps": [{"weight": 10, "bake_seconds": 60}]}));
    document["hooks"] = hooks;
    document
}

fn at_weight(mut hook: Value, weight: u32) -> Value {
    hook["weight"] = json!(weight);
    hook
}

/// Where the job was when each hook was called: its weight in the call.
fn weights(site: &Site, name: &str) -> Vec<Value> {
    site.sent_to(&format!("/{name}"))
        .iter()
        .map(|sent| sent.json()["weight"].clone())
        .collect()
}

#[tokio::test]
async fn hooks_are_called_in_their_places_and_not_taken_back_by_success() {
    let site = Site::start().await;
    let hooks = json!([
        hook(&site, "expand", "before_traffic"),
        at_weight(hook(&site, "warm", "before_weight"), 10),
        at_weight(hook(&site, "suite", "after_weight"), 10),
        hook(&site, "announce", "after_traffic"),
    ]);
    let app = with(hooked(hooks)).await;
    let job = app.promote_to_the_end("1.1.0").await;
    let order: Vec<&str> = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| match step["kind"].as_str().unwrap() {
            "hook" => step["output"]["hook"].as_str(),
            "flip" => step["stage"].as_str(),
            "bake" => Some("bake"),
            _ => None,
        })
        .collect();
    assert_eq!(
        order,
        [
            "expand",
            "warm",
            "weight-10:web",
            "suite",
            "bake",
            "traffic:web",
            "announce"
        ]
    );
    assert_eq!(weights(&site, "warm"), [10]);
    assert_eq!(weights(&site, "announce"), [100]);
    assert!(site.sent_to("/expand/undo").is_empty());
    let sent = site.sent_to("/expand").remove(0);
    let token = job["steps"][1]["token"].as_str().unwrap();
    assert_eq!(sent.headers["idempotency-key"], token);
    assert_eq!(sent.headers["webhook-id"], token);
}

#[tokio::test]
async fn what_was_called_is_taken_back_in_reverse_when_a_later_hook_fails() {
    let site = Site::start().await;
    site.answer("/suite", 422, "4 failed");
    let hooks = json!([
        hook(&site, "expand", "before_traffic"),
        hook(&site, "flags", "before_traffic"),
        at_weight(hook(&site, "suite", "after_weight"), 10),
        hook(&site, "announce", "after_traffic"),
    ]);
    let app = with(hooked(hooks)).await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "hook_failed", "{job:#}");
    assert!(job["error"]["message"].as_str().unwrap().contains("4 failed"));
    assert_eq!(site.sent_to("/suite").len(), 3, "three tries are the default");
    // The one that failed may have done half of it.
    for undone in ["expand", "flags", "suite"] {
        assert_eq!(site.sent_to(&format!("/{undone}/undo")).len(), 1, "{undone}");
    }
    assert!(site.sent_to("/announce/undo").is_empty(), "it was never called");
    let steps = job["steps"].as_array().unwrap();
    let undone: Vec<&str> = steps
        .iter()
        .filter(|step| step["direction"] == "undo")
        .filter_map(|step| {
            step["output"]["hook"]
                .as_str()
                .or(step["kind"].as_str().filter(|kind| *kind == "settle"))
        })
        .collect();
    assert_eq!(
        undone,
        ["suite", "settle", "flags", "expand"],
        "traffic waits for no hook"
    );
    let body = site.sent_to("/expand/undo").remove(0).json();
    assert_eq!(
        (&body["type"], &body["release"]),
        (&json!("hook_undo"), &json!("1.1.0"))
    );
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_hook_that_was_refused_before_anything_was_sent_owes_no_undo() {
    let site = Site::start().await;
    let mut refused = hook(&site, "inside", "before_traffic");
    // A private address, which the operator has not allowed.
    refused["url"] = json!("http://10.1.2.3/inside");
    refused["undo"]["url"] = json!("http://10.1.2.3/inside/undo");
    let app = with(hooked(json!([hook(&site, "expand", "before_traffic"), refused]))).await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "hook_failed", "{job:#}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("GREENLIGHT_OUTBOUND_ALLOW"), "{message}");
    assert_eq!(site.sent_to("/expand/undo").len(), 1);
}

#[tokio::test]
async fn what_was_done_before_traffic_stays_while_traffic_is_not_back() {
    let site = Site::start().await;
    site.answer("/errors", 500, "12 %");
    let mut document = hooked(json!([hook(&site, "expand", "before_traffic")]));
    document["checks"] = json!([{"name": "errors", "when": "during_bake", "kind": "http",
                                 "url": format!("{}/errors", site.url)}]);
    let app = with(document).await;
    let denied = app
        .double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::AccessDenied).skip(1));
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "stuck").await;
    assert_eq!(job["error"]["code"], "undo_incomplete", "{job:#}");
    assert_eq!(job["error"]["evidence"]["check"], "errors", "the verdict is not lost");
    assert!(site.sent_to("/expand/undo").is_empty(), "visitors still need it");
    denied.remove();
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "failed").await;
    assert_eq!(site.sent_to("/expand/undo").len(), 1);
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_retry_takes_nothing_back_twice() {
    let site = Site::start().await;
    site.answer("/suite", 400, "no");
    site.answer("/second/undo", 400, "locked");
    let hooks = json!([
        hook(&site, "first", "before_traffic"),
        hook(&site, "second", "before_traffic"),
        at_weight(hook(&site, "suite", "after_weight"), 10)
    ]);
    let app = with(hooked(hooks)).await;
    let id = app.promote("1.1.0").await;
    app.finish_as(&id, "stuck").await;
    let asked = site.sent_to("/second/undo").len();
    assert_eq!(site.sent_to("/first/undo").len(), 1);
    site.answer("/second/undo", 200, "");
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "failed").await;
    assert_eq!(site.sent_to("/second/undo").len(), asked + 1);
    assert_eq!(site.sent_to("/first/undo").len(), 1, "it was taken back before");
}

#[tokio::test]
async fn an_undo_that_fails_leaves_the_job_stuck_with_traffic_back_and_a_retry_ends_it() {
    let site = Site::start().await;
    site.answer("/suite", 400, "no");
    site.answer("/expand/undo", 500, "locked");
    let hooks = json!([
        hook(&site, "expand", "before_traffic"),
        at_weight(hook(&site, "suite", "after_weight"), 10)
    ]);
    let app = with(hooked(hooks)).await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "stuck").await;
    assert_eq!(job["error"]["code"], "undo_incomplete", "{job:#}");
    assert!(job["error"]["message"].as_str().unwrap().contains("expand"), "{job:#}");
    assert_eq!(job["error"]["evidence"]["hook"], "suite", "{job:#}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
    site.answer("/expand/undo", 200, "");
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "failed").await;
}

#[tokio::test]
async fn a_rollback_takes_back_what_the_promotion_had_called() {
    let site = Site::start().await;
    let app = with(hooked(json!([hook(&site, "expand", "before_traffic")]))).await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["weight"] == 10).await;
    let back = app.roll_back().await;
    let job = app.finish_as(&back, "succeeded").await;
    assert_eq!(site.sent_to("/expand/undo").len(), 1, "{job:#}");
    assert_eq!(site.sent_to("/expand/undo")[0].query, "release=1.1.0");
    let last = job["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["state"]), (&json!("hook"), &json!("succeeded")));
    // It is taken back once: a second rollback owes nothing.
    app.promote_to_the_end("1.1.0").await;
    app.roll_back_to_the_end().await;
    assert_eq!(site.sent_to("/expand/undo").len(), 1);
}

#[tokio::test]
async fn a_hook_that_answers_later_is_waited_for() {
    let site = Site::start().await;
    site.answer_in_turn("/expand", vec![Answers::With(202, String::new())]);
    let app = with(hooked(json!([hook(&site, "expand", "before_traffic")]))).await;
    let before = app.pointer();
    let id = app.promote("1.1.0").await;
    let body = site.hears("/expand").await.json();
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    assert_eq!(app.pointer(), before);
    let (path, token) = (&body["callback"]["path"], &body["callback"]["token"]);
    let done = json!({"verdict": "pass", "message": "12 tables"});
    app.call_back(path.as_str().unwrap(), token.as_str().unwrap(), &done)
        .await
        .expect(204);
    let job = app.finish_as(&id, "succeeded").await;
    assert!(
        job["steps"][1]["output"]["message"]
            .as_str()
            .unwrap()
            .contains("12 tables"),
        "{job:#}"
    );
}

#[tokio::test]
async fn a_hook_at_a_weight_that_a_promotions_own_strategy_passes_is_called_on_the_way() {
    let site = Site::start().await;
    let hooks = json!([
        at_weight(hook(&site, "warm", "before_weight"), 10),
        at_weight(hook(&site, "told", "after_weight"), 10)
    ]);
    let app = with(hooked(hooks)).await;
    let strategy = json!({"kind": "linear", "step_weight": 40, "interval_seconds": 1});
    let id = app
        .promote_with(json!({"release": "1.1.0", "strategy": strategy}))
        .await;
    app.finish_as(&id, "succeeded").await;
    // Once each, with the first share that is as great.
    assert_eq!(weights(&site, "warm"), [json!(40)]);
    assert_eq!(weights(&site, "told"), [json!(40)]);
}

#[tokio::test]
async fn a_promotion_that_takes_anothers_place_takes_its_hooks_back_when_it_has_settled() {
    let site = Site::start().await;
    let app: TestApp = with(hooked(json!([hook(&site, "expand", "before_traffic")]))).await;
    app.register("1.2.0").await;
    let first = app.promote("1.1.0").await;
    app.job_until(&first, |job| job["weight"] == 10).await;
    let second = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "supersede"}))
        .await;
    let job = app.finish_as(&second, "succeeded").await;
    assert_eq!(app.active().as_deref(), Some("1.2.0"), "{job:#}");
    let undone = site.sent_to("/expand/undo");
    assert_eq!(
        undone.iter().map(|sent| sent.query.as_str()).collect::<Vec<_>>(),
        ["release=1.1.0"]
    );
}
