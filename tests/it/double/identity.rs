//! Who a request acts as: signatures, accounts and assumed roles.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_ssm::error::ProvideErrorMetadata;
use greenlight::sandbox::double::{AwsDouble, Fault, FaultAction, Outcome};

use super::support::*;

const ROLE: &str = "arn:aws:iam::222222222222:role/deploy/greenlight";

async fn assume(double: &AwsDouble, external_id: Option<&str>) -> Result<Credentials, String> {
    let own = config(double);
    // Loaded, because the provider needs the time source that only the loader sets.
    let loaded = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(double.endpoint_url())
        .credentials_provider(own.credentials_provider().expect("the config has credentials"))
        .load()
        .await;
    let mut builder = AssumeRoleProvider::builder(ROLE)
        .session_name("job-1")
        .region(Region::new(REGION))
        .configure(&loaded);
    if let Some(external_id) = external_id {
        builder = builder.external_id(external_id);
    }
    let provider = builder.build().await;
    provider.provide_credentials().await.map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause:?}");
            source = cause.source();
        }
        text
    })
}

fn with_credentials(double: &AwsDouble, credentials: Credentials) -> SdkConfig {
    let provider = SharedCredentialsProvider::new(credentials);
    config(double).into_builder().credentials_provider(provider).build()
}

#[tokio::test]
async fn an_assumed_role_acts_in_its_own_account() {
    let double = double().await;
    double.add_distribution_in("222222222222", DISTRIBUTION);
    let credentials = assume(&double, None).await.unwrap();
    assert!(credentials.access_key_id().starts_with("ASIA"));
    assert!(credentials.expiry().is_some());

    let config = with_credentials(&double, credentials);
    put(&aws_sdk_ssm::Client::new(&config), "1.0.0").await.unwrap();
    assert_eq!(double.parameter(REGION, NAME), None);
    assert_eq!(
        double.parameter_in("222222222222", REGION, NAME),
        Some(("1.0.0".to_owned(), 1))
    );
    let history = double.history_in("222222222222", REGION, NAME);
    assert_eq!(
        history[0].modified_by,
        "arn:aws:sts::222222222222:assumed-role/greenlight/job-1"
    );

    let cloudfront = aws_sdk_cloudfront::Client::new(&config);
    invalidate(&cloudfront, "job-1", &["/*"]).await.unwrap();
    assert_eq!(double.invalidations_in("222222222222", DISTRIBUTION).len(), 1);
    let services: Vec<_> = double
        .calls()
        .into_iter()
        .map(|call| (call.service, call.account))
        .collect();
    let home = "000000000000".to_owned();
    let away = "222222222222".to_owned();
    assert_eq!(
        services,
        [
            ("sts".into(), home),
            ("ssm".into(), away.clone()),
            ("cloudfront".into(), away)
        ]
    );
}

#[tokio::test]
async fn a_registered_role_wants_its_external_id() {
    let double = double().await;
    double.register_role(ROLE, Some("secret-handshake"));
    for wrong in [None, Some("guess")] {
        let error = assume(&double, wrong).await.unwrap_err();
        assert!(error.contains("AccessDenied"), "{error}");
        assert!(
            error.contains("is not authorized to perform: sts:AssumeRole on resource"),
            "{error}"
        );
    }
    assume(&double, Some("secret-handshake")).await.unwrap();
    let outcomes: Vec<_> = double.calls().into_iter().map(|call| call.outcome).collect();
    let denied = Outcome::Error {
        code: "AccessDenied".into(),
    };
    assert_eq!(outcomes, [denied.clone(), denied, Outcome::Ok]);
}

#[tokio::test]
async fn temporary_credentials_need_their_session_token() {
    let double = double().await;
    let credentials = assume(&double, None).await.unwrap();
    let tokenless = Credentials::builder()
        .access_key_id(credentials.access_key_id())
        .secret_access_key(credentials.secret_access_key())
        .provider_name("test")
        .build();
    let client = aws_sdk_ssm::Client::new(&with_credentials(&double, tokenless));
    assert_eq!(get(&client, NAME).await, Err("UnrecognizedClientException".to_owned()));
}

