//! The pointer's document: what SSM or a KeyValueStore holds and the edge reads.
//!
//! Two formats. `plain` is the release's version and nothing else; `json` also knows a share of users,
//! the release before, and an epoch that frees pinned visitors when it grows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::names::Version;

/// How the pointer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointerFormat {
    /// The release's version as it is. Knows no share: only weights 0 and 100.
    Plain,
    /// [`PointerDocument`] in one line.
    #[default]
    Json,
}

/// The `json` format, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerDocument {
    /// Format version: 1.
    pub v: u32,
    pub active: Version,
    pub previous: Option<Version>,
    pub candidate: Option<Version>,
    /// Percent of visitors on the candidate, 0 to 100.
    pub weight: u32,
    /// Only ever grows; a greater one frees every pinned visitor.
    pub epoch: i64,
    pub pin_seconds: u32,
}

/// Which releases the pointer shall name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    pub active: Version,
    pub previous: Option<Version>,
    pub candidate: Option<Version>,
    pub weight: u32,
}

/// What a pointer said, by target (a region, or `kvs`). `None`: it did not exist.
pub type Values = BTreeMap<String, Option<String>>;

/// Writes `shift` in `format`.
pub fn encode(format: PointerFormat, shift: &Shift, epoch: i64, pin_seconds: u32) -> String {
    match format {
        PointerFormat::Plain => shift.active.as_str().to_owned(),
        PointerFormat::Json => to_line(&PointerDocument {
            v: 1,
            active: shift.active.clone(),
            previous: shift.previous.clone(),
            candidate: shift.candidate.clone(),
            weight: shift.weight,
            epoch,
            pin_seconds,
        }),
    }
}

/// True for a pointer document of ours, in the `json` format.
pub fn is_document(value: &str) -> bool {
    parse(value).is_some()
}

/// The epoch a value carries; 0 for anything that carries none.
pub fn epoch_of(value: Option<&str>) -> i64 {
    value.and_then(parse).map_or(0, |document| document.epoch)
}

/// The same value with another epoch; a value that is no pointer document of ours stays as it is.
pub fn with_epoch(value: &str, epoch: i64) -> String {
    match parse(value) {
        Some(document) => to_line(&PointerDocument { epoch, ..document }),
        None => value.to_owned(),
    }
}

/// The epoch to write: the greatest known, one more when pinned visitors are to be freed.
pub fn next_epoch(known: impl IntoIterator<Item = i64>, raise: bool) -> i64 {
    let greatest = known.into_iter().max().unwrap_or(0).max(0);
    if raise {
        greatest.saturating_add(1)
    } else {
        greatest.max(1)
    }
}

/// The document that a value is; `None` for a value that is not ours, or in the `plain` format.
pub fn parse(value: &str) -> Option<PointerDocument> {
    serde_json::from_str::<PointerDocument>(value)
        .ok()
        .filter(|document| document.v == 1)
}

fn to_line(document: &PointerDocument) -> String {
    serde_json::to_string(document).expect("a struct of strings and numbers always serializes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift() -> Shift {
        Shift {
            active: Version::parse("1.42.0").unwrap(),
            previous: Some(Version::parse("1.41.3").unwrap()),
            candidate: None,
            weight: 0,
        }
    }

    #[test]
    fn plain_is_the_version_alone() {
        assert_eq!(encode(PointerFormat::Plain, &shift(), 7, 1800), "1.42.0");
    }

    #[test]
    fn json_has_every_key_in_a_fixed_order() {
        assert_eq!(
            encode(PointerFormat::Json, &shift(), 7, 1800),
            r#"{"v":1,"active":"1.42.0","previous":"1.41.3","candidate":null,"weight":0,"epoch":7,"pin_seconds":1800}"#
        );
    }

    #[test]
    fn the_longest_document_fits_a_key_value_store() {
        let version = Some(Version::parse(&"x".repeat(crate::domain::names::VERSION_MAX)).unwrap());
        let shift = Shift {
            active: version.clone().unwrap(),
            previous: version.clone(),
            candidate: version,
            weight: 100,
        };
        let value = encode(PointerFormat::Json, &shift, i64::MAX, u32::MAX);
        let max = crate::domain::environment::router::KVS_VALUE_MAX;
        assert!(value.len() <= max, "{} of {max}", value.len());
    }

    #[test]
    fn an_epoch_only_grows() {
        assert_eq!(next_epoch([], false), 1);
        assert_eq!(next_epoch([3, 7, 5], false), 7);
        assert_eq!(next_epoch([3, 7, 5], true), 8);
        assert_eq!(next_epoch([-4], true), 1);
        assert_eq!(next_epoch([i64::MAX], true), i64::MAX);
    }

    #[test]
    fn a_value_that_is_not_ours_keeps_its_bytes() {
        for foreign in ["1.0.0", "{\"v\":2}", "", " {\"active\":1}"] {
            assert_eq!(with_epoch(foreign, 9), foreign);
            assert_eq!(epoch_of(Some(foreign)), 0);
            assert!(!is_document(foreign));
        }
        let ours = encode(PointerFormat::Json, &shift(), 7, 1800);
        assert!(is_document(&ours));
        assert_eq!(epoch_of(Some(&with_epoch(&ours, 9))), 9);
        assert_eq!(epoch_of(None), 0);
    }
}
