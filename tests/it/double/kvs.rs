//! KeyValueStore: a compare-and-swap over the whole store, in the wire format of the data plane.

use aws_sdk_cloudfrontkeyvaluestore::Client;
use aws_sdk_cloudfrontkeyvaluestore::config::Builder;
use aws_sdk_cloudfrontkeyvaluestore::types::{DeleteKeyRequestListItem, PutKeyRequestListItem};
use greenlight::aws::kvs::LiteralEndpoint;
use greenlight::sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction, Outcome, StaleEtag};
use serde_json::json;

use super::support::*;

fn kvs_as(double: &AwsDouble, access_key: &str) -> Client {
    let config = Builder::from(&config_for(double, REGION, access_key))
        .endpoint_resolver(LiteralEndpoint::default())
        .build();
    Client::from_conf(config)
}

fn kvs(double: &AwsDouble) -> Client {
    kvs_as(double, "EXAMPLE")
}

async fn etag(client: &Client, arn: &str) -> String {
    let described = client.describe_key_value_store().kvs_arn(arn).send().await.unwrap();
    described.e_tag
}

async fn get(client: &Client, arn: &str, key: &str) -> Result<String, String> {
    match client.get_key().kvs_arn(arn).key(key).send().await {
        Ok(output) => Ok(output.value),
        Err(error) => Err(code(&error)),
    }
}

async fn put(client: &Client, arn: &str, etag: &str, key: &str, value: &str) -> Result<String, String> {
    let request = client.put_key().kvs_arn(arn).if_match(etag).key(key).value(value);
    request.send().await.map(|output| output.e_tag).map_err(|e| code(&e))
}

async fn update(
    client: &Client,
    arn: &str,
    etag: &str,
    puts: &[(&str, &str)],
    deletes: &[&str],
) -> Result<String, String> {
    let mut request = client.update_keys().kvs_arn(arn).if_match(etag);
    for (key, value) in puts {
        request = request.puts(
            PutKeyRequestListItem::builder()
                .key(*key)
                .value(*value)
                .build()
                .unwrap(),
        );
    }
    for key in deletes {
        request = request.deletes(DeleteKeyRequestListItem::builder().key(*key).build().unwrap());
    }
    request.send().await.map(|output| output.e_tag).map_err(|e| code(&e))
}

