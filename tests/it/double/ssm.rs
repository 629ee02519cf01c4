//! Parameter Store: what a control plane leans on, and what AWS refuses.

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::ParameterType;

use super::support::*;

#[tokio::test]
async fn a_parameter_is_created_once_and_then_overwritten_on_request() {
    let double = double().await;
    let client = ssm(&double);
    assert_eq!(get(&client, NAME).await, Err("ParameterNotFound".to_owned()));

    let create = |value: &str| {
        client
            .put_parameter()
            .name(NAME)
            .value(value)
            .r#type(ParameterType::String)
            .send()
    };
    assert_eq!(create("1.0.0").await.unwrap().version(), 1);
    let again = create("1.0.1").await.unwrap_err().into_service_error();
    assert!(again.is_parameter_already_exists(), "{again:?}");
    assert_eq!(put(&client, "1.0.2").await.unwrap().version(), 2);

    let output = client.get_parameter().name(NAME).send().await.unwrap();
    let parameter = output.parameter().unwrap();
    assert_eq!((parameter.value(), parameter.version()), (Some("1.0.2"), 2));
    assert_eq!(
        parameter.arn(),
        Some("arn:aws:ssm:eu-west-1:000000000000:parameter/storefront/production/release")
    );
    assert_eq!(parameter.data_type(), Some("text"));
    let age = chrono::Utc::now().timestamp() - parameter.last_modified_date().unwrap().secs();
    assert!((0..60).contains(&age), "{age}");
    assert_eq!(double.parameter(REGION, NAME), Some(("1.0.2".to_owned(), 2)));
}

#[tokio::test]
async fn a_type_is_needed_to_create_and_not_to_overwrite() {
    let double = double().await;
    let client = ssm(&double);
    let untyped = || client.put_parameter().name(NAME).value("x").overwrite(true).send();
    assert_eq!(code(&untyped().await.unwrap_err()), "ValidationException");
    put(&client, "1.0.0").await.unwrap();
    assert_eq!(untyped().await.unwrap().version(), 2);
    let other = client.put_parameter().name(NAME).value("x").overwrite(true);
    let error = other.r#type(ParameterType::SecureString).send().await.unwrap_err();
    assert!(error.into_service_error().is_hierarchy_type_mismatch_exception());
}

#[tokio::test]
async fn regions_and_accounts_have_parameters_of_their_own() {
    let double = double().await;
    let other_region = aws_sdk_ssm::Client::new(&config_for(&double, "us-east-1", "EXAMPLE"));
    let other_account = aws_sdk_ssm::Client::new(&config_for(&double, REGION, "111111111111"));
    put(&ssm(&double), "home").await.unwrap();
    assert_eq!(get(&other_region, NAME).await, Err("ParameterNotFound".to_owned()));
    assert_eq!(put(&other_account, "away").await.unwrap().version(), 1);
    assert_eq!(get(&ssm(&double), NAME).await, Ok(("home".to_owned(), 1)));
    assert_eq!(
        double.parameter_in("111111111111", REGION, NAME),
        Some(("away".to_owned(), 1))
    );
}

#[tokio::test]
async fn versions_and_labels_are_selected_in_the_name() {
    let double = double().await;
    let client = ssm(&double);
    for value in ["a", "b", "c"] {
        put(&client, value).await.unwrap();
    }
    let labelled = client
        .label_parameter_version()
        .name(NAME)
        .parameter_version(1)
        .labels("stable")
        .labels("1bad")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (labelled.parameter_version(), labelled.invalid_labels()),
        (1, &["1bad".to_owned()][..])
    );

    assert_eq!(get(&client, &format!("{NAME}:2")).await, Ok(("b".to_owned(), 2)));
    assert_eq!(get(&client, &format!("{NAME}:stable")).await, Ok(("a".to_owned(), 1)));
    for missing in ["9", "nothing"] {
        let name = format!("{NAME}:{missing}");
        let error = client
            .get_parameter()
            .name(name)
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        assert!(error.is_parameter_version_not_found(), "{error:?}");
    }
    let output = client.get_parameter().name(format!("{NAME}:2")).send().await.unwrap();
    assert_eq!(output.parameter().unwrap().selector(), Some(":2"));
    assert_eq!(output.parameter().unwrap().name(), Some(NAME));
}

