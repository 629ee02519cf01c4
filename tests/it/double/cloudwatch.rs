//! CloudWatch alarms, through the client that Greenlight reads them with, and what AWS refuses of those who make them.

use std::time::Duration;

use aws_sdk_cloudwatch::types::{AlarmType, ComparisonOperator, StateValue, Statistic};
use greenlight::aws::Aws;
use greenlight::aws::cloudwatch::{AlarmState, CloudWatch};
use greenlight::aws::error::Class;
use greenlight::domain::environment::AwsAccount;
use greenlight::sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction, Outcome};
use serde_json::json;

use super::support::*;

const ALARM: &str = "storefront-errors";

async fn reader_in(double: &AwsDouble, region: &str) -> CloudWatch {
    let account: AwsAccount = serde_json::from_value(json!({"region": region})).unwrap();
    Aws::with_config(&config(double)).cloudwatch(&account, region).await
}

async fn reader(double: &AwsDouble) -> CloudWatch {
    reader_in(double, REGION).await
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Name and state of each alarm that is found.
async fn states(reader: &CloudWatch, wanted: &[&str]) -> Vec<(String, AlarmState)> {
    let alarms = reader.alarms(&names(wanted)).await.unwrap();
    alarms.into_iter().map(|alarm| (alarm.name, alarm.state)).collect()
}

fn sdk(double: &AwsDouble) -> aws_sdk_cloudwatch::Client {
    aws_sdk_cloudwatch::Client::new(&config(double))
}

/// Makes a metric alarm over the wire.
async fn put_over_the_wire(double: &AwsDouble, name: &str, period: i32) -> Result<(), String> {
    let request = sdk(double).put_metric_alarm().alarm_name(name);
    let request = request
        .namespace("Storefront")
        .metric_name("Errors")
        .statistic(Statistic::Sum);
    let request = request.period(period).evaluation_periods(1).threshold(1.5);
    let request = request.comparison_operator(ComparisonOperator::GreaterThanThreshold);
    request.send().await.map(|_| ()).map_err(|error| code(&error))
}

#[tokio::test]
async fn a_new_alarm_has_no_data_and_then_says_what_it_was_set_to() {
    let double = double().await;
    double.put_alarm(REGION, ALARM).unwrap();
    let reader = reader(&double).await;
    assert_eq!(
        states(&reader, &[ALARM]).await,
        [(ALARM.to_owned(), AlarmState::InsufficientData)]
    );

    double.clock().advance(Duration::from_secs(90));
    double
        .set_alarm_state(REGION, ALARM, "ALARM", "Threshold Crossed")
        .unwrap();
    let [alarm] = &reader.alarms(&names(&[ALARM])).await.unwrap()[..] else {
        panic!("one was asked for");
    };
    assert_eq!(
        (alarm.name.as_str(), alarm.state, alarm.reason.as_str()),
        (ALARM, AlarmState::Alarm, "Threshold Crossed")
    );
    // The wire has milliseconds.
    let updated_at = double.alarm(REGION, ALARM).unwrap().updated_at;
    let off = alarm.updated_at.unwrap().signed_duration_since(updated_at);
    assert!(off.num_milliseconds().abs() <= 1, "{off}");
    double.set_alarm_state(REGION, ALARM, "OK", "").unwrap();
    assert_eq!(states(&reader, &[ALARM]).await, [(ALARM.to_owned(), AlarmState::Ok)]);
}

#[tokio::test]
async fn both_kinds_are_read_in_the_order_asked_for_and_what_is_missing_is_left_out() {
    let double = double().await;
    for name in ["a", "b", "not asked for"] {
        double.put_alarm(REGION, name).unwrap();
    }
    double.put_composite_alarm(REGION, "all of it").unwrap();
    double.set_alarm_state(REGION, "all of it", "ALARM", "one is").unwrap();
    let found = states(&reader(&double).await, &["b", "none", "all of it", "a", "b"]).await;
    let no_data = AlarmState::InsufficientData;
    let expected = [("b", no_data), ("all of it", AlarmState::Alarm), ("a", no_data)];
    assert_eq!(found, expected.map(|(name, state)| (name.to_owned(), state)));
    assert_eq!(states(&reader(&double).await, &["none"]).await, []);
}

#[tokio::test]
async fn without_names_nothing_is_asked() {
    let double = double().await;
    double.put_alarm(REGION, ALARM).unwrap();
    assert_eq!(
        states(&reader(&double).await, &[]).await,
        [],
        "no names is not every alarm"
    );
    assert!(double.calls().is_empty());
}

#[tokio::test]
async fn a_hundred_names_a_call_and_every_page_is_read() {
    let double = double().await;
    let wanted: Vec<String> = (0..130).map(|number| format!("alarm-{number:03}")).collect();
    for name in &wanted {
        double.put_alarm(REGION, name).unwrap();
    }
    let found = reader(&double).await.alarms(&wanted).await.unwrap();
    assert_eq!(found.into_iter().map(|alarm| alarm.name).collect::<Vec<_>>(), wanted);
    let calls = double.calls();
    let asked: Vec<_> = calls
        .iter()
        .map(|call| {
            let names = call.details["alarm_names"].as_array().unwrap().len();
            (names, call.details.get("next_token").is_some(), call.outcome.is_ok())
        })
        .collect();
    assert_eq!(asked, [(100, false, true), (100, true, true), (30, false, true)]);
    assert!(
        calls
            .iter()
            .all(|call| call.service == "monitoring" && call.operation == "DescribeAlarms")
    );
}

#[tokio::test]
async fn regions_and_accounts_have_alarms_of_their_own() {
    let double = double().await;
    double.put_alarm(REGION, ALARM).unwrap();
    double.put_alarm_in("111111111111", "us-east-1", ALARM).unwrap();
    double
        .set_alarm_state_in("111111111111", "us-east-1", ALARM, "ALARM", "")
        .unwrap();
    assert_eq!(states(&reader_in(&double, "us-east-1").await, &[ALARM]).await, []);
    assert_eq!(states(&reader(&double).await, &[ALARM]).await.len(), 1);

    let other = Aws::with_config(&config_for(&double, REGION, "111111111111"));
    let account: AwsAccount = serde_json::from_value(json!({"region": REGION})).unwrap();
    let away = other.cloudwatch(&account, "us-east-1").await;
    assert_eq!(states(&away, &[ALARM]).await, [(ALARM.to_owned(), AlarmState::Alarm)]);
    assert_eq!(states(&other.cloudwatch(&account, REGION).await, &[ALARM]).await, []);
}

#[tokio::test]
async fn a_fault_is_one_attempt_and_says_what_it_means() {
    let double = double().await;
    double.put_alarm(REGION, ALARM).unwrap();
    let reader = reader(&double).await;
    let table = [
        (FaultAction::Throttle, Class::Throttled, Some("Throttling")),
        (FaultAction::Unavailable, Class::Ambiguous, Some("ServiceUnavailable")),
        (FaultAction::InternalError, Class::Ambiguous, Some("InternalFailure")),
        (FaultAction::AccessDenied, Class::AccessDenied, Some("AccessDenied")),
        (FaultAction::LoseAnswer, Class::Ambiguous, None),
        (FaultAction::LoseRequest, Class::Ambiguous, None),
        (
            FaultAction::Error {
                status: 400,
                code: "ValidationError".to_owned(),
                message: "No.".to_owned(),
            },
            Class::Refused,
            Some("ValidationError"),
        ),
    ];
    for (action, class, code) in table {
        let fault = double
            .faults()
            .add(Fault::on("DescribeAlarms", action.clone()).on_resource(ALARM));
        let error = reader.alarms(&names(&[ALARM])).await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_deref()),
            (class, code),
            "{action:?}: {error}"
        );
        assert_eq!(fault.hits(), 1, "{action:?}: no retry");
        fault.remove();
    }
    let fault = double
        .faults()
        .add(Fault::on("DescribeAlarms", FaultAction::AccessDenied).once());
    let error = reader.alarms(&names(&[ALARM])).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cloudwatch:DescribeAlarms on alarm storefront-errors in eu-west-1 failed"),
        "{text}"
    );
    assert!(
        text.contains("perform: cloudwatch:DescribeAlarms on resource: arn:aws:cloudwatch:eu-west-1:"),
        "{text}"
    );
    let hint = error.job_error().hint.unwrap();
    assert!(
        hint.contains("cloudwatch:DescribeAlarms on every resource (*)"),
        "{hint}"
    );
    assert_eq!(fault.hits(), 1);
    assert_eq!(states(&reader, &[ALARM]).await.len(), 1);
}

