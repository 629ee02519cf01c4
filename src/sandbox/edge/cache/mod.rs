//! One point of presence's cache: answers by the path that the origin is asked for.
//!
//! The key is the path alone, as after viewer-request: no host, header, cookie or query string, which is what the cache
//! policy of the project's template says. GET and HEAD share an entry. It must never keep an answer that was fetched
//! before a clear that names it: what was under way then may be the old release.

mod freshness;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, TimeDelta, Utc};

pub(super) use freshness::{ERROR_TTL, ttl_of};

/// As many answers as a developer's machine should keep; the oldest tenth makes room.
const ENTRIES_MAX: usize = 10_000;
/// Clears that a fetch under way is compared with. One that is older than all of them isn't kept.
const CLEARS_REMEMBERED: usize = 1_000;

/// An answer of the origin, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub stored_at: DateTime<Utc>,
    pub fresh_until: DateTime<Utc>,
}

impl Stored {
    /// Whole seconds that it has been kept.
    pub(super) fn age(&self, now: DateTime<Utc>) -> i64 {
        (now - self.stored_at).max(TimeDelta::zero()).num_seconds()
    }
}

/// What the cache has for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Fresh(Arc<Stored>),
    /// Good enough while the origin can't answer.
    Expired(Arc<Stored>),
    Nothing,
}

/// A fetch that has begun; what it brings is kept only if no clear has named its path since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetch {
    since: u64,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<String, Arc<Stored>>,
    /// How many clears there were.
    cleared: u64,
    /// The newest of them, with their paths.
    clears: VecDeque<Named>,
}

impl Cache {
    pub(super) fn find(&self, path: &str, now: DateTime<Utc>) -> Found {
        match self.entries.get(path) {
            Some(stored) if now < stored.fresh_until => Found::Fresh(Arc::clone(stored)),
            Some(stored) => Found::Expired(Arc::clone(stored)),
            None => Found::Nothing,
        }
    }

    /// How many clears there were.
    pub(super) fn clears(&self) -> u64 {
        self.cleared
    }

    pub(super) fn begin(&self) -> Fetch {
        Fetch { since: self.cleared }
    }

    /// Keeps what a fetch brought, unless a clear came in between.
    pub(super) fn keep(&mut self, path: &str, fetch: Fetch, stored: Arc<Stored>) {
        let missed = usize::try_from(self.cleared - fetch.since).unwrap_or(usize::MAX);
        let mut newest = self.clears.iter().rev().take(missed);
        if missed > self.clears.len() || newest.any(|named| named.names(path)) {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(path) {
            self.make_room();
        }
        self.entries.insert(path.to_owned(), stored);
    }

    /// Forgets what an invalidation names; how many answers that were.
    pub(super) fn clear(&mut self, paths: Vec<String>) -> usize {
        let named = Named::from(paths);
        let before = self.entries.len();
        self.entries.retain(|path, _| !named.names(path));
        self.cleared += 1;
        self.clears.push_back(named);
        if self.clears.len() > CLEARS_REMEMBERED {
            self.clears.pop_front();
        }
        before - self.entries.len()
    }

    fn make_room(&mut self) {
        let mut ages: Vec<DateTime<Utc>> = self.entries.values().map(|stored| stored.stored_at).collect();
        let (_, oldest, _) = ages.select_nth_unstable(ENTRIES_MAX / 10);
        let oldest = *oldest;
        self.entries.retain(|_, stored| stored.stored_at > oldest);
    }
}

/// What an invalidation names: exact paths, and beginnings of paths (Developer Guide, *Invalidate files*).
#[derive(Debug, Default)]
struct Named {
    exact: HashSet<String>,
    beginnings: Vec<String>,
}

impl From<Vec<String>> for Named {
    fn from(paths: Vec<String>) -> Self {
        let mut named = Self::default();
        for path in paths {
            match path.strip_suffix('*') {
                Some(beginning) => named.beginnings.push(beginning.to_owned()),
                None => _ = named.exact.insert(path),
            }
        }
        named
    }
}

impl Named {
    fn names(&self, path: &str) -> bool {
        self.exact.contains(path) || self.beginnings.iter().any(|beginning| path.starts_with(beginning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn stored(stored_at: i64, fresh_until: i64) -> Arc<Stored> {
        Arc::new(Stored {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            stored_at: at(stored_at),
            fresh_until: at(fresh_until),
        })
    }

    fn has(cache: &Cache, path: &str) -> bool {
        cache.find(path, at(0)) != Found::Nothing
    }

    fn paths(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn an_answer_is_fresh_until_its_time() {
        let mut cache = Cache::default();
        let entry = stored(10, 70);
        cache.keep("/a", cache.begin(), Arc::clone(&entry));
        assert_eq!(cache.find("/a", at(69)), Found::Fresh(Arc::clone(&entry)));
        assert_eq!(cache.find("/a", at(70)), Found::Expired(Arc::clone(&entry)));
        assert_eq!(cache.find("/A", at(69)), Found::Nothing);
        assert_eq!((entry.age(at(12)), entry.age(at(1))), (2, 0));
    }

    #[test]
    fn a_clear_takes_what_it_names() {
        let mut cache = Cache::default();
        for path in ["/", "/index.html", "/a/b.js", "/a", "/a/"] {
            cache.keep(path, cache.begin(), stored(0, 100));
        }
        assert_eq!(cache.clear(paths(&["/index.html", "/nothing"])), 1);
        assert_eq!(cache.clear(paths(&["/a/*"])), 2);
        assert!(has(&cache, "/a") && has(&cache, "/") && !has(&cache, "/a/"));
        assert_eq!(cache.clear(paths(&["/*"])), 2);
    }

    #[test]
    fn what_was_under_way_during_a_clear_is_not_kept() {
        let mut cache = Cache::default();
        let fetch = cache.begin();
        cache.clear(paths(&["/other"]));
        cache.keep("/a", fetch, stored(0, 100));
        assert!(has(&cache, "/a"), "the clear named something else");
        let fetch = cache.begin();
        cache.clear(paths(&["/*"]));
        cache.clear(paths(&["/other"]));
        cache.keep("/a", fetch, stored(0, 100));
        assert!(!has(&cache, "/a"));
        let fetch = cache.begin();
        cache.keep("/a", fetch, stored(0, 100));
        assert!(has(&cache, "/a"));
    }

    #[test]
    fn a_fetch_that_missed_more_clears_than_are_known_is_not_kept() {
        let mut cache = Cache::default();
        let fetch = cache.begin();
        for _ in 0..=CLEARS_REMEMBERED {
            cache.clear(paths(&["/other"]));
        }
        cache.keep("/a", fetch, stored(0, 100));
        assert!(!has(&cache, "/a"));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = Cache::default();
        for number in 0..=ENTRIES_MAX {
            let stored_at = i64::try_from(number).unwrap();
            cache.keep(
                &format!("/{number}"),
                cache.begin(),
                stored(stored_at, i64::MAX / 2_000_000),
            );
        }
        assert!(cache.entries.len() <= ENTRIES_MAX - ENTRIES_MAX / 10 + 1);
        assert!(!has(&cache, "/0") && has(&cache, &format!("/{ENTRIES_MAX}")));
        // All of one age: room is made all the same.
        let mut cache = Cache::default();
        for number in 0..=ENTRIES_MAX {
            cache.keep(&format!("/{number}"), cache.begin(), stored(0, 100));
        }
        assert!(has(&cache, &format!("/{ENTRIES_MAX}")));
    }
}