#[tokio::test]
async fn keys_are_put_read_listed_and_deleted_under_the_current_etag() {
    let double = double().await;
    let arn = double.add_key_value_store("shared");
    assert_eq!(double.add_key_value_store("shared"), arn, "a name is one store");
    let client = kvs(&double);
    let first = etag(&client, &arn).await;
    let keys = ["storefront/production", "a b+c", "é%2F:x", "?#&="];
    let mut now = first.clone();
    for key in keys {
        now = put(&client, &arn, &now, key, &format!("value of {key}")).await.unwrap();
        assert_eq!(get(&client, &arn, key).await, Ok(format!("value of {key}")));
    }
    let described = client.describe_key_value_store().kvs_arn(&arn).send().await.unwrap();
    assert_eq!((described.item_count, described.kvs_arn.as_str()), (4, arn.as_str()));
    assert_eq!(
        (described.e_tag.as_str(), described.status()),
        (now.as_str(), Some("READY"))
    );
    assert!(described.total_size_in_bytes > 80 && described.created.secs() > 1_700_000_000);

    let next = update(&client, &arn, &now, &[("new", "1"), ("a b+c", "2")], &["?#&="])
        .await
        .unwrap();
    assert_eq!(double.kvs_etag(&arn), Some(next.clone()));
    let request = client.delete_key().kvs_arn(&arn).if_match(&next).key("new");
    request.send().await.unwrap();
    let mut listed = Vec::new();
    let mut token = None;
    loop {
        let request = client.list_keys().kvs_arn(&arn).max_results(2).set_next_token(token);
        let page = request.send().await.unwrap();
        listed.extend(page.items().iter().map(|item| (item.key.clone(), item.value.clone())));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(listed, double.kvs_snapshot(&arn).into_iter().collect::<Vec<_>>());
    assert_eq!(listed.len(), 3);
    assert_eq!(double.kvs_value(&arn, "a b+c").as_deref(), Some("2"));
}

#[tokio::test]
async fn an_etag_that_was_overtaken_is_refused_and_nothing_of_the_update_is_made() {
    for (stale_etag, refusal) in [
        (StaleEtag::AsDocumented, "ConflictException"),
        (StaleEtag::AsSeen, "ValidationException"),
    ] {
        let options = DoubleOptions {
            stale_etag,
            ..DoubleOptions::default()
        };
        let double = AwsDouble::start(options).await.unwrap();
        let arn = double.add_key_value_store("shared");
        let client = kvs(&double);
        let first = etag(&client, &arn).await;
        double.set_kvs_value(&arn, "other", "1").unwrap();
        assert_ne!(double.kvs_etag(&arn).as_deref(), Some(first.as_str()));
        let refused = update(&client, &arn, &first, &[("a", "1"), ("b", "1")], &["other"]).await;
        assert_eq!(refused, Err(refusal.to_owned()));
        assert_eq!(put(&client, &arn, &first, "a", "1").await, Err(refusal.to_owned()));
        assert_eq!(double.kvs_snapshot(&arn).len(), 1);
        // Out of band, the ETag that is current is used.
        double.delete_kvs_value(&arn, "other").unwrap();
        assert_eq!(
            double.delete_kvs_value(&arn, "other").unwrap_err().code,
            "ResourceNotFoundException"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_ours_is_refused() {
    let double = double().await;
    let arn = double.add_key_value_store("shared");
    let client = kvs(&double);
    let now = etag(&client, &arn).await;
    assert_eq!(
        get(&client, &arn, "missing").await,
        Err("ResourceNotFoundException".to_owned())
    );
    assert_eq!(
        update(&client, &arn, &now, &[("a", "1")], &["missing"]).await,
        Err("ResourceNotFoundException".to_owned())
    );
    assert!(double.kvs_snapshot(&arn).is_empty(), "all or nothing");
    let elsewhere = "arn:aws:cloudfront::000000000000:key-value-store/missing";
    let error = client
        .describe_key_value_store()
        .kvs_arn(elsewhere)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    assert!(error.into_service_error().is_resource_not_found_exception());
    let error = kvs_as(&double, "111111111111")
        .get_key()
        .kvs_arn(&arn)
        .key("a")
        .send()
        .await;
    assert!(error.unwrap_err().into_service_error().is_access_denied_exception());
    let theirs = double.add_key_value_store_in("111111111111", "shared");
    assert_ne!(theirs, arn);
    etag(&kvs_as(&double, "111111111111"), &theirs).await;

    let long = "x".repeat(1025);
    let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
    for puts in [&[("a", long.as_str())][..], &[(&long[..513], "v")], &many] {
        let refused = update(&client, &arn, &now, puts, &[]).await;
        assert_eq!(refused, Err("ServiceQuotaExceededException".to_owned()));
    }
    assert_eq!(
        update(&client, &arn, &now, &[], &[]).await,
        Err("ValidationException".to_owned())
    );
    let error = client
        .list_keys()
        .kvs_arn(&arn)
        .max_results(51)
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "ValidationException");
    assert_eq!(etag(&client, &arn).await, now, "a refusal moves no ETag");
}

#[tokio::test]
async fn calls_are_recorded_and_faults_apply() {
    let double = double().await;
    let arn = double.add_key_value_store("shared");
    let client = kvs(&double);
    let now = etag(&client, &arn).await;
    update(&client, &arn, &now, &[("a", "1")], &[]).await.unwrap();
    let calls = double.calls();
    let call = calls.last().unwrap();
    assert_eq!(
        (call.service.as_str(), call.operation.as_str(), call.region.as_str()),
        ("cloudfront-keyvaluestore", "UpdateKeys", "*")
    );
    assert_eq!(
        (call.account.as_str(), call.resource.as_deref()),
        ("000000000000", Some(arn.as_str()))
    );
    assert_eq!(
        call.details,
        json!({"if_match": now, "puts": {"a": "1"}, "deletes": []})
    );
    assert_eq!(calls[0].operation, "DescribeKeyValueStore");

    for (action, status, refusal) in [
        (FaultAction::Throttle, 429, "ThrottlingException"),
        (FaultAction::Unavailable, 503, "ServiceUnavailable"),
        (FaultAction::InternalError, 500, "InternalServerException"),
        (FaultAction::AccessDenied, 403, "AccessDeniedException"),
    ] {
        let fault = Fault::on("GetKey", action).on_resource("key-value-store/").once();
        double.faults().add(fault);
        let error = client.get_key().kvs_arn(&arn).key("a").send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
        assert_eq!(code(&error), refusal);
    }

    let before = double.kvs_etag(&arn).unwrap();
    double.set_kvs_value(&arn, "a", "2").unwrap();
    double.faults().add(Fault::on_any(FaultAction::StaleRead).times(2));
    assert_eq!(get(&client, &arn, "a").await.as_deref(), Ok("1"));
    assert_eq!(etag(&client, &arn).await, before);
    assert_eq!(get(&client, &arn, "a").await.as_deref(), Ok("2"));

    // A request in flight that was overtaken is refused when it lands.
    let held = double.faults().add(Fault::on("PutKey", FaultAction::HoldEffect).once());
    let now = etag(&client, &arn).await;
    let late = tokio::spawn({
        let (client, arn, now) = (client.clone(), arn.clone(), now.clone());
        async move { put(&client, &arn, &now, "a", "late").await }
    });
    soon(held.wait_hit(1)).await;
    put(&client, &arn, &now, "b", "1").await.unwrap();
    held.release();
    late.abort();
    assert_eq!(get(&client, &arn, "a").await.as_deref(), Ok("2"));
    let released = double
        .calls()
        .into_iter()
        .find(|call| call.details["puts"]["a"] == "late")
        .unwrap();
    let refusal = Some("ConflictException".to_owned());
    assert_eq!(released.outcome, Outcome::Released { error: refusal });
}

#[tokio::test]
async fn a_saved_store_is_there_after_a_restart_with_its_etag() {
    let folder = std::env::temp_dir().join(format!("greenlight-double-{}", uuid::Uuid::now_v7()));
    let options = DoubleOptions {
        persist: Some(folder.join("aws.json")),
        ..DoubleOptions::default()
    };
    let before = AwsDouble::start(options.clone()).await.unwrap();
    let arn = before.add_key_value_store("shared");
    before.set_kvs_value(&arn, "a", "1").unwrap();
    let now = before.kvs_etag(&arn);
    before.shutdown().await;
    drop(before);
    let after = AwsDouble::start(options).await.unwrap();
    assert_eq!(
        (after.kvs_etag(&arn), after.add_key_value_store("shared")),
        (now, arn.clone())
    );
    assert_eq!(get(&kvs(&after), &arn, "a").await.as_deref(), Ok("1"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn an_unsigned_request_is_refused_in_the_services_own_shape() {
    let double = double().await;
    let arn = double.add_key_value_store("shared");
    let url = format!("{}/key-value-stores/{}", double.endpoint_url(), arn.replace('/', "%2F"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(
        answer.headers()["x-amzn-errortype"],
        "MissingAuthenticationTokenException"
    );
    assert_eq!(
        answer.json::<serde_json::Value>().await.unwrap()["Message"],
        "Missing Authentication Token"
    );
}
