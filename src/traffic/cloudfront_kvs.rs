//! `cloudfront_kvs`: a key of a CloudFront KeyValueStore names the active release.
//!
//! Weights: 0 and 100 (a share needs a strategy that makes one). Every edge has a change within seconds; that
//! is what `edge_ttl_seconds` waits for. [`KvsPointer`] is the key itself, for this road and for the projection
//! of `ssm_pointer`.
//!
//! The store's ETag moves with every key in it, also those of other environments. A write that was overtaken
//! says so and is not run again here: whether it still holds is decided by who looks again, under the lease.

use async_trait::async_trait;

use super::{Observed, TrafficRouter, Written};
use crate::{
    aws::{
        Aws,
        error::AwsError,
        guard::WriteGuard,
        kvs::{self, Update},
    },
    domain::{
        environment::{
            AwsAccount, CloudfrontKvs, Component, PointerIdentity,
            router::{LAST_GOOD_SUFFIX, PREVIEW_KEY_SUFFIX},
        },
        error::JobError,
        pointer::{self, PointerFormat, Shift},
    },
};

/// A pointer in a KeyValueStore: a key, and behind it `<key>.last-good`, the copy that the edge goes by when the
/// key itself is missing or broken.
pub struct KvsPointer {
    aws: Aws,
    account: AwsAccount,
    arn: String,
    key: String,
    last_good: String,
    preview_key: String,
}

impl KvsPointer {
    pub fn new(aws: &Aws, account: &AwsAccount, arn: &str, key: &str) -> Self {
        Self {
            aws: aws.clone(),
            account: account.clone(),
            arn: arn.to_owned(),
            key: key.to_owned(),
            last_good: format!("{key}{LAST_GOOD_SUFFIX}"),
            preview_key: format!("{key}{PREVIEW_KEY_SUFFIX}"),
        }
    }

    pub async fn observe(&self) -> Result<Observed, AwsError> {
        let entry = self.aws.kvs(&self.account).await.observe(&self.arn, &self.key).await?;
        Ok(Observed {
            value: entry.value,
            version: None,
            etag: Some(entry.etag),
        })
    }

    /// Key and copy in one call. A pointer document of ours goes into both; a value that is not ours is put back
    /// byte for byte without a copy, and neither is left when the key shall not exist.
    pub async fn write(&self, seen: &Observed, value: Option<&str>, guard: WriteGuard) -> Result<Written, AwsError> {
        let store = self.aws.kvs(&self.account).await;
        let mut update = Update::default();
        match value {
            Some(value) => update.puts.push((&self.key, value)),
            None if seen.value.is_some() => update.deletes.push(&self.key),
            None => {}
        }
        match value {
            Some(value) if pointer::is_document(value) => update.puts.push((&self.last_good, value)),
            // Looked for after the ETag was read: if that still holds at the write, so does this. (A look that fails
            // is told as a write that may have landed: the next one fences it.)
            _ if store.get(&self.arn, &self.last_good).await?.is_some() => update.deletes.push(&self.last_good),
            _ => {}
        }
        if update.puts.is_empty() && update.deletes.is_empty() {
            return Ok(Written::default());
        }
        let before = seen.etag.as_deref().unwrap_or_default();
        let after = store.update(&self.arn, before, &update, guard).await?;
        Ok(Written {
            version: None,
            // An ETag never comes back. Should a change that changes nothing leave it as it is, nothing is fenced.
            fences: after != before,
        })
    }

    pub async fn observe_preview_key(&self) -> Result<Observed, AwsError> {
        let entry = self
            .aws
            .kvs(&self.account)
            .await
            .observe(&self.arn, &self.preview_key)
            .await?;
        Ok(Observed {
            value: entry.value,
            version: None,
            etag: Some(entry.etag),
        })
    }

    pub async fn write_preview_key(&self, seen: &Observed, value: &str, guard: WriteGuard) -> Result<(), AwsError> {
        let update = Update {
            puts: vec![(&self.preview_key, value)],
            deletes: Vec::new(),
        };
        let before = seen.etag.as_deref().unwrap_or_default();
        let store = self.aws.kvs(&self.account).await;
        store.update(&self.arn, before, &update, guard).await.map(|_| ())
    }

    /// What to tell when the key does not exist and may not be made.
    pub fn missing(&self) -> JobError {
        let message = format!("{} does not exist.", self.describe());
        JobError::new("key_not_found", message)
            .hint("Create the key, correct kvs_key in the environment's document, or set create_key to true there.")
    }

    pub fn describe(&self) -> String {
        kvs::resource(&self.arn, &self.key)
    }
}

/// The road of one component.
pub struct CloudfrontKvsRouter {
    pointer: KvsPointer,
    settings: CloudfrontKvs,
    pointers: Vec<PointerIdentity>,
}

impl CloudfrontKvsRouter {
    pub fn new(aws: &Aws, account: &AwsAccount, component: &Component, settings: &CloudfrontKvs) -> Self {
        Self {
            pointer: KvsPointer::new(aws, account, &settings.kvs_arn, &settings.kvs_key),
            settings: settings.clone(),
            pointers: component.pointers(account),
        }
    }
}

#[async_trait]
impl TrafficRouter for CloudfrontKvsRouter {
    fn pointers(&self) -> &[PointerIdentity] {
        &self.pointers
    }

    fn may_create(&self, _target: &str) -> bool {
        self.settings.create_key
    }

    fn missing(&self, _target: &str) -> JobError {
        self.pointer.missing()
    }

    fn render(&self, shift: &Shift, epoch: i64) -> String {
        pointer::encode(PointerFormat::Json, shift, epoch, self.settings.pin_seconds)
    }

    async fn observe(&self, _target: &str) -> Result<Observed, AwsError> {
        self.pointer.observe().await
    }

    async fn write(
        &self,
        _target: &str,
        seen: &Observed,
        value: Option<&str>,
        guard: WriteGuard,
    ) -> Result<Written, AwsError> {
        self.pointer.write(seen, value, guard).await
    }

    /// A store keeps no versions.
    async fn at_version(&self, _target: &str, _version: i64) -> Result<Option<String>, AwsError> {
        Ok(None)
    }

    async fn observe_preview_key(&self, _target: &str) -> Result<Observed, AwsError> {
        self.pointer.observe_preview_key().await
    }

    async fn write_preview_key(
        &self,
        _target: &str,
        seen: &Observed,
        value: &str,
        guard: WriteGuard,
    ) -> Result<(), AwsError> {
        self.pointer.write_preview_key(seen, value, guard).await
    }

    fn describe(&self, _target: &str) -> String {
        self.pointer.describe()
    }
}
