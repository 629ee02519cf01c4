//! Checks: before traffic, during a bake, after it; and what a failure leaves behind.

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use super::{
    canary::{five_and_fifty, shared, with},
    site::{Answers, Site},
};
use crate::support::{ENVIRONMENT, REGION, TestApp};

fn with_check(strategy: Value, check: Value) -> Value {
    let mut document = shared(strategy);
    document["checks"] = json!([check]);
    document
}

fn everyone() -> Value {
    json!({"kind": "all_at_once"})
}

/// What SSM names as active, and the weight beside it.
fn names(app: &TestApp) -> (Value, Value) {
    let document: Value = serde_json::from_str(&app.pointer().unwrap()).unwrap();
    (document["active"].clone(), document["weight"].clone())
}

#[tokio::test]
async fn a_check_before_traffic_that_fails_touches_nothing_and_says_what_it_saw() {
    let site = Site::start().await;
    site.answer("/health", 503, "database is away");
    let url = format!("{}/health?release={{release}}&from={{from_release}}", site.url);
    let check = json!({"name": "smoke", "when": "before_traffic", "kind": "http", "url": url, "expect_status": 200,
                       "headers": {"x-app": "{app}/{environment}"}, "method": "POST", "body": "{\"v\": \"{release}\"}"});
    let app = with(with_check(everyone(), check)).await;
    let before = app.pointer();
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(app.pointer(), before);
    let error = &job["error"];
    assert_eq!(
        (&error["code"], &error["step"]),
        (&json!("check_failed"), &json!("before_traffic/check"))
    );
    let message = error["message"].as_str().unwrap();
    for part in ["smoke", "503", "200", "database is away"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(error["evidence"]["seen"]["status"], 503, "{error:#}");
    let sent = site.sent_to("/health").remove(0);
    assert_eq!(sent.query, "release=1.1.0&from=1.0.0");
    assert_eq!(sent.headers["x-app"], "storefront/production");
    assert_eq!(
        (sent.method.as_str(), sent.body.as_str()),
        ("POST", r#"{"v": "1.1.0"}"#)
    );
    // Nothing is in the way of the next one.
    site.answer("/health", 200, "fine");
    app.promote_to_the_end("1.1.0").await;
}

#[tokio::test]
async fn a_check_has_as_many_tries_as_it_says() {
    let site = Site::start().await;
    let bad = || Answers::With(500, "not yet".to_owned());
    site.answer_in_turn("/health", vec![bad(), bad(), Answers::With(200, "ok".to_owned())]);
    let check = |attempts: u32| {
        json!({"name": "smoke", "when": "before_traffic", "kind": "http", "url": format!("{}/health", site.url),
               "attempts": attempts, "interval_seconds": 30})
    };
    let app = with(with_check(everyone(), check(3))).await;
    let job = app.promote_to_the_end("1.1.0").await;
    let step = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["kind"] == "check")
        .unwrap();
    assert_eq!(
        (&step["output"]["tries"], &step["output"]["verdict"]),
        (&json!(3), &json!("pass"))
    );
    app.roll_back_to_the_end().await;
    site.answer_in_turn("/health", vec![bad(), bad(), Answers::With(200, "ok".to_owned())]);
    app.put(ENVIRONMENT, with_check(everyone(), check(2))).await.expect(200);
    let id = app.promote("1.1.0").await;
    app.finish_as(&id, "failed").await;
}

#[tokio::test]
async fn a_check_that_fails_during_a_bake_ends_it_at_once_and_takes_everyone_back() {
    let site = Site::start().await;
    let check = json!({"name": "errors", "when": "during_bake", "kind": "http", "url": format!("{}/errors", site.url),
                       "interval_seconds": 10});
    let app = with(with_check(five_and_fifty(), check)).await;
    let id = app.promote("1.1.0").await;
    let is_baking = |job: &Value| {
        let mut steps = job["steps"].as_array().unwrap().iter();
        steps.any(|step| step["stage"] == "weight-50" && step["kind"] == "bake" && step["state"] == "waiting")
            && job["waiting_for"] == "timer"
    };
    app.timers_until(&id, is_baking).await;
    let asked = site.sent_to("/errors").len();
    assert!(asked > 25, "the first bake of 300 s asks every 10 s: {asked}");
    site.answer("/errors", 500, "errors: 12 %");
    app.advance(Duration::from_secs(10)).await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "check_failed", "{job:#}");
    assert!(job["error"]["message"].as_str().unwrap().contains("errors: 12 %"));
    assert_eq!(names(&app), (json!("1.0.0"), json!(0)));
    let bake = |stage: &str| {
        let steps = job["steps"].as_array().unwrap();
        let step = steps
            .iter()
            .find(|step| step["kind"] == "bake" && step["stage"] == stage)
            .unwrap();
        step["state"].clone()
    };
    assert_eq!(
        (bake("weight-5"), bake("weight-50")),
        (json!("succeeded"), json!("skipped"))
    );
    assert_eq!(app.environment().await["active"], "1.0.0");
    let verdicts = app.events(&id, "check.verdict").await;
    let said: Vec<&Value> = verdicts.iter().map(|event| &event["verdict"]).collect();
    assert_eq!(
        said,
        ["pass", "pass", "fail"],
        "one for each share, and the one that changed"
    );
    assert_eq!(verdicts[2]["evidence"]["status"], 500);
}

