//! `Range` of a GET (RFC 9110, section 14), as CloudFront takes it: what isn't right is ignored.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: no range, or one that isn't valid, or several (which CloudFront would answer in parts; a server may
    /// ignore them, RFC 9110, section 14.2).
    Whole,
    Part(Range<usize>),
    /// Nothing that is there: 416.
    Outside,
}

/// Reads a `Range` header for a body of that length.
pub(super) fn wanted(range: &str, length: usize) -> Wanted {
    let spec = range
        .split_once('=')
        .filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.split_once('-')) else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match number(last) {
            Some(0) => Wanted::Outside,
            Some(_) if length == 0 => Wanted::Outside,
            Some(suffix) => Wanted::Part(length.saturating_sub(suffix)..length),
            None => Wanted::Whole,
        };
    }
    let last = if last.is_empty() {
        Some(usize::MAX)
    } else {
        number(last)
    };
    match (number(first), last) {
        (Some(first), Some(last)) if first > last => Wanted::Whole,
        (Some(first), Some(_)) if first >= length => Wanted::Outside,
        (Some(first), Some(last)) => Wanted::Part(first..last.saturating_add(1).min(length)),
        _ => Wanted::Whole,
    }
}

/// Digits alone; a number that is too large is as far away as can be.
fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_nonsense_ignored() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-4", Wanted::Part(0..5)),
            ("bytes=5-", Wanted::Part(5..10)),
            ("bytes = 5- ", Wanted::Whole),
            ("Bytes= 5-", Wanted::Part(5..10)),
            ("bytes=9-99999999999999999999999", Wanted::Part(9..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=-0", Wanted::Outside),
            ("bytes=10-", Wanted::Outside),
            ("bytes=99999999999999999999999-", Wanted::Outside),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(range, 10), expected, "{range}");
        }
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(range, 0), Wanted::Outside, "{range}");
        }
    }
}
