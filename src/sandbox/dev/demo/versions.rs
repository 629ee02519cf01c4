//! Which versions the demo registers: two that nobody has used yet.

/// `1.0.0` and `1.1.0` the first time; afterwards the next two minor versions after the highest one
/// of that form.
pub(super) fn unused<'a>(known: impl Iterator<Item = &'a str>) -> [String; 2] {
    let next = known
        .filter_map(minor)
        .max()
        .map_or(0, |highest| highest.saturating_add(1));
    [next, next.saturating_add(1)].map(|minor| format!("1.{minor}.0"))
}

/// The number in the middle of `1.<number>.0`.
fn minor(version: &str) -> Option<u64> {
    version.strip_prefix("1.")?.strip_suffix(".0")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demo_has_two_new_versions() {
        assert_eq!(unused([].into_iter()), ["1.0.0", "1.1.0"]);
        assert_eq!(unused(["1.1.0", "1.0.0"].into_iter()), ["1.2.0", "1.3.0"]);
        assert_eq!(
            unused(["1.9.0", "1.10.0", "2.0.0", "1.x.0", "1.30.1"].into_iter()),
            ["1.11.0", "1.12.0"]
        );
    }
}
