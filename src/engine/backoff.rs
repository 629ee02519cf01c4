//! How long to wait before trying again: exponential, capped, with full jitter on the upper half.

use rand::RngExt;

/// Seconds before the first retry.
const BASE_SECS: f64 = 0.5;
/// No retry waits longer.
const CAP_SECS: f64 = 20.0;
/// Attempts at something that fails: 0.5, 1, 2, 4, 8, 16, 20 s between them, about 50 s in all.
pub const MAX_ATTEMPTS: i32 = 8;
/// Attempts at something that is throttled: AWS is there and says "later", so about ten minutes.
pub const MAX_THROTTLED_ATTEMPTS: i32 = 36;

/// Seconds to wait after the `attempt`th try (from 1).
pub fn delay_secs(attempt: i32) -> f64 {
    let full = ceiling_secs(attempt);
    rand::rng().random_range(full / 2.0..=full)
}

fn ceiling_secs(attempt: i32) -> f64 {
    (BASE_SECS * 2f64.powi(attempt.clamp(1, 30) - 1)).min(CAP_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_cap_and_is_jittered() {
        let ceilings: Vec<f64> = (1..=8).map(ceiling_secs).collect();
        assert_eq!(ceilings, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]);
        for attempt in [0, 1, 5, 100, i32::MAX] {
            let secs = delay_secs(attempt);
            assert!(secs >= ceiling_secs(attempt) / 2.0 && secs <= ceiling_secs(attempt));
        }
    }
}
