//! CloudFront: invalidations that take their time, quotas, and the distribution itself.

use std::time::Duration;

use aws_sdk_cloudfront::types::{InvalidationBatch, Paths};
use greenlight::sandbox::double::{AwsDouble, CallerReferenceReuse, DoubleOptions};

use super::support::*;

#[tokio::test]
async fn an_invalidation_is_in_progress_until_its_time_has_passed() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let (id, created) = invalidate(&client, "job-1", &["/index.html", "/assets/*"])
        .await
        .unwrap();
    assert_eq!(created, "InProgress");
    assert_eq!(status(&client, &id).await, "InProgress");
    let in_progress = client.get_distribution().id(DISTRIBUTION).send().await.unwrap();
    assert_eq!(
        in_progress.distribution().unwrap().in_progress_invalidation_batches(),
        1
    );
    double.clock().advance(Duration::from_secs(3));
    assert_eq!(status(&client, &id).await, "Completed");

    let seen = double.invalidations(DISTRIBUTION);
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].id.as_str(), seen[0].caller_reference.as_str()),
        (id.as_str(), "job-1")
    );
    assert_eq!(seen[0].paths, ["/index.html", "/assets/*"]);
    assert_eq!(seen[0].status, "Completed");
}

#[tokio::test]
async fn an_invalidation_without_duration_is_born_completed() {
    let options = DoubleOptions {
        invalidation_duration: Duration::ZERO,
        ..DoubleOptions::default()
    };
    let double = AwsDouble::start(options).await.unwrap();
    double.add_distribution(DISTRIBUTION);
    let (_, created) = invalidate(&cloudfront(&double), "job-1", &["/*"]).await.unwrap();
    assert_eq!(created, "Completed");
}

#[tokio::test]
async fn a_caller_reference_makes_a_batch_idempotent() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let (first, _) = invalidate(&client, "job-1", &["/a", "/b"]).await.unwrap();
    let (again, _) = invalidate(&client, "job-1", &["/a", "/b"]).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(
        invalidate(&client, "job-1", &["/c"]).await,
        Err("InvalidationBatchAlreadyExists".to_owned())
    );
    assert_eq!(double.invalidations(DISTRIBUTION).len(), 1);
}

#[tokio::test]
async fn a_caller_reference_can_be_refused_as_users_have_seen() {
    let options = DoubleOptions {
        caller_reference_reuse: CallerReferenceReuse::AlwaysRefused,
        ..DoubleOptions::default()
    };
    let double = AwsDouble::start(options).await.unwrap();
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    invalidate(&client, "job-1", &["/a"]).await.unwrap();
    assert_eq!(
        invalidate(&client, "job-1", &["/a"]).await,
        Err("InvalidArgument".to_owned())
    );
}

#[tokio::test]
async fn bad_batches_are_refused() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    assert_eq!(
        invalidate(&client, "a", &["index.html"]).await,
        Err("InvalidArgument".to_owned())
    );
    assert_eq!(
        invalidate(&client, "b", &["/a*b"]).await,
        Err("InvalidArgument".to_owned())
    );
    let paths = Paths::builder().quantity(2).items("/a").build().unwrap();
    let batch = InvalidationBatch::builder()
        .caller_reference("c")
        .paths(paths)
        .build()
        .unwrap();
    let request = client
        .create_invalidation()
        .distribution_id(DISTRIBUTION)
        .invalidation_batch(batch);
    let error = request.send().await.unwrap_err().into_service_error();
    assert!(error.is_inconsistent_quantities(), "{error:?}");
    assert!(double.invalidations(DISTRIBUTION).is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let error = client.get_distribution().id("EMISSING").send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    assert!(error.into_service_error().is_no_such_distribution());
    let request = client.create_invalidation().distribution_id("EMISSING");
    let error = request
        .invalidation_batch(batch("a", &["/a"]))
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_no_such_distribution());
    let request = client.get_invalidation().distribution_id(DISTRIBUTION).id("IMISSING");
    assert!(
        request
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_no_such_invalidation()
    );
    let error = client.list_functions().send().await.unwrap_err();
    assert_eq!(code(&error), "UnknownOperationException");
    let foreign = aws_sdk_cloudfront::Client::new(&config_for(&double, REGION, "111111111111"));
    let error = foreign.get_distribution().id(DISTRIBUTION).send().await.unwrap_err();
    assert!(error.into_service_error().is_no_such_distribution());
}

#[tokio::test]
async fn fifteen_wildcards_are_in_progress_at_most() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    for number in 0..15 {
        invalidate(&client, &format!("job-{number}"), &[&format!("/{number}/*")])
            .await
            .unwrap();
    }
    let request = client.create_invalidation().distribution_id(DISTRIBUTION);
    let error = request
        .invalidation_batch(batch("job-16", &["/*"]))
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
    assert!(error.into_service_error().is_too_many_invalidations_in_progress());
    invalidate(&client, "job-17", &["/one-file"]).await.unwrap();
    double.clock().advance(Duration::from_secs(3));
    invalidate(&client, "job-16", &["/*"]).await.unwrap();
}

#[tokio::test]
async fn three_thousand_paths_are_in_progress_at_most() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let names: Vec<String> = (0..3000).map(|number| format!("/file-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    invalidate(&client, "full", &names).await.unwrap();
    assert_eq!(
        invalidate(&client, "over", &["/x"]).await,
        Err("TooManyInvalidationsInProgress".to_owned())
    );
    invalidate(&client, "wild", &["/x/*"]).await.unwrap();
}

#[tokio::test]
async fn invalidations_are_listed_newest_first_in_pages() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    let client = cloudfront(&double);
    let mut created = Vec::new();
    for number in 0..5 {
        created.push(invalidate(&client, &format!("job-{number}"), &["/a"]).await.unwrap().0);
    }
    created.reverse();
    let mut listed = Vec::new();
    let mut marker = None;
    loop {
        let request = client.list_invalidations().distribution_id(DISTRIBUTION).max_items(2);
        let output = request.set_marker(marker).send().await.unwrap();
        let page = output.invalidation_list().unwrap();
        assert!(page.quantity() <= 2);
        listed.extend(page.items().iter().map(|item| item.id().to_owned()));
        marker = page.next_marker().map(str::to_owned);
        assert_eq!(page.is_truncated(), marker.is_some());
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(listed, created);
}

#[tokio::test]
async fn a_distribution_shows_its_config_under_one_etag() {
    let double = double().await;
    double.add_distribution(DISTRIBUTION);
    double.add_distribution("E3EXAMPLE");
    let client = cloudfront(&double);
    let whole = client.get_distribution().id(DISTRIBUTION).send().await.unwrap();
    let config = client.get_distribution_config().id(DISTRIBUTION).send().await.unwrap();
    assert_eq!(whole.e_tag(), config.e_tag());
    assert!(whole.e_tag().is_some());
    let distribution = whole.distribution().unwrap();
    assert_eq!(
        distribution.arn(),
        "arn:aws:cloudfront::000000000000:distribution/E2EXAMPLE"
    );
    assert_eq!(distribution.status(), "Deployed");
    assert_eq!(distribution.distribution_config(), config.distribution_config());
    assert!(config.distribution_config().unwrap().enabled());
    assert_eq!(config.distribution_config().unwrap().origins().unwrap().quantity(), 1);
    let list = client.list_distributions().send().await.unwrap();
    let ids: Vec<_> = list
        .distribution_list()
        .unwrap()
        .items()
        .iter()
        .map(|it| it.id())
        .collect();
    assert_eq!(ids, [DISTRIBUTION, "E3EXAMPLE"]);
}
