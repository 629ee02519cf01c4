//! The public URL is asked until it names the release: the site here is a small one of the test's own, whose
//! addresses answer what they are told to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{TestApp, web};

/// One address of the site. It answers with the words in turn, the last of them for ever.
#[derive(Clone)]
struct Site {
    address: SocketAddr,
    state: Arc<Mutex<SiteState>>,
}

#[derive(Default)]
struct SiteState {
    words: Vec<&'static str>,
    asked: Vec<HeaderMap>,
}

async fn answer(State(state): State<Arc<Mutex<SiteState>>>, headers: HeaderMap) -> impl IntoResponse {
    let mut state = state.lock().unwrap();
    state.asked.push(headers);
    let word = if state.words.len() > 1 {
        state.words.remove(0)
    } else {
        state.words[0]
    };
    match word {
        "503" => (StatusCode::SERVICE_UNAVAILABLE, [("x-greenlight-release", "1.0.0")]).into_response(),
        "none" => "unmarked".into_response(),
        word => ([("x-greenlight-release", word)], "page").into_response(),
    }
}

impl Site {
    async fn start(words: &[&'static str]) -> Self {
        let state = Arc::new(Mutex::new(SiteState {
            words: words.to_vec(),
            asked: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(answer)).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }
}

fn document(converge: Value) -> Value {
    let mut document = web();
    document["components"][0]["edge"] = json!({
        "mode": "origin", "public_url": "http://www.example.com/", "converge": converge
    });
    document
}

fn step<'a>(job: &'a Value, kind: &str) -> &'a Value {
    let steps = job["steps"].as_array().unwrap();
    steps.iter().find(|step| step["kind"] == kind).unwrap()
}

#[tokio::test]
async fn the_job_waits_until_every_address_names_the_release_so_often_in_a_row() {
    let app = TestApp::start().await;
    let quick = Site::start(&["1.0.0"]).await;
    // Two good answers, then a relapse: the row begins again.
    let slow = Site::start(&["none", "1.0.0", "1.0.0", "0.9.0", "503", "1.0.0"]).await;
    let addresses = json!([quick.address.to_string(), slow.address.to_string()]);
    app.set_up(
        document(json!({"consecutive": 3, "interval_ms": 100, "addresses": addresses})),
        &["1.0.0"],
    )
    .await;
    let job = app.promote_to_the_end("1.0.0").await;
    let converge = step(&job, "converge");
    assert_eq!(converge["state"], "succeeded", "{converge:#}");
    assert_eq!(converge["output"]["converged"], true);
    assert_eq!(converge["output"]["answers"][slow.address.to_string()], 3);
    // "none", then two good and a bad one, then the 503, then three good ones.
    assert_eq!(slow.asked(), 8);
    assert!(quick.asked() >= 3);
    // After the invalidation, before the last word.
    let kinds: Vec<&str> = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["preflight", "flip", "invalidate", "converge", "settle"]);
    // The measured time.
    assert!(job["converged_at"].is_string(), "{job:#}");
    assert!(job["converged_after_seconds"].as_f64().unwrap() > 0.0, "{job:#}");
    // It asked as a first navigation to the public URL.
    let state = slow.state.lock().unwrap();
    let asked = &state.asked[0];
    assert_eq!(asked["host"], "www.example.com");
    assert_eq!(asked["sec-fetch-mode"], "navigate");
    assert!(!asked.contains_key("cookie"));
}

#[tokio::test]
async fn a_promotion_that_does_not_converge_is_undone_and_says_what_each_address_said() {
    let app = TestApp::start().await;
    let site = Site::start(&["0.9.0"]).await;
    let converge = json!({"addresses": [site.address.to_string()], "timeout_seconds": 60});
    app.set_up(document(converge), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "not_converged", "{job:#}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("answered 200 and named 0.9.0"), "{message}");
    assert!(message.contains(&site.address.to_string()), "{message}");
    assert_eq!(job["converged_at"], Value::Null);
    assert_eq!(app.pointer(), None, "the created parameter is gone again");
}

#[tokio::test]
async fn a_promotion_may_go_on_without_and_a_rollback_always_does() {
    let app = TestApp::start().await;
    let site = Site::start(&["1.0.0"]).await;
    let address = site.address.to_string();
    let converge = json!({"addresses": [address], "timeout_seconds": 30, "on_timeout": "continue"});
    app.set_up(document(converge), &["1.0.0", "1.1.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let job = app.promote_to_the_end("1.1.0").await;
    assert_eq!(job["warnings"][0]["code"], "not_converged", "{job:#}");
    assert_eq!(step(&job, "converge")["output"]["converged"], false);
    assert_eq!(job["converged_at"], Value::Null, "{job:#}");
    // On the way back the same site is the proof.
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(step(&job, "converge")["output"]["converged"], true, "{job:#}");
    // A way back whose site says something else still gets there.
    app.put(
        crate::support::ENVIRONMENT,
        document(json!({"addresses": [site.address.to_string()], "timeout_seconds": 30, "on_timeout": "continue"})),
    )
    .await
    .expect(200);
    app.promote_to_the_end("1.1.0").await;
    site.state.lock().unwrap().words = vec!["nonsense"];
    let id = app.roll_back().await;
    let job = app.finish_as(&id, "succeeded").await;
    assert_eq!(job["warnings"][0]["code"], "not_converged", "{job:#}");
    assert_eq!(app.active().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn an_address_that_may_not_be_asked_ends_the_promotion_at_once() {
    let app = TestApp::start().await;
    let converge = json!({"addresses": ["169.254.169.254"], "timeout_seconds": 3600});
    app.set_up(document(converge), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let job = app.finish_as(&id, "failed").await;
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("GREENLIGHT_OUTBOUND_ALLOW"), "{message}");
}

#[tokio::test]
async fn an_undo_asks_nobody_and_a_component_without_it_has_no_such_step() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert!(
        job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["kind"] != "converge")
    );
    assert_eq!(job["converged_at"], Value::Null);
}

#[tokio::test]
async fn settings_out_of_their_limits_are_named() {
    let app = TestApp::start().await;
    app.put("/v1/apps/storefront", json!({})).await.expect(201);
    let cases = [
        (json!({"consecutive": 0}), "consecutive"),
        (json!({"consecutive": 101}), "consecutive"),
        (json!({"interval_ms": 99}), "interval_ms"),
        (json!({"timeout_seconds": 0}), "timeout_seconds"),
        (json!({"timeout_seconds": 3601}), "timeout_seconds"),
        (json!({"addresses": ["www.example.com"]}), "addresses"),
        (json!({"addresses": vec!["192.0.2.1"; 21]}), "addresses"),
        (json!({"surprise": 1}), "surprise"),
    ];
    for (converge, field) in cases {
        let answer = app.put(crate::support::ENVIRONMENT, document(converge.clone())).await;
        let problem = answer.expect_problem(422, "validation_failed");
        assert!(problem.to_string().contains(field), "{converge}: {problem}");
    }
    let mut no_url = document(json!({}));
    no_url["components"][0]["edge"]["public_url"] = Value::Null;
    let problem = app
        .put(crate::support::ENVIRONMENT, no_url)
        .await
        .expect_problem(422, "validation_failed");
    assert!(problem.to_string().contains("public_url"), "{problem}");
}
