//! The poller's schedule, pure.
//!
//! AWS (April 2026): completion is reported within 25 s for 95 of 100; others have seen 10 to 13
//! minutes; six or seven quick calls are throttled. So: 1, 2, 2, 3, 3, 3, 5 s …, then ever more slowly.

/// Seconds to wait before looking again, by the age of the step in seconds.
pub fn next_look_secs(age_secs: f64) -> f64 {
    match age_secs {
        age if age < 1.0 => 1.0,
        age if age < 5.0 => 2.0,
        age if age < 12.0 => 3.0,
        age if age < 60.0 => 5.0,
        age if age < 300.0 => 15.0,
        _ => 30.0,
    }
}

/// Seconds to wait when CloudFront has too many invalidations in progress, by age.
pub fn next_try_secs(age_secs: f64) -> f64 {
    if age_secs < 30.0 { 5.0 } else { 15.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_within(secs: f64) -> usize {
        let (mut age, mut looks) = (0.0, 0);
        while age < secs {
            age += next_look_secs(age);
            looks += 1;
        }
        looks
    }

    #[test]
    fn is_quick_at_first_and_cheap_later() {
        assert!(looks_within(5.0) <= 6, "six quick calls are throttled");
        assert_eq!(looks_within(25.0), 9);
        assert!(looks_within(900.0) < 60);
    }
}
