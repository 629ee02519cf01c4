//! Everything that the double remembers: parameters, distributions, alarms and key value stores by account, buckets,
//! sessions and roles.
//!
//! Plain data without locks or time; `world` guards it and decides when it is saved.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::cloudfront::store::Distribution;
use super::cloudwatch::store::Alarms;
use super::kvs::{self, store::KeyValueStore};
use super::s3::store::Bucket;
use super::ssm::store::Parameters;

/// The whole memory, as it is saved.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    accounts: BTreeMap<String, Account>,
    sessions: BTreeMap<String, Session>,
    pub roles: BTreeMap<String, Role>,
    /// By name, which is unique among all accounts.
    pub buckets: BTreeMap<String, Bucket>,
}

/// One AWS account.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    regions: BTreeMap<String, Parameters>,
    /// By region.
    alarms: BTreeMap<String, Alarms>,
    /// CloudFront is global: no region.
    pub distributions: BTreeMap<String, Distribution>,
    /// By ARN; global too.
    key_value_stores: BTreeMap<String, KeyValueStore>,
}

/// What `AssumeRole` gave out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub account: String,
    pub arn: String,
    pub role_id: String,
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

/// A registered role: assuming it takes this external id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub external_id: Option<String>,
}

impl State {
    pub(super) fn account(&self, account: &str) -> Option<&Account> {
        self.accounts.get(account)
    }

    pub(super) fn account_mut(&mut self, account: &str) -> &mut Account {
        self.accounts.entry(account.to_owned()).or_default()
    }

    pub(super) fn parameters(&self, account: &str, region: &str) -> Option<&Parameters> {
        self.account(account)?.regions.get(region)
    }

    pub(super) fn parameters_mut(&mut self, account: &str, region: &str) -> &mut Parameters {
        self.account_mut(account).regions.entry(region.to_owned()).or_default()
    }

    pub(super) fn alarms(&self, account: &str, region: &str) -> Option<&Alarms> {
        self.account(account)?.alarms.get(region)
    }

    pub(super) fn alarms_mut(&mut self, account: &str, region: &str) -> &mut Alarms {
        self.account_mut(account).alarms.entry(region.to_owned()).or_default()
    }

    pub(super) fn distribution(&self, account: &str, id: &str) -> Option<&Distribution> {
        self.account(account)?.distributions.get(id)
    }

    pub(super) fn distribution_mut(&mut self, account: &str, id: &str) -> Option<&mut Distribution> {
        self.accounts.get_mut(account)?.distributions.get_mut(id)
    }

    pub(super) fn key_value_store(&self, arn: &str) -> Option<&KeyValueStore> {
        self.account(kvs::account_of(arn)?)?.key_value_stores.get(arn)
    }

    pub(super) fn key_value_store_mut(&mut self, arn: &str) -> Option<&mut KeyValueStore> {
        let account = self.accounts.get_mut(kvs::account_of(arn)?)?;
        account.key_value_stores.get_mut(arn)
    }

    /// Adds a store unless the account has one of this name. Returns its ARN.
    pub(super) fn add_key_value_store(&mut self, account: &str, name: &str, now: DateTime<Utc>) -> String {
        let stores = &mut self.account_mut(account).key_value_stores;
        if let Some((arn, _)) = stores.iter().find(|(_, store)| store.name == name) {
            return arn.clone();
        }
        let arn = kvs::new_arn(account);
        stores.insert(arn.clone(), KeyValueStore::new(name, now));
        arn
    }

    pub(super) fn session(&self, access_key: &str) -> Option<&Session> {
        self.sessions.get(access_key)
    }

    /// Remembers a session and forgets those that have expired.
    pub(super) fn add_session(&mut self, access_key: String, session: Session, now: DateTime<Utc>) {
        self.sessions.retain(|_, old| old.expires_at > now);
        self.sessions.insert(access_key, session);
    }
}
