//! The AWS of `greenlight dev`: the strict double, and a configuration that reaches nothing else.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::SystemTimeSource,
};

use super::{
    demo::{AwsView, Invalidation, pages::File},
    world::{KEY_VALUE_STORE, SITES},
};
use crate::sandbox::double::{AwsDouble, DoubleOptions};

/// The region of everything in the sandbox.
pub(super) const REGION: &str = "us-east-1";
/// AWS's own example account.
pub(super) const ACCOUNT: &str = "123456789012";
/// What is signed with; the double reads signatures and verifies none.
pub(super) const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";
pub(super) const SECRET_ACCESS_KEY: &str = "not-a-secret";

/// Everything the AWS SDK needs to talk to the double at `endpoint`, and only to it: neither the
/// environment, nor profiles, nor an instance's role are asked, so a developer's real credentials
/// can't be used by mistake.
#[must_use]
pub fn sdk_config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "greenlight-dev");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SystemTimeSource::new())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Starts the double with the distributions and buckets of both sites in it. What it knew is read from `persist`.
pub(super) async fn start(
    listen: Option<SocketAddr>,
    persist: PathBuf,
    invalidation_duration: Duration,
) -> io::Result<AwsDouble> {
    let double = AwsDouble::start(DoubleOptions {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        invalidation_duration,
        persist: Some(persist),
        account_id: ACCOUNT.to_owned(),
        ..DoubleOptions::default()
    })
    .await?;
    for site in SITES {
        double.add_distribution(site.distribution);
        double.add_bucket(REGION, site.bucket);
    }
    Ok(double)
}

impl AwsView for AwsDouble {
    fn pointer(&self, region: &str, name: &str) -> Option<(String, u64)> {
        self.parameter(region, name)
    }

    fn invalidations(&self, distribution: &str) -> Vec<Invalidation> {
        AwsDouble::invalidations(self, distribution)
            .into_iter()
            .map(|seen| Invalidation {
                id: seen.id,
                caller_reference: seen.caller_reference,
                paths: seen.paths,
                status: seen.status,
            })
            .collect()
    }

    fn key_value(&self, key: &str) -> Option<String> {
        let arn = self.add_key_value_store(KEY_VALUE_STORE);
        self.kvs_value(&arn, key)
    }

    fn upload(&self, bucket: &str, key: &str, file: &File) {
        self.put_object(bucket, key, Some(file.content_type), file.body.clone());
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{sts::AssumeRoleProvider, timeout::TimeoutConfig};
    use aws_credential_types::provider::ProvideCredentials;

    use super::*;
    use crate::sandbox::dev::world::WEB;

    #[tokio::test]
    async fn the_sdk_reaches_the_double_with_timeouts_and_roles() {
        let folder = std::env::temp_dir().join(format!("greenlight-cloud-{}.json", std::process::id()));
        let double = start(None, folder.clone(), Duration::ZERO).await.unwrap();
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(20))
            .build();
        let config = sdk_config(&double.endpoint_url())
            .into_builder()
            .timeout_config(timeouts)
            .build();
        let ssm = aws_sdk_ssm::Client::new(&config);
        let put = ssm
            .put_parameter()
            .name("/example")
            .value("1")
            .r#type(aws_sdk_ssm::types::ParameterType::String);
        put.send().await.unwrap();
        assert_eq!(AwsView::pointer(&double, REGION, "/example"), Some(("1".into(), 1)));
        let cloudfront = aws_sdk_cloudfront::Client::new(&config);
        cloudfront
            .list_invalidations()
            .distribution_id(WEB.distribution)
            .send()
            .await
            .unwrap();
        let role = AssumeRoleProvider::builder(format!("arn:aws:iam::{ACCOUNT}:role/example"));
        let role = role.session_name("test").configure(&config).build().await;
        role.provide_credentials().await.unwrap();
        double.shutdown().await;
        std::fs::remove_file(folder).unwrap();
    }
}
