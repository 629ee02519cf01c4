//! What a promotion has settled stays, though it has yet to take back what another one had begun.

use serde_json::{Value, json};

use super::{
    canary::with,
    hooks::{hook, hooked},
    site::Site,
};
use crate::support::TestApp;

/// 1.2.0 took the place of 1.1.0, settled, and could not take back that one's hook: it is stuck.
async fn settled_and_stuck(site: &Site) -> (TestApp, String) {
    let mut document = hooked(json!([hook(site, "expand", "before_traffic")]));
    document["checks"] = json!([{"name": "smoke", "when": "before_traffic", "kind": "http",
                                 "url": format!("{}/smoke", site.url)}]);
    let app = with(document).await;
    app.register("1.2.0").await;
    app.register("1.3.0").await;
    let first = app.promote("1.1.0").await;
    app.job_until(&first, |job| job["weight"] == 10).await;
    site.answer("/expand/undo", 400, "no");
    let second = app
        .promote_with(json!({"release": "1.2.0", "on_conflict": "supersede"}))
        .await;
    let job = app.finish_as(&second, "stuck").await;
    assert_eq!(job["error"]["code"], "promotion_incomplete", "{job:#}");
    assert_on(&app, "1.2.0").await;
    (app, second)
}

async fn assert_on(app: &TestApp, release: &str) {
    assert_eq!(app.active().as_deref(), Some(release));
    let environment = app.environment().await;
    assert_eq!(
        (&environment["active"], &environment["drift"]),
        (&json!(release), &Value::Null)
    );
}

#[tokio::test]
async fn an_abort_in_its_retry_comes_too_late_for_traffic() {
    let site = Site::start().await;
    let (app, id) = settled_and_stuck(&site).await;
    let asked = site.sent_to("/expand/undo").len();
    site.answer("/expand/undo", 202, "");
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.job_until(&id, |job| job["waiting_for"] == "timer").await;
    app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
    let sent = site.sent_to("/expand/undo").pop().unwrap();
    assert_eq!(site.sent_to("/expand/undo").len(), asked + 1);
    let callback = &sent.json()["callback"];
    let (path, token) = (callback["path"].as_str().unwrap(), callback["token"].as_str().unwrap());
    app.call_back(path, token, &json!({"verdict": "pass"}))
        .await
        .expect(204);
    app.finish_as(&id, "succeeded").await;
    assert_on(&app, "1.2.0").await;
}

#[tokio::test]
async fn who_takes_its_place_and_fails_goes_back_to_it_and_keeps_its_hooks() {
    let site = Site::start().await;
    let (app, _) = settled_and_stuck(&site).await;
    site.answer("/expand/undo", 200, "");
    site.answer("/smoke", 500, "");
    let third = app
        .promote_with(json!({"release": "1.3.0", "on_conflict": "supersede"}))
        .await;
    let job = app.finish_as(&third, "failed").await;
    assert_eq!(job["error"]["code"], "check_failed", "{job:#}");
    assert_on(&app, "1.2.0").await;
    let undone = site.sent_to("/expand/undo");
    assert_eq!(undone.last().unwrap().query, "release=1.1.0");
    assert!(
        undone.iter().all(|sent| sent.query != "release=1.2.0"),
        "1.2.0 serves, and needs it"
    );
}

#[tokio::test]
async fn who_takes_its_place_and_succeeds_takes_back_what_it_still_owed_and_no_more() {
    let site = Site::start().await;
    let (app, _) = settled_and_stuck(&site).await;
    site.answer("/expand/undo", 200, "");
    let third = app
        .promote_with(json!({"release": "1.3.0", "on_conflict": "supersede"}))
        .await;
    app.finish_as(&third, "succeeded").await;
    assert_on(&app, "1.3.0").await;
    let undone = site.sent_to("/expand/undo");
    assert!(undone.iter().all(|sent| sent.query == "release=1.1.0"), "{undone:?}");
}
