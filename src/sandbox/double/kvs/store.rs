//! One key value store: its keys, its ETag, and the quotas.
//!
//! Pure data and rules: what time it is comes in as an argument. A change is made whole or not at all,
//! and only under the store's current ETag; each one moves it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::sandbox::double::StaleEtag;
use crate::sandbox::double::error::AwsError;
use crate::sandbox::double::ids;

/// The quotas (CloudFront Developer Guide, *Quotas on key value stores*). Where AWS may mean MB or MiB, the smaller.
const MAX_STORE_BYTES: usize = 5_000_000;
const MAX_KEY_CHARACTERS: usize = 512;
const MAX_VALUE_CHARACTERS: usize = 1024;
const MAX_PAIRS: usize = 50;
const MAX_UPDATE_BYTES: usize = 3_000_000;

/// A key value store with what its latest change replaced.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct KeyValueStore {
    pub name: String,
    pub etag: String,
    pub created_at: DateTime<Utc>,
    pub modified_at: DateTime<Utc>,
    items: BTreeMap<String, String>,
    /// For reads that have not heard of the latest change.
    before: Before,
}

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    etag: String,
    /// The keys that were changed, with what they were. `None`: not there.
    items: BTreeMap<String, Option<String>>,
}

/// What PutKey, DeleteKey and UpdateKeys ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox::double) struct Change {
    pub puts: Vec<(String, String)>,
    pub deletes: Vec<String>,
}

impl KeyValueStore {
    pub(in crate::sandbox::double) fn new(name: &str, now: DateTime<Utc>) -> Self {
        let etag = new_etag();
        Self {
            name: name.to_owned(),
            before: Before {
                etag: etag.clone(),
                items: BTreeMap::new(),
            },
            etag,
            created_at: now,
            modified_at: now,
            items: BTreeMap::new(),
        }
    }

    /// The ETag; with `stale`, the one before the latest change.
    pub(super) fn etag(&self, stale: bool) -> &str {
        if stale { &self.before.etag } else { &self.etag }
    }

    /// A value; with `stale`, what it was before the latest change.
    pub(super) fn get(&self, key: &str, stale: bool) -> Option<&str> {
        match self.before.items.get(key) {
            Some(before) if stale => before.as_deref(),
            _ => self.items.get(key).map(String::as_str),
        }
    }

    /// Keys and values, in the order of the keys.
    pub(super) fn items(&self) -> &BTreeMap<String, String> {
        &self.items
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.items.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Makes a change under the ETag that it names.
    ///
    /// # Errors
    /// `ConflictException` (or what `stale_etag` says) under another ETag, `ServiceQuotaExceededException`
    /// over a quota, `ResourceNotFoundException` for the deletion of a key that is not there,
    /// `ValidationException` for what is no change.
    pub(super) fn update(
        &mut self,
        if_match: &str,
        change: &Change,
        now: DateTime<Utc>,
        stale_etag: StaleEtag,
    ) -> Result<(), AwsError> {
        change.check()?;
        if if_match != self.etag {
            return Err(match stale_etag {
                StaleEtag::AsDocumented => {
                    AwsError::new(409, "ConflictException", "Resource is not in expected state.")
                }
                StaleEtag::AsSeen => AwsError::validation("Pre-Condition failed"),
            });
        }
        // The API Reference tells this of DeleteKey, and of UpdateKeys only that it is all or nothing.
        if let Some(missing) = change.deletes.iter().find(|key| !self.items.contains_key(*key)) {
            return Err(AwsError::new(
                404,
                "ResourceNotFoundException",
                format!("Key {missing} was not found."),
            ));
        }
        let mut items = self.items.clone();
        change.make(&mut items);
        let bytes: usize = items.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_STORE_BYTES {
            return Err(quota("Maximum size of an individual key value store"));
        }
        self.replace(items, change, now);
        Ok(())
    }

    /// Makes a change whatever the ETag is, as somebody else would with the one that is current.
    pub(super) fn set(&mut self, key: &str, value: Option<&str>, now: DateTime<Utc>) -> Result<(), AwsError> {
        let change = match value {
            Some(value) => Change {
                puts: vec![(key.to_owned(), value.to_owned())],
                ..Change::default()
            },
            None => Change {
                deletes: vec![key.to_owned()],
                ..Change::default()
            },
        };
        let etag = self.etag.clone();
        self.update(&etag, &change, now, StaleEtag::AsDocumented)
    }

    fn replace(&mut self, items: BTreeMap<String, String>, change: &Change, now: DateTime<Utc>) {
        let put = change.puts.iter().map(|(key, _)| key);
        let changed = put.chain(&change.deletes);
        self.before = Before {
            etag: std::mem::replace(&mut self.etag, new_etag()),
            items: changed.map(|key| (key.clone(), self.items.get(key).cloned())).collect(),
        };
        self.items = items;
        self.modified_at = now;
    }
}

impl Change {
    fn check(&self) -> Result<(), AwsError> {
        let pairs = self.puts.len() + self.deletes.len();
        if pairs == 0 {
            return Err(AwsError::validation(
                "At least one key to put or to delete is required.",
            ));
        }
        if pairs > MAX_PAIRS {
            return Err(quota(
                "Maximum key values pairs that you can update in a single API request",
            ));
        }
        let keys: Vec<&String> = self.puts.iter().map(|(key, _)| key).chain(&self.deletes).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(AwsError::validation("A key must have at least one character."));
        }
        if let Some(twice) = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at])) {
            return Err(AwsError::validation(format!("Key {} is named twice.", keys[twice])));
        }
        if keys.iter().any(|key| key.chars().count() > MAX_KEY_CHARACTERS) {
            return Err(quota("Maximum size of a key in a key-value pair"));
        }
        if self
            .puts
            .iter()
            .any(|(_, value)| value.chars().count() > MAX_VALUE_CHARACTERS)
        {
            return Err(quota("Maximum size of the value in a key-value pair"));
        }
        let bytes: usize = self.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_UPDATE_BYTES {
            return Err(quota("Maximum size of an update in a single API request"));
        }
        Ok(())
    }

    fn make(&self, items: &mut BTreeMap<String, String>) {
        items.extend(self.puts.iter().cloned());
        for key in &self.deletes {
            items.remove(key);
        }
    }
}