#[tokio::test]
async fn a_refusal_of_access_names_caller_action_and_resource() {
    let double = double().await;
    double
        .faults()
        .add(Fault::on_any(FaultAction::AccessDenied).in_account("222222222222"));
    let credentials = assume(&double, None).await.unwrap();
    let config = with_credentials(&double, credentials);
    let error = put(&aws_sdk_ssm::Client::new(&config), "1.0.0").await.unwrap_err();
    assert_eq!(code(&error), "AccessDeniedException");
    let message = error.message().unwrap();
    let expected = "User: arn:aws:sts::222222222222:assumed-role/greenlight/job-1 is not authorized to perform: \
                    ssm:PutParameter on resource: arn:aws:ssm:eu-west-1:222222222222:parameter/storefront/production/release";
    assert!(message.starts_with(expected), "{message}");
    let cloudfront = aws_sdk_cloudfront::Client::new(&config);
    assert_eq!(
        invalidate(&cloudfront, "job-1", &["/*"]).await,
        Err("AccessDenied".to_owned())
    );
}

/// Sends a request that no SDK would; returns status, content type and body.
async fn raw(double: &AwsDouble, headers: &[(&str, &str)], path: &str) -> (u16, String, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client
        .post(format!("{}{path}", double.endpoint_url()))
        .body("{\"Name\":\"/x\"}");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (status, kind, response.text().await.unwrap())
}

fn authorization(date: &str, service: &str) -> String {
    let scope = format!("EXAMPLE/{}/eu-west-1/{service}/aws4_request", &date[..8]);
    let signature = "0".repeat(64);
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}")
}

const JSON: &str = "application/x-amz-json-1.1";
const TARGET: (&str, &str) = ("x-amz-target", "AmazonSSM.GetParameter");

#[tokio::test]
async fn a_request_without_a_signature_is_refused_in_its_own_protocol() {
    let double = double().await;
    let (status, kind, body) = raw(&double, &[TARGET], "/").await;
    assert_eq!((status, kind.as_str()), (400, JSON));
    assert!(
        body.contains("\"__type\":\"MissingAuthenticationTokenException\""),
        "{body}"
    );
    let (status, kind, body) = raw(&double, &[], "/2020-05-31/distribution/E2EXAMPLE/invalidation").await;
    assert_eq!((status, kind.as_str()), (403, "text/xml"));
    assert!(body.contains("<Code>MissingAuthenticationToken</Code>"), "{body}");
    let (status, _, body) = raw(&double, &[("authorization", "Bearer x"), TARGET], "/").await;
    assert_eq!(status, 400);
    assert!(body.contains("IncompleteSignatureException"), "{body}");
    assert_eq!(double.calls().len(), 3);
    assert!(double.calls().iter().all(|call| call.account.is_empty()));
}

#[tokio::test]
async fn a_signature_is_judged_by_the_machines_time_not_by_the_doubles() {
    let double = double().await;
    let format = "%Y%m%dT%H%M%SZ";
    for minutes in [-6, 6] {
        let date = (chrono::Utc::now() + chrono::TimeDelta::minutes(minutes))
            .format(format)
            .to_string();
        let headers = [
            TARGET,
            ("x-amz-date", date.as_str()),
            ("authorization", &authorization(&date, "ssm")),
        ];
        let (status, _, body) = raw(&double, &headers, "/").await;
        assert_eq!(status, 400);
        assert!(body.contains("InvalidSignatureException"), "{body}");
    }
    let date = (chrono::Utc::now() - chrono::TimeDelta::minutes(4))
        .format(format)
        .to_string();
    let headers = [
        TARGET,
        ("x-amz-date", date.as_str()),
        ("authorization", &authorization(&date, "ssm")),
    ];
    assert!(raw(&double, &headers, "/").await.2.contains("ParameterNotFound"));

    double.clock().advance(Duration::from_secs(86_400));
    assert_eq!(put(&ssm(&double), "1.0.0").await.unwrap().version(), 1);
    let modified_at = double.history(REGION, NAME)[0].modified_at;
    assert!(modified_at - chrono::Utc::now() > chrono::TimeDelta::hours(23));
}

#[tokio::test]
async fn an_unknown_service_or_action_is_a_client_error() {
    let double = double().await;
    let date = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    for (service, kind, word) in [
        ("dynamodb", "text/xml", "UnknownOperationException"),
        ("sts", "text/xml", "InvalidAction"),
    ] {
        let headers = [
            ("x-amz-date", date.as_str()),
            ("authorization", &authorization(&date, service)),
        ];
        let answer = raw(&double, &headers, "/").await;
        assert_eq!((answer.0, answer.1.as_str()), (400, kind), "{service}");
        assert!(answer.2.contains(word), "{}", answer.2);
    }
}
