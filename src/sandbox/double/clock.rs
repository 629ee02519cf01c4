//! The double's movable clock.
//!
//! Invalidations make progress and parameters are dated by this clock: the machine's time plus an
//! offset that a test moves. The age of a signature and the expiry of a session are *not* judged by
//! it: the client signs with the machine's time, so those two checks stay on that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The machine's time plus an offset; every clone shows the same time.
#[derive(Clone, Debug, Default)]
pub struct DoubleClock {
    offset_millis: Arc<AtomicI64>,
}

impl DoubleClock {
    /// What time the double thinks it is.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.offset_millis.load(Ordering::SeqCst))
    }

    /// Moves the clock forward; nothing sleeps, whatever was due in between is due now.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 2);
        self.offset_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// How far ahead of the machine's time this clock is.
    pub fn offset(&self) -> Duration {
        let millis = self.offset_millis.load(Ordering::SeqCst);
        Duration::from_millis(millis.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_moves_with_the_original() {
        let clock = DoubleClock::default();
        let clone = clock.clone();
        clock.advance(Duration::from_secs(3600));
        assert!(clone.now() - Utc::now() > TimeDelta::minutes(59));
        assert_eq!(clone.offset(), Duration::from_secs(3600));
    }
}
