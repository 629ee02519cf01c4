//! The pointer in a KeyValueStore through the real binary against ministack, whose data plane is not ours.
//!
//! Where it differs from the double: stores are named in their ARN, an invalidation is complete when it is made, and
//! the quotas are not kept.

use aws_sdk_cloudfrontkeyvaluestore::config::Builder;
use aws_sdk_cloudwatch::types::{ComparisonOperator, StateValue, Statistic};
use greenlight::{
    aws::{
        Aws,
        cloudwatch::AlarmState,
        error::Class,
        guard::WriteGuard,
        kvs::{KeyValueStores, LiteralEndpoint, Update},
    },
    domain::environment::AwsAccount,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    ENVIRONMENT, KEY, LAST_GOOD, REGION, SECOND_REGION,
    emulator::{Emulator, Program},
    process::PATIENCE,
    web_in_kvs, web_projected,
};

/// One ministack for all tests, each of which has a store of its own.
async fn ministack() -> &'static Emulator {
    static MINISTACK: OnceCell<Emulator> = OnceCell::const_new();
    let program = Program {
        module: "ministack",
        arguments: &[],
        environment: &[
            ("BIND_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", "0"),
            ("IOT_MTLS_ENABLED", "0"),
            // Where it notes its process id.
            ("TMPDIR", env!("CARGO_TARGET_TMPDIR")),
        ],
        health: "/_ministack/health",
    };
    MINISTACK.get_or_init(|| Emulator::start(program)).await
}

/// A store on it.
struct Store {
    keys: aws_sdk_cloudfrontkeyvaluestore::Client,
    arn: String,
}

impl Store {
    /// Made by the control plane.
    async fn new(emulator: &Emulator, name: &str) -> Self {
        let made = emulator
            .cloudfront()
            .create_key_value_store()
            .name(name)
            .send()
            .await
            .unwrap();
        let config = Builder::from(&emulator.sdk(REGION))
            .endpoint_resolver(LiteralEndpoint::default())
            .build();
        Self {
            keys: aws_sdk_cloudfrontkeyvaluestore::Client::from_conf(config),
            arn: made.key_value_store.unwrap().arn,
        }
    }

    async fn get(&self, key: &str) -> Option<String> {
        match self.keys.get_key().kvs_arn(&self.arn).key(key).send().await {
            Ok(answer) => Some(answer.value),
            Err(error) => {
                let error = error.into_service_error();
                assert!(error.is_resource_not_found_exception(), "{error:?}");
                None
            }
        }
    }

    async fn put(&self, key: &str, value: &str) {
        let described = self
            .keys
            .describe_key_value_store()
            .kvs_arn(&self.arn)
            .send()
            .await
            .unwrap();
        let put = self.keys.put_key().kvs_arn(&self.arn).if_match(described.e_tag);
        put.key(key).value(value).send().await.unwrap();
    }

    /// The release that a key names.
    async fn active(&self, key: &str) -> Option<String> {
        active(self.get(key).await)
    }
}

fn active(pointer: Option<String>) -> Option<String> {
    let pointer: Value = serde_json::from_str(&pointer?).unwrap();
    Some(pointer["active"].as_str().unwrap().to_owned())
}

fn with_distribution(mut document: Value, id: &str) -> Value {
    document["components"][0]["cdn"]["distribution_id"] = json!(id);
    document
}

#[tokio::test]
async fn a_created_key_is_promoted_rolled_back_and_deleted() {
    let ministack = ministack().await;
    let store = Store::new(ministack, "created").await;
    let distribution = ministack.distribution().await;
    let (_replica, api) = ministack.replica().await;
    let document = with_distribution(web_in_kvs(&store.arn), &distribution);
    api.set_up(document, &["1.0.0", "1.1.0"]).await;
    for release in ["1.0.0", "1.1.0"] {
        let id = api.promote(release).await;
        let job = api.end_as(&id, "succeeded").await;
        assert_eq!(job["warnings"], json!([]), "{job:#}");
        assert_eq!(store.active(KEY).await.as_deref(), Some(release));
        assert_eq!(store.get(LAST_GOOD).await, store.get(KEY).await);
    }
    let id = api.roll_back().await;
    api.end_as(&id, "succeeded").await;
    let pointer: Value = serde_json::from_str(&store.get(KEY).await.unwrap()).unwrap();
    assert_eq!((&pointer["active"], &pointer["epoch"]), (&json!("1.0.0"), &json!(2)));
    assert_eq!(ministack.invalidations(&distribution).await, 3);
    let id = api.roll_back().await;
    api.end_as(&id, "succeeded").await;
    assert_eq!((store.get(KEY).await, store.get(LAST_GOOD).await), (None, None));
    assert_eq!(api.environment().await["active"], Value::Null);
}

