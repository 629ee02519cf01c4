//! The demo against a service that can be made to misbehave: what is not as it should be is found
//! and said, in the service's own words where it has some.

mod canary;
mod service;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use self::service::{Manners, Service};
use super::*;

/// A place to write to that can be read afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells the demo to the end; what it led to, and what was written.
async fn tell(service: &Service) -> (anyhow::Result<Told>, String) {
    let base_url = service.listen().await;
    let paper = Paper::default();
    let screen = Screen::new(paper.clone(), false);
    let stage = Stage {
        base_url,
        token: "secret".into(),
        web: vec![service.point_of_presence().await, service.point_of_presence().await],
        web_url: "http://127.0.0.1:1/".into(),
        docs_url: "http://127.0.0.1:2/".into(),
        docs: vec![service.point_of_presence().await],
        kvs_arn: "arn:aws:cloudfront::123456789012:key-value-store/example".into(),
        edge_ttl_seconds: 2,
    };
    let mut demo = Demo::new(stage, service, &screen).unwrap();
    demo.newcomers = 120;
    demo.freed_within = Duration::from_millis(200);
    let told = demo.play().await;
    let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    (told, written)
}

fn told_with(first: &str, left: &str) -> Told {
    Told {
        left: left.into(),
        first: first.into(),
    }
}

#[tokio::test]
async fn a_good_service_is_shown_step_by_step() {
    let service = Service::new(Manners::Good);
    let (told, written) = tell(&service).await;
    assert_eq!(told.unwrap(), told_with("1.0.0", "1.1.0"));
    for words in [
        "3  Promote 1.0.0",
        "curl http://127.0.0.1:1/ before: 503 (no release)",
        "curl http://127.0.0.1:1/ after: 200 1.0.0",
        "4  Preview 1.1.0 in production",
        "Everybody else                         200 1.0.0",
        "5  Promote 1.1.0",
        "what that page loads now             200 1.0.0",
        "the next navigation                  200 1.1.0",
        "6  Roll back",
        "The visitor, pinned until now, loads   200 1.0.0",
        "1.1.0 at 2 of 2 points of presence",
        "0.9.0 → 1.0.0: succeeded",
        "✓ preflight",
        "3.12 s  2 attempts",
        "! An example of a warning",
        r#"{"active":"1.1.0","epoch":0,"v":1}"#,
        r#"{"active":"1.0.0","epoch":1,"v":1}"#,
        "Invalidation  I2  /*  COMPLETED",
        "CallerReference job-2",
        "traffic shifted after 0.12 s, settled after 5.25 s by the job's times",
    ] {
        assert!(written.contains(words), "no `{words}` in:\n{written}");
    }
    let web = service.world().environment["components"][0].clone();
    assert_eq!(web["router"]["edge_ttl_seconds"], 2);
    assert_eq!(web["cdn"]["invalidate"], json!({ "mode": "none" }));
    let docs = service.world().environment["components"][1].clone();
    assert_eq!(docs["cdn"]["invalidate"], json!({ "mode": "paths", "paths": ["/*"] }));
}

#[tokio::test]
async fn it_can_be_told_again_and_waits_for_what_an_earlier_run_left() {
    let service = Service::new(Manners::Good);
    tell(&service).await.0.unwrap();
    service.world().current_job = Some("0".into());
    let (told, written) = tell(&service).await;
    assert_eq!(told.unwrap(), told_with("1.4.0", "1.5.0"));
    assert!(written.contains("job 0 is not finished yet"), "{written}");
}

#[tokio::test]
async fn what_did_not_come_true_is_found() {
    for (manners, objection) in [
        (Manners::ForgetsToInvalidate, "0 invalidations went out, not one"),
        (Manners::InvalidatesTwice, "2 invalidations went out, not one"),
        (Manners::InvalidatesAnotherPath, "is of /index.html, not of /*"),
        (Manners::LeavesInvalidationInProgress, "is InProgress, not Completed"),
        (Manners::LeavesPointer, "SSM says no release for web, not 1.0.0"),
        (Manners::LeavesKeyValueStore, "web's KeyValueStore says nothing"),
        (Manners::KeepsEpoch, "epoch of web's pointer has not grown"),
    ] {
        let (told, written) = tell(&Service::new(manners)).await;
        let error = told.unwrap_err().to_string();
        assert!(error.contains(objection), "{manners:?}: {error}");
        assert!(written.contains("✗"), "{manners:?}: {written}");
    }
}

#[tokio::test]
async fn what_visitors_should_not_see_is_found() {
    for (manners, objection) in [
        (Manners::FailsVisitors, "curl got another release"),
        (
            Manners::ShowsEverybodyThePreview,
            "Everybody else: 200 and 1.1.0, not 1.0.0",
        ),
    ] {
        let (told, _) = tell(&Service::new(manners)).await;
        let error = told.unwrap_err().to_string();
        assert!(error.contains(objection), "{manners:?}: {error}");
    }
}

#[tokio::test]
async fn a_failed_job_is_explained() {
    let (told, written) = tell(&Service::new(Manners::FailsJobs)).await;
    assert_eq!(told.unwrap_err().to_string(), "job 0 ended failed, not succeeded");
    for words in [
        "✗ invalidate",
        "PutParameter is not allowed (code aws_denied)",
        "Allow it.",
        "1.00 s  step_failed",
    ] {
        assert!(written.contains(words), "no `{words}` in:\n{written}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_apis_own_words() {
    let (told, _) = tell(&Service::new(Manners::RefusesPromotions)).await;
    let error = told.unwrap_err().to_string();
    for words in [
        "/promotions was refused",
        "The environment is locked",
        "423",
        "code environment_locked",
        "Locked by ops.",
        "release: not now",
        "request r-1",
    ] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}
