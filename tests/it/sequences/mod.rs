//! Random sequences of everything that people, workers and AWS can do, against real PostgreSQL and the double.
//!
//! `steps` has their words, `reference` makes them up and knows what the contract alone says, `system`, `requests` and
//! `troubles` do them, `expectation` says what each request has to be answered with, `invariants` what must be true after
//! each step, and `ending` lets everything come to rest at the end of each sequence and looks once more. A sequence that
//! fails is shortened, shown, and kept in `mod.proptest-regressions`.
//!
//! `GREENLIGHT_TEST_SEQUENCES=500` runs more of them; `PROPTEST_RNG_SEED` makes them the same again.

mod ending;
mod expectation;
mod facts;
mod invariants;
mod reference;
mod requests;
mod stage;
mod steps;
mod system;
mod tally;
mod tour;
mod troubles;

use std::{ops::RangeInclusive, time::Instant};

use proptest::test_runner::{Config, FileFailurePersistence, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use self::{reference::Known, steps::Step, system::System, tally::TALLY};

/// Sequences of a normal run: about half a minute in a debug build on two cores.
const SEQUENCES: u32 = 20;
/// Steps of one. To begin and to end one takes as long as twenty steps, so that short ones would cost more than they show.
const STEPS: RangeInclusive<usize> = 6..=14;
/// Shortening runs the sequence again and again.
const SHORTER: u32 = 150;

struct Sequences;

impl StateMachineTest for Sequences {
    type SystemUnderTest = System;
    type Reference = Known;

    fn init_test(known: &Known) -> System {
        System::start(known)
    }

    fn apply(mut system: System, known: &Known, step: Step) -> System {
        system.apply(known, &step);
        system
    }

    fn teardown(mut system: System, known: Known) {
        system.come_to_rest(&known);
    }
}

#[test]
fn random_sequences_hold_the_invariants() {
    let began = Instant::now();
    let sequences = std::env::var("GREENLIGHT_TEST_SEQUENCES").map_or(SEQUENCES, |text| text.parse().unwrap());
    for (known, steps) in tour::sequences() {
        Sequences::test_sequential(Config::default(), known, steps, None);
    }
    let config = Config {
        cases: sequences,
        max_shrink_iters: SHORTER,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config.clone());
    let done = runner.run(&Known::sequential_strategy(STEPS), |(known, steps, seen)| {
        Sequences::test_sequential(config.clone(), known, steps, seen);
        Ok(())
    });
    if let Err(TestError::Fail(why, (known, steps, _))) = done {
        panic!(
            "{why}\n\nthe shortest sequence that fails begins at {:?}:\n{steps:#?}",
            known.stage
        );
    }
    done.unwrap();
    let tally = TALLY.lock().unwrap();
    println!("{tally}in {:.1} s", began.elapsed().as_secs_f64());
    tally.assert_every_kind_ran();
}