#[tokio::test]
async fn a_parameter_and_its_projection_are_one_flip() {
    const PARAMETER: &str = "/ministack/projected/release";
    let ministack = ministack().await;
    let store = Store::new(ministack, "projected").await;
    let distribution = ministack.distribution().await;
    let (_replica, api) = ministack.replica().await;
    let mut document = with_distribution(web_projected(&store.arn), &distribution);
    document["components"][0]["router"]["parameter"] = json!(PARAMETER);
    document["components"][0]["router"]["regions"] = json!([REGION, SECOND_REGION]);
    api.set_up(document, &["1.0.0", "1.1.0"]).await;
    let id = api.promote("1.0.0").await;
    api.end_as(&id, "succeeded").await;
    let id = api.promote("1.1.0").await;
    api.end_as(&id, "succeeded").await;
    let value = store.get(KEY).await;
    assert_eq!(active(value.clone()).as_deref(), Some("1.1.0"));
    for region in [REGION, SECOND_REGION] {
        assert_eq!(ministack.pointer_in(region, PARAMETER).await, value, "{region}");
    }
    let id = api.roll_back().await;
    api.end_as(&id, "succeeded").await;
    assert_eq!(store.active(KEY).await.as_deref(), Some("1.0.0"));
    assert_eq!(ministack.pointer_in(REGION, PARAMETER).await, store.get(KEY).await);
}

