//! One point of presence: its cache, its copy of the pointer, and what passes through it as time goes by.
//!
//! Nothing here waits for a clock. Whoever looks, a request or the edge's ticker, first has done what has become due: a
//! new copy of the pointer, invalidations that pass. So time can be moved, and the next request sees that it was.

mod copy;
mod counters;
mod wave;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

pub use counters::Counters;

use copy::Copy;
pub(super) use counters::Counted;
use wave::Wave;

use super::{
    cache::{Cache, Fetch, Found, Stored},
    js::WarmFunction,
    options::{EdgeOptions, Routing},
    sources::KeyValues,
};

pub(super) struct PointOfPresence {
    /// As in `x-amz-cf-pop`.
    pub name: String,
    pub counted: Counted,
    /// The Lambda@Edge function at origin-request, if there is one.
    pub origin_request: Option<WarmFunction>,
    /// The pointer that `origin_request` read last.
    read: Arc<Mutex<Option<String>>>,
    options: Arc<EdgeOptions>,
    state: Mutex<State>,
}

struct State {
    /// Only where CloudFront Functions read it.
    copy: Option<Copy>,
    wave: Wave,
    cache: Cache,
}

/// What there is to see from outside; when it differs, something has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Situation {
    pub pointer: Option<String>,
    /// How many invalidations have passed.
    pub clears: u64,
}

impl PointOfPresence {
    /// The one of that number, counted from 0, with a first copy of the pointer.
    pub(super) fn new(number: usize, options: Arc<EdgeOptions>) -> Result<Self, super::js::FunctionError> {
        let counted = Counted::default();
        let read = Arc::new(Mutex::new(None));
        let (copy, origin_request) = match options.routing {
            Routing::ViewerRewrite => (Some(Copy::new(number, &options, &counted)), None),
            Routing::Origin => (None, Some(copy::origin_request(&options, &counted, &read)?)),
        };
        let wave = Wave::new(number, options.points_of_presence);
        Ok(Self {
            name: format!("LOCAL{}-C1", number + 1),
            counted,
            origin_request,
            read,
            state: Mutex::new(State {
                copy,
                wave,
                cache: Cache::default(),
            }),
            options,
        })
    }

    /// What time it is here.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.options.clock.now()
    }

    /// The key-value store as it is known here; `None` while it never could be read.
    pub(super) fn values(&self) -> Option<Arc<KeyValues>> {
        self.current().copy.as_ref().and_then(Copy::values)
    }

    /// The pointer as it is known here.
    pub(super) fn pointer(&self) -> Option<String> {
        match self.options.routing {
            Routing::ViewerRewrite => self.values()?.get(&self.options.config.key).cloned(),
            Routing::Origin => self.read.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn situation(&self) -> Situation {
        // The state is let go of before `pointer` takes it again.
        let clears = self.current().cache.clears();
        Situation {
            pointer: self.pointer(),
            clears,
        }
    }

    /// What the cache has for a path, and a fetch that may be begun.
    pub(super) fn find(&self, path: &str) -> (Found, Fetch) {
        let state = self.current();
        (state.cache.find(path, self.now()), state.cache.begin())
    }

    /// Keeps what a fetch brought, unless a clear has passed since it began.
    pub(super) fn keep(&self, path: &str, fetch: Fetch, stored: Arc<Stored>) {
        self.current().cache.keep(path, fetch, stored);
    }

    /// The state after what has become due: a new copy of the pointer, invalidations that pass.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if let Some(copy) = &mut state.copy {
            copy.refresh(now, self.options.pointer.as_ref(), &self.counted);
        }
        state.wave.look(self.options.invalidations.as_ref());
        for paths in state.wave.due(now) {
            let entries = state.cache.clear(paths);
            self.counted.cleared(entries);
        }
        state
    }
}
