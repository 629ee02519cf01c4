//! Calls of webhooks that come more than once, and answers that come late.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    canary::{five_and_fifty, shared, with},
    hooks::{hook, hooked},
    site::{Answers, Sent, Site},
};
use crate::support::TestApp;

fn id(sent: &Sent) -> String {
    assert_eq!(sent.headers["webhook-id"], sent.headers["idempotency-key"]);
    sent.headers["webhook-id"].to_str().unwrap().to_owned()
}

async fn call_back(app: &TestApp, sent: &Sent, verdict: &str) {
    let callback = &sent.json()["callback"];
    let (path, token) = (callback["path"].as_str().unwrap(), callback["token"].as_str().unwrap());
    app.call_back(path, token, &json!({"verdict": verdict}))
        .await
        .expect(204);
}

/// Waits for a webhook that answers later.
fn patient(site: &Site) -> Value {
    let mut hook = hook(site, "expand", "before_traffic");
    hook["timeout_seconds"] = json!(600);
    hook
}

#[tokio::test]
async fn each_question_of_a_check_has_an_id_of_its_own_and_each_try_of_a_hook_the_same() {
    let site = Site::start().await;
    site.answer_in_turn(
        "/expand",
        vec![Answers::With(503, String::new()), Answers::With(200, String::new())],
    );
    let mut document = shared(five_and_fifty());
    document["hooks"] = json!([hook(&site, "expand", "before_traffic")]);
    document["checks"] = json!([{"name": "suite", "when": "during_bake", "kind": "webhook",
                                 "url": format!("{}/suite", site.url), "interval_seconds": 200}]);
    let app = with(document).await;
    app.promote_to_the_end("1.1.0").await;
    let calls = site.sent_to("/expand");
    assert_eq!(calls.len(), 2);
    assert_eq!(id(&calls[0]), id(&calls[1]));
    let mut ids: Vec<String> = site.sent_to("/suite").iter().map(id).collect();
    let asked = ids.len();
    ids.sort();
    ids.dedup();
    assert!(asked >= 5 && ids.len() == asked, "{asked}: {ids:?}");
}

#[tokio::test]
async fn an_answer_to_an_earlier_try_of_a_hook_is_an_answer() {
    let site = Site::start().await;
    site.answer("/expand", 202, "");
    let app = with(hooked(json!([patient(&site)]))).await;
    let job = app.promote("1.1.0").await;
    // The first try had its time; its receiver does the work once, whoever asks again.
    app.timers_until(&job, |_| site.sent_to("/expand").len() == 2).await;
    app.rest().await;
    call_back(&app, &site.sent_to("/expand")[0], "pass").await;
    app.finish_as(&job, "succeeded").await;
    assert_eq!(site.sent_to("/expand").len(), 2);
}

#[tokio::test]
async fn a_no_to_an_earlier_try_does_not_answer_the_next() {
    let site = Site::start().await;
    site.answer("/expand", 202, "");
    let app = with(hooked(json!([patient(&site)]))).await;
    let job = app.promote("1.1.0").await;
    site.hears("/expand").await;
    app.rest().await;
    call_back(&app, &site.sent_to("/expand")[0], "fail").await;
    app.timers_until(&job, |_| site.sent_to("/expand").len() == 2).await;
    app.rest().await;
    assert_eq!(app.job(&job).await["waiting_for"], "timer", "the second is waited for");
    call_back(&app, &site.sent_to("/expand")[1], "pass").await;
    app.finish_as(&job, "succeeded").await;
}

#[tokio::test]
async fn a_call_whose_worker_died_may_be_answered_with_the_token_it_had() {
    let site = Site::start().await;
    let never = Answers::When(202, Arc::new(Notify::new()));
    site.answer_in_turn("/expand", vec![never, Answers::With(202, String::new())]);
    let mut app = with(hooked(json!([patient(&site)]))).await;
    let job = app.promote("1.1.0").await;
    site.hears("/expand").await;
    app.kill_worker(0).await;
    app.advance(Duration::from_secs(31)).await;
    app.start_worker();
    app.job_until(&job, |_| site.sent_to("/expand").len() == 2).await;
    app.rest().await;
    let calls = site.sent_to("/expand");
    assert_eq!(id(&calls[0]), id(&calls[1]));
    assert_ne!(calls[0].json()["callback"], calls[1].json()["callback"]);
    call_back(&app, &calls[0], "pass").await;
    app.finish_as(&job, "succeeded").await;
}
