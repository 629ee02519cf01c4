//! S3: what is put can be read and listed, as AWS would have it; and what AWS refuses.

use std::time::Duration;

use aws_sdk_s3::{
    config::{RequestChecksumCalculation, StalledStreamProtectionConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::{ByteStream, SdkBody},
};
use greenlight::{
    aws::{
        Aws,
        s3::{Listing, Object, S3},
    },
    domain::environment::AwsAccount,
    sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction, Outcome},
};

use super::support::*;

const BUCKET: &str = "storefront-web";

async fn with_bucket() -> AwsDouble {
    let double = double().await;
    double.add_bucket(REGION, BUCKET);
    double
}

/// The control plane's own client of the double, in a region.
async fn ours(double: &AwsDouble, region: &str) -> S3 {
    let account = AwsAccount {
        region: region.to_owned(),
        role_arn: None,
        external_id: None,
    };
    Aws::with_config(&config(double)).s3(&account, region).await
}

fn keys(listing: Listing) -> Vec<String> {
    match listing {
        Listing::Whole(objects) => objects.into_iter().map(|object| object.key).collect(),
        Listing::TooMany => panic!("too many"),
    }
}

#[tokio::test]
async fn what_is_put_by_the_sdk_is_seen_by_a_handle_and_the_other_way_round() {
    let double = with_bucket().await;
    let client = s3(&double);
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("a/é +.js")
        .content_type("text/javascript");
    let put = put.cache_control("no-cache").body(ByteStream::from_static(b"let a;"));
    let etag = put.send().await.unwrap().e_tag.unwrap();
    let seen = double.object(BUCKET, "a/é +.js").unwrap();
    assert_eq!((&seen.body[..], format!("\"{}\"", seen.etag)), (&b"let a;"[..], etag));
    assert_eq!(seen.content_type.as_deref(), Some("text/javascript"));
    assert_eq!(seen.cache_control.as_deref(), Some("no-cache"));

    double.put_object(BUCKET, "b", None, "bytes");
    let got = client.get_object().bucket(BUCKET).key("b").send().await.unwrap();
    assert_eq!(got.content_type(), Some("binary/octet-stream"));
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), "bytes");
    assert_eq!(
        double.object(BUCKET, "b").unwrap().content_type.as_deref(),
        Some("binary/octet-stream")
    );
    assert_eq!(double.object_keys(BUCKET, ""), ["a/é +.js", "b"]);
    assert_eq!(double.object_keys(BUCKET, "a/"), ["a/é +.js"]);
    assert!(double.delete_object(BUCKET, "b"));
    assert!(!double.delete_object(BUCKET, "b"));
    let error = client.get_object().bucket(BUCKET).key("b").send().await.unwrap_err();
    assert!(error.into_service_error().is_no_such_key());
}