#[tokio::test]
async fn a_stale_read_has_not_heard_of_the_latest_change() {
    let double = double().await;
    let reader = reader(&double).await;
    let stale = || {
        double
            .faults()
            .add(Fault::on("DescribeAlarms", FaultAction::StaleRead).once())
    };
    double.put_alarm(REGION, ALARM).unwrap();
    stale();
    assert_eq!(states(&reader, &[ALARM]).await, [], "it was made just now");
    double.set_alarm_state(REGION, ALARM, "ALARM", "").unwrap();
    stale();
    assert_eq!(
        states(&reader, &[ALARM]).await,
        [(ALARM.to_owned(), AlarmState::InsufficientData)]
    );
    assert!(double.delete_alarm(REGION, ALARM) && !double.delete_alarm(REGION, "none"));
    assert_eq!(states(&reader, &[ALARM]).await, []);
}

#[tokio::test]
async fn changes_that_are_lost_held_or_delayed_land_as_they_would() {
    let double = double().await;
    double.put_alarm(REGION, ALARM).unwrap();
    let client = sdk(&double);
    let set = |state: StateValue| {
        client
            .set_alarm_state()
            .alarm_name(ALARM)
            .state_value(state)
            .state_reason("")
    };
    let state = || double.alarm(REGION, ALARM).unwrap().state;

    double
        .faults()
        .add(Fault::on("SetAlarmState", FaultAction::LoseAnswer).once());
    set(StateValue::Alarm).send().await.unwrap_err();
    assert_eq!(state(), "ALARM");
    double
        .faults()
        .add(Fault::on("SetAlarmState", FaultAction::LoseRequest).once());
    set(StateValue::Ok).send().await.unwrap_err();
    assert_eq!(state(), "ALARM");

    let held = double
        .faults()
        .add(Fault::on("SetAlarmState", FaultAction::HoldEffect).once());
    let waiting = tokio::spawn(set(StateValue::Ok).send());
    soon(held.wait_hit(1)).await;
    assert_eq!((held.held(), state().as_str()), (1, "ALARM"));
    assert_eq!((held.release(), state().as_str()), (1, "OK"));
    waiting.abort();
    for (action, applied) in [
        (FaultAction::HangAfterEffect, true),
        (FaultAction::HangBeforeEffect, false),
    ] {
        let hung = double.faults().add(Fault::on("SetAlarmState", action).once());
        let waiting = tokio::spawn(set(StateValue::InsufficientData).send());
        soon(hung.wait_hit(1)).await;
        assert_eq!(double.calls().last().unwrap().outcome, Outcome::Hung { applied });
        waiting.abort();
    }
    let delay = FaultAction::Delay(Duration::from_millis(1));
    double.faults().add(Fault::on("SetAlarmState", delay).once());
    set(StateValue::Alarm).send().await.unwrap();
    assert_eq!(state(), "ALARM");
}

