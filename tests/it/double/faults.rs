//! Each fault as a client meets it, and what it leaves behind.

use std::time::{Duration, Instant};

use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::types::ParameterType;
use aws_smithy_types::retry::RetryConfig;
use greenlight::sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction, Outcome};

use super::support::*;

fn last_outcome(double: &AwsDouble) -> Outcome {
    double.calls().last().expect("there was a call").outcome.clone()
}

#[tokio::test]
async fn services_throttle_and_fail_in_their_own_words() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let table = [
        (FaultAction::Throttle, (400, "ThrottlingException"), (400, "Throttling")),
        (
            FaultAction::Unavailable,
            (503, "ServiceUnavailable"),
            (503, "ServiceUnavailable"),
        ),
        (
            FaultAction::InternalError,
            (500, "InternalServerError"),
            (500, "InternalError"),
        ),
        (
            FaultAction::AccessDenied,
            (400, "AccessDeniedException"),
            (403, "AccessDenied"),
        ),
        (
            FaultAction::Error {
                status: 418,
                code: "Teapot".into(),
                message: "short".into(),
            },
            (418, "Teapot"),
            (418, "Teapot"),
        ),
    ];
    for (action, ssm_answer, cloudfront_answer) in table {
        let fault = double.faults().add(Fault::on_any(action).times(2));
        let error = put(&ssm(&double), "1.0.0").await.unwrap_err();
        let status = error.raw_response().unwrap().status().as_u16();
        assert_eq!((status, code(&error).as_str()), ssm_answer);
        let request = cloudfront(&double).create_invalidation().distribution_id(DISTRIBUTION);
        let error = request
            .invalidation_batch(batch("job-1", &["/*"]))
            .send()
            .await
            .unwrap_err();
        let status = error.raw_response().unwrap().status().as_u16();
        assert_eq!((status, code(&error).as_str()), cloudfront_answer);
        assert_eq!(fault.hits(), 2);
    }
    assert_eq!(double.parameter(REGION, NAME), None);
    assert!(double.invalidations(DISTRIBUTION).is_empty());
}

#[tokio::test]
async fn the_sdk_retries_what_it_takes_for_transient() {
    let double = double().await;
    let fault = double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::Throttle).times(2));
    let config = config(&double)
        .into_builder()
        .retry_config(RetryConfig::standard())
        .build();
    put(&aws_sdk_ssm::Client::new(&config), "1.0.0").await.unwrap();
    assert_eq!(fault.hits(), 2);
    let outcomes: Vec<_> = double.calls().into_iter().map(|call| call.outcome).collect();
    let throttled = Outcome::Error {
        code: "ThrottlingException".into(),
    };
    assert_eq!(outcomes, [throttled.clone(), throttled, Outcome::Ok]);
}

#[tokio::test]
async fn a_fault_is_narrowed_skips_and_ends() {
    let double = double().await;
    let client = ssm(&double);
    let fault = double.faults().add(
        Fault::on("PutParameter", FaultAction::Throttle)
            .in_region(REGION)
            .on_resource("storefront")
            .skip(1)
            .once(),
    );
    let elsewhere = aws_sdk_ssm::Client::new(&config_for(&double, "us-east-1", "EXAMPLE"));
    put(&elsewhere, "x").await.unwrap();
    let other = client
        .put_parameter()
        .name("/other")
        .value("x")
        .r#type(ParameterType::String);
    other.send().await.unwrap();
    assert_eq!(get(&client, NAME).await, Err("ParameterNotFound".to_owned()));
    put(&client, "skipped").await.unwrap();
    assert_eq!(fault.hits(), 0);
    assert_eq!(code(&put(&client, "hit").await.unwrap_err()), "ThrottlingException");
    put(&client, "after").await.unwrap();
    assert_eq!(fault.hits(), 1);
    assert_eq!(double.parameter(REGION, NAME), Some(("after".to_owned(), 2)));
}

#[tokio::test]
async fn a_removed_fault_hits_no_more() {
    let double = double().await;
    let fault = double.faults().add(Fault::on_any(FaultAction::Throttle));
    assert!(put(&ssm(&double), "a").await.is_err());
    fault.remove();
    put(&ssm(&double), "b").await.unwrap();
    assert_eq!(fault.hits(), 1);
}

