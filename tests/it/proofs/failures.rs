//! Calls to AWS fail: for good, or with their answers or requests lost.

use greenlight::sandbox::double::FaultAction;
use serde_json::{Value, json};

use super::{KINDS, Kind, Roads, stage::Stage};
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
    let mut stage = Stage::with(roads, TestAppOptions::default()).await;
    for skip in 0.. {
        let ready = stage.ready(kind).await;
        let id = stage.begin(&ready).await;
        let denied = stage.fault(FaultAction::AccessDenied, skip);
        let job = stage.app.finish(&id).await;
        let about = format!("call {skip} is denied: {job:#}");
        if denied.hits() == 0 {
            stage.assert_done(&ready, &job, &about).await;
            break;
        }
        failures += 1;
        assert_eq!(job["state"], "failed", "{about}");
        stage.assert_everywhere(&ready.from, &about);
        let error = &job["error"];
        assert_eq!(error["code"], "aws_access_denied", "{about}");
        assert!(
            error["step"].is_string() && error["hint"].as_str().unwrap().contains("Grant"),
            "{about}"
        );
        stage.app.assert_one_invalidation_per_step();
        let environment = stage.app.environment().await;
        assert_eq!(
            (&environment["active"], &environment["drift"]),
            (&json!(ready.from), &Value::Null),
            "{about}"
        );
    }
    failures
}

/// A rollback whose calls fail for good is stuck and says why; a retry or a rollback ends it.
pub async fn each_call_denied_to_a_rollback(roads: Roads) {
    let mut failures = 0;
    let mut stage = Stage::with(roads, TestAppOptions::default()).await;
    for skip in 0.. {
        let ready = stage.ready(Kind::Rollback).await;
        let id = stage.begin(&ready).await;
        let denied = stage.fault(FaultAction::AccessDenied, skip);
        let mut job = stage.app.finish(&id).await;
        let about = format!("call {skip} is denied: {job:#}");
        if denied.hits() > 0 {
            failures += 1;
            assert_eq!(job["state"], "stuck", "{about}");
            assert_eq!(job["error"]["code"], "rollback_incomplete", "{about}");
            stage
                .app
                .post(&format!("/v1/jobs/{id}/retry"), json!({}))
                .await
                .expect(202);
            job = stage.app.finish(&id).await;
        }
        stage.assert_done(&ready, &job, &about).await;
        if denied.hits() == 0 {
            break;
        }
    }
    assert!(failures >= 6, "the proof fails every call: {failures}");
}

/// Losing the answer, or the request, of each call changes nothing but the time it takes.
pub async fn each_call_lost(roads: Roads) {
    let mut repeats = 0;
    for kind in KINDS {
        for action in [
            FaultAction::LoseAnswer,
            FaultAction::LoseRequest,
            FaultAction::Unavailable,
        ] {
            let mut stage = Stage::with(roads, TestAppOptions::default()).await;
            for skip in 0.. {
                let ready = stage.ready(kind).await;
                let id = stage.begin(&ready).await;
                let fault = stage.fault(action.clone(), skip);
                let job = stage.app.finish(&id).await;
                let about = format!("{kind:?}, {action:?} of call {skip}: {job:#}");
                stage.assert_done(&ready, &job, &about).await;
                if fault.hits() == 0 {
                    break;
                }
                repeats += 1;
            }
        }
    }
    assert!(repeats > 50, "the proof loses every call: {repeats}");
}
