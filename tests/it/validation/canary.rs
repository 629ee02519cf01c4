//! A share of the visitors first: what the pointer says at each weight, and how it ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::site::Site;
use crate::support::{ENVIRONMENT, KEY, LAST_GOOD, PARAMETER, REGION, TestApp, api_and_web, web, web_with};

/// The pointer's document.
fn pointer(app: &TestApp) -> Value {
    serde_json::from_str(&app.pointer().unwrap()).unwrap()
}

/// `web` at viewer-request, with a strategy.
pub fn shared(strategy: Value) -> Value {
    let mut document = web_with(json!({"edge_ttl_seconds": 5}));
    document["components"][0]["edge"] = json!({"mode": "viewer_rewrite", "public_url": "https://www.example.com/"});
    document["components"][0]["cdn"]["invalidate"] = json!({"mode": "none"});
    document["strategy"] = strategy;
    document
}

pub fn five_and_fifty() -> Value {
    json!({"kind": "canary", "steps": [{"weight": 5, "bake_seconds": 300}, {"weight": 50, "bake_seconds": 600}]})
}

/// `storefront` where 1.0.0 is active and 1.1.0 is there.
pub async fn with(document: Value) -> TestApp {
    let app = TestApp::start().await;
    app.set_up(shared(json!({"kind": "all_at_once"})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    app.put(ENVIRONMENT, document).await.expect(200);
    app
}

fn state_of<'j>(job: &'j Value, stage: &str, kind: &str) -> &'j str {
    let steps = job["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["stage"] == stage && step["kind"] == kind);
    step.unwrap_or_else(|| panic!("{stage}/{kind}: {job:#}"))["state"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn a_canary_gives_each_share_in_turn_and_then_everyone() {
    let app = with(shared(five_and_fifty())).await;
    let before = pointer(&app);
    let id = app.promote("1.1.0").await;
    let mut seen = Vec::new();
    loop {
        let job = app.job(&id).await;
        let says = pointer(&app);
        if seen.last() != Some(&says) {
            seen.push(says);
        }
        if job["state"] == "succeeded" {
            break;
        }
        assert!(job["finished_at"].is_null(), "{job:#}");
        app.to_the_next_timer().await;
    }
    let share = |weight: u32| {
        let mut document = before.clone();
        document["candidate"] = json!("1.1.0");
        document["weight"] = json!(weight);
        document
    };
    let mut everyone = before.clone();
    everyone["active"] = json!("1.1.0");
    everyone["previous"] = json!("1.0.0");
    assert_eq!(seen, [before.clone(), share(5), share(50), everyone]);
    let job = app.job(&id).await;
    assert_eq!(job["weight"], 100, "{job:#}");
    assert_eq!(app.environment().await["active"], "1.1.0");
}

#[tokio::test]
async fn a_bake_lasts_as_long_as_it_says_from_when_every_edge_knows() {
    let app = with(shared(five_and_fifty())).await;
    let id = app.promote("1.1.0").await;
    let job = app
        .timers_until(&id, |job| {
            let mut steps = job["steps"].as_array().unwrap().iter();
            steps.any(|step| step["kind"] == "bake" && step["state"] == "waiting")
        })
        .await;
    assert_eq!(state_of(&job, "weight-5:web", "edge_ttl"), "succeeded");
    assert_eq!(job["weight"], 5);
    // The rest is for a machine that is slow.
    app.advance(Duration::from_secs(200)).await;
    app.rest().await;
    assert_eq!(state_of(&app.job(&id).await, "weight-5", "bake"), "waiting");
    app.advance(Duration::from_secs(100)).await;
    let job = app
        .job_until(&id, |job| state_of(job, "weight-50:web", "flip") == "succeeded")
        .await;
    assert_eq!(state_of(&job, "weight-5", "bake"), "succeeded");
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_linear_share_grows_by_the_same_step_each_time() {
    let app = with(shared(
        json!({"kind": "linear", "step_weight": 40, "interval_seconds": 60}),
    ))
    .await;
    let job = app.promote_to_the_end("1.1.0").await;
    let flips: Vec<&str> = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["kind"] == "flip")
        .map(|step| step["stage"].as_str().unwrap())
        .collect();
    assert_eq!(flips, ["weight-40:web", "weight-80:web", "traffic:web"]);
}

#[tokio::test]
async fn an_abort_in_a_bake_takes_everyone_back_at_once_and_frees_them() {
    let app = with(shared(five_and_fifty())).await;
    let before = pointer(&app);
    let id = app.promote("1.1.0").await;
    while pointer(&app)["weight"] != 5 {
        app.to_the_next_timer().await;
    }
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    // No time moves: the bake is not waited for.
    app.job_until(&id, |job| job["state"] == "unwinding" || job["state"] == "aborted")
        .await;
    let job = app.finish_as(&id, "aborted").await;
    let mut back = before.clone();
    back["epoch"] = json!(before["epoch"].as_i64().unwrap() + 1);
    assert_eq!(pointer(&app), back, "{job:#}");
    assert_eq!(app.environment().await["active"], "1.0.0");
}

#[tokio::test]
async fn a_rollback_in_a_bake_takes_the_promotions_place() {
    let app = with(shared(five_and_fifty())).await;
    let id = app.promote("1.1.0").await;
    while pointer(&app)["weight"] != 5 {
        app.to_the_next_timer().await;
    }
    let back = app.roll_back().await;
    let job = app.finish_as(&back, "succeeded").await;
    assert_eq!(
        (&job["release"], &job["from_release"]),
        (&json!("1.0.0"), &json!("1.1.0"))
    );
    let says = pointer(&app);
    assert_eq!(
        (&says["active"], &says["candidate"], &says["weight"]),
        (&json!("1.0.0"), &Value::Null, &json!(0))
    );
    assert_eq!(app.job(&id).await["superseded_by"], json!(back));
}

#[tokio::test]
async fn components_get_each_share_in_their_order_and_those_not_named_flip_at_the_end() {
    let mut document = api_and_web();
    document["components"][1]["edge"] = json!({"mode": "viewer_rewrite"});
    document["components"][1]["cdn"]["invalidate"] = json!({"mode": "none"});
    let app = TestApp::start().await;
    app.set_up(document.clone(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let stages = async |strategy: Value| -> Vec<String> {
        document["strategy"] = strategy;
        app.put(ENVIRONMENT, document.clone()).await.expect(200);
        let body = json!({"release": "1.1.0", "dry_run": true});
        let plan = app
            .post(&format!("{ENVIRONMENT}/promotions"), body)
            .await
            .expect(200)
            .json();
        let flips = plan["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["kind"] == "flip");
        flips.map(|step| step["stage"].as_str().unwrap().to_owned()).collect()
    };
    let mut stages = stages;
    let step = json!([{"weight": 10, "bake_seconds": 1}]);
    assert_eq!(
        stages(json!({"kind": "canary", "steps": step})).await,
        ["weight-10:api", "weight-10:web", "traffic:api", "traffic:web"]
    );
    assert_eq!(
        stages(json!({"kind": "canary", "steps": step, "components": ["web"]})).await,
        ["weight-10:web", "traffic:api", "traffic:web"]
    );
}

#[tokio::test]
async fn a_strategy_that_the_roads_can_not_do_is_refused_with_the_reason_and_the_nearest() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0", "1.1.0"]).await;
    let canary =
        json!({"kind": "canary", "steps": [{"weight": 5, "bake_seconds": 1}, {"weight": 100, "bake_seconds": 60}]});
    let everyone = json!({"kind": "all_at_once", "bake_seconds": 60});
    // Behind one cache.
    let mut document = web();
    document["strategy"] = canary.clone();
    let refused = app.put(ENVIRONMENT, document).await.expect(422).json();
    assert_eq!(
        (&refused["code"], &refused["nearest"]),
        (&json!("strategy_impossible"), &everyone)
    );
    assert_eq!(refused["errors"][0]["field"], "strategy.steps[0].weight");
    assert!(refused["detail"].as_str().unwrap().contains("cache"), "{refused:#}");
    // In the plain format, for one promotion.
    app.put(ENVIRONMENT, web_with(json!({"format": "plain"})))
        .await
        .expect(200);
    app.promote_to_the_end("1.0.0").await;
    let promotion = json!({"release": "1.1.0", "strategy": canary});
    let refused = app
        .post(&format!("{ENVIRONMENT}/promotions"), promotion.clone())
        .await
        .expect(422)
        .json();
    assert!(refused["detail"].as_str().unwrap().contains("plain"), "{refused:#}");
    // One component can, the other can't.
    let mut document = api_and_web();
    document["components"][1]["cdn"]["distribution_id"] = json!("E2EXAMPLE");
    document["strategy"] = canary.clone();
    let refused = app.put(ENVIRONMENT, document).await.expect(422).json();
    let mut nearest = canary.clone();
    nearest["components"] = json!(["api"]);
    assert_eq!(refused["nearest"], nearest, "{refused:#}");
}

#[tokio::test]
async fn the_first_promotion_has_nobody_to_leave_behind_and_says_so() {
    let app = TestApp::start().await;
    app.double
        .put_parameter(REGION, PARAMETER, "something of before")
        .unwrap();
    app.set_up(shared(five_and_fifty()), &["1.0.0"]).await;
    let refused = app
        .post(&format!("{ENVIRONMENT}/promotions"), json!({"release": "1.0.0"}))
        .await
        .expect(422)
        .json();
    assert_eq!(refused["code"], "strategy_impossible");
    assert_eq!(refused["nearest"], json!({"kind": "all_at_once"}));
    let body = json!({"release": "1.0.0", "strategy": refused["nearest"]});
    let id = app.promote_with(body).await;
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_bake_with_everyone_comes_between_shifted_and_settled() {
    let site = Site::start().await;
    let mut document = shared(json!({"kind": "all_at_once", "bake_seconds": 120}));
    document["checks"] = json!([
        {"name": "smoke", "when": "after_traffic", "kind": "http", "url": format!("{}/smoke", site.url)},
        {"name": "errors", "when": "during_bake", "kind": "http", "url": format!("{}/errors", site.url)}]);
    let app = with(document).await;
    let id = app.promote("1.1.0").await;
    app.timers_until(&id, |job| job["traffic_shifted_at"].is_string()).await;
    let job = app
        .job_until(&id, |job| state_of(job, "after_traffic", "bake") == "waiting")
        .await;
    assert_eq!((&job["settled_at"], &job["weight"]), (&Value::Null, &json!(100)));
    let job = app.finish_as(&id, "succeeded").await;
    let seconds = |field: &str| chrono::DateTime::parse_from_rfc3339(job[field].as_str().unwrap()).unwrap();
    let between = seconds("settled_at") - seconds("traffic_shifted_at");
    assert!(between.num_seconds() >= 120, "{job:#}");
    assert_eq!(site.sent_to("/smoke").len(), 1);
    assert!(site.sent_to("/errors").len() >= 12, "{}", site.sent_to("/errors").len());
}

#[tokio::test]
async fn a_share_is_in_the_parameter_and_in_the_key_that_the_edge_reads() {
    let app = TestApp::start().await;
    let arn = app.store_arn();
    let projected = |strategy: Value| {
        let mut document = shared(strategy);
        document["components"][0]["router"]["kvs_arn"] = json!(arn);
        document["components"][0]["router"]["kvs_key"] = json!(KEY);
        document
    };
    app.set_up(projected(json!({"kind": "all_at_once"})), &["1.0.0", "1.1.0"])
        .await;
    app.promote_to_the_end("1.0.0").await;
    app.put(ENVIRONMENT, projected(five_and_fifty())).await.expect(200);
    let id = app.promote("1.1.0").await;
    for weight in [5, 50] {
        let job = app.timers_until(&id, |job| job["weight"] == weight).await;
        let says = pointer(&app);
        assert_eq!(
            (&says["candidate"], &says["weight"]),
            (&json!("1.1.0"), &json!(weight)),
            "{job:#}"
        );
        assert_eq!(app.key(KEY), app.pointer());
        assert_eq!(app.key(LAST_GOOD), app.pointer());
    }
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    app.finish_as(&id, "aborted").await;
    assert_eq!((app.active().as_deref(), app.key(KEY)), (Some("1.0.0"), app.pointer()));
}