#[tokio::test]
async fn our_client_lists_every_page_in_order() {
    let double = with_bucket().await;
    let mut expected: Vec<String> = (0..25)
        .map(|number| format!("releases/1.0.0+1/{number:02} é+&.js"))
        .collect();
    for key in expected
        .iter()
        .map(String::as_str)
        .chain(["releases/1.0.0+10/x", "releases/1.0.0 1/x"])
    {
        double.put_object(BUCKET, key, None, key);
    }
    expected.push("releases/1.0.0+1/\u{1}\u{fffd}<".to_owned());
    double.put_object(BUCKET, expected.last().unwrap(), None, "odd");
    expected.sort();
    let ours = ours(&double, REGION).await;
    for (page, calls) in [(10, 3), (13, 2), (1000, 1)] {
        double.set_s3_page_size(page);
        double.clear_calls();
        let listing = ours.list(BUCKET, "releases/1.0.0+1/", 100).await.unwrap();
        assert_eq!(keys(listing), expected);
        assert_eq!(double.calls().len(), calls, "pages of {page}");
    }
    let call = double.calls().remove(0);
    assert_eq!(
        (call.service.as_str(), call.operation.as_str()),
        ("s3", "ListObjectsV2")
    );
    assert_eq!(call.resource.as_deref(), Some(BUCKET));
    let query = call.details["query"].as_str().unwrap();
    assert!(query.contains("prefix=releases%2F1.0.0%2B1%2F"), "{query}");

    let Listing::Whole(objects) = ours.list(BUCKET, "releases/1.0.0 1/", 100).await.unwrap() else {
        panic!("too many");
    };
    let etag = double.object(BUCKET, "releases/1.0.0 1/x").unwrap().etag;
    let key = "releases/1.0.0 1/x".to_owned();
    assert_eq!(objects, [Object { key, size: 18, etag }]);
    assert_eq!(
        keys(ours.list(BUCKET, "none/", 100).await.unwrap()),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_listing_over_the_limit_ends_early() {
    let double = with_bucket().await;
    for number in 0..10 {
        double.put_object(BUCKET, &number.to_string(), None, "");
    }
    double.set_s3_page_size(2);
    let ours = ours(&double, REGION).await;
    assert_eq!(ours.list(BUCKET, "", 3).await.unwrap(), Listing::TooMany);
    assert_eq!(double.calls().len(), 2, "the rest is not asked for");
    assert_eq!(keys(ours.list(BUCKET, "", 10).await.unwrap()).len(), 10);
}

#[tokio::test]
async fn a_bucket_in_another_region_is_followed_there() {
    let double = with_bucket().await;
    for key in ["a", "b", "c"] {
        double.put_object(BUCKET, key, Some("text/html"), key);
    }
    double.set_s3_page_size(1);
    let elsewhere = ours(&double, "us-east-1").await;
    assert_eq!(keys(elsewhere.list(BUCKET, "", 10).await.unwrap()), ["a", "b", "c"]);
    let regions: Vec<String> = double.calls().into_iter().map(|call| call.region).collect();
    assert_eq!(
        regions,
        ["us-east-1", REGION, REGION, REGION],
        "asked once in the wrong one"
    );
    assert_eq!(
        double.calls()[0].outcome,
        Outcome::Error {
            code: "PermanentRedirect".into()
        }
    );
    let head = elsewhere.head(BUCKET, "a").await.unwrap();
    assert_eq!(head.content_type.as_deref(), Some("text/html"));

    // Nobody is sent around for ever.
    double.clear_calls();
    let lost = FaultAction::Error {
        status: 301,
        code: "PermanentRedirect".into(),
        message: "elsewhere".into(),
    };
    double.faults().add(Fault::on("ListObjectsV2", lost).in_region(REGION));
    let error = elsewhere.list(BUCKET, "", 10).await.unwrap_err();
    assert!(
        error.to_string().contains("bucket storefront-web in eu-west-1"),
        "{error}"
    );
    assert_eq!(double.calls().len(), 2);
}

#[tokio::test]
async fn refusals_say_what_is_missing() {
    let double = with_bucket().await;
    double.put_object(BUCKET, "index.html", None, "x");
    let ours = ours(&double, REGION).await;
    let error = ours.list("no-such-bucket", "", 10).await.unwrap_err();
    assert_eq!(error.job_error().code, "aws_not_found");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    let error = ours.head(BUCKET, "none").await.unwrap_err();
    assert_eq!(error.job_error().code, "aws_not_found", "{error}");

    double
        .faults()
        .add(Fault::on_any(FaultAction::AccessDenied).in_account("000000000000"));
    let hint = ours.list(BUCKET, "", 10).await.unwrap_err().job_error().hint.unwrap();
    assert!(hint.contains("s3:ListBucket on bucket storefront-web"), "{hint}");
    let hint = ours
        .head(BUCKET, "index.html")
        .await
        .unwrap_err()
        .job_error()
        .hint
        .unwrap();
    assert!(
        hint.contains("s3:GetObject on object s3://storefront-web/index.html"),
        "{hint}"
    );
    let denied = s3(&double).list_objects_v2().bucket(BUCKET).send().await.unwrap_err();
    let said = denied.message().unwrap();
    assert!(
        said.contains("not authorized to perform: s3:ListBucket on resource: arn:aws:s3:::storefront-web"),
        "{said}"
    );
    double.faults().clear();

    let theirs = s3_of(&config_for(&double, REGION, "111111111111"));
    let error = theirs
        .get_object()
        .bucket(BUCKET)
        .key("index.html")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "AccessDenied");
    let error = theirs.create_bucket().bucket(BUCKET).send().await.unwrap_err();
    assert_eq!(code(&error), "IllegalLocationConstraintException");
}

#[tokio::test]
async fn faults_hit_s3_too() {
    let double = with_bucket().await;
    let client = s3(&double);
    let put = || {
        client
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .body(ByteStream::from_static(b"x"))
            .send()
    };
    for (action, answer) in [
        (FaultAction::Throttle, (503, "SlowDown")),
        (FaultAction::Unavailable, (503, "ServiceUnavailable")),
        (FaultAction::InternalError, (500, "InternalError")),
        (FaultAction::AccessDenied, (403, "AccessDenied")),
    ] {
        double
            .faults()
            .add(Fault::on("PutObject", action).on_resource("storefront-web/a").once());
        let error = put().await.unwrap_err();
        let status = error.raw_response().unwrap().status().as_u16();
        assert_eq!((status, code(&error).as_str()), answer);
    }
    assert_eq!(double.object(BUCKET, "a"), None);

    double
        .faults()
        .add(Fault::on("PutObject", FaultAction::LoseAnswer).once());
    assert!(matches!(put().await.unwrap_err(), SdkError::DispatchFailure(_)));
    assert!(double.object(BUCKET, "a").is_some(), "it took effect");
    let refused = double
        .faults()
        .add(Fault::on("GetObject", FaultAction::LoseAnswer).once());
    assert!(client.get_object().bucket(BUCKET).key("none").send().await.is_err());
    assert_eq!(refused.hits(), 1);
    let lost = double.calls().pop().unwrap().outcome;
    assert_eq!(
        lost,
        Outcome::AnswerLost {
            error: Some("NoSuchKey".into())
        }
    );

    double.delete_object(BUCKET, "a");
    let held = double
        .faults()
        .add(Fault::on("PutObject", FaultAction::HoldEffect).once());
    let sent = tokio::spawn(put());
    soon(held.wait_hit(1)).await;
    sent.abort();
    assert_eq!(double.object(BUCKET, "a"), None);
    assert_eq!(held.release(), 1);
    assert!(double.object(BUCKET, "a").is_some(), "it landed late");
}

#[tokio::test]
async fn a_plus_in_a_path_is_a_space_unless_it_is_escaped() {
    let double = with_bucket().await;
    double.put_object(BUCKET, "releases/1.0.0+1/x", None, "plus");
    double.put_object(BUCKET, "releases/1.0.0 1/x", None, "space");
    let date = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("EXAMPLE/{}/{REGION}/s3/aws4_request", &date[..8]);
    let signature = "0".repeat(64);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, body) in [
        ("releases/1.0.0%2B1/x", "plus"),
        ("releases/1.0.0+1/x", "space"),
        ("releases/1.0.0%201/x", "space"),
    ] {
        let request = http
            .get(format!("{}/{BUCKET}/{path}", double.endpoint_url()))
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"),
            );
        let answer = request.send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), body, "{path}");
    }
    // The SDKs escape it.
    ours(&double, REGION)
        .await
        .head(BUCKET, "releases/1.0.0+1/x")
        .await
        .unwrap();
    let call = double.calls().pop().unwrap();
    assert_eq!(call.details["path"], "/storefront-web/releases/1.0.0%2B1/x");
    assert_eq!(call.resource.as_deref(), Some("storefront-web/releases/1.0.0+1/x"));
}

