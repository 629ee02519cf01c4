//! Lists, page by page. A cursor says after which item the next page begins; callers can't read it.

use axum::Json;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::params::{Given, QueryParams, limit};
use crate::domain::names::{Name, Version};

/// How many items a page has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub i64);

impl Limit {
    pub const MAX: i64 = 200;

    /// What to ask the store for: one more tells whether there is a next page.
    pub fn and_one(self) -> i64 {
        self.0 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Send it as `cursor` to get the next page; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of `found`, of which there may be one more than `limit` allows.
    pub fn new<R, C: Cursor>(
        mut found: Vec<R>,
        limit: Limit,
        cursor: impl Fn(&R) -> C,
        view: impl Fn(R) -> T,
    ) -> Json<Self> {
        let size = usize::try_from(limit.0).unwrap_or(usize::MAX);
        let more = found.len() > size;
        found.truncate(size);
        let next_cursor = found.last().filter(|_| more).map(|last| encode(&cursor(last)));
        Json(Self {
            items: found.into_iter().map(view).collect(),
            next_cursor,
        })
    }
}

/// What a list continues after.
pub trait Cursor: Serialize + DeserializeOwned {}

/// Of lists by name.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByName {
    pub name: Name,
}

/// Of lists by a number that grows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByNumber {
    pub n: i64,
}

/// Of releases.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByTime {
    at_micros: i64,
    pub version: Version,
}

impl ByTime {
    pub fn new(at: DateTime<Utc>, version: &Version) -> Self {
        Self {
            at_micros: at.timestamp_micros(),
            version: version.clone(),
        }
    }

    /// The time; a cursor that was not ours may hold one that no database knows.
    pub fn at(&self) -> DateTime<Utc> {
        const YEAR_9999: i64 = 253_402_300_799_000_000;
        DateTime::from_timestamp_micros(self.at_micros.clamp(0, YEAR_9999)).unwrap_or_default()
    }
}

impl Cursor for ByName {}
impl Cursor for ByNumber {}
impl Cursor for ByTime {}

fn encode(cursor: &impl Cursor) -> String {
    // Maps of strings and numbers are always JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default())
}

fn decode<C: Cursor>(text: &str) -> Result<C, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?;
    serde_json::from_slice(&bytes).map_err(|_| WRONG)
}

const WRONG: &str = "not a cursor of this list: send next_cursor of the page before as it is";

/// Which page.
#[derive(Debug)]
pub struct PageQuery<C> {
    pub limit: Limit,
    pub after: Option<C>,
}

impl<C: Cursor> QueryParams for PageQuery<C> {
    fn read(given: &mut Given) -> Self {
        Self {
            limit: limit(given),
            after: cursor(given),
        }
    }
}

/// Takes `cursor`.
pub fn cursor<C: Cursor>(given: &mut Given) -> Option<C> {
    given.take("cursor", decode)
}

/// The parameters of every list, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the OpenAPI document, not by the handler")]
pub struct PageParams {
    /// Items a page, at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let cursor = ByName {
            name: Name::parse("web").unwrap(),
        };
        assert_eq!(decode::<ByName>(&encode(&cursor)), Ok(cursor));
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let cursor = ByTime::new(at, &Version::parse("1.0").unwrap());
        assert_eq!(decode::<ByTime>(&encode(&cursor)).map(|cursor| cursor.at()), Ok(at));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let nul = URL_SAFE_NO_PAD.encode(r#"{"name":"a\u0000"}"#);
        for bad in ["", "%", "e30", "bnVsbA", &nul, &encode(&ByNumber { n: 1 })] {
            assert!(decode::<ByName>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_that_no_database_knows_is_brought_near() {
        for at_micros in [i64::MIN, i64::MAX] {
            let cursor = ByTime {
                at_micros,
                version: Version::parse("1").unwrap(),
            };
            let year = cursor.at().format("%Y").to_string().parse::<i32>().unwrap();
            assert!((1970..=9999).contains(&year), "{year}");
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let page = |found: Vec<i64>| Page::new(found, Limit(2), |n| ByNumber { n: *n }, |n| n).0;
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        let first = page(vec![1, 2, 3]);
        assert_eq!(
            (first.items, first.next_cursor),
            (vec![1, 2], Some(encode(&ByNumber { n: 2 })))
        );
    }
}
