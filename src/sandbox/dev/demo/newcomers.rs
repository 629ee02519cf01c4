//! Visitors who have never been here: how many of them get which release, and whether that is the share it should be.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use super::visitors::{Seen, Visitor, client};

/// So many come however long it takes: at each point of presence some get a share of one half.
const LEAST: usize = 60;
/// How many come at once to each point of presence.
const AT_ONCE: usize = 4;
/// A share that is right is further off than this once in 150,000 times (the normal distribution, both sides).
const DEVIATIONS: f64 = 4.5;
/// Failures that are told one by one.
const TOLD: usize = 3;

/// What newcomers got.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    /// By point of presence: how many came, and how many of them got the release in question.
    pub points: BTreeMap<SocketAddr, (usize, usize)>,
    /// At each point of presence the last one who got it: his page is still open.
    pub on_it: BTreeMap<SocketAddr, Visitor>,
    /// Who got neither that one nor the other.
    pub strays: Vec<String>,
}

impl Newcomers {
    /// About `number` of them open the page, spread over all points of presence: fewer where they need longer than
    /// `within`, since the share stands for a while only.
    pub(super) async fn come(
        points: &[SocketAddr],
        number: usize,
        within: Duration,
        (release, other): (&str, &str),
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let client = client()?;
        let mut newcomers = Self::default();
        while newcomers.total() < LEAST || (newcomers.total() < number && began.elapsed() < within) {
            let visits = points.iter().flat_map(|point| {
                std::iter::repeat_n((*point, client.clone()), AT_ONCE).map(|(point, client)| async move {
                    let mut visitor = Visitor::with(client, point);
                    let seen = visitor.navigate("/").await?;
                    anyhow::Ok((point, visitor, seen))
                })
            });
            for (point, visitor, seen) in try_join_all(visits).await? {
                newcomers.note(point, visitor, &seen, (release, other));
            }
        }
        Ok(newcomers)
    }

    fn note(&mut self, point: SocketAddr, visitor: Visitor, seen: &Seen, (release, other): (&str, &str)) {
        let (came, got) = self.points.entry(point).or_default();
        *came += 1;
        match (seen.status, seen.release.as_deref()) {
            (200, Some(seen)) if seen == release => {
                *got += 1;
                self.on_it.insert(point, visitor);
            }
            (200, Some(seen)) if seen == other => {}
            (status, seen) => {
                let seen = seen.unwrap_or("nothing that is marked");
                self.strays
                    .push(format!("a newcomer at {point} got {status} and {seen}"));
            }
        }
    }

    pub(super) fn total(&self) -> usize {
        self.points.values().map(|(came, _)| came).sum()
    }

    /// How many got the release.
    pub(super) fn got(&self) -> usize {
        self.points.values().map(|(_, got)| got).sum()
    }

    pub(super) fn percent(&self) -> f64 {
        100.0 * self.got() as f64 / self.total().max(1) as f64
    }

    /// What is wrong when `weight` percent of them had to get `release`.
    pub(super) fn objections(&self, weight: u32, release: &str) -> Vec<String> {
        let mut objections: Vec<String> = self.strays.iter().take(TOLD).cloned().collect();
        let (least, most) = band(weight, self.total());
        if !(least..=most).contains(&self.got()) {
            objections.push(format!(
                "{} of {} newcomers got {release}, where {weight} % are {least} to {most}",
                self.got(),
                self.total()
            ));
        }
        objections
    }
}

/// How many of `total` may be on a release that `weight` percent get: everyone or nobody has no margin.
fn band(weight: u32, total: usize) -> (usize, usize) {
    let (share, total) = (f64::from(weight) / 100.0, total as f64);
    let (middle, margin) = (share * total, DEVIATIONS * (total * share * (1.0 - share)).sqrt());
    let bound = |number: f64| number.round().clamp(0.0, total) as usize;
    (bound((middle - margin).floor()), bound((middle + margin).ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_margin_and_everyone_and_nobody_have_none() {
        assert_eq!(band(10, 300), (6, 54));
        assert_eq!(band(50, 300), (111, 189));
        assert_eq!(band(100, 300), (300, 300));
        assert_eq!(band(0, 300), (0, 0));
        assert_eq!(band(10, 0), (0, 0));
    }
}
