//! `greenlight break-glass`: the real binary with a document and AWS, and nothing else; and what the service makes of
//! it afterwards.

mod asks;
mod writes;

use std::{fs, process::Output, time::Duration};

use chrono::{DateTime, Utc};
use greenlight::sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction};
use serde_json::{Value, json};

use crate::support::{
    API_PARAMETER, DISTRIBUTION, ENVIRONMENT, KEY, LAST_GOOD, PARAMETER, REGION, SECOND_REGION, TestApp, api_and_web,
    folder::Folder,
    process::{run, run_at_a_terminal, run_reading},
    web, web_in_two_regions, web_with,
};

/// Somebody with the environment's document and credentials, at three in the morning.
struct Night {
    double: AwsDouble,
    folder: Folder,
}

/// How a run ended, and what it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Night {
    async fn new() -> Self {
        Self::with(Duration::ZERO).await
    }

    /// Invalidations take so long.
    async fn with(invalidation_duration: Duration) -> Self {
        let options = DoubleOptions {
            invalidation_duration,
            ..DoubleOptions::default()
        };
        let double = AwsDouble::start(options).await.unwrap();
        double.add_distribution(DISTRIBUTION);
        let folder = Folder::new();
        Self { double, folder }
    }

    fn file(&self, document: &Value) -> String {
        let path = self.folder.0.join("environment.json");
        fs::write(&path, document.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `break-glass` with this document and what else is said.
    async fn break_glass(&self, document: &Value, release: &str, more: &[&str]) -> Said {
        let file = self.file(document);
        let arguments = [&["--environment-file", &file, "--release", release], more].concat();
        break_glass(&self.double, &arguments, run).await
    }

    fn says(&self, region: &str, parameter: &str, value: &str) {
        self.double.put_parameter(region, parameter, value).unwrap();
    }

    fn parameter(&self, region: &str) -> Option<String> {
        self.double.parameter(region, PARAMETER).map(|(value, _)| value)
    }

    fn active(&self, region: &str) -> Value {
        serde_json::from_str::<Value>(&self.parameter(region).unwrap()).unwrap()["active"].clone()
    }

    fn calls(&self, operation: &str) -> usize {
        let calls = self.double.calls();
        calls.iter().filter(|call| call.operation == operation).count()
    }

    fn writes(&self) -> usize {
        ["PutParameter", "UpdateKeys", "CreateInvalidation"]
            .map(|operation| self.calls(operation))
            .iter()
            .sum()
    }
}

/// Runs it beside the test, in whose thread the double answers.
async fn break_glass(
    double: &AwsDouble,
    arguments: &[&str],
    run: impl FnOnce(&[&str], &[(&str, &str)]) -> Output + Send + 'static,
) -> Said {
    let arguments: Vec<String> = ["break-glass"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    let endpoint = double.endpoint_url();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // No DATABASE_URL, and nothing else of a service's settings.
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
            ("AWS_REGION", REGION),
        ];
        run(&arguments, &environment)
    })
    .await
    .unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn pointer(active: &str, previous: Option<&str>, epoch: i64) -> String {
    json!({"v": 1, "active": active, "previous": previous, "candidate": null, "weight": 0, "epoch": epoch,
           "pin_seconds": 1800})
    .to_string()
}

/// As Greenlight writes it.
fn written(active: &str, previous: &str, epoch: i64) -> String {
    format!(
        "{{\"v\":1,\"active\":\"{active}\",\"previous\":\"{previous}\",\"candidate\":null,\"weight\":0,\
         \"epoch\":{epoch},\"pin_seconds\":1800}}"
    )
}