#[tokio::test]
async fn alarms_are_made_changed_and_deleted_over_the_wire() {
    let double = double().await;
    let client = sdk(&double);
    put_over_the_wire(&double, ALARM, 60).await.unwrap();
    double.set_alarm_state(REGION, ALARM, "ALARM", "crossed").unwrap();
    put_over_the_wire(&double, ALARM, 120).await.unwrap();
    assert_eq!(
        put_over_the_wire(&double, ALARM, 61).await,
        Err("ValidationError".to_owned())
    );
    let composite = client.put_composite_alarm().alarm_name("both").alarm_rule("FALSE");
    composite.send().await.unwrap();

    let described = client.describe_alarms().send().await.unwrap();
    assert_eq!(described.composite_alarms(), [], "they have to be asked for");
    let [alarm] = described.metric_alarms() else {
        panic!("{described:?}");
    };
    assert_eq!((alarm.period(), alarm.threshold()), (Some(120), Some(1.5)));
    assert_eq!(
        alarm.state_value(),
        Some(&StateValue::Alarm),
        "a new configuration leaves the state"
    );
    let arn = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:storefront-errors";
    assert_eq!(alarm.alarm_arn(), Some(arn));
    assert_eq!(alarm.actions_enabled(), Some(true));
    let described = client
        .describe_alarms()
        .alarm_types(AlarmType::CompositeAlarm)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (described.metric_alarms().len(), described.composite_alarms().len()),
        (0, 1)
    );
    assert_eq!(described.composite_alarms()[0].alarm_rule(), Some("FALSE"));

    let missing = client
        .set_alarm_state()
        .alarm_name("none")
        .state_value(StateValue::Ok)
        .state_reason("");
    let error = missing.send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    assert!(error.into_service_error().is_resource_not_found());
    let gone = client
        .delete_alarms()
        .alarm_names(ALARM)
        .alarm_names("none")
        .send()
        .await
        .unwrap_err();
    assert!(gone.into_service_error().is_resource_not_found());
    assert_eq!(double.alarm(REGION, ALARM), None, "the others are deleted all the same");
    client.delete_alarms().alarm_names("both").send().await.unwrap();
    assert_eq!(double.alarm(REGION, "both"), None);
}

