//! A point of presence's own idea of the pointer.
//!
//! A CloudFront KeyValueStore reaches the points of presence one after the other: each copies the store once in
//! every `pointer_ttl`, at a phase of its own. A Lambda@Edge function keeps what it read by itself, for the same
//! time; here is only how it reads.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::Counted;
use crate::sandbox::edge::{
    functions,
    js::{FunctionError, ParameterReader, WarmFunction},
    options::EdgeOptions,
    sources::{KeyValues, PointerStore},
};

/// The key-value store, as it was when this point of presence copied it last.
pub(super) struct Copy {
    values: Option<Arc<KeyValues>>,
    every: TimeDelta,
    next: DateTime<Utc>,
}

impl Copy {
    /// The first copy is made at once, the next ones at a phase by the number of the point of presence.
    pub(super) fn new(number: usize, options: &EdgeOptions, counted: &Counted) -> Self {
        let every = TimeDelta::from_std(options.pointer_ttl).unwrap_or(TimeDelta::MAX);
        let now = options.clock.now();
        let parts = i32::try_from(options.points_of_presence).unwrap_or(i32::MAX).max(1);
        let phase = every / parts * i32::try_from(number + 1).unwrap_or(i32::MAX);
        let mut copy = Self {
            values: None,
            every,
            next: now,
        };
        copy.refresh(now, options.pointer.as_ref(), counted);
        copy.next = now.checked_add_signed(phase).unwrap_or(DateTime::<Utc>::MAX_UTC);
        copy
    }

    pub(super) fn values(&self) -> Option<Arc<KeyValues>> {
        self.values.clone()
    }

    /// Copies the store if it is time to; whether anything is different since. What can't be read stays as it was.
    pub(super) fn refresh(&mut self, now: DateTime<Utc>, store: &dyn PointerStore, counted: &Counted) -> bool {
        if now < self.next {
            return false;
        }
        self.next = self.after(now);
        counted.pointer_read();
        match store.read() {
            Ok(values) if self.values.as_deref() != Some(&values) => {
                self.values = Some(Arc::new(values));
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::debug!(%error, "a point of presence keeps the copy it has");
                false
            }
        }
    }

    /// The next time of this phase that is still to come.
    fn after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let every = self.every.num_milliseconds();
        if every <= 0 {
            return now;
        }
        let missed = (now - self.next).num_milliseconds() / every + 1;
        let ahead = TimeDelta::try_milliseconds(every.saturating_mul(missed)).unwrap_or(TimeDelta::MAX);
        self.next.checked_add_signed(ahead).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// The function at origin-request, reading its parameters from the store and leaving in `read` what the pointer said.
pub(super) fn origin_request(
    options: &Arc<EdgeOptions>,
    counted: &Counted,
    read: &Arc<Mutex<Option<String>>>,
) -> Result<WarmFunction, FunctionError> {
    let source = functions::configured(&options.functions.origin_request, &functions::origin_config(options));
    let (store, key) = (Arc::clone(&options.pointer), options.config.key.clone());
    let (counted, read) = (counted.clone(), Arc::clone(read));
    let reader: ParameterReader = Arc::new(move |name| {
        counted.pointer_read();
        let value = store.read().map_err(|error| error.to_string())?.remove(name);
        if name == key {
            read.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&value);
        }
        Ok(value)
    });
    WarmFunction::start(&source, reader)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sandbox::edge::{StoreError, tests::options};

    #[derive(Default)]
    struct Held(Mutex<Option<String>>);

    impl PointerStore for Held {
        fn read(&self) -> Result<KeyValues, StoreError> {
            match self.0.lock().unwrap().clone() {
                Some(value) => Ok(KeyValues::from([("key".to_owned(), value)])),
                None => Err(StoreError("out of reach".to_owned())),
            }
        }
    }

    #[test]
    fn each_copy_is_made_at_its_own_phase_and_none_is_older_than_the_ttl() {
        let held = Arc::new(Held(Mutex::new(Some("old".to_owned()))));
        let mut options = options();
        options.pointer = held.clone();
        options.pointer_ttl = Duration::from_secs(60);
        let counted = Counted::default();
        let start = options.clock.now();
        let mut copies: Vec<Copy> = (0..3).map(|number| Copy::new(number, &options, &counted)).collect();
        *held.0.lock().unwrap() = Some("new".to_owned());
        let mut seen = Vec::new();
        for second in 0..=61 {
            for (number, copy) in copies.iter_mut().enumerate() {
                if copy.refresh(start + TimeDelta::seconds(second), &*held, &counted) {
                    seen.push((number, second));
                }
            }
        }
        // The start of the copies is a few moments after `start`.
        assert_eq!(seen, [(0, 21), (1, 41), (2, 61)]);
        assert!(copies.iter().all(|copy| copy.values().unwrap()["key"] == "new"));
    }

    #[test]
    fn a_clock_that_jumps_keeps_the_phase_and_a_store_out_of_reach_keeps_the_copy() {
        let held = Arc::new(Held(Mutex::new(Some("old".to_owned()))));
        let mut options = options();
        options.pointer = held.clone();
        options.pointer_ttl = Duration::from_secs(60);
        let counted = Counted::default();
        let mut copy = Copy::new(0, &options, &counted);
        let first = copy.next;
        *held.0.lock().unwrap() = None;
        assert!(!copy.refresh(first + TimeDelta::seconds(605), &*held, &counted));
        assert_eq!(copy.next, first + TimeDelta::seconds(660));
        assert_eq!(copy.values().unwrap()["key"], "old");
        *held.0.lock().unwrap() = Some("new".to_owned());
        assert!(!copy.refresh(first + TimeDelta::seconds(659), &*held, &counted));
        assert!(copy.refresh(first + TimeDelta::seconds(660), &*held, &counted));
        assert_eq!(copy.values().unwrap()["key"], "new");
    }

    #[test]
    fn without_a_ttl_every_look_is_a_copy() {
        let held = Arc::new(Held::default());
        let mut options = options();
        options.pointer = held.clone();
        options.pointer_ttl = Duration::ZERO;
        let mut copy = Copy::new(1, &options, &Counted::default());
        assert_eq!(copy.values(), None, "it never could be read");
        *held.0.lock().unwrap() = Some("new".to_owned());
        assert!(copy.refresh(options.clock.now(), &*held, &Counted::default()));
    }
}
