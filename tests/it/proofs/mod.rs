//! The three generic proofs, over every job kind and every road: repeat each step, fail each step at each point,
//! stop the worker after each of its writes. After each, traffic is where the job says it is.

mod failures;
mod stops;
mod table;

use std::time::Duration;

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::{Value, json};

use crate::support::{
    API_PARAMETER, ENVIRONMENT, KEY, LAST_GOOD, REGION, TestApp, TestAppOptions, api_and_web, web_in_kvs,
    web_projected, web_with,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of job to prove things about, started on an environment where 1.0.0 and 1.1.0 have served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Promotion,
    Rollback,
    /// A promotion that is aborted half-way: the undo is what is proven.
    Undo,
    /// A promotion that gives `api` two shares first. Not in every proof yet: `failures::each_call_lost` and
    /// `stops::after_each_database_write` name the kinds they have.
    Canary,
}

const KINDS: [Kind; 4] = [Kind::Promotion, Kind::Rollback, Kind::Undo, Kind::Canary];

impl Kind {
    /// The release that is active when all goes well.
    fn target(self) -> &'static str {
        match self {
            Kind::Promotion | Kind::Canary => "1.2.0",
            Kind::Rollback => "1.0.0",
            Kind::Undo => "1.1.0",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Kind::Undo => "aborted",
            _ => "succeeded",
        }
    }

    /// Starts the job. For an undo: up to the request to abort, made while the last flip's TTL runs.
    async fn start(self, app: &TestApp) -> String {
        match self {
            Kind::Promotion => app.promote("1.2.0").await,
            // The other component is routed behind its cache, and has no shares.
            Kind::Canary => {
                let steps = json!([{"weight": 10, "bake_seconds": 7}, {"weight": 50, "bake_seconds": 0}]);
                let strategy = json!({"kind": "canary", "components": ["api"], "steps": steps});
                app.promote_with(json!({"release": "1.2.0", "strategy": strategy}))
                    .await
            }
            Kind::Rollback => app.roll_back().await,
            Kind::Undo => {
                let id = app.promote("1.2.0").await;
                while !has_flipped(&app.job(&id).await, "web") {
                    app.to_the_next_timer().await;
                }
                app.post(&format!("/v1/jobs/{id}/abort"), json!({})).await.expect(202);
                id
            }
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

async fn served(roads: Roads, options: TestAppOptions) -> TestApp {
    let app = TestApp::with(options).await;
    app.set_up(roads.two_components(&app), &["1.0.0", "1.1.0", "1.2.0"])
        .await;
    for release in ["1.0.0", "1.1.0", "1.2.0"] {
        let key = format!("{release}/app.js");
        app.double
            .put_object("storefront-web", &key, Some("text/javascript"), release);
    }
    app.promote_to_the_end("1.0.0").await;
    app.promote_to_the_end("1.1.0").await;
    app
}

/// The files of the release that was promoted are recorded, once and as they are.
async fn assert_recorded(app: &TestApp, roads: Roads, kind: Kind, about: &str) {
    if kind == Kind::Rollback || roads != Roads::Parameters {
        return;
    }
    let release = app.get("/v1/apps/storefront/releases/1.2.0").await.expect(200).json();
    let [manifest] = &release["manifests"].as_array().unwrap()[..] else {
        panic!("{about}: {release}");
    };
    let recorded = (&manifest["objects"], &manifest["bytes"]);
    assert_eq!(recorded, (&json!(1), &json!(5)), "{about}");
}

#[track_caller]
fn assert_everywhere(app: &TestApp, roads: Roads, release: &str, about: &str) {
    let releases = roads.releases(app);
    let all = releases.iter().all(|it| it.as_deref() == Some(release));
    assert!(all, "{about}: {releases:?}, not {release}");
}

/// Since `before`, every invalidation step that was done has sent exactly one, and nobody else any.
#[track_caller]
fn assert_one_invalidation_each(app: &TestApp, job: &Value, before: usize, about: &str) {
    app.assert_one_invalidation_per_step();
    let sent: Vec<String> = app
        .invalidations()
        .into_iter()
        .skip(before)
        .map(|sent| sent.caller_reference)
        .collect();
    let steps = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["kind"] == "invalidate");
    let tokens: Vec<(&str, &str)> = steps
        .map(|step| (step["token"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect();
    assert!(!sent.is_empty(), "{about}: {tokens:?}");
    for reference in &sent {
        assert!(
            tokens.iter().any(|(token, _)| token == reference),
            "{about}: {reference} is of no step"
        );
    }
    for (token, state) in &tokens {
        assert!(
            *state != "succeeded" || sent.iter().any(|reference| reference == token),
            "{about}: {token} sent none"
        );
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
