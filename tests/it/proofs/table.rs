//! Every strategy × what checks say × what people do: one table, moved time. After each, traffic is where the job says,
//! and every invalidation step has sent one.

use std::{collections::BTreeSet, time::Duration};

use axum::http::{Method, header};
use greenlight::domain::role::Role;
use serde_json::{Value, json};

use crate::{
    support::{API_PARAMETER, ENVIRONMENT, REGION, TestApp, api_and_web},
    validation::site::Site,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    AllAtOnce,
    /// Two shares, with a gate after the first.
    Canary,
    Linear,
}

/// What the checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Pass,
    /// The one before traffic fails.
    FailsBefore,
    /// The one during the first bake fails.
    FailsAtFirst,
    /// The one during the last bake, when everyone is on the release, fails.
    FailsAtLast,
    /// The one after traffic fails.
    FailsAfter,
    /// The one before traffic can't tell, and that counts as a failure.
    Unclear,
    /// It can't tell, and that passes.
    UnclearPasses,
}

/// What happens while the first bake runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    None,
    Abort,
    Rollback,
    PauseAndResume,
    PromoteFully,
    /// At the gate, not in the bake.
    Reject,
    /// The worker dies, and another one takes over.
    Crash,
    /// Everything is locked, and unlocked.
    Lock,
}

const STRATEGIES: [Strategy; 3] = [Strategy::AllAtOnce, Strategy::Canary, Strategy::Linear];
const SAYS: [Says; 7] = [
    Says::Pass,
    Says::FailsBefore,
    Says::FailsAtFirst,
    Says::FailsAtLast,
    Says::FailsAfter,
    Says::Unclear,
    Says::UnclearPasses,
];
const SIGNALS: [Signal; 8] = [
    Signal::None,
    Signal::Abort,
    Signal::Rollback,
    Signal::PauseAndResume,
    Signal::PromoteFully,
    Signal::Reject,
    Signal::Crash,
    Signal::Lock,
];

const BAKE: u32 = 30;

impl Strategy {
    fn document(self) -> Value {
        match self {
            Self::AllAtOnce => json!({"kind": "all_at_once", "bake_seconds": BAKE}),
            Self::Canary => json!({"kind": "canary", "steps": [
                {"weight": 5, "bake_seconds": BAKE, "approval": true}, {"weight": 50, "bake_seconds": BAKE},
                {"weight": 100, "bake_seconds": BAKE}]}),
            Self::Linear => {
                json!({"kind": "linear", "step_weight": 50, "interval_seconds": BAKE, "bake_seconds": BAKE})
            }
        }
    }

    fn first_weight(self) -> u32 {
        match self {
            Self::AllAtOnce => 100,
            Self::Canary => 5,
            Self::Linear => 50,
        }
    }
}

/// How the promotion must end.
fn expected(strategy: Strategy, says: Says, signal: Signal) -> &'static str {
    // What comes before the first bake comes before the signal.
    match says {
        Says::FailsBefore | Says::Unclear => return "failed",
        // Asked as soon as the bake begins.
        Says::FailsAtFirst => return "failed",
        Says::FailsAtLast | Says::FailsAfter if strategy == Strategy::AllAtOnce => return "failed",
        _ => {}
    }
    match signal {
        Signal::Abort | Signal::Rollback => return "aborted",
        Signal::Reject if strategy == Strategy::Canary => return "aborted",
        // The bakes are left out, and with them what is asked meanwhile.
        Signal::PromoteFully if says == Says::FailsAtLast => return "succeeded",
        _ => {}
    }
    match says {
        Says::FailsAtLast | Says::FailsAfter => "failed",
        _ => "succeeded",
    }
}

