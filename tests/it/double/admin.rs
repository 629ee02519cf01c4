//! The admin interface, the saved state, and the same wire formats out of Python.

use std::process::Command;

use greenlight::sandbox::double::{AwsDouble, DoubleOptions};
use serde_json::{Value, json};

use super::support::*;

/// One call of the admin interface: status and JSON (null without a body).
async fn admin(double: &AwsDouble, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/_double{path}", double.endpoint_url());
    let mut request = client.request(method, url);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        },
    )
}

#[tokio::test]
async fn the_admin_interface_adds_distributions_and_faults_and_shows_calls() {
    use reqwest::Method;
    let double = double().await;
    let (status, health) = admin(&double, Method::GET, "/health", Value::Null).await;
    assert_eq!((status, &health["status"]), (200, &json!("ok")));

    let (status, _) = admin(&double, Method::POST, "/distributions", json!({ "id": DISTRIBUTION })).await;
    assert_eq!(status, 201);
    invalidate(&cloudfront(&double), "job-1", &["/*"]).await.unwrap();

    let fault = json!({ "operation": "PutParameter", "action": "hold_effect", "times": 1 });
    let (status, added) = admin(&double, Method::POST, "/faults", fault).await;
    assert_eq!(status, 201);
    let client = ssm(&double);
    let call = tokio::spawn(async move { put(&client, "late").await });
    soon(double.wait_for_call(|call| call.operation == "PutParameter" && !call.outcome.is_pending())).await;
    call.abort();
    let (_, listed) = admin(&double, Method::GET, "/faults", Value::Null).await;
    assert_eq!(
        (&listed["items"][0]["held"], &listed["items"][0]["hits"]),
        (&json!(1), &json!(1))
    );
    let release = format!("/faults/{}/release", added["id"]);
    let (_, released) = admin(&double, Method::POST, &release, Value::Null).await;
    assert_eq!(released, json!({ "released": 1 }));
    assert_eq!(double.parameter(REGION, NAME), Some(("late".to_owned(), 1)));

    let (_, calls) = admin(&double, Method::GET, "/calls", Value::Null).await;
    assert_eq!(calls["items"].as_array().unwrap().len(), 2);
    assert_eq!(calls["items"][0]["operation"], "CreateInvalidation");
    assert_eq!(calls["items"][1]["outcome"]["kind"], "released");

    assert_eq!(admin(&double, Method::DELETE, "/faults", Value::Null).await.0, 204);
    assert!(double.faults().list().is_empty());
    assert_eq!(
        admin(&double, Method::POST, "/faults", json!({ "action": "explode" }))
            .await
            .0,
        422
    );
    assert_eq!(admin(&double, Method::DELETE, "/faults/99", Value::Null).await.0, 404);
    assert_eq!(admin(&double, Method::GET, "/nothing", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_saved_state_is_there_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("greenlight-double-{}", uuid::Uuid::now_v7()));
    let options = DoubleOptions {
        persist: Some(folder.join("state/aws.json")),
        ..DoubleOptions::default()
    };

    let before = AwsDouble::start(options.clone()).await.unwrap();
    before.add_distribution(DISTRIBUTION);
    put(&ssm(&before), "1.0.0").await.unwrap();
    let (id, _) = invalidate(&cloudfront(&before), "job-1", &["/*"]).await.unwrap();
    before.shutdown().await;
    drop(before);

    let after = AwsDouble::start(options.clone()).await.unwrap();
    assert_eq!(get(&ssm(&after), NAME).await, Ok(("1.0.0".to_owned(), 1)));
    assert_eq!(put(&ssm(&after), "1.1.0").await.unwrap().version(), 2);
    let again = invalidate(&cloudfront(&after), "job-1", &["/*"]).await.unwrap();
    assert_eq!(again.0, id);
    drop(after);

    std::fs::write(folder.join("state/aws.json"), "not a state").unwrap();
    let error = AwsDouble::start(options).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The interpreter is `GREENLIGHT_TEST_PYTHON`, or `python3`; it needs boto3 and awscrt.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_the_same_wire_formats() {
    let python = std::env::var("GREENLIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_boto3 = Command::new(&python).args(["-c", "import boto3, awscrt"]).output();
    assert!(
        has_boto3.is_ok_and(|output| output.status.success()),
        "{python} has no boto3[crt]: install it, or name an interpreter that has it in GREENLIGHT_TEST_PYTHON"
    );
    let double = double().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_double.py");
    let endpoint = double.endpoint_url();
    let run = tokio::task::spawn_blocking(move || Command::new(python).args([script, &endpoint]).output());
    let output = run.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim() == "ok", "{said}\n{complained}");
    for operation in ["AssumeRole", "UpdateKeys", "PutCompositeAlarm"] {
        let calls = double.calls();
        let mut calls = calls.iter().filter(|call| call.operation == operation);
        assert!(calls.any(|call| call.outcome.is_ok()), "{operation}");
    }
}