#[tokio::test]
async fn a_streamed_body_comes_out_of_its_chunks() {
    let double = with_bucket().await;
    let config = aws_sdk_s3::config::Builder::from(&config(&double))
        .force_path_style(true)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported);
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let text = "a line of a larger file\n".repeat(5000);
    let file = std::env::temp_dir().join(format!("greenlight-double-{}", uuid::Uuid::now_v7()));
    std::fs::write(&file, &text).unwrap();
    let body = ByteStream::read_from().path(&file).build().await.unwrap();
    client
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .body(body)
        .send()
        .await
        .unwrap();
    std::fs::remove_file(file).unwrap();
    assert_eq!(double.object(BUCKET, "a").unwrap().body, text);

    let wrong = client.put_object().bucket(BUCKET).key("a").checksum_crc32("AAAAAA==");
    let error = wrong
        .body(ByteStream::new(SdkBody::from("other")))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "BadDigest");
    assert_eq!(double.object(BUCKET, "a").unwrap().body, text);
}

#[tokio::test]
async fn saved_objects_are_there_after_a_restart_and_no_body_is_left_over() {
    let folder = std::env::temp_dir().join(format!("greenlight-double-{}", uuid::Uuid::now_v7()));
    let options = DoubleOptions {
        persist: Some(folder.join("aws.json")),
        ..DoubleOptions::default()
    };
    let before = AwsDouble::start(options.clone()).await.unwrap();
    before.put_object(BUCKET, "a", Some("text/html"), "kept");
    before.put_object(BUCKET, "b", None, "replaced");
    before.put_object(BUCKET, "b", None, vec![0, 255]);
    before.put_object(BUCKET, "same", None, "kept");
    let kept = before.object(BUCKET, "a").unwrap();
    before.shutdown().await;
    drop(before);

    let after = AwsDouble::start(options.clone()).await.unwrap();
    assert_eq!(after.object(BUCKET, "a"), Some(kept));
    assert_eq!(&after.object(BUCKET, "b").unwrap().body[..], [0, 255]);
    let bodies = || std::fs::read_dir(folder.join("aws.objects")).unwrap().count();
    assert_eq!(bodies(), 2, "one for each content that is used");
    after.clock().advance(Duration::from_secs(1));
    after.put_object(BUCKET, "c", None, "new");
    assert_eq!(bodies(), 3);
    drop(after);

    std::fs::remove_file(folder.join("aws.json")).unwrap();
    AwsDouble::start(options).await.unwrap();
    assert_eq!(bodies(), 0, "a state that was forgotten leaves no bodies");
    std::fs::remove_dir_all(&folder).unwrap();
}