#[tokio::test]
async fn a_key_is_taken_over_watched_for_drift_and_put_back_byte_for_byte() {
    let ministack = ministack().await;
    let store = Store::new(ministack, "taken-over").await;
    let before = "  before us, byte for byte: é ";
    store.put(KEY, before).await;
    let (_replica, api) = ministack.replica().await;
    let mut document = web_in_kvs(&store.arn);
    document["components"][0]["router"]["create_key"] = json!(false);
    document["components"][0].as_object_mut().unwrap().remove("cdn");
    api.set_up(document.clone(), &["1.0.0", "1.1.0"]).await;
    let id = api.promote("1.0.0").await;
    api.end_as(&id, "succeeded").await;

    store.put(KEY, "by hand").await;
    let id = api.promote("1.1.0").await;
    let job = api.end_as(&id, "failed").await;
    assert_eq!(job["error"]["code"], "pointer_drifted", "{job:#}");
    assert_eq!(store.get(KEY).await.as_deref(), Some("by hand"));
    assert_eq!(api.environment().await["drift"][0]["seen"]["found"], "by hand");
    let body = json!({"release": "1.1.0", "on_drift": "overwrite"});
    let id = api
        .post(&format!("{ENVIRONMENT}/promotions"), body)
        .await
        .expect(202)
        .id();
    api.end_as(&id, "succeeded").await;
    for expected in [Some("1.0.0"), None] {
        let id = api.roll_back().await;
        let job = api.end_as(&id, "succeeded").await;
        assert_eq!(job["release"], json!(expected), "{job:#}");
    }
    assert_eq!(
        (store.get(KEY).await.as_deref(), store.get(LAST_GOOD).await),
        (Some(before), None)
    );

    document["components"][0]["router"]["kvs_key"] = json!("missing");
    api.put(ENVIRONMENT, document.clone()).await.expect(200);
    let id = api.promote("1.1.0").await;
    assert_eq!(api.end_as(&id, "failed").await["error"]["code"], "key_not_found");
    let missing = store.arn.replace("taken-over", "missing");
    document["components"][0]["router"]["kvs_arn"] = json!(missing);
    api.put(ENVIRONMENT, document).await.expect(200);
    let id = api.promote("1.1.0").await;
    assert_eq!(api.end_as(&id, "failed").await["error"]["code"], "kvs_not_found");
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_nothing_is_written() {
    let ministack = ministack().await;
    let store = Store::new(ministack, "stale").await;
    let account: AwsAccount = serde_json::from_value(json!({"region": REGION})).unwrap();
    let kvs: KeyValueStores = Aws::with_config(&ministack.sdk(REGION)).kvs(&account).await;
    let update = |value| Update {
        puts: vec![(KEY, value), (LAST_GOOD, value)],
        deletes: Vec::new(),
    };
    let seen = kvs.observe(&store.arn, KEY).await.unwrap();
    assert_eq!(seen.value, None);
    store.put("others/key", "moved").await;
    let guard = || WriteGuard::new(PATIENCE);
    let refused = kvs
        .update(&store.arn, &seen.etag, &update("1"), guard())
        .await
        .unwrap_err();
    assert_eq!(refused.class, Class::Moved, "{refused}");
    assert!(refused.is_surely_without_effect());
    assert_eq!((store.get(KEY).await, store.get(LAST_GOOD).await), (None, None));

    let again = kvs.observe(&store.arn, KEY).await.unwrap();
    let after = kvs
        .update(&store.arn, &again.etag, &update("1"), guard())
        .await
        .unwrap();
    assert_ne!(after, again.etag);
    let same = kvs.update(&store.arn, &after, &update("1"), guard()).await.unwrap();
    assert_ne!(same, after, "the same value again moves the ETag: it fences");
    assert_eq!(store.get(LAST_GOOD).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn environments_that_share_a_store_are_promoted_at_once() {
    let ministack = ministack().await;
    let store = Store::new(ministack, "shared").await;
    let (_replica, api) = ministack.replica().await;
    api.put("/v1/apps/storefront", json!({})).await.expect(201);
    api.register("1.0.0").await;
    let mut jobs = Vec::new();
    for n in 0..8 {
        let mut document = web_in_kvs(&store.arn);
        document["components"][0]["router"]["kvs_key"] = json!(format!("storefront/{n}"));
        document["components"][0].as_object_mut().unwrap().remove("cdn");
        let environment = format!("/v1/apps/storefront/environments/e{n}");
        api.put(&environment, document).await.expect(201);
        let body = json!({"release": "1.0.0"});
        jobs.push(
            api.post(&format!("{environment}/promotions"), body)
                .await
                .expect(202)
                .id(),
        );
    }
    for (n, id) in jobs.iter().enumerate() {
        api.end_as(id, "succeeded").await;
        assert_eq!(store.active(&format!("storefront/{n}")).await.as_deref(), Some("1.0.0"));
    }
}

/// It speaks RPC v2 CBOR, and reads a composite alarm's rule. Where it differs from AWS: a composite alarm that is new
/// is evaluated in the call that makes it, so that it is never `INSUFFICIENT_DATA`.
#[tokio::test]
async fn alarms_of_both_kinds_are_read_page_by_page() {
    let ministack = ministack().await;
    let client = aws_sdk_cloudwatch::Client::new(&ministack.sdk(REGION));
    let mut wanted: Vec<String> = (0..110).map(|number| format!("watched-{number:03}")).collect();
    for name in &wanted {
        let put = client.put_metric_alarm().alarm_name(name).namespace("Storefront");
        let put = put.metric_name("Errors").statistic(Statistic::Sum).threshold(1.0);
        let put = put.comparison_operator(ComparisonOperator::GreaterThanThreshold);
        put.period(60).evaluation_periods(1).send().await.unwrap();
    }
    let set = async |name: &str, state: StateValue, reason: &str| {
        let set = client.set_alarm_state().alarm_name(name).state_value(state);
        set.state_reason(reason).send().await.unwrap();
    };
    set("watched-000", StateValue::Alarm, "Threshold Crossed").await;
    set("watched-109", StateValue::Ok, "all is well").await;
    let composite = client.put_composite_alarm().alarm_name("watched-all");
    composite.alarm_rule("ALARM(\"watched-000\")").send().await.unwrap();
    wanted.push("watched-all".to_owned());
    let asked: Vec<String> = wanted.iter().cloned().chain(["none".to_owned()]).collect();

    let account: AwsAccount = serde_json::from_value(json!({"region": REGION})).unwrap();
    let aws = Aws::with_config(&ministack.sdk(REGION));
    let alarms = aws.cloudwatch(&account, REGION).await.alarms(&asked).await.unwrap();
    let found: Vec<&str> = alarms.iter().map(|alarm| alarm.name.as_str()).collect();
    assert_eq!(found, wanted, "every page, and nothing that is not there");
    let said = |name: &str| {
        let alarm = alarms.iter().find(|alarm| alarm.name == name).unwrap();
        assert!(alarm.updated_at.is_some(), "{alarm:?}");
        (alarm.state, alarm.reason.as_str())
    };
    assert_eq!(said("watched-000"), (AlarmState::Alarm, "Threshold Crossed"));
    assert_eq!(said("watched-001").0, AlarmState::InsufficientData, "a new one");
    assert_eq!(said("watched-109"), (AlarmState::Ok, "all is well"));
    assert_eq!(said("watched-all").0, AlarmState::Alarm);
    let elsewhere = aws
        .cloudwatch(&account, SECOND_REGION)
        .await
        .alarms(&asked)
        .await
        .unwrap();
    assert_eq!(elsewhere, []);
}