#[tokio::test]
async fn what_aws_refuses_to_describe_is_refused() {
    let double = double().await;
    let client = sdk(&double);
    let describe = || client.describe_alarms();
    let many = (0..101).map(|number| format!("a{number}")).collect();
    for (what, request) in [
        ("101 names", describe().set_alarm_names(Some(many))),
        ("an empty name", describe().alarm_names("")),
        ("names and a prefix", describe().alarm_names("a").alarm_name_prefix("a")),
        ("a page of 101", describe().max_records(101)),
        ("a page of none", describe().max_records(0)),
        ("a type that is none", describe().alarm_types(AlarmType::from("Alarm"))),
        ("a state that is none", describe().state_value(StateValue::from("BAD"))),
        ("what is not here", describe().children_of_alarm_name("a")),
    ] {
        assert_eq!(code(&request.send().await.unwrap_err()), "ValidationError", "{what}");
    }
    let error = describe().next_token("é").send().await.unwrap_err();
    assert!(error.into_service_error().is_invalid_next_token());
    let error = client.list_dashboards().send().await.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    assert_eq!((status, code(&error).as_str()), (404, "UnknownOperationException"));
}

#[tokio::test]
async fn alarms_are_there_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("greenlight-double-alarms-{}", std::process::id()));
    let options = DoubleOptions {
        persist: Some(folder.join("aws.json")),
        ..DoubleOptions::default()
    };
    let before = AwsDouble::start(options.clone()).await.unwrap();
    put_over_the_wire(&before, ALARM, 60).await.unwrap();
    before.set_alarm_state(REGION, ALARM, "ALARM", "crossed").unwrap();
    let alarm = before.alarm(REGION, ALARM);
    assert!(
        alarm
            .as_ref()
            .is_some_and(|alarm| alarm.reason == "crossed" && !alarm.is_composite)
    );
    before.shutdown().await;
    drop(before);
    let after = AwsDouble::start(options).await.unwrap();
    assert_eq!(after.alarm(REGION, ALARM), alarm);
    assert_eq!(
        states(&reader(&after).await, &[ALARM]).await,
        [(ALARM.to_owned(), AlarmState::Alarm)]
    );
    drop(after);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn other_protocols_and_unsigned_requests_are_refused_in_their_own_words() {
    let double = double().await;
    let url = format!(
        "{}/service/GraniteServiceVersion20100801/operation/DescribeAlarms",
        double.endpoint_url()
    );
    let client = reqwest::Client::new();
    let request = client
        .post(&url)
        .header("smithy-protocol", "rpc-v2-cbor")
        .body("\u{a0}");
    let answer = request.header("content-type", "application/cbor").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-amzn-query-error"), "MissingAuthenticationToken;Sender");
    assert_eq!(
        (header("smithy-protocol"), header("content-type")),
        ("rpc-v2-cbor".into(), "application/cbor".into())
    );
}
