//! A purge without a flip.

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::json;

use super::canary::{five_and_fifty, shared, with};
use crate::support::{ENVIRONMENT, TestApp, web};

#[tokio::test]
async fn a_purge_is_a_tracked_job_beside_whatever_runs() {
    let app = with(shared(five_and_fifty())).await;
    let promotion = app.promote("1.1.0").await;
    app.job_until(&promotion, |job| job["weight"] == 5).await;
    let before = app.invalidations().len();
    let body = json!({"paths": ["/index.html", "/images/*"], "reason": "wrong picture"});
    let answer = app
        .post(&format!("{ENVIRONMENT}/invalidations"), body)
        .await
        .expect(202);
    let id = answer.id();
    let job = app.job_until(&id, |job| job["state"] == "succeeded").await;
    assert_eq!(
        (&job["kind"], &job["reason"]),
        (&json!("invalidation"), &json!("wrong picture"))
    );
    let sent = app.invalidations();
    assert_eq!(sent.len(), before + 1);
    assert_eq!(sent.last().unwrap().paths, ["/index.html", "/images/*"]);
    assert_eq!(sent.last().unwrap().caller_reference, job["steps"][0]["token"]);
    // It held nothing, and nobody had to wait.
    assert_eq!(app.environment().await["current_job"], json!(promotion));
    app.finish_as(&promotion, "succeeded").await;
    assert_eq!(app.environment().await["active"], "1.1.0");
}

#[tokio::test]
async fn a_purge_that_is_refused_fails_and_can_be_retried() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    app.double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::AccessDenied).once());
    let id = app
        .post(&format!("{ENVIRONMENT}/invalidations"), json!({"paths": ["/*"]}))
        .await
        .expect(202)
        .id();
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "aws_access_denied", "{job:#}");
    assert_eq!(app.environment().await["current_job"], json!(null));
    app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
    app.finish_as(&id, "succeeded").await;
    app.assert_one_invalidation_per_step();
}

#[tokio::test]
async fn without_a_distribution_there_is_nothing_to_purge() {
    let app = TestApp::start().await;
    let mut document = web();
    document["components"][0].as_object_mut().unwrap().remove("cdn");
    app.set_up(document, &[]).await;
    let refused = app
        .post(&format!("{ENVIRONMENT}/invalidations"), json!({"paths": ["/*"]}))
        .await
        .expect(409)
        .json();
    assert_eq!(refused["code"], "nothing_to_invalidate");
}