fn new_etag() -> String {
    ids::token("KV", 13)
}

fn quota(what: &str) -> AwsError {
    AwsError::new(402, "ServiceQuotaExceededException", format!("Limit exceeded: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change {
            puts: vec![(key.to_owned(), value.to_owned())],
            deletes: Vec::new(),
        }
    }

    fn update(store: &mut KeyValueStore, change: &Change) -> Result<(), String> {
        let etag = store.etag.clone();
        let made = store.update(&etag, change, Utc::now(), StaleEtag::AsDocumented);
        made.map_err(|error| error.code)
    }

    #[test]
    fn each_change_needs_the_current_etag_and_moves_it() {
        let mut store = KeyValueStore::new("shared", Utc::now());
        let first = store.etag.clone();
        update(&mut store, &put("a", "1")).unwrap();
        assert_ne!(store.etag, first);
        for (how, code) in [
            (StaleEtag::AsDocumented, "ConflictException"),
            (StaleEtag::AsSeen, "ValidationException"),
        ] {
            let error = store.update(&first, &put("a", "2"), Utc::now(), how).unwrap_err();
            assert_eq!(error.code, code);
        }
        let second = store.etag.clone();
        update(&mut store, &put("a", "1")).unwrap();
        assert_ne!(store.etag, second, "the same value again is a change too");
        assert_eq!(store.get("a", false), Some("1"));
    }

    #[test]
    fn an_update_is_all_or_nothing() {
        let mut store = KeyValueStore::new("shared", Utc::now());
        let etag = store.etag.clone();
        let mut change = put("a", "1");
        change.deletes.push("missing".to_owned());
        assert_eq!(update(&mut store, &change), Err("ResourceNotFoundException".to_owned()));
        assert_eq!((store.get("a", false), &store.etag), (None, &etag));
        assert_eq!(
            update(&mut store, &Change::default()),
            Err("ValidationException".to_owned())
        );
        let mut twice = put("a", "1");
        twice.deletes.push("a".to_owned());
        assert_eq!(update(&mut store, &twice), Err("ValidationException".to_owned()));
    }

    #[test]
    fn quotas_are_kept() {
        let mut store = KeyValueStore::new("shared", Utc::now());
        let exceeded = Err("ServiceQuotaExceededException".to_owned());
        assert_eq!(update(&mut store, &put(&"k".repeat(512), &"v".repeat(1024))), Ok(()));
        assert_eq!(update(&mut store, &put(&"k".repeat(513), "v")), exceeded);
        assert_eq!(update(&mut store, &put("k", &"v".repeat(1025))), exceeded);
        let many = |count: usize, from: usize| Change {
            puts: (from..from + count)
                .map(|n| (format!("k{n:0505}"), "v".repeat(1024)))
                .collect(),
            deletes: Vec::new(),
        };
        assert_eq!(update(&mut store, &many(51, 0)), exceeded);
        let mut from = 0;
        while update(&mut store, &many(50, from)) == Ok(()) {
            from += 50;
        }
        // 1,530 bytes a pair: the store is full before the 3,268th, and stays as it was.
        assert_eq!(from, 3250);
        assert_eq!(store.items().len(), from + 1);
        assert!(store.size_bytes() <= MAX_STORE_BYTES);
    }

    #[test]
    fn stale_reads_show_the_state_before_the_latest_change() {
        let mut store = KeyValueStore::new("shared", Utc::now());
        update(&mut store, &put("a", "1")).unwrap();
        update(&mut store, &put("b", "1")).unwrap();
        let before = store.etag.clone();
        update(&mut store, &put("a", "2")).unwrap();
        assert_eq!((store.get("a", true), store.get("a", false)), (Some("1"), Some("2")));
        assert_eq!(store.get("b", true), Some("1"));
        assert_eq!(store.etag(true), before);
    }
}
