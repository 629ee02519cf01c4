//! What passed through a point of presence, in numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Figures since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were answered.
    pub requests: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers from the cache.
    pub hits: u64,
    /// Answers for which the origin was asked.
    pub misses: u64,
    /// Functions that gave no answer.
    pub function_errors: u64,
    /// How often the store with the pointer was read.
    pub pointer_reads: u64,
    /// Cached answers that invalidations took.
    pub cleared: u64,
}

impl Counters {
    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.hits += other.hits;
        self.misses += other.misses;
        self.function_errors += other.function_errors;
        self.pointer_reads += other.pointer_reads;
        self.cleared += other.cleared;
        self
    }

    /// Answers with a status of 500 or more.
    #[must_use]
    pub fn server_errors(&self) -> u64 {
        self.statuses.range(500..).map(|(_, count)| count).sum()
    }
}

/// Counters that are counted in. Clones count together.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox::edge) struct Counted(Arc<Mutex<Counters>>);

impl Counted {
    pub(in crate::sandbox::edge) fn so_far(&self) -> Counters {
        self.count(|counters| counters.clone())
    }

    pub(in crate::sandbox::edge) fn answered(&self, status: u16) {
        self.count(|counters| {
            counters.requests += 1;
            *counters.statuses.entry(status).or_default() += 1;
        });
    }

    pub(in crate::sandbox::edge) fn hit(&self) {
        self.count(|counters| counters.hits += 1);
    }

    pub(in crate::sandbox::edge) fn missed(&self) {
        self.count(|counters| counters.misses += 1);
    }

    pub(in crate::sandbox::edge) fn function_failed(&self) {
        self.count(|counters| counters.function_errors += 1);
    }

    pub(in crate::sandbox::edge) fn pointer_read(&self) {
        self.count(|counters| counters.pointer_reads += 1);
    }

    pub(in crate::sandbox::edge) fn cleared(&self, entries: usize) {
        self.count(|counters| counters.cleared += u64::try_from(entries).unwrap_or(u64::MAX));
    }

    fn count<R>(&self, count: impl FnOnce(&mut Counters) -> R) -> R {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_figures_add_up() {
        let counted = Counted::default();
        counted.clone().answered(200);
        counted.answered(503);
        counted.clone().hit();
        counted.cleared(3);
        let figures = counted.so_far();
        assert_eq!((figures.requests, figures.hits, figures.cleared), (2, 1, 3));
        assert_eq!(figures.server_errors(), 1);
        let both = figures.clone().plus(&figures);
        assert_eq!((both.requests, both.statuses[&200], both.server_errors()), (4, 2, 2));
    }
}
