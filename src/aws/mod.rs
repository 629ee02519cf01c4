//! AWS: SDK clients by account and region, assumed roles, and errors that say what can be done.
//!
//! **Invariant:** the SDK never retries. A call is one attempt with a timeout; retries are the engine's,
//! which knows what was intended and what the lease allows.

pub mod cloudfront;
pub mod cloudwatch;
pub mod error;
pub mod guard;
pub mod kvs;
pub mod s3;
pub mod ssm;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::domain::environment::AwsAccount;

/// How long a call that reads may take.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// CloudFront's control plane answers in one region.
const CLOUDFRONT_REGION: &str = "us-east-1";

/// Clients by account and region, made once each.
#[derive(Debug, Clone)]
pub struct Aws {
    base: SdkConfig,
    accounts: Arc<Mutex<HashMap<AwsAccount, SharedCredentialsProvider>>>,
    ssm: Arc<Mutex<HashMap<(AwsAccount, String), ssm::Ssm>>>,
    cloudfront: Arc<Mutex<HashMap<AwsAccount, cloudfront::CloudFront>>>,
    cloudwatch: Arc<Mutex<HashMap<(AwsAccount, String), cloudwatch::CloudWatch>>>,
    kvs: Arc<Mutex<HashMap<AwsAccount, kvs::KeyValueStores>>>,
    s3: Arc<Mutex<HashMap<(AwsAccount, String), s3::S3>>>,
}

impl Aws {
    /// Settings from the SDK's own environment: `AWS_ENDPOINT_URL`, credentials, profiles.
    pub async fn from_environment() -> Self {
        // Each client is given its own region: without one here the SDK would ask instance metadata at start.
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::from_static(CLOUDFRONT_REGION));
        Self::with_config(&loader.load().await)
    }

    /// These settings, but one attempt a call and our timeouts.
    pub fn with_config(config: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(READ_TIMEOUT)
            .build();
        let base = config
            .to_builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self {
            base,
            accounts: Arc::default(),
            ssm: Arc::default(),
            cloudfront: Arc::default(),
            cloudwatch: Arc::default(),
            kvs: Arc::default(),
            s3: Arc::default(),
        }
    }

    /// SSM of an account in a region.
    pub async fn ssm(&self, account: &AwsAccount, region: &str) -> ssm::Ssm {
        let key = (account.clone(), region.to_owned());
        if let Some(client) = lock(&self.ssm).get(&key) {
            return client.clone();
        }
        let client = ssm::Ssm::new(&self.config(account, region).await, region);
        lock(&self.ssm).entry(key).or_insert(client).clone()
    }

    /// CloudFront of an account.
    pub async fn cloudfront(&self, account: &AwsAccount) -> cloudfront::CloudFront {
        if let Some(client) = lock(&self.cloudfront).get(account) {
            return client.clone();
        }
        let client = cloudfront::CloudFront::new(&self.config(account, CLOUDFRONT_REGION).await);
        lock(&self.cloudfront).entry(account.clone()).or_insert(client).clone()
    }

    /// CloudWatch of an account in a region.
    pub async fn cloudwatch(&self, account: &AwsAccount, region: &str) -> cloudwatch::CloudWatch {
        let key = (account.clone(), region.to_owned());
        if let Some(client) = lock(&self.cloudwatch).get(&key) {
            return client.clone();
        }
        let client = cloudwatch::CloudWatch::new(&self.config(account, region).await, region);
        lock(&self.cloudwatch).entry(key).or_insert(client).clone()
    }

    /// CloudFront's key value stores of an account.
    pub async fn kvs(&self, account: &AwsAccount) -> kvs::KeyValueStores {
        if let Some(client) = lock(&self.kvs).get(account) {
            return client.clone();
        }
        let client = kvs::KeyValueStores::new(&self.config(account, CLOUDFRONT_REGION).await);
        lock(&self.kvs).entry(account.clone()).or_insert(client).clone()
    }

    /// S3 of an account in a region.
    pub async fn s3(&self, account: &AwsAccount, region: &str) -> s3::S3 {
        let key = (account.clone(), region.to_owned());
        if let Some(client) = lock(&self.s3).get(&key) {
            return client.clone();
        }
        let client = s3::S3::new(&self.config(account, region).await, region);
        lock(&self.s3).entry(key).or_insert(client).clone()
    }

    async fn config(&self, account: &AwsAccount, region: &str) -> SdkConfig {
        let builder = self.base.to_builder().region(Region::new(region.to_owned()));
        match self.credentials(account).await {
            Some(credentials) => builder.credentials_provider(credentials).build(),
            None => builder.build(),
        }
    }

    /// The assumed role's credentials, refreshed by the SDK; `None`: the service's own.
    async fn credentials(&self, account: &AwsAccount) -> Option<SharedCredentialsProvider> {
        let role = account.role_arn.as_ref()?;
        if let Some(provider) = lock(&self.accounts).get(account) {
            return Some(provider.clone());
        }
        // Assuming a role has no effect to repeat: here, and only here, the SDK may retry.
        let base = self.base.to_builder().retry_config(RetryConfig::standard()).build();
        let mut builder = AssumeRoleProvider::builder(role)
            .session_name("greenlight")
            .region(Region::new(account.region.clone()))
            .configure(&base);
        if let Some(id) = &account.external_id {
            builder = builder.external_id(id);
        }
        let provider = SharedCredentialsProvider::new(builder.build().await);
        Some(lock(&self.accounts).entry(account.clone()).or_insert(provider).clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while it was held cannot leave a map half-changed.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