#[tokio::test]
async fn a_delayed_answer_comes_late_and_is_right() {
    let double = double().await;
    let delay = Duration::from_millis(300);
    double.faults().add(Fault::on_any(FaultAction::Delay(delay)).once());
    let begun = Instant::now();
    put(&ssm(&double), "1.0.0").await.unwrap();
    assert!(begun.elapsed() >= delay);
    assert_eq!(double.parameter(REGION, NAME), Some(("1.0.0".to_owned(), 1)));
}

#[tokio::test]
async fn a_delayed_effect_outlives_its_client() {
    let double = double().await;
    let fault = Fault::on_any(FaultAction::Delay(Duration::from_millis(400))).once();
    double.faults().add(fault);
    let error = put(&impatient(&double, Duration::from_millis(100)), "1.0.0")
        .await
        .unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(double.parameter(REGION, NAME), None);
    soon(double.wait_for_call(|call| call.outcome.is_ok())).await;
    assert_eq!(double.parameter(REGION, NAME), Some(("1.0.0".to_owned(), 1)));
}

#[tokio::test]
async fn a_base_latency_applies_to_every_call() {
    let delay = Duration::from_millis(150);
    let options = DoubleOptions {
        answer_delay: delay,
        ..DoubleOptions::default()
    };
    let double = AwsDouble::start(options).await.unwrap();
    let begun = Instant::now();
    assert!(get(&ssm(&double), NAME).await.is_err());
    assert!(begun.elapsed() >= delay);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_effect() {
    let double = double().await;
    let fault = double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::LoseAnswer).once());
    let error = put(&ssm(&double), "1.0.0").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(fault.hits(), 1);
    assert_eq!(double.parameter(REGION, NAME), Some(("1.0.0".to_owned(), 1)));
    assert_eq!(last_outcome(&double), Outcome::AnswerLost { error: None });
    assert!(last_outcome(&double).took_effect());
}

#[tokio::test]
async fn a_lost_request_leaves_nothing() {
    let double = double().await;
    double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::LoseRequest).once());
    let error = put(&ssm(&double), "1.0.0").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(double.parameter(REGION, NAME), None);
    assert_eq!(last_outcome(&double), Outcome::RequestLost);
    put(&ssm(&double), "1.0.1").await.unwrap();
}

#[tokio::test]
async fn a_call_hangs_after_or_before_its_effect() {
    for (action, applied) in [
        (FaultAction::HangAfterEffect, true),
        (FaultAction::HangBeforeEffect, false),
    ] {
        let double = double().await;
        let fault = double.faults().add(Fault::on("PutParameter", action).once());
        let error = put(&impatient(&double, Duration::from_millis(300)), "1.0.0")
            .await
            .unwrap_err();
        assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
        soon(fault.wait_hit(1)).await;
        assert_eq!(double.parameter(REGION, NAME).is_some(), applied);
        assert_eq!(last_outcome(&double), Outcome::Hung { applied });
    }
}

#[tokio::test]
async fn a_held_effect_lands_when_it_is_released_though_its_client_has_gone() {
    let double = double().await;
    put(&ssm(&double), "1.0.0").await.unwrap();
    let held = double
        .faults()
        .add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
    let error = put(&impatient(&double, Duration::from_millis(200)), "late")
        .await
        .unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    soon(held.wait_hit(1)).await;
    assert_eq!(last_outcome(&double), Outcome::Held);

    put(&ssm(&double), "1.1.0").await.unwrap();
    assert_eq!(double.parameter(REGION, NAME), Some(("1.1.0".to_owned(), 2)));
    assert_eq!(held.held(), 1);
    assert_eq!(held.release(), 1);
    assert_eq!(double.parameter(REGION, NAME), Some(("late".to_owned(), 3)));
    assert_eq!(held.release(), 0);
    let late = soon(double.wait_for_call(|call| call.details["value"] == "late")).await;
    assert_eq!(late.outcome, Outcome::Released { error: None });
}

#[tokio::test]
async fn a_held_answer_says_what_was_read_when_it_was_asked() {
    let double = double().await;
    put(&ssm(&double), "1.0.0").await.unwrap();
    let held = double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::HoldAnswer).once());
    let asked = ssm(&double);
    let reading = tokio::spawn(async move { asked.get_parameter().name(NAME).send().await });
    soon(held.wait_hit(1)).await;
    put(&ssm(&double), "1.1.0").await.unwrap();
    assert!(!reading.is_finished());
    assert_eq!(held.release(), 1);
    let read = soon(reading).await.unwrap().unwrap();
    assert_eq!(read.parameter().unwrap().value(), Some("1.0.0"));
}

