//! Calls to AWS fail: for good, or with their answers or requests lost.

use greenlight::sandbox::double::FaultAction;
use serde_json::{Value, json};

use super::{Kind, Roads, assert_everywhere, assert_one_invalidation_each, assert_recorded, served};
use crate::support::TestAppOptions;

/// Each call of a job fails for good, or its answer is lost: the promotion is undone and explained.
pub async fn each_call_denied_to_a_promotion(roads: Roads) {
    let mut failures = 0;
    for kind in [Kind::Promotion, Kind::Canary] {
        failures += each_call_denied(roads, kind).await;
    }
    assert!(failures >= 16, "the proof fails every call: {failures}");
}

async fn each_call_denied(roads: Roads, kind: Kind) -> usize {
    let mut failures = 0;
    for skip in 0.. {
        let app = served(roads, TestAppOptions::default()).await;
        let id = kind.start(&app).await;
        let denied = app
            .double
            .faults()
            .add(roads.fault(FaultAction::AccessDenied).skip(skip).once());
        let job = app.finish(&id).await;
        if denied.hits() == 0 {
            assert_eq!(job["state"], "succeeded");
            break;
        }
        failures += 1;
        let about = format!("call {skip} is denied: {job:#}");
        assert_eq!(job["state"], "failed", "{about}");
        assert_everywhere(&app, roads, "1.1.0", &about);
        let error = &job["error"];
        assert_eq!(error["code"], "aws_access_denied", "{about}");
        assert!(
            error["step"].is_string() && error["hint"].as_str().unwrap().contains("Grant"),
            "{about}"
        );
        app.assert_one_invalidation_per_step();
        let environment = app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&json!("1.1.0"), &Value::Null),
            "{about}"
        );
    }
    failures
}

/// A rollback whose calls fail for good is stuck and says why; a retry or a rollback ends it.
pub async fn each_call_denied_to_a_rollback(roads: Roads) {
    let mut failures = 0;
    for skip in 0.. {
        let app = served(roads, TestAppOptions::default()).await;
        let id = app.roll_back().await;
        let denied = app
            .double
            .faults()
            .add(roads.fault(FaultAction::AccessDenied).skip(skip).once());
        let job = app.finish(&id).await;
        if denied.hits() == 0 {
            assert_eq!(job["state"], "succeeded");
            break;
        }
        failures += 1;
        let about = format!("call {skip} is denied: {job:#}");
        assert_eq!(job["state"], "stuck", "{about}");
        assert_eq!(job["error"]["code"], "rollback_incomplete", "{about}");
        app.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202);
        app.finish_as(&id, "succeeded").await;
        assert_everywhere(&app, roads, "1.0.0", &about);
        app.assert_one_invalidation_per_step();
    }
    assert!(failures >= 6, "the proof fails every call: {failures}");
}

/// Losing the answer, or the request, of each call changes nothing but the time it takes.
pub async fn each_call_lost(roads: Roads) {
    let mut repeats = 0;
    for kind in [Kind::Promotion, Kind::Rollback, Kind::Undo] {
        for action in [
            FaultAction::LoseAnswer,
            FaultAction::LoseRequest,
            FaultAction::Unavailable,
        ] {
            for skip in 0.. {
                let app = served(roads, TestAppOptions::default()).await;
                let before = app.invalidations().len();
                let id = kind.start(&app).await;
                let fault = app.double.faults().add(roads.fault(action.clone()).skip(skip).once());
                let job = app.finish(&id).await;
                let about = format!("{kind:?}, {action:?} of call {skip}: {job:#}");
                assert_eq!(job["state"], kind.end(), "{about}");
                assert_everywhere(&app, roads, kind.target(), &about);
                assert_recorded(&app, roads, kind, &about).await;
                assert_one_invalidation_each(&app, &job, before, &about);
                app.assert_one_invalidation_per_step();
                if fault.hits() == 0 {
                    break;
                }
                repeats += 1;
            }
        }
    }
    assert!(repeats > 50, "the proof loses every call: {repeats}");
}
