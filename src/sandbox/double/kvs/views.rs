//! Stores made and looked at directly, and changes to them that no client of ours made.
//!
//! What is changed here is out of band: it leaves no call in the log and no fault applies to it, but it moves
//! the store's ETag as any change does.

use std::collections::BTreeMap;

use crate::sandbox::double::{AwsDouble, AwsError};

impl AwsDouble {
    /// Adds an empty key value store to the default account, and returns its ARN; the ARN of the one with
    /// this name, if it is there.
    pub fn add_key_value_store(&self, name: &str) -> String {
        self.add_key_value_store_in(self.account_id(), name)
    }

    /// Like [`Self::add_key_value_store`], in an account.
    pub fn add_key_value_store_in(&self, account: &str, name: &str) -> String {
        let now = self.clock().now();
        self.world()
            .change(|state| state.add_key_value_store(account, name, now))
    }

    /// What a key says; `None` when it, or the store, is not there.
    pub fn kvs_value(&self, arn: &str, key: &str) -> Option<String> {
        self.world()
            .read(|state| Some(state.key_value_store(arn)?.get(key, false)?.to_owned()))
    }

    /// Every key and value of a store; empty when it is not there.
    pub fn kvs_snapshot(&self, arn: &str) -> BTreeMap<String, String> {
        self.world().read(|state| {
            let store = state.key_value_store(arn);
            store.map(|store| store.items().clone()).unwrap_or_default()
        })
    }

    /// A store's ETag: another one after each change. `None` when the store is not there.
    pub fn kvs_etag(&self, arn: &str) -> Option<String> {
        self.world()
            .read(|state| Some(state.key_value_store(arn)?.etag.clone()))
    }

    /// Writes a key out of band, as a person at the console would.
    ///
    /// # Errors
    /// Those of PutKey.
    pub fn set_kvs_value(&self, arn: &str, key: &str, value: &str) -> Result<(), AwsError> {
        self.set_kvs(arn, key, Some(value))
    }

    /// Deletes a key out of band.
    ///
    /// # Errors
    /// Those of DeleteKey: `ResourceNotFoundException` when it is not there.
    pub fn delete_kvs_value(&self, arn: &str, key: &str) -> Result<(), AwsError> {
        self.set_kvs(arn, key, None)
    }

    fn set_kvs(&self, arn: &str, key: &str, value: Option<&str>) -> Result<(), AwsError> {
        let now = self.clock().now();
        self.world().change(|state| {
            let store = state.key_value_store_mut(arn);
            store.ok_or_else(|| super::no_such_store(arn))?.set(key, value, now)
        })
    }
}
