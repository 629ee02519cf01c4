//! What was active when, and from that: where a rollback goes.

use super::names::Version;

/// A row of an environment's history, newest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub id: i64,
    /// `None`: deployment 0, the value that was taken over.
    pub release: Option<Version>,
    /// Its release was rolled back from since.
    pub rolled_back: bool,
    /// It is what is active now.
    pub open: bool,
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Release(Version),
    /// Deployment 0: the values found before the first promotion.
    TakenOver,
}

impl Target {
    pub fn release(&self) -> Option<&Version> {
        match self {
            Target::Release(version) => Some(version),
            Target::TakenOver => None,
        }
    }
}

/// The latest earlier settled release that was not itself rolled back from, else deployment 0.
pub fn previous(history: &[Deployment]) -> Option<Target> {
    let active = history.iter().rev().find(|deployment| deployment.open)?;
    history
        .iter()
        .rev()
        .filter(|d| d.id < active.id && !d.rolled_back && d.release != active.release)
        .map(|d| d.release.clone().map_or(Target::TakenOver, Target::Release))
        .next()
}

/// True when `release` has settled as active here.
pub fn has_settled(history: &[Deployment], release: &Version) -> bool {
    history
        .iter()
        .any(|deployment| deployment.release.as_ref() == Some(release))
}

/// What serves everyone, as far as is recorded. The outer `None`: nothing was ever recorded.
pub fn active(history: &[Deployment]) -> Option<Option<&Version>> {
    history
        .iter()
        .rev()
        .find(|deployment| deployment.open)
        .map(|deployment| deployment.release.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rows: &[(Option<&str>, bool)]) -> Vec<Deployment> {
        let last = rows.len() - 1;
        rows.iter()
            .enumerate()
            .map(|(at, (release, rolled_back))| Deployment {
                id: i64::try_from(at).unwrap(),
                release: release.map(|text| Version::parse(text).unwrap()),
                rolled_back: *rolled_back,
                open: at == last,
            })
            .collect()
    }

    fn version(text: &str) -> Option<Target> {
        Some(Target::Release(Version::parse(text).unwrap()))
    }

    #[test]
    fn goes_to_the_release_before() {
        assert_eq!(
            previous(&history(&[(None, false), (Some("1"), false), (Some("2"), false)])),
            version("1")
        );
    }

    #[test]
    fn the_first_release_goes_back_to_what_was_taken_over() {
        assert_eq!(
            previous(&history(&[(None, false), (Some("1"), false)])),
            Some(Target::TakenOver)
        );
    }

    #[test]
    fn skips_what_was_rolled_back_from_and_what_is_active_already() {
        let rows = [
            (None, false),
            (Some("1"), false),
            (Some("2"), true),
            (Some("3"), true),
            (Some("2"), true),
            (Some("1"), false),
        ];
        assert_eq!(previous(&history(&rows)), Some(Target::TakenOver));
    }

    #[test]
    fn nothing_before_is_nothing_to_go_back_to() {
        assert_eq!(previous(&[]), None);
        assert_eq!(previous(&history(&[(None, false)])), None);
    }
}
