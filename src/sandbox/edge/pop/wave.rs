//! Invalidations on their way: at which moment one point of presence clears.
//!
//! AWS forwards an invalidation "to all edge locations within a few seconds" and says `Completed` when all have cleared.
//! Here the moments lie spread over its duration, the same for each point of presence every time, and all before its end.

use chrono::{DateTime, Utc};

use crate::sandbox::edge::sources::{Invalidation, Invalidations};

#[derive(Debug)]
pub(super) struct Wave {
    number: usize,
    points_of_presence: usize,
    /// How many invalidations were seen so far.
    seen: usize,
    /// Those still to come here, oldest first.
    coming: Vec<(DateTime<Utc>, Vec<String>)>,
}

impl Wave {
    pub(super) fn new(number: usize, points_of_presence: usize) -> Self {
        Self {
            number,
            points_of_presence,
            seen: 0,
            coming: Vec::new(),
        }
    }

    /// Takes note of new invalidations.
    pub(super) fn look(&mut self, invalidations: &dyn Invalidations) {
        for invalidation in invalidations.after(self.seen) {
            self.seen += 1;
            self.coming.push((self.moment(&invalidation), invalidation.paths));
        }
    }

    /// The paths of those whose moment has come.
    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Vec<Vec<String>> {
        self.coming
            .extract_if(.., |(moment, _)| *moment <= now)
            .map(|(_, paths)| paths)
            .collect()
    }

    /// When it passes here: after 1/(n+1) of its duration at the first of n points of presence, and so on.
    fn moment(&self, invalidation: &Invalidation) -> DateTime<Utc> {
        let takes = invalidation.completes_at - invalidation.created_at;
        let parts = i32::try_from(self.points_of_presence + 1).unwrap_or(i32::MAX);
        let number = i32::try_from(self.number + 1).unwrap_or(i32::MAX);
        invalidation.created_at + takes / parts * number
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::TimeDelta;

    use super::*;

    #[derive(Default)]
    struct List(Mutex<Vec<Invalidation>>);

    impl Invalidations for List {
        fn after(&self, seen: usize) -> Vec<Invalidation> {
            self.0.lock().unwrap().iter().skip(seen).cloned().collect()
        }
    }

    impl List {
        fn add(&self, path: &str, at: DateTime<Utc>, takes: TimeDelta) {
            self.0.lock().unwrap().push(Invalidation {
                paths: vec![path.to_owned()],
                created_at: at,
                completes_at: at + takes,
            });
        }
    }

    #[test]
    fn each_point_of_presence_has_its_moment_and_all_come_before_the_end() {
        let start = DateTime::from_timestamp(1_000, 0).unwrap();
        let list = List::default();
        list.add("/a", start, TimeDelta::seconds(8));
        for number in 0..3 {
            let mut wave = Wave::new(number, 3);
            let moment = start + TimeDelta::seconds(2 * (i64::try_from(number).unwrap() + 1));
            wave.look(&list);
            wave.look(&list);
            assert!(wave.due(moment - TimeDelta::milliseconds(1)).is_empty());
            assert_eq!(wave.due(moment), [["/a"]]);
            assert!(wave.due(moment + TimeDelta::hours(1)).is_empty(), "it passes once");
            assert!(moment < start + TimeDelta::seconds(8));
        }
    }

    #[test]
    fn one_without_duration_passes_at_once_and_a_slow_one_holds_up_no_other() {
        let start = DateTime::from_timestamp(1_000, 0).unwrap();
        let list = List::default();
        list.add("/slow", start, TimeDelta::hours(1));
        list.add("/quick", start, TimeDelta::zero());
        let mut wave = Wave::new(2, 3);
        wave.look(&list);
        assert_eq!(wave.due(start), [["/quick"]]);
        list.add("/later", start, TimeDelta::zero());
        wave.look(&list);
        assert_eq!(wave.due(start), [["/later"]]);
        assert_eq!(wave.due(start + TimeDelta::hours(1)), [["/slow"]]);
    }
}
