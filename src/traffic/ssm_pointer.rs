//! `ssm_pointer`: an SSM parameter in each region names the active release.
//!
//! Weights: 0 and 100 (a share needs the `json` format and an edge that reads it). A change takes the
//! edge's own TTL to be seen everywhere. SSM has no compare-and-swap; see the flip and settle steps.

use async_trait::async_trait;

use super::{Observed, TrafficRouter};
use crate::{
    aws::{
        Aws,
        error::{AwsError, Class},
        guard::WriteGuard,
    },
    domain::{
        environment::{AwsAccount, Component, PointerIdentity, SsmPointer, router::PREVIEW_KEY_SUFFIX},
        pointer::{self, Shift},
    },
};

/// The road of one component.
pub struct SsmPointerRouter {
    aws: Aws,
    account: AwsAccount,
    settings: SsmPointer,
    pointers: Vec<PointerIdentity>,
}

impl SsmPointerRouter {
    pub fn new(aws: &Aws, account: &AwsAccount, component: &Component, settings: &SsmPointer) -> Self {
        Self {
            aws: aws.clone(),
            account: account.clone(),
            settings: settings.clone(),
            pointers: component.pointers(account),
        }
    }
}

impl SsmPointerRouter {
    fn preview_key(&self) -> String {
        format!("{}{PREVIEW_KEY_SUFFIX}", self.settings.parameter)
    }
}

#[async_trait]
impl TrafficRouter for SsmPointerRouter {
    fn pointers(&self) -> &[PointerIdentity] {
        &self.pointers
    }

    fn may_create(&self) -> bool {
        self.settings.create_parameter
    }

    fn render(&self, shift: &Shift, epoch: i64) -> String {
        pointer::encode(self.settings.format, shift, epoch, self.settings.pin_seconds)
    }

    async fn observe(&self, target: &str) -> Result<Observed, AwsError> {
        let ssm = self.aws.ssm(&self.account, target).await;
        Ok(match ssm.get(&self.settings.parameter).await? {
            Some(parameter) => Observed {
                value: Some(parameter.value),
                version: Some(parameter.version),
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
    ) -> Result<Option<i64>, AwsError> {
        let ssm = self.aws.ssm(&self.account, target).await;
        let name = &self.settings.parameter;
        match value {
            Some(value) if seen.value.is_some() => ssm.overwrite(name, value, guard).await.map(Some),
            // Not an overwrite: if somebody makes it first, we look again instead.
            Some(value) => ssm.create(name, value, guard).await.map(Some),
            None => ssm.delete(name, guard).await.map(|()| None),
        }
    }

    async fn at_version(&self, target: &str, version: i64) -> Result<Option<String>, AwsError> {
        let ssm = self.aws.ssm(&self.account, target).await;
        match ssm.version(&self.settings.parameter, version).await {
            Err(error) if error.class == Class::Refused => Ok(None),
            other => other,
        }
    }

    async fn observe_preview_key(&self, target: &str) -> Result<Observed, AwsError> {
        let ssm = self.aws.ssm(&self.account, target).await;
        Ok(match ssm.get(&self.preview_key()).await? {
            Some(parameter) => Observed {
                value: Some(parameter.value),
                version: Some(parameter.version),
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
        let ssm = self.aws.ssm(&self.account, target).await;
        let name = self.preview_key();
        let written = match seen.value {
            Some(_) => ssm.overwrite(&name, value, guard).await,
            None => ssm.create_secret(&name, value, guard).await,
        };
        written.map(|_| ())
    }

    fn describe(&self, target: &str) -> String {
        format!("parameter {} in {target}", self.settings.parameter)
    }
}
