//! The checks: what is built never settles on a wrong pointer; with a part left out it does.
//!
//! `cargo test --test it model -- --nocapture` tells the paths.

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::{
    ControlPlane, Fence,
    path::{
        Point::{self, Asks, Claims, Ends, Intends, Lands, Looks, Signs, TimePasses},
        Tale,
    },
    state::Value::Promoted,
    world::{FENCED, PUT_RIGHT, RIGHT},
};

/// Looks at every state, and returns how many there are. What has to happen sometimes must, but for `never`.
fn every_state(model: ControlPlane, never: &[&str]) -> usize {
    let checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut found = checker.discoveries();
    for property in model.properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Sometimes, example) => {
                assert_eq!(example.is_some(), !never.contains(&property.name), "{}", property.name);
            }
            (_, Some(path)) => panic!("not always: {}\n{}", property.name, Tale::new(path).words()),
            (_, None) => {}
        }
    }
    assert!(checker.is_done(), "there are states that it did not look at");
    let states = checker.unique_state_count();
    println!("{states} states, at most {} steps from the first", checker.max_depth());
    states
}

/// Looks until `property` does not hold, and returns the path to there.
fn broken(model: ControlPlane, property: &'static str) -> Tale {
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(property);
    let tale = Tale::new(path.unwrap_or_else(|| panic!("it should not, but it holds: {property}")));
    println!("not always: {property}\n{}", tale.words());
    tale
}

/// The promotion's write lands when its job has ended and another value is recorded.
fn assert_lands_after_the_end(tale: &Tale, points: &[Point]) {
    assert!(tale.has(points), "another path than {points:?}:\n{}", tale.words());
    let last = tale.last();
    assert!(last.settled() && last.pointer.value == Promoted && last.recorded != Promoted);
}

/// docs/architecture.md names these numbers.
#[test]
fn no_settled_state_has_a_wrong_pointer() {
    let three = ControlPlane {
        writes: 3,
        ..ControlPlane::BUILT
    };
    assert_eq!(every_state(three, &[]), 56_813);
}

#[test]
fn no_settled_state_has_a_wrong_pointer_with_four_writes() {
    assert_eq!(every_state(ControlPlane::BUILT, &[]), 393_918);
}

#[test]
fn no_settled_state_has_a_wrong_pointer_when_a_way_back_writes_what_was_there() {
    let plain = ControlPlane {
        plain: true,
        ..ControlPlane::BUILT
    };
    assert_eq!(every_state(plain, &[]), 280_841);
}

/// Two writes are enough for that, but not to put one right.
#[test]
fn a_worker_without_the_lease_changes_no_row() {
    let model = ControlPlane {
        keep_the_lost: true,
        writes: 2,
        ..ControlPlane::BUILT
    };
    assert_eq!(every_state(model, &[PUT_RIGHT]), 220_705);
}

#[test]
fn with_a_compare_and_swap_no_watch_is_needed() {
    let swap = ControlPlane {
        compare_and_swap: true,
        late_write_watch: None,
        ..ControlPlane::BUILT
    };
    assert_eq!(every_state(swap, &[PUT_RIGHT]), 43_232);
    assert_eq!(every_state(ControlPlane { plain: true, ..swap }, &[PUT_RIGHT]), 42_510);
}

#[test]
fn without_the_late_write_watch_a_write_lands_after_the_end() {
    let model = ControlPlane {
        late_write_watch: None,
        ..ControlPlane::BUILT
    };
    let tale = broken(model, RIGHT);
    assert_lands_after_the_end(&tale, &[Intends(0, Promoted), Signs(0), Ends, Lands(Promoted)]);
}

/// Also when a signature is valid for longer than the watch: then the clock that signs runs ahead.
#[test]
fn a_watch_that_is_shorter_than_a_signature_is_not_enough() {
    let model = ControlPlane {
        late_write_watch: Some(0),
        ..ControlPlane::BUILT
    };
    let tale = broken(model, RIGHT);
    assert_lands_after_the_end(&tale, &[Signs(0), TimePasses, Asks, Looks, Ends, Lands(Promoted)]);
}

#[test]
fn a_look_before_the_watch_has_ended_proves_nothing() {
    let model = ControlPlane {
        asks_before_it_looks: false,
        ..ControlPlane::BUILT
    };
    let tale = broken(model, RIGHT);
    assert_lands_after_the_end(&tale, &[Signs(0), Looks, Lands(Promoted), TimePasses, Asks, Ends]);
}

#[test]
fn without_the_write_guard_a_stalled_worker_signs_after_the_watch() {
    let model = ControlPlane {
        write_guard: false,
        ..ControlPlane::BUILT
    };
    let tale = broken(model, RIGHT);
    assert_lands_after_the_end(
        &tale,
        &[Intends(0, Promoted), TimePasses, Signs(0), Ends, Lands(Promoted)],
    );
}

#[test]
fn without_a_fence_a_worker_writes_for_a_job_that_has_ended() {
    let model = ControlPlane {
        fence: Fence::Open,
        keep_the_lost: true,
        ..ControlPlane::BUILT
    };
    let tale = broken(model, RIGHT);
    assert_lands_after_the_end(
        &tale,
        &[
            Claims(0),
            Claims(1),
            Ends,
            Intends(0, Promoted),
            Signs(0),
            Lands(Promoted),
        ],
    );
    broken(model, FENCED);
}

#[test]
fn without_the_epoch_a_worker_takes_the_lease_of_another_for_its_own() {
    let model = ControlPlane {
        fence: Fence::OwnerAlone,
        keep_the_lost: true,
        ..ControlPlane::BUILT
    };
    let tale = broken(model, FENCED);
    assert!(
        tale.has(&[Claims(0), Claims(1), Intends(0, Promoted)]),
        "another path:\n{}",
        tale.words()
    );
    broken(model, RIGHT);
}