#[tokio::test]
async fn a_step_of_a_canary_has_checks_of_its_own() {
    let site = Site::start().await;
    let own = json!({"name": "deep", "kind": "http", "url": format!("{}/deep?weight={{weight}}", site.url)});
    let strategy = json!({"kind": "canary", "steps": [{"weight": 10, "bake_seconds": 20},
                                                      {"weight": 60, "bake_seconds": 20, "checks": [own]}]});
    let app = with(shared(strategy)).await;
    app.promote_to_the_end("1.1.0").await;
    let asked = site.sent_to("/deep");
    assert!((2..=4).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|sent| sent.query == "weight=60"), "{asked:?}");
}

#[tokio::test]
async fn a_check_that_does_not_answer_is_not_waited_for_by_an_abort() {
    let site = Site::start().await;
    site.answer_in_turn("/slow", vec![Answers::Never]);
    let check = json!({"name": "slow", "when": "after_traffic", "kind": "http", "url": format!("{}/slow", site.url),
                       "timeout_seconds": 60});
    let app = with(with_check(everyone(), check)).await;
    let id = app.promote("1.1.0").await;
    app.job_until(&id, |job| job["steps"][1]["state"] == "succeeded").await;
    while site.sent_to("/slow").is_empty() {
        app.to_the_next_timer().await;
    }
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    // Well before the check's time is over; nothing moves the clock until the flip is back.
    let job = app.job_until(&id, |job| job["state"] == "unwinding").await;
    assert!(job["error"]["code"] == "aborted", "{job:#}");
    app.finish_as(&id, "aborted").await;
    assert_eq!(names(&app).0, "1.0.0");
}

