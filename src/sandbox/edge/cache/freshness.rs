//! How long an answer may be kept, from what its origin says.
//!
//! From the Developer Guide, *Manage how long content stays in the cache* and *Control how long CloudFront caches
//! errors*, with a minimum TTL of 0, so that `no-cache` is heard, and the default and maximum of the managed policy
//! CachingOptimized. `Expires` isn't looked at: S3 sends it only if it was uploaded as metadata.

use chrono::TimeDelta;

/// For an origin that says nothing.
const DEFAULT_TTL: TimeDelta = TimeDelta::hours(24);
const MAXIMUM_TTL: TimeDelta = TimeDelta::days(365);
/// The error caching minimum TTL, if nobody set it ("CloudFront caches error responses for a default duration of 10
/// seconds").
pub(in crate::sandbox::edge) const ERROR_TTL: TimeDelta = TimeDelta::seconds(10);

/// How long an answer with this `Cache-Control` is fresh; zero: it isn't kept.
pub(in crate::sandbox::edge) fn ttl_of(cache_control: Option<&str>) -> TimeDelta {
    let Some(cache_control) = cache_control else {
        return DEFAULT_TTL;
    };
    let mut shared = None;
    let mut private = None;
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = || value.trim().trim_matches('"').parse::<u32>().ok();
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" | "private" => return TimeDelta::zero(),
            "s-maxage" => shared = seconds(),
            "max-age" => private = seconds(),
            _ => {}
        }
    }
    let told = shared.or(private).map(|seconds| TimeDelta::seconds(i64::from(seconds)));
    told.unwrap_or(DEFAULT_TTL).min(MAXIMUM_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_heard() {
        for (said, ttl) in [
            (None, DEFAULT_TTL),
            (Some(""), DEFAULT_TTL),
            (Some("public"), DEFAULT_TTL),
            (Some("max-age=60"), TimeDelta::seconds(60)),
            (Some("public, Max-Age=\"60\" , immutable"), TimeDelta::seconds(60)),
            (Some("max-age=60, s-maxage=5"), TimeDelta::seconds(5)),
            (Some("max-age=0"), TimeDelta::zero()),
            (Some("max-age=31536001"), MAXIMUM_TTL),
            (Some("max-age=soon"), DEFAULT_TTL),
            (Some("no-cache"), TimeDelta::zero()),
            (Some("max-age=60, no-store"), TimeDelta::zero()),
            (Some("private"), TimeDelta::zero()),
        ] {
            assert_eq!(ttl_of(said), ttl, "{said:?}");
        }
    }
}
