//! A check that asks the local edge for the release that nobody has yet.

use std::time::Duration;

use greenlight::outbound::{AllowList, Outbound, Question};
use serde_json::json;

use crate::support::{ENVIRONMENT, TestApp, load};

const TTL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_candidate_is_tested_at_the_edge_though_it_has_just_said_that_there_is_no_preview() {
    let app = TestApp::start().await;
    let arn = app.double.add_key_value_store("edge");
    let edge = load::edge(&app.double, &arn, TTL).await;
    let document = load::document(&arn, &edge, TTL);
    for release in ["1.0.0", "1.1.0"] {
        load::upload(&app.double, release);
    }
    app.set_up(document.clone(), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    // Somebody comes with a preview of long ago: the edge looks for the secret, and learns that there is none.
    let outbound = Outbound::new(AllowList::loopback());
    let url = edge.url();
    let mut question = Question::get(&url, Duration::from_secs(10));
    let cookie = "greenlight-preview=1~1.1.0~00";
    question.headers.insert("cookie", cookie.parse().unwrap());
    let answer = outbound.ask(question).await.unwrap();
    assert_eq!(answer.headers["x-greenlight-release"], "1.0.0");

    let mut watched = document;
    watched["checks"] = json!([{
        "name": "smoke", "when": "before_traffic", "kind": "http", "url": url, "preview": true,
        "expect_headers": {"x-greenlight-release": {"equals": "{release}"}},
        "expect_body": {"contains": "data-release=\"{release}\""}}]);
    app.put(ENVIRONMENT, watched).await.expect(200);
    let job = app.promote_to_the_end("1.1.0").await;
    let steps = job["steps"].as_array().unwrap();
    let check = steps.iter().find(|step| step["kind"] == "check").unwrap();
    assert_eq!(
        (&check["output"]["verdict"], &check["output"]["tries"]),
        (&json!("pass"), &json!(1)),
        "{check:#}"
    );
    let flip = steps.iter().find(|step| step["kind"] == "flip").unwrap();
    assert!(
        check["finished_at"].as_str() <= flip["started_at"].as_str(),
        "before anybody has it: {job:#}"
    );
    edge.shutdown().await;
}