async fn house(site: &Site, strategy: Strategy, says: Says) -> TestApp {
    let app = TestApp::start().await;
    let mut document = api_and_web();
    // A share, and an invalidation of what a share changes.
    document["components"][1]["edge"] = json!({"mode": "viewer_rewrite"});
    for at in 0..2 {
        document["components"][at]["router"]["edge_ttl_seconds"] = json!(5);
    }
    app.set_up(document.clone(), &["1.0.0"]).await;
    app.promote_to_the_end("1.0.0").await;
    let url = |path: &str| format!("{}/{path}", site.url);
    let passes = if says == Says::UnclearPasses { "pass" } else { "fail" };
    document["strategy"] = strategy.document();
    document["checks"] = json!([
        {"name": "smoke", "when": "before_traffic", "kind": "http", "url": url("before")},
        {"name": "oracle", "when": "before_traffic", "kind": "webhook", "url": url("oracle"), "on_inconclusive": passes},
        {"name": "errors", "when": "during_bake", "kind": "http", "url": url("during/{weight}")},
        {"name": "public", "when": "after_traffic", "kind": "http", "url": url("after")}]);
    for check in document["checks"].as_array_mut().unwrap() {
        // A busy machine is no verdict.
        check["timeout_seconds"] = json!(60);
    }
    app.put(ENVIRONMENT, document).await.expect(200);
    match says {
        Says::Pass => {}
        Says::FailsBefore => site.answer("/before", 500, ""),
        Says::FailsAtFirst => site.answer(&format!("/during/{}", strategy.first_weight()), 500, ""),
        Says::FailsAtLast => site.answer("/during/100", 500, ""),
        Says::FailsAfter => site.answer("/after", 500, ""),
        Says::Unclear | Says::UnclearPasses => site.answer("/oracle", 200, r#"{"verdict": "inconclusive"}"#),
    }
    app
}

fn is_baking(job: &Value) -> bool {
    let steps = job["steps"].as_array().unwrap();
    steps
        .iter()
        .any(|step| step["kind"] == "bake" && step["state"] == "waiting")
}

async fn decide(app: &TestApp, token: &str, id: &str, call: &str) {
    let mut request = app.request(Method::POST, &format!("/v1/jobs/{id}/{call}"), None);
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, value);
    app.send(request).await.expect(202);
}

async fn send(app: &mut TestApp, id: &str, signal: Signal) -> Option<String> {
    let job = |call: &str| format!("/v1/jobs/{id}/{call}");
    match signal {
        Signal::None | Signal::Reject => {}
        Signal::Abort => drop(app.post(&job("abort"), json!({})).await.expect(202)),
        Signal::Rollback => return Some(app.roll_back().await),
        Signal::PromoteFully => drop(
            app.post(&job("promote_fully"), json!({"reason": "seen"}))
                .await
                .expect(202),
        ),
        Signal::PauseAndResume => {
            app.post(&job("pause"), json!({})).await.expect(202);
            app.job_until(id, |job| job["waiting_for"] == "pause").await;
            app.advance(Duration::from_secs(u64::from(BAKE) * 2)).await;
            app.job_until(id, |job| job["waiting_for"] == "pause").await;
            app.post(&job("resume"), json!({})).await.expect(202);
        }
        Signal::Lock => {
            app.put("/v1/lock", json!({"reason": "incident"})).await.expect(201);
            app.advance(Duration::from_secs(u64::from(BAKE) * 2)).await;
            app.job_until(id, |job| job["waiting_for"] == "pause").await;
            app.delete("/v1/lock").await.expect(204);
        }
        Signal::Crash => {
            let last = app.workers.len() - 1;
            app.kill_worker(last).await;
            app.advance(Duration::from_secs(31)).await;
            app.start_worker();
        }
    }
    None
}

/// Drives one row to its end. Returns the promotion, and the rollback that took its place.
async fn drive(app: &mut TestApp, release: &str, approver: &str, signal: Signal) -> (Value, Option<Value>) {
    let id = app.promote(release).await;
    let (mut signalled, mut rollback) = (false, None);
    let job = loop {
        let bakes = |job: &Value| !signalled && job["waiting_for"] == "timer" && is_baking(job);
        let job = app
            .timers_until(&id, |job| {
                job["finished_at"].is_string() || job["waiting_for"] == "approval" || bakes(job)
            })
            .await;
        if job["finished_at"].is_string() {
            break job;
        }
        if job["waiting_for"] == "approval" {
            let call = if signal == Signal::Reject { "reject" } else { "approve" };
            decide(app, approver, &id, call).await;
            app.job_until(&id, |job| job["waiting_for"] != "approval").await;
        } else {
            signalled = true;
            rollback = send(app, &id, signal).await;
        }
    };
    let rollback = match rollback {
        Some(rollback) => Some(app.finish_as(&rollback, "succeeded").await),
        None => None,
    };
    (job, rollback)
}