#[tokio::test]
async fn an_alarm_fails_a_release_and_too_little_data_leaves_it_open() {
    let check = |setting: &str| {
        json!({"name": "alarms", "when": "before_traffic", "kind": "cloudwatch_alarm",
               "alarms": ["storefront-5xx", "storefront-latency"], "on_inconclusive": setting})
    };
    let app = with(with_check(everyone(), check("fail"))).await;
    let failed = async |code: &str, part: &str| {
        let id = app.promote("1.1.0").await;
        let job = app.finish_as(&id, "failed").await;
        assert_eq!(job["error"]["code"], code, "{job:#}");
        assert!(job["error"]["message"].as_str().unwrap().contains(part), "{job:#}");
    };
    failed("check_failed", "no alarm storefront-5xx, storefront-latency").await;
    for alarm in ["storefront-5xx", "storefront-latency"] {
        app.double.put_alarm(REGION, alarm).unwrap();
    }
    failed("check_inconclusive", "INSUFFICIENT_DATA").await;
    app.double
        .set_alarm_state(REGION, "storefront-latency", "OK", "fine")
        .unwrap();
    app.double
        .set_alarm_state(REGION, "storefront-5xx", "ALARM", "Threshold Crossed: 12 > 5")
        .unwrap();
    failed("check_failed", "Threshold Crossed: 12 > 5").await;
    app.double
        .set_alarm_state(REGION, "storefront-5xx", "INSUFFICIENT_DATA", "new")
        .unwrap();
    app.put(ENVIRONMENT, with_check(everyone(), check("pass")))
        .await
        .expect(200);
    let job = app.promote_to_the_end("1.1.0").await;
    assert_eq!(job["warnings"][0]["code"], "check_inconclusive", "{job:#}");
    app.roll_back_to_the_end().await;
    // Somebody has to look.
    app.put(ENVIRONMENT, with_check(everyone(), check("pause")))
        .await
        .expect(200);
    let id = app.promote("1.1.0").await;
    let job = app.job_until(&id, |job| job["waiting_for"] == "pause").await;
    assert_eq!(
        (&job["paused"]["by"], &names(&app).0),
        (&json!("greenlight"), &json!("1.0.0"))
    );
    app.post(&format!("/v1/jobs/{id}/resume"), json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
    app.roll_back_to_the_end().await;
    // AWS that says no will say no again.
    app.put(ENVIRONMENT, with_check(everyone(), check("pass")))
        .await
        .expect(200);
    app.double
        .faults()
        .add(Fault::on("DescribeAlarms", FaultAction::AccessDenied));
    failed("check_failed", "cloudwatch:DescribeAlarms").await;
}

#[tokio::test]
async fn an_alarm_in_a_bake_has_until_its_end_to_know() {
    let check = json!({"name": "alarms", "when": "during_bake", "kind": "cloudwatch_alarm", "alarms": ["a"]});
    let app = with(with_check(five_and_fifty(), check)).await;
    app.double.put_alarm(REGION, "a").unwrap();
    let id = app.promote("1.1.0").await;
    while names(&app).1 != 5 {
        app.to_the_next_timer().await;
    }
    app.advance(Duration::from_secs(200)).await;
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    app.double.set_alarm_state(REGION, "a", "OK", "fine").unwrap();
    app.finish_as(&id, "succeeded").await;
}

#[tokio::test]
async fn a_webhook_answers_at_once_or_calls_back() {
    let site = Site::start().await;
    let check = json!({"name": "e2e", "when": "before_traffic", "kind": "webhook", "url": format!("{}/e2e", site.url),
                       "timeout_seconds": 3600});
    let app = with(with_check(everyone(), check)).await;
    site.answer("/e2e", 200, r#"{"verdict": "fail", "message": "3 of 140 failed"}"#);
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert!(
        job["error"]["message"].as_str().unwrap().contains("3 of 140 failed"),
        "{job:#}"
    );

    site.answer("/e2e", 202, "");
    let id = app.promote("1.1.0").await;
    let sent = loop {
        match site
            .sent_to("/e2e")
            .pop()
            .filter(|sent| sent.json()["job"] == json!(id))
        {
            Some(sent) => break sent,
            None => app.job(&id).await,
        };
    };
    let body = sent.json();
    assert_eq!(
        (
            &body["type"],
            &body["name"],
            &body["release"],
            &body["from_release"],
            &body["attempt"]
        ),
        (
            &json!("check"),
            &json!("e2e"),
            &json!("1.1.0"),
            &json!("1.0.0"),
            &json!(1)
        )
    );
    let path = format!("/v1/jobs/{id}/callback");
    assert_eq!(body["callback"]["path"], json!(path));
    let token = body["callback"]["token"].as_str().unwrap();
    assert!(sent.headers["idempotency-key"].to_str().unwrap().contains(&id));
    let verdict = json!({"verdict": "pass", "message": "140 of 140"});
    app.call_back(&path, "glc_2_1_AAAA", &verdict).await.expect(401);
    app.call_back(&path, &token[..token.len() - 2], &verdict)
        .await
        .expect(401);
    app.call_back(&path, token, &verdict).await.expect(204);
    app.call_back(&path, token, &verdict).await.expect(204);
    let other = app
        .call_back(&path, token, &json!({"verdict": "fail"}))
        .await
        .expect(409)
        .json();
    assert_eq!(other["code"], "callback_late");
    let job = app.finish_as(&id, "succeeded").await;
    let step = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["kind"] == "check")
        .unwrap();
    assert!(
        step["output"]["message"].as_str().unwrap().contains("140 of 140"),
        "{step:#}"
    );
}

#[tokio::test]
async fn a_webhook_that_never_calls_back_is_inconclusive_when_its_time_is_over() {
    let site = Site::start().await;
    site.answer("/e2e", 202, "");
    let check = json!({"name": "e2e", "when": "before_traffic", "kind": "webhook", "url": format!("{}/e2e", site.url),
                       "timeout_seconds": 600});
    let app = with(with_check(everyone(), check)).await;
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "check_inconclusive", "{job:#}");
    let token = site.sent_to("/e2e").remove(0).json()["callback"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let late = app
        .call_back(&format!("/v1/jobs/{id}/callback"), &token, &json!({"verdict": "pass"}))
        .await
        .expect(409)
        .json();
    assert_eq!(late["code"], "callback_late");
}

#[tokio::test]
async fn an_edge_that_does_not_know_the_previews_secret_yet_is_asked_again() {
    let site = Site::start().await;
    let check = json!({"name": "smoke", "when": "before_traffic", "kind": "http", "url": format!("{}/", site.url),
                       "preview": true, "expect_headers": {"x-greenlight-release": {"equals": "{release}"}}});
    let app = with(with_check(everyone(), check)).await;
    let named = |releases: &[&'static str]| releases.iter().map(|release| Answers::Named(release)).collect();
    site.answer_in_turn("/", named(&["1.0.0", "1.0.0", "1.1.0"]));
    app.promote_to_the_end("1.1.0").await;
    assert_eq!(site.sent_to("/").len(), 3, "the first two say nothing of the candidate");
    app.roll_back_to_the_end().await;
    site.answer_in_turn("/", named(&["1.0.0"]));
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "check_inconclusive", "{job:#}");
    assert_eq!(job["error"]["evidence"]["seen"]["release"], "1.0.0", "{job:#}");
}

#[tokio::test]
async fn what_is_unclear_at_the_end_of_a_bake_is_asked_as_often_as_the_check_says() {
    let site = Site::start().await;
    let check = |attempts: u32| {
        json!({"name": "suite", "when": "during_bake", "kind": "webhook", "url": format!("{}/suite", site.url),
               "interval_seconds": 200, "attempts": attempts})
    };
    let bake = json!({"kind": "canary", "steps": [{"weight": 5, "bake_seconds": 300}]});
    let app = with(with_check(bake.clone(), check(2))).await;
    let with_status = |status: u16| Answers::With(status, String::new());
    // At 0 s and 200 s, at the end, and once more.
    site.answer_in_turn("/suite", [200, 200, 503, 200].map(with_status).to_vec());
    app.promote_to_the_end("1.1.0").await;
    assert_eq!(site.sent_to("/suite").len(), 4);
    app.roll_back_to_the_end().await;
    app.put(ENVIRONMENT, with_check(bake, check(1))).await.expect(200);
    site.answer_in_turn("/suite", [200, 200, 503].map(with_status).to_vec());
    let id = app.promote("1.1.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "check_inconclusive", "{job:#}");
}

#[tokio::test]
async fn the_candidate_is_asked_with_the_preview_cookie_before_it_has_traffic() {
    let site = Site::start().await;
    let check = json!({"name": "smoke", "when": "before_traffic", "kind": "http", "url": format!("{}/", site.url),
                       "preview": true, "headers": {"cookie": "a=b"}});
    let app = with(with_check(everyone(), check)).await;
    app.promote_to_the_end("1.1.0").await;
    let cookie = site.sent_to("/").remove(0).headers["cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    let token = cookie
        .strip_prefix("a=b; greenlight-preview=")
        .unwrap_or_else(|| panic!("{cookie}"));
    let (secret, _) = app
        .double
        .parameter(REGION, "/storefront/production/release.preview-key")
        .unwrap();
    let expires: i64 = token.split('~').next().unwrap().parse().unwrap();
    let release = greenlight::domain::names::Version::parse("1.1.0").unwrap();
    assert_eq!(token, greenlight::domain::preview::token(&secret, &release, expires));
}