#[tokio::test]
async fn a_held_invalidation_is_created_when_it_is_released() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let held = double
        .faults()
        .add(Fault::on("CreateInvalidation", FaultAction::HoldEffect).once());
    let client = cloudfront(&double);
    let call = tokio::spawn(async move { invalidate(&client, "job-1", &["/*"]).await });
    soon(held.wait_hit(1)).await;
    call.abort();
    assert!(double.invalidations(DISTRIBUTION).is_empty());
    held.remove();
    held.release();
    assert_eq!(double.invalidations(DISTRIBUTION)[0].caller_reference, "job-1");
}

#[tokio::test]
async fn a_stale_read_shows_the_version_before() {
    let double = double().await;
    let client = ssm(&double);
    put(&client, "1.0.0").await.unwrap();
    double
        .faults()
        .add(Fault::on("GetParameter", FaultAction::StaleRead).times(2));
    assert_eq!(get(&client, NAME).await, Err("ParameterNotFound".to_owned()));
    put(&client, "1.1.0").await.unwrap();
    assert_eq!(get(&client, NAME).await, Ok(("1.0.0".to_owned(), 1)));
    assert_eq!(get(&client, NAME).await, Ok(("1.1.0".to_owned(), 2)));
}

#[tokio::test]
async fn a_stale_read_has_not_heard_of_a_completed_invalidation() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let (id, _) = invalidate(&client, "job-1", &["/*"]).await.unwrap();
    double.clock().advance(Duration::from_secs(3));
    double
        .faults()
        .add(Fault::on("GetInvalidation", FaultAction::StaleRead).once());
    assert_eq!(status(&client, &id).await, "InProgress");
    assert_eq!(status(&client, &id).await, "Completed");
}

#[tokio::test]
async fn calls_are_recorded_as_they_arrive_and_can_be_waited_for() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let waiting = double.clone();
    let seen = tokio::spawn(async move {
        waiting
            .wait_for_call(|call| call.operation == "CreateInvalidation" && call.outcome.is_ok())
            .await
    });
    put(&ssm(&double), "1.0.0").await.unwrap();
    invalidate(&cloudfront(&double), "job-1", &["/a", "/b/*"])
        .await
        .unwrap();
    let call = soon(seen).await.unwrap();
    assert_eq!((call.seq, call.service.as_str()), (2, "cloudfront"));
    assert_eq!(call.resource.as_deref(), Some(DISTRIBUTION));
    assert_eq!(call.details["caller_reference"], "job-1");
    assert_eq!(call.details["paths"], serde_json::json!(["/a", "/b/*"]));

    let first = &double.calls()[0];
    assert_eq!(
        (first.operation.as_str(), first.region.as_str()),
        ("PutParameter", REGION)
    );
    assert_eq!(first.resource.as_deref(), Some(NAME));
    assert_eq!(first.details["value"], "1.0.0");
    assert_eq!(first.request_id.len(), 36);
    double.clear_calls();
    assert!(double.calls().is_empty());
    put(&ssm(&double), "1.0.1").await.unwrap();
    assert_eq!(double.calls()[0].seq, 3);
}

#[tokio::test]
async fn shutdown_ends_calls_that_hang() {
    let double = double().await;
    let fault = double.faults().add(Fault::on_any(FaultAction::HangBeforeEffect));
    let client = ssm(&double);
    let call = tokio::spawn(async move { put(&client, "1.0.0").await });
    soon(fault.wait_hit(1)).await;
    soon(double.shutdown()).await;
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert!(put(&ssm(&double), "1.0.0").await.is_err());
}

#[tokio::test]
async fn the_server_ends_with_its_last_handle() {
    let double = double().await;
    let address = double.address();
    let clone = double.clone();
    drop(double);
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    drop(clone);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_side_by_side_each_get_a_version_of_their_own() {
    let double = double().await;
    let client = ssm(&double);
    let puts = (0..50).map(|number| {
        let client = client.clone();
        async move { put(&client, &format!("v{number}")).await.unwrap().version() }
    });
    let mut versions = futures::future::join_all(puts).await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<i64>>());
}
