//! Clients of the double, and short words for what the stories ask of them.

use std::future::Future;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudfront::types::{InvalidationBatch, Paths};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::put_parameter::{PutParameterError, PutParameterOutput};
use aws_sdk_ssm::types::ParameterType;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use greenlight::sandbox::double::{AwsDouble, DoubleOptions};

pub const REGION: &str = "eu-west-1";
pub const NAME: &str = "/storefront/production/release";
pub const DISTRIBUTION: &str = "E2EXAMPLE";

pub async fn double() -> AwsDouble {
    AwsDouble::start(DoubleOptions::default()).await.unwrap()
}

pub fn config_for(double: &AwsDouble, region: &str, access_key: &str) -> SdkConfig {
    let credentials = Credentials::builder()
        .access_key_id(access_key)
        .secret_access_key("example")
        .provider_name("test")
        .build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .endpoint_url(double.endpoint_url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .build()
}

pub fn config(double: &AwsDouble) -> SdkConfig {
    config_for(double, REGION, "EXAMPLE")
}

pub fn ssm(double: &AwsDouble) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&config(double))
}

pub fn cloudfront(double: &AwsDouble) -> aws_sdk_cloudfront::Client {
    aws_sdk_cloudfront::Client::new(&config(double))
}

pub fn s3(double: &AwsDouble) -> aws_sdk_s3::Client {
    s3_of(&config(double))
}

pub fn s3_of(config: &SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// A client that gives up after a while, as the control plane's does.
pub fn impatient(double: &AwsDouble, limit: Duration) -> aws_sdk_ssm::Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(limit).build();
    let config = config(double).into_builder().timeout_config(timeouts).build();
    aws_sdk_ssm::Client::new(&config)
}

pub type PutResult = Result<PutParameterOutput, SdkError<PutParameterError>>;

pub async fn put(client: &aws_sdk_ssm::Client, value: &str) -> PutResult {
    let request = client.put_parameter().name(NAME).value(value);
    request.r#type(ParameterType::String).overwrite(true).send().await
}

pub async fn get(client: &aws_sdk_ssm::Client, name: &str) -> Result<(String, i64), String> {
    match client.get_parameter().name(name).send().await {
        Ok(output) => {
            let parameter = output.parameter().unwrap();
            Ok((parameter.value().unwrap().to_owned(), parameter.version()))
        }
        Err(error) => Err(code(&error)),
    }
}

pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.code().unwrap_or("no code").to_owned()
}

pub fn batch(reference: &str, paths: &[&str]) -> InvalidationBatch {
    let items = paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let paths = Paths::builder()
        .quantity(items.len() as i32)
        .set_items(Some(items))
        .build()
        .unwrap();
    InvalidationBatch::builder()
        .caller_reference(reference)
        .paths(paths)
        .build()
        .unwrap()
}

pub async fn invalidate(
    client: &aws_sdk_cloudfront::Client,
    reference: &str,
    paths: &[&str],
) -> Result<(String, String), String> {
    let request = client.create_invalidation().distribution_id(DISTRIBUTION);
    match request.invalidation_batch(batch(reference, paths)).send().await {
        Ok(output) => {
            let invalidation = output.invalidation().unwrap();
            assert!(output.location().unwrap().ends_with(invalidation.id()));
            Ok((invalidation.id().to_owned(), invalidation.status().to_owned()))
        }
        Err(error) => Err(code(&error)),
    }
}

pub async fn status(client: &aws_sdk_cloudfront::Client, id: &str) -> String {
    let output = client
        .get_invalidation()
        .distribution_id(DISTRIBUTION)
        .id(id)
        .send()
        .await
        .unwrap();
    output.invalidation().unwrap().status().to_owned()
}

/// Everything that waits for something has a deadline.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("it happens within ten seconds")
}