#[tokio::test]
async fn the_two_forms_of_a_root_name_are_one_parameter() {
    let double = double().await;
    let client = ssm(&double);
    let create = |name: &str| {
        client
            .put_parameter()
            .name(name)
            .value("x")
            .r#type(ParameterType::String)
            .send()
    };
    create("release").await.unwrap();
    let output = client.get_parameter().name("/release").send().await.unwrap();
    assert_eq!(output.parameter().unwrap().name(), Some("/release"));
    let error = create("/release").await.unwrap_err().into_service_error();
    assert!(error.is_parameter_already_exists());
    for bad in [
        "storefront/release",
        "/storefront//release",
        "/storefront/re lease",
        "ssm-release",
    ] {
        assert_eq!(code(&create(bad).await.unwrap_err()), "ValidationException", "{bad}");
    }
}

#[tokio::test]
async fn secure_strings_are_shown_only_to_those_who_ask() {
    let double = double().await;
    let client = ssm(&double);
    let request = client.put_parameter().name("/secret").value("hush");
    request.r#type(ParameterType::SecureString).send().await.unwrap();
    let hidden = get(&client, "/secret").await.unwrap().0;
    assert!(!hidden.contains("hush") && !hidden.is_empty());
    let output = client
        .get_parameter()
        .name("/secret")
        .with_decryption(true)
        .send()
        .await
        .unwrap();
    let parameter = output.parameter().unwrap();
    assert_eq!(parameter.value(), Some("hush"));
    assert_eq!(parameter.r#type(), Some(&ParameterType::SecureString));
}

#[tokio::test]
async fn values_over_four_kilobytes_are_refused() {
    let double = double().await;
    let client = ssm(&double);
    put(&client, &"x".repeat(4096)).await.unwrap();
    let error = put(&client, &"x".repeat(4097)).await.unwrap_err();
    assert_eq!(code(&error), "ValidationException");
    assert!(error.message().unwrap().contains("4096 characters"));
    assert_eq!(double.parameter(REGION, NAME).unwrap().1, 1);
}

#[tokio::test]
async fn history_is_paged_and_keeps_a_hundred_versions() {
    let double = double().await;
    let client = ssm(&double);
    for number in 1..=103 {
        double.put_parameter(REGION, NAME, &format!("v{number}")).unwrap();
    }
    let mut pages = client
        .get_parameter_history()
        .name(NAME)
        .max_results(40)
        .into_paginator()
        .send();
    let mut versions = Vec::new();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.parameters().len());
        versions.extend(page.parameters().iter().map(|it| it.version()));
    }
    assert_eq!(sizes, [40, 40, 20]);
    assert_eq!(versions, (4..=103).collect::<Vec<i64>>());
    assert_eq!(double.history(REGION, NAME).len(), 100);

    let over = client
        .get_parameter_history()
        .name(NAME)
        .max_results(51)
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&over), "ValidationException");
    let lost = client
        .get_parameter_history()
        .name(NAME)
        .next_token("x")
        .send()
        .await
        .unwrap_err();
    assert!(lost.into_service_error().is_invalid_next_token());

    let label = client
        .label_parameter_version()
        .name(NAME)
        .parameter_version(4)
        .labels("keep");
    label.send().await.unwrap();
    let error = put(&client, "v104").await.unwrap_err().into_service_error();
    assert!(error.is_parameter_max_version_limit_exceeded(), "{error:?}");
}

#[tokio::test]
async fn a_deleted_parameter_is_gone_and_begins_again_at_one() {
    let double = double().await;
    let client = ssm(&double);
    put(&client, "a").await.unwrap();
    put(&client, "b").await.unwrap();
    client.delete_parameter().name(NAME).send().await.unwrap();
    let error = client
        .delete_parameter()
        .name(NAME)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_parameter_not_found());
    assert_eq!(put(&client, "c").await.unwrap().version(), 1);
}

#[tokio::test]
async fn many_parameters_are_read_and_described() {
    let double = double().await;
    let client = ssm(&double);
    for number in 0..3 {
        double
            .put_parameter(REGION, &format!("/storefront/p{number}"), "x")
            .unwrap();
    }
    let output = client
        .get_parameters()
        .names("/storefront/p1")
        .names("/storefront/p9")
        .send()
        .await
        .unwrap();
    assert_eq!(output.parameters().len(), 1);
    assert_eq!(output.invalid_parameters(), ["/storefront/p9"]);
    let eleven = (0..11).map(|number| format!("/p{number}")).collect();
    let error = client
        .get_parameters()
        .set_names(Some(eleven))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "ValidationException");

    let mut pages = client.describe_parameters().max_results(2).into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        names.extend(page.parameters().iter().map(|it| it.name().unwrap().to_owned()));
    }
    assert_eq!(names, ["/storefront/p0", "/storefront/p1", "/storefront/p2"]);
}

#[tokio::test]
async fn what_the_double_does_not_know_is_refused_in_json() {
    let double = double().await;
    let error = ssm(&double).list_documents().send().await.unwrap_err();
    assert_eq!(code(&error), "UnknownOperationException");
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
}
