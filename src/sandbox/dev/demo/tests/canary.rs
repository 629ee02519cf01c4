//! Promotions to a share of the visitors: how the service plays one, and what the demo finds when it misbehaves.

use serde_json::{Value, json};

use super::{
    super::{SITES, WEB},
    service::{Manners, Service},
    tell,
};

/// Gives each share in turn, until the check of a step fails. A share stands until somebody has looked at the pointer:
/// the demo does when it has counted its newcomers.
pub(super) async fn play(service: Service, job: usize, body: Value) {
    let release = body["release"].as_str().unwrap();
    assert_eq!(body["strategy"]["components"], json!(["web"]));
    let happened = |second: u64, kind: &str, data: Value| {
        let at = format!("2026-11-01T10:00:{second:02}Z");
        let event = json!({ "id": second, "at": at, "kind": kind, "data": data });
        service.world().jobs[job].events.push(event);
        service.news.notify_waiters();
    };
    happened(
        0,
        "check.verdict",
        json!({ "check": "smoke", "verdict": "pass", "message": "It answered 200." }),
    );
    for (second, step) in (2..).step_by(6).zip(body["strategy"]["steps"].as_array().unwrap()) {
        let weight = step["weight"].as_u64().unwrap();
        let stage = if weight < 100 {
            service.write(&WEB, |pointer| {
                pointer["candidate"] = json!(release);
                pointer["weight"] = json!(weight);
            });
            format!("weight-{weight}")
        } else {
            for site in SITES {
                service.write(&site, |pointer| {
                    *pointer = json!({ "v": 1, "active": release, "epoch": pointer["epoch"] });
                });
            }
            service.invalidate(job);
            "after_traffic".to_owned()
        };
        let looks = service.world().looks;
        happened(second, "step.started", json!({ "step": "bake", "stage": stage }));
        service.until(|world| world.looks > looks).await;
        let health = ask(&step["checks"][0], release, weight).await;
        if health["status"] == "ok" || service.manners == Manners::IgnoresChecks {
            let verdict = json!({ "check": "errors", "verdict": "pass", "message": "It answered 200." });
            happened(second + 1, "check.verdict", verdict);
            continue;
        }
        let seen = json!({ "wrong": ["the body had \"failing\""], "body": health.to_string() });
        let error = json!({ "code": "check_failed", "message": "Check errors failed.",
            "evidence": { "check": "errors", "seen": seen } });
        happened(second + 1, "step.failed", json!({ "error": error }));
        take_back(&service, job);
        happened(second + 1, "job.unwinding", json!({ "error": error }));
        return end(&service, job, "failed", error);
    }
    end(&service, job, "succeeded", Value::Null);
}

fn take_back(service: &Service, job: usize) {
    match service.manners {
        Manners::LeavesTheShare => return,
        Manners::InvalidatesWhenItTakesBack => service.invalidate(job),
        _ => {}
    }
    service.write(&WEB, |pointer| {
        let grows = u64::from(service.manners != Manners::KeepsVisitors);
        let epoch = pointer["epoch"].as_u64().unwrap() + grows;
        *pointer = json!({ "v": 1, "active": pointer["active"], "epoch": epoch });
    });
}

fn end(service: &Service, job: usize, state: &'static str, error: Value) {
    let mut world = service.world();
    world.jobs[job].state = Some(state);
    world.jobs[job].error = error;
    drop(world);
    service.news.notify_waiters();
}

async fn ask(check: &Value, release: &str, weight: u64) -> Value {
    assert_eq!(check["expect_json"], json!({ "/status": "ok" }));
    let url = check["url"].as_str().unwrap();
    let url = url
        .replace("{release}", release)
        .replace("{weight}", &weight.to_string());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn shares_are_counted_and_a_release_that_fails_amid_them_is_seen_to_be_taken_back() {
    let service = Service::new(Manners::Good);
    let (told, written) = tell(&service).await;
    told.unwrap();
    for words in [
        "8  Promote 1.2.0",
        "2.00 s    10 %  12 of 120 newcomers got 1.2.0: 10.0 %",
        "8.00 s    50 %  60 of 120 newcomers got 1.2.0: 50.0 %",
        r#""candidate":"1.2.0","epoch":1,"v":1,"weight":50"#,
        "errors  ✗ the body had \"failing\"",
        r#""status":"failing""#,
        "whoever had 1.2.0 open got 1.0.0 at his next request: 2 of 2 points of presence",
        "0 of 120 newcomers got 1.2.0: 0.0 %",
        "0.9.0 → 1.2.0: failed",
        "Invalidation  none",
        "9  Promote 1.3.0",
        "14.00 s   100 %  120 of 120 newcomers got 1.3.0: 100.0 %",
        "0.9.0 → 1.3.0: succeeded",
    ] {
        assert!(written.contains(words), "no `{words}` in:\n{written}");
    }
    let check = service.world().environment["checks"][0].clone();
    assert_eq!(
        (&check["when"], &check["preview"]),
        (&json!("before_traffic"), &json!(true))
    );
}

#[tokio::test]
async fn what_a_canary_did_not_do_is_found() {
    for (manners, objections) in [
        (
            Manners::GivesThreeTimesTheShare,
            &["newcomers got 1.2.0, where 10 % are 0 to 27"][..],
        ),
        (Manners::GivesSomethingElse, &["a newcomer at", "got 200 and 0.1.0"]),
        (
            Manners::IgnoresChecks,
            &[
                "the job ended succeeded, not failed",
                "SSM says 1.2.0 for web, not 1.0.0",
            ],
        ),
        (
            Manners::InvalidatesWhenItTakesBack,
            &["1 invalidations went out, not none"],
        ),
        (
            Manners::LeavesTheShare,
            &[
                "was not freed",
                "newcomers got 1.2.0, where 0 % are 0 to 0",
                "SSM gives visitors of web still 1.2.0",
            ],
        ),
        (
            Manners::KeepsVisitors,
            &["was not freed", "the epoch of web's pointer has not grown"],
        ),
    ] {
        let (told, written) = tell(&Service::new(manners)).await;
        let error = told.unwrap_err().to_string();
        assert!(error.starts_with("Promote 1.2.0 to 10 % first"), "{manners:?}: {error}");
        for objection in objections {
            assert!(error.contains(objection), "{manners:?}: {error}");
            assert!(written.contains(objection), "{manners:?}: {written}");
        }
    }
}
