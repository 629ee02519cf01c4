//! The files of a release must be there, be found, and be a site; what S3 says otherwise is told.

use greenlight::sandbox::double::{Fault, FaultAction};
use serde_json::json;

use super::*;
use crate::support::SECOND_REGION;

#[tokio::test]
async fn a_release_that_was_not_uploaded_is_refused_until_it_is() {
    let app = with_releases(site(), &["1.0.0"]).await;
    let error = refused(&app, "1.0.0", "artifact_missing").await;
    assert_says(&error, &["s3://storefront-web/releases/1.0.0/", "Upload"]);
    // Neither is a folder that was made by hand, nor the release whose name goes on.
    app.double.put_object(BUCKET, "releases/1.0.0/", None, "");
    put(&app, "1.0.0.1", "index.html", "<html>");
    refused(&app, "1.0.0", "artifact_missing").await;
    assert_eq!(
        manifests(&app, "1.0.0").await,
        json!([]),
        "what is refused is not recorded"
    );
    upload(&app, "1.0.0");
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!(artifact(&job)["objects"], 2);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_refused() {
    let app = TestApp::start().await;
    app.set_up(site(), &["1.0.0"]).await;
    let error = refused(&app, "1.0.0", "bucket_not_found").await;
    assert_says(&error, &["storefront-web", "artifact.bucket"]);
}

#[tokio::test]
async fn a_site_without_a_page_is_refused_where_the_routing_function_serves_it() {
    let app = with_releases(site(), &["1.0.0"]).await;
    put(&app, "1.0.0", "dist/index.html", "<html>");
    let error = refused(&app, "1.0.0", "artifact_incomplete").await;
    assert_says(&error, &["no index.html", "\"dist/index.html\""]);

    let app = with_releases(origin_site(), &["1.0.0"]).await;
    put(&app, "1.0.0", "app.js", "app;");
    app.promote_to_the_end("1.0.0").await;
    assert_eq!(s3_calls(&app), ["ListObjectsV2"], "there is no page to look at");
}

#[tokio::test]
async fn every_page_of_the_listing_is_read() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    upload(&app, "1.0.0");
    upload(&app, "1.1.0");
    for number in 0..35 {
        put(&app, "1.0.0", &format!("assets/chunk-{number}.js"), "0123456789");
    }
    app.double.set_s3_page_size(10);
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!(
        (&artifact(&job)["objects"], &artifact(&job)["bytes"]),
        (&json!(37), &json!(360))
    );
    let pages = |app: &TestApp| s3_calls(app).iter().filter(|call| *call == "ListObjectsV2").count();
    assert_eq!(pages(&app), 4);
    app.promote_to_the_end("1.1.0").await;
    delete(&app, "1.0.0", "assets/chunk-34.js");
    let error = refused(&app, "1.0.0", "artifact_changed").await;
    assert_says(&error, &["1 of the 37 files", "\"assets/chunk-34.js\" is missing"]);
}

#[tokio::test]
async fn a_plus_in_a_version_goes_out_escaped_and_is_found() {
    let app = with_releases(site(), &["1.0.0+build.7"]).await;
    upload(&app, "1.0.0+build.7");
    let job = app.promote_to_the_end("1.0.0+build.7").await;
    assert_eq!(
        artifact(&job)["location"],
        "s3://storefront-web/releases/1.0.0+build.7/"
    );
    assert_eq!(artifact(&job)["objects"], 2);
    let calls = app.double.calls();
    let list = calls.iter().find(|call| call.operation == "ListObjectsV2").unwrap();
    let query = list.details["query"].as_str().unwrap();
    assert!(query.contains("prefix=releases%2F1.0.0%2Bbuild.7%2F"), "{query}");
    let head = calls.iter().find(|call| call.operation == "HeadObject").unwrap();
    assert_eq!(
        head.details["path"],
        "/storefront-web/releases/1.0.0%2Bbuild.7/index.html"
    );
}

#[tokio::test]
async fn a_missing_permission_to_list_is_named() {
    let app = with_releases(site(), &["1.0.0"]).await;
    upload(&app, "1.0.0");
    let denied = app
        .double
        .faults()
        .add(Fault::on("ListObjectsV2", FaultAction::AccessDenied));
    let error = refused(&app, "1.0.0", "aws_access_denied").await;
    assert_says(&error, &["Grant s3:ListBucket on bucket storefront-web in us-east-1"]);
    assert_eq!(denied.hits(), 1, "what is refused is not tried again");
}

#[tokio::test]
async fn a_page_that_browsers_would_download_is_a_warning() {
    let app = with_releases(site(), &["1.0.0", "1.1.0"]).await;
    for release in ["1.0.0", "1.1.0"] {
        let key = format!("releases/{release}/index.html");
        app.double.put_object(BUCKET, &key, None, "<html>");
    }
    let job = app.promote_to_the_end("1.0.0").await;
    let [("artifact_content_type", message)] = warnings(&job)[..] else {
        panic!("{job:#}");
    };
    assert!(message.contains("binary/octet-stream, not text/html"), "{message}");

    app.double
        .faults()
        .add(Fault::on("HeadObject", FaultAction::AccessDenied));
    let job = app.promote_to_the_end("1.1.0").await;
    let [("artifact_content_type", message)] = warnings(&job)[..] else {
        panic!("{job:#}");
    };
    assert!(
        message.contains("Grant s3:GetObject on object s3://storefront-web/"),
        "{message}"
    );

    let app = with_releases(origin_site(), &["1.0.0"]).await;
    app.double
        .put_object(BUCKET, "releases/1.0.0/index.html", None, "<html>");
    app.double
        .faults()
        .add(Fault::on("HeadObject", FaultAction::AccessDenied));
    assert_eq!(warnings(&app.promote_to_the_end("1.0.0").await), [], "not ours to say");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for (operation, action) in [
        ("ListObjectsV2", FaultAction::Throttle),
        ("ListObjectsV2", FaultAction::LoseAnswer),
        ("HeadObject", FaultAction::Unavailable),
        ("HeadObject", FaultAction::Throttle),
    ] {
        let app = with_releases(site(), &["1.0.0"]).await;
        upload(&app, "1.0.0");
        app.double.set_s3_page_size(1);
        // The second page of the listing, twice; or the look at the page, twice.
        let skip = u64::from(operation == "ListObjectsV2");
        let fault = Fault::on(operation, action.clone()).skip(skip).times(2);
        let fault = app.double.faults().add(fault);
        let job = app.promote_to_the_end("1.0.0").await;
        assert_eq!(fault.hits(), 2, "{operation} {action:?}");
        assert!(job["steps"][0]["attempts"].as_i64().unwrap() > 1, "{job:#}");
        assert_eq!(artifact(&job)["objects"], 2);
        let kinds = app.event_kinds(job["id"].as_str().unwrap()).await;
        assert!(kinds.contains(&"step.retrying".to_owned()), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_bucket_in_another_region_is_found() {
    let app = TestApp::start().await;
    app.double.add_bucket(SECOND_REGION, BUCKET);
    app.set_up(site(), &["1.0.0"]).await;
    upload(&app, "1.0.0");
    let job = app.promote_to_the_end("1.0.0").await;
    assert_eq!(artifact(&job)["objects"], 2);
}