fn assert_one_invalidation_each(app: &TestApp, jobs: &[&Value], about: &str) {
    let steps = jobs.iter().flat_map(|job| job["steps"].as_array().unwrap());
    let steps: Vec<&Value> = steps.filter(|step| step["kind"] == "invalidate").collect();
    let sent: Vec<String> = app
        .invalidations()
        .into_iter()
        .map(|sent| sent.caller_reference)
        .collect();
    let once: BTreeSet<&String> = sent.iter().collect();
    assert_eq!(once.len(), sent.len(), "{about}: {sent:?}");
    for step in steps {
        let token = step["token"].as_str().unwrap();
        let was = sent.iter().any(|reference| reference == token);
        match step["state"].as_str().unwrap() {
            "succeeded" => assert!(was, "{about}: {token} sent none"),
            "pending" => panic!("{about}: {token} is pending in an ended job"),
            // Skipped: before its call, or (taken over in its midst) after it.
            _ => {}
        }
    }
}

/// One row, with a release of its own. Returns what is active afterwards.
async fn row(app: &mut TestApp, before: &str, strategy: Strategy, says: Says, signal: Signal) -> String {
    let about = format!("{strategy:?} × {says:?} × {signal:?}");
    let release = format!("1.1.0-{signal:?}");
    app.register(&release).await;
    let approver = app.token_named("alice", Role::Releaser).await;
    let (job, rollback) = drive(app, &release, &approver, signal).await;
    assert_eq!(job["state"], expected(strategy, says, signal), "{about}: {job:#}");
    let active = if job["state"] == "succeeded" { &release } else { before };
    for value in [
        app.pointer(),
        app.double.parameter(REGION, API_PARAMETER).map(|(value, _)| value),
    ] {
        let says: Value = serde_json::from_str(&value.unwrap()).unwrap();
        assert_eq!(
            (&says["active"], &says["candidate"], &says["weight"]),
            (&json!(active), &Value::Null, &json!(0)),
            "{about}: {job:#}"
        );
    }
    let environment = app.environment().await;
    assert_eq!(
        (
            &environment["active"],
            &environment["drift"],
            &environment["current_job"]
        ),
        (&json!(active), &Value::Null, &Value::Null),
        "{about}"
    );
    let jobs: Vec<&Value> = [Some(&job), rollback.as_ref()].into_iter().flatten().collect();
    assert_one_invalidation_each(app, &jobs, &about);
    if job["state"] == "failed" {
        let error = &job["error"];
        assert!(
            error["code"].as_str().unwrap().starts_with("check_"),
            "{about}: {error}"
        );
        assert!(error["evidence"]["check"].is_string(), "{about}: {error}");
    }
    active.to_owned()
}

/// The rows of one strategy, one after the other.
async fn rows(strategy: Strategy) {
    for says in SAYS {
        let site = Site::start().await;
        let mut app = house(&site, strategy, says).await;
        let mut active = "1.0.0".to_owned();
        for signal in SIGNALS {
            active = row(&mut app, &active, strategy, says, signal).await;
        }
    }
}

#[tokio::test]
async fn everyone_at_once_under_every_verdict_and_every_signal() {
    rows(Strategy::AllAtOnce).await;
}

#[tokio::test]
async fn a_canary_under_every_verdict_and_every_signal() {
    rows(Strategy::Canary).await;
}

#[tokio::test]
async fn a_linear_share_under_every_verdict_and_every_signal() {
    rows(Strategy::Linear).await;
}

#[test]
fn the_table_has_every_end() {
    let ends: BTreeSet<&str> = STRATEGIES
        .into_iter()
        .flat_map(|strategy| {
            SAYS.into_iter()
                .flat_map(move |says| SIGNALS.map(|signal| expected(strategy, says, signal)))
        })
        .collect();
    assert_eq!(ends, BTreeSet::from(["aborted", "failed", "succeeded"]));
}
