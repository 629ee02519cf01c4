//! How many sequences and steps ran, of which kinds, what was answered, and how jobs ended.

use std::{collections::BTreeMap, fmt, sync::Mutex};

use super::steps::KINDS;

/// Of this process. Sequences that are run again to be shortened count as well, but then the test has failed.
pub static TALLY: Mutex<Tally> = Mutex::new(Tally::new());

#[derive(Debug)]
pub struct Tally {
    pub sequences: u64,
    pub kinds: BTreeMap<&'static str, u64>,
    pub answers: BTreeMap<String, u64>,
    pub ends: BTreeMap<String, u64>,
    pub faults_met: u64,
    pub deaths_in_a_call: u64,
    pub late_writes_landed: u64,
}

impl Tally {
    const fn new() -> Self {
        Self {
            sequences: 0,
            kinds: BTreeMap::new(),
            answers: BTreeMap::new(),
            ends: BTreeMap::new(),
            faults_met: 0,
            deaths_in_a_call: 0,
            late_writes_landed: 0,
        }
    }

    /// Nothing is promised of what never ran.
    pub fn assert_every_kind_ran(&self) {
        for kind in KINDS {
            assert!(self.kinds.contains_key(kind), "no {kind} ran: {self}");
        }
        for end in [
            "promotion succeeded",
            "promotion failed",
            "promotion aborted",
            "rollback succeeded",
            "invalidation succeeded",
        ] {
            assert!(self.ends.contains_key(end), "no {end}: {self}");
        }
        assert!(
            self.faults_met > 0 && self.deaths_in_a_call > 0 && self.late_writes_landed > 0,
            "{self}"
        );
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |counts: Vec<(String, u64)>| {
            let words: Vec<String> = counts
                .into_iter()
                .map(|(what, times)| format!("{what} {times}"))
                .collect();
            words.join(", ")
        };
        let kinds = self
            .kinds
            .iter()
            .map(|(kind, times)| ((*kind).to_owned(), *times))
            .collect();
        let own = |counts: &BTreeMap<String, u64>| counts.iter().map(|(what, times)| (what.clone(), *times)).collect();
        let steps: u64 = self.kinds.values().sum();
        writeln!(f, "{} sequences, {steps} steps: {}", self.sequences, listed(kinds))?;
        writeln!(f, "answers: {}", listed(own(&self.answers)))?;
        writeln!(f, "jobs: {}", listed(own(&self.ends)))?;
        let Self {
            faults_met,
            deaths_in_a_call,
            late_writes_landed,
            ..
        } = self;
        writeln!(
            f,
            "faults met: {faults_met}, deaths in a call: {deaths_in_a_call}, late writes landed: {late_writes_landed}"
        )
    }
}
