//! The three generic proofs, over every job kind and every road: repeat each step, fail each step at each point,
//! stop the worker after each of its writes. After each, traffic is where the job says it is.

mod failures;
mod stage;
mod stops;
mod table;

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use crate::support::{
    API_PARAMETER, ENVIRONMENT, KEY, LAST_GOOD, REGION, TestApp, api_and_web, web_in_kvs, web_projected, web_with,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of job to prove things about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Promotion,
    Rollback,
    /// A promotion that is aborted half-way: the undo is what is proven.
    Undo,
    /// A promotion that gives `api` two shares first.
    Canary,
}

const KINDS: [Kind; 4] = [Kind::Promotion, Kind::Rollback, Kind::Undo, Kind::Canary];

impl Kind {
    fn end(self) -> &'static str {
        match self {
            Kind::Undo => "aborted",
            _ => "succeeded",
        }
    }
}

fn has_flipped(job: &Value, component: &str) -> bool {
    job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["kind"] == "flip" && step["component"] == component && step["state"] == "succeeded")
}

/// What carries the traffic of the two components `api` and `web`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roads {
    /// A parameter each.
    Parameters,
    /// A key in a store, and a parameter that is projected to another key of the same store.
    Keys,
}

const API_KEY: &str = "storefront/api";

impl Roads {
    fn two_components(self, app: &TestApp) -> Value {
        let mut document = api_and_web();
        if self == Self::Keys {
            let arn = app.store_arn();
            document["components"][0]["router"] = web_in_kvs(&arn)["components"][0]["router"].clone();
            document["components"][0]["router"]["kvs_key"] = json!(API_KEY);
            document["components"][1] = web_projected(&arn)["components"][0].clone();
        }
        for at in 0..2 {
            document["components"][at]["router"]["edge_ttl_seconds"] = json!(5);
        }
        if self == Self::Parameters {
            document["components"][1]["artifact"] =
                json!({"kind": "s3", "bucket": "storefront-web", "prefix": "{release}/"});
        }
        document
    }

    /// A fault of each call that the road is about: with keys, those to the store (the others are proven with
    /// parameters), and of those only the writes where a read can't tell one fault from another.
    fn fault(self, action: FaultAction) -> Fault {
        match self {
            Self::Parameters => Fault::on_any(action),
            Self::Keys if matches!(action, FaultAction::LoseRequest | FaultAction::Unavailable) => {
                Fault::on("UpdateKeys", action)
            }
            Self::Keys => Fault::on_any(action).on_resource(":key-value-store/"),
        }
    }

    /// The release that each pointer names.
    fn releases(self, app: &TestApp) -> Vec<Option<String>> {
        let of = |value: Option<String>| {
            let document: Value = serde_json::from_str(&value?).unwrap();
            Some(document["active"].as_str().unwrap().to_owned())
        };
        match self {
            Self::Parameters => vec![
                of(app.double.parameter(REGION, API_PARAMETER).map(|it| it.0)),
                app.active(),
            ],
            Self::Keys => {
                let keys = [API_KEY, "storefront/api.last-good", KEY, LAST_GOOD].map(|key| app.active_in_key(key));
                [app.active()].into_iter().chain(keys).collect()
            }
        }
    }
}

#[tokio::test]
async fn stopped_after_each_database_write_another_worker_finishes_the_job() {
    stops::after_each_database_write(Roads::Parameters).await;
}

#[tokio::test]
async fn stopped_after_each_database_write_another_worker_finishes_the_job_on_keys() {
    stops::after_each_database_write(Roads::Keys).await;
}

#[tokio::test]
async fn stopped_after_each_aws_call_another_worker_finishes_the_job() {
    stops::after_each_aws_call(Roads::Parameters).await;
}

#[tokio::test]
async fn stopped_after_each_aws_call_another_worker_finishes_the_job_on_keys() {
    stops::after_each_aws_call(Roads::Keys).await;
}

#[tokio::test]
async fn failing_at_each_call_leaves_traffic_as_before_and_explains_itself() {
    failures::each_call_denied_to_a_promotion(Roads::Parameters).await;
}

#[tokio::test]
async fn failing_at_each_call_leaves_traffic_as_before_and_explains_itself_on_keys() {
    failures::each_call_denied_to_a_promotion(Roads::Keys).await;
}

#[tokio::test]
async fn a_rollback_failing_at_each_call_is_stuck_explained_and_finished_by_a_retry() {
    failures::each_call_denied_to_a_rollback(Roads::Parameters).await;
}

#[tokio::test]
async fn a_rollback_failing_at_each_call_is_stuck_explained_and_finished_by_a_retry_on_keys() {
    failures::each_call_denied_to_a_rollback(Roads::Keys).await;
}

#[tokio::test]
async fn each_call_repeated_changes_nothing() {
    failures::each_call_lost(Roads::Parameters).await;
}

#[tokio::test]
async fn each_call_repeated_changes_nothing_on_keys() {
    failures::each_call_lost(Roads::Keys).await;
}

/// A second round of the very same job: everything is already as it shall be.
#[tokio::test]
async fn a_flip_to_what_is_already_there_writes_nothing() {
    let app = TestApp::start().await;
    app.double
        .put_parameter(REGION, crate::support::PARAMETER, "1.0.0")
        .unwrap();
    app.set_up(web_with(json!({"format": "plain"})), &["1.0.0"]).await;
    let job = app.promote_to_the_end("1.0.0").await;
    assert!(!app.double.calls().iter().any(|call| call.operation == "PutParameter"));
    assert_eq!(
        app.invalidations().len(),
        0,
        "nothing changed, so nothing is cached wrongly"
    );
    assert_eq!(job["steps"][2]["state"], "skipped", "{job:#}");
    assert_eq!(
        app.get(&format!("{ENVIRONMENT}/deployments")).await.expect(200).json()["items"][0]["release"],
        "1.0.0"
    );
}
