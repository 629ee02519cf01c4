//! The local edge under a constant load while traffic is moved to and fro: not one 5xx, and no answer from a release
//! that the pointer had not named within the last edge TTL. In real time: the load is real too. `make bench` does the
//! same a hundred times and prints the figures.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    TestApp,
    load::{self, Load},
};

const TTL: Duration = Duration::from_secs(1);
const RELEASES: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0+b.1"];
const PATIENCE: Duration = Duration::from_secs(60);

async fn succeeded(app: &TestApp, id: &str) -> Value {
    let ended = |job: &Value| ["succeeded", "failed", "aborted", "stuck"].contains(&job["state"].as_str().unwrap());
    let job = app.job_until(id, ended).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_notice_nothing_but_the_new_release() {
    let app = TestApp::start().await;
    let arn = app.double.add_key_value_store("edge");
    let edge = load::edge(&app.double, &arn, TTL).await;
    for release in RELEASES {
        load::upload(&app.double, release);
    }
    app.set_up(load::document(&arn, &edge, TTL), &RELEASES).await;
    let id = app.promote(RELEASES[0]).await;
    succeeded(&app, &id).await;

    let points = edge.pop_addresses().to_vec();
    let mut load = Load::start(&points, 2, TTL, load::active(&app.double, &arn));
    for release in [RELEASES[1], RELEASES[2]] {
        let id = app.promote(release).await;
        let job = succeeded(&app, &id).await;
        assert!(job["converged_at"].is_string(), "{job:#}");
        load.until_everywhere(release, points.len(), PATIENCE).await;
    }
    for release in [RELEASES[1], RELEASES[0]] {
        let id = app.roll_back().await;
        succeeded(&app, &id).await;
        load.until_everywhere(release, points.len(), PATIENCE).await;
    }
    let outcome = load.end().await;
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert!(
        outcome.requests > 500,
        "too few requests to say anything: {}",
        outcome.requests
    );
    edge.shutdown().await;
}
