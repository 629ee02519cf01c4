//! Which versions the demo registers: four that nobody has used yet.

/// `1.0.0` to `1.3.0` the first time; afterwards the next four minor versions after the highest one
/// of that form.
pub(super) fn unused<'a>(known: impl Iterator<Item = &'a str>) -> [String; 4] {
    let next = known
        .filter_map(minor)
        .max()
        .map_or(0, |highest| highest.saturating_add(1));
    [0, 1, 2, 3].map(|more| format!("1.{}.0", next.saturating_add(more)))
}

/// The number in the middle of `1.<number>.0`.
fn minor(version: &str) -> Option<u64> {
    version.strip_prefix("1.")?.strip_suffix(".0")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demo_has_four_new_versions() {
        assert_eq!(unused([].into_iter()), ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]);
        assert_eq!(
            unused(["1.1.0", "1.0.0"].into_iter()),
            ["1.2.0", "1.3.0", "1.4.0", "1.5.0"]
        );
        assert_eq!(
            unused(["1.9.0", "1.10.0", "2.0.0", "1.x.0", "1.30.1"].into_iter()),
            ["1.11.0", "1.12.0", "1.13.0", "1.14.0"]
        );
    }
}
