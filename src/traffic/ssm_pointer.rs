//! `ssm_pointer`: an SSM parameter in each region names the active release, and a key of a KeyValueStore too, if
//! the environment has one for an edge that can't read SSM.
//!
//! The key is a target beside the regions, written by the code of `cloudfront_kvs`. It may always be created: it
//! is a copy, and the parameter's own name has been proven.
//!
//! Weights: 0 and 100 (a share needs the `json` format and an edge that reads it). A change takes the
//! edge's own TTL to be seen everywhere. SSM has no compare-and-swap; see the flip and settle steps.

use async_trait::async_trait;

use super::{Observed, TrafficRouter, Written, cloudfront_kvs::KvsPointer};
use crate::{
    aws::{
        Aws,
        error::{AwsError, Class},
        guard::WriteGuard,
    },
    domain::{
        environment::{
            AwsAccount, Component, PointerIdentity, SsmPointer,
            router::{KVS_TARGET, PREVIEW_KEY_SUFFIX},
        },
        error::JobError,
        pointer::{self, Shift},
    },
};

/// The road of one component.
pub struct SsmPointerRouter {
    aws: Aws,
    account: AwsAccount,
    settings: SsmPointer,
    projection: Option<KvsPointer>,
    pointers: Vec<PointerIdentity>,
}

impl SsmPointerRouter {
    pub fn new(aws: &Aws, account: &AwsAccount, component: &Component, settings: &SsmPointer) -> Self {
        Self {
            aws: aws.clone(),
            account: account.clone(),
            settings: settings.clone(),
            projection: settings
                .projection()
                .map(|(arn, key)| KvsPointer::new(aws, account, arn, key)),
            pointers: component.pointers(account),
        }
    }

    fn preview_key(&self) -> String {
        format!("{}{PREVIEW_KEY_SUFFIX}", self.settings.parameter)
    }

    /// The key in the KeyValueStore, if that is the target.
    fn projected(&self, target: &str) -> Option<&KvsPointer> {
        self.projection.as_ref().filter(|_| target == KVS_TARGET)
    }
}

#[async_trait]
impl TrafficRouter for SsmPointerRouter {
    fn pointers(&self) -> &[PointerIdentity] {
        &self.pointers
    }

    fn may_create(&self, target: &str) -> bool {
        self.settings.create_parameter || self.projected(target).is_some()
    }

    fn missing(&self, target: &str) -> JobError {
        if let Some(key) = self.projected(target) {
            return key.missing();
        }
        let message = format!("{} does not exist.", self.describe(target));
        JobError::new("parameter_not_found", message).hint(
            "Create the parameter, correct its name in the environment's document, or set create_parameter to true \
             there.",
        )
    }

    fn render(&self, shift: &Shift, epoch: i64) -> String {
        pointer::encode(self.settings.format, shift, epoch, self.settings.pin_seconds)
    }

    async fn observe(&self, target: &str) -> Result<Observed, AwsError> {
        if let Some(key) = self.projected(target) {
            return key.observe().await;
        }
        let ssm = self.aws.ssm(&self.account, target).await;
        Ok(match ssm.get(&self.settings.parameter).await? {
            Some(parameter) => Observed {
                value: Some(parameter.value),
                version: Some(parameter.version),
                etag: None,
            },
            None => Observed::default(),
        })
    }

    async fn write(
        &self,
        target: &str,
        seen: &Observed,
        value: Option<&str>,
        guard: WriteGuard,
    ) -> Result<Written, AwsError> {
        if let Some(key) = self.projected(target) {
            return key.write(seen, value, guard).await;
        }
        let ssm = self.aws.ssm(&self.account, target).await;
        let name = &self.settings.parameter;
        let version = match value {
            Some(value) if seen.value.is_some() => Some(ssm.overwrite(name, value, guard).await?),
            // Not an overwrite: if somebody makes it first, we look again instead.
            Some(value) => Some(ssm.create(name, value, guard).await?),
            None => {
                ssm.delete(name, guard).await?;
                None
            }
        };
        // SSM has no compare-and-swap: an earlier write may land after this one.
        Ok(Written { version, fences: false })
    }

    async fn at_version(&self, target: &str, version: i64) -> Result<Option<String>, AwsError> {
        if self.projected(target).is_some() {
            return Ok(None);
        }
        let ssm = self.aws.ssm(&self.account, target).await;
        match ssm.version(&self.settings.parameter, version).await {
            Err(error) if error.class == Class::Refused => Ok(None),
            other => other,
        }
    }

    async fn observe_preview_key(&self, target: &str) -> Result<Observed, AwsError> {
        if let Some(key) = self.projected(target) {
            return key.observe_preview_key().await;
        }
        let ssm = self.aws.ssm(&self.account, target).await;
        Ok(match ssm.get(&self.preview_key()).await? {
            Some(parameter) => Observed {
                value: Some(parameter.value),
                version: Some(parameter.version),
                etag: None,
            },
            None => Observed::default(),
        })
    }

    async fn write_preview_key(
        &self,
        target: &str,
        seen: &Observed,
        value: &str,
        guard: WriteGuard,
    ) -> Result<(), AwsError> {
        if let Some(key) = self.projected(target) {
            return key.write_preview_key(seen, value, guard).await;
        }
        let ssm = self.aws.ssm(&self.account, target).await;
        let name = self.preview_key();
        let written = match seen.value {
            Some(_) => ssm.overwrite(&name, value, guard).await,
            None => ssm.create_secret(&name, value, guard).await,
        };
        written.map(|_| ())
    }

    fn describe(&self, target: &str) -> String {
        if let Some(key) = self.projected(target) {
            return key.describe();
        }
        format!("parameter {} in {target}", self.settings.parameter)
    }
}
