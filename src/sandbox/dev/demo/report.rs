//! A job in words: what happens to it, its steps, what AWS says now, what it took; and, when it failed, why.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    check::Found,
    client::{Event, Job, Step},
    newcomers::Newcomers,
    visitors::{Sighting, Watched},
};
use crate::sandbox::dev::{
    screen::{Screen, in_words},
    world::Site,
};

/// What stands before something that happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    None,
    Good,
    /// Not good, and not the last word.
    Open,
    Bad,
}

/// Something that happened to a job, at its time. `times`: of the job's beginning, and of the moment.
pub(super) fn happened(
    screen: &Screen,
    times: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    what: &str,
    mark: Mark,
    words: &str,
) {
    let after = between(times.0, times.1).map(in_words).unwrap_or_default();
    let mark = match mark {
        Mark::None => String::new(),
        Mark::Good => format!("{} ", screen.good("✓")),
        Mark::Open => format!("{} ", screen.warning("·")),
        Mark::Bad => format!("{} ", screen.bad("✗")),
    };
    screen.line(format!("   {after:>8}  {what:>6}  {mark}{words}"));
}

/// More about what was told last.
pub(super) fn more(screen: &Screen, words: &str) {
    screen.line(format!("   {:>8}  {:>6}  {}", "", "", screen.dim(words)));
}

/// How many newcomers got the release.
pub(super) fn newcomers(newcomers: &Newcomers, release: &str) -> String {
    let points: Vec<String> = newcomers.points.values().map(|(_, got)| got.to_string()).collect();
    format!(
        "{} of {} newcomers got {release}: {:.1} % ({} by point of presence)",
        newcomers.got(),
        newcomers.total(),
        newcomers.percent(),
        points.join(", ")
    )
}

/// Why a check failed, and what was seen, each on a line.
pub(super) fn evidence(error: &Value) -> Vec<String> {
    let seen = &error["evidence"]["seen"];
    let wrong = seen["wrong"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<String> = wrong.iter().map(in_text).collect();
    if lines.is_empty() {
        lines.push(in_text(&error["message"]));
    }
    lines.extend(seen["body"].as_str().map(|body| body.trim().to_owned()));
    lines
}

/// How many were answered meanwhile.
pub(super) fn requests(screen: &Screen, watches: &[&Watched]) {
    let requests: u64 = watches.iter().map(|watched| watched.requests).sum();
    let failures: usize = watches.iter().map(|watched| watched.failures.len()).sum();
    screen.line(format!(
        "   Edge          {requests} requests meanwhile, {failures} failed"
    ));
}

/// From which release to which.
pub(super) fn way(screen: &Screen, job: &Job) {
    let to = job
        .release
        .as_deref()
        .unwrap_or("what was there before the first release");
    let from = job
        .from_release
        .as_deref()
        .map(|from| format!("{from} → "))
        .unwrap_or_default();
    screen.line(format!("   {from}{to}: {}", job.state));
}

/// One line a step.
pub(super) fn steps(screen: &Screen, job: &Job) {
    let mut steps: Vec<&Step> = job.steps.iter().collect();
    steps.sort_by_key(|step| step.position);
    let width = |text: fn(&Step) -> &str| steps.iter().map(|step| text(step).len()).max().unwrap_or(0);
    let (kinds, components) = (width(|step| &step.kind), width(component));
    for step in &steps {
        let mark = match step.state.as_str() {
            "succeeded" => screen.good("✓"),
            "failed" => screen.bad("✗"),
            "undone" => screen.warning("↶"),
            _ => screen.dim("·"),
        };
        let took = between(step.started_at, step.finished_at)
            .map(in_words)
            .unwrap_or_default();
        let again = if step.attempts > 1 {
            format!("{} attempts", step.attempts)
        } else {
            String::new()
        };
        let state = if step.state == "succeeded" { "" } else { &step.state };
        let line = format!(
            "   {mark} {:<kinds$}  {:<components$}  {took:>8}  {state}{}{}",
            step.kind,
            component(step),
            if state.is_empty() || again.is_empty() { "" } else { ", " },
            screen.dim(again),
        );
        screen.line(line.trim_end());
    }
    for warning in &job.warnings {
        let words = warning["message"]
            .as_str()
            .map_or_else(|| in_text(warning), str::to_owned);
        screen.line(format!("   {} {words}", screen.warning("!")));
    }
}

/// What SSM says and which invalidations went out.
pub(super) fn aws(screen: &Screen, found: &Found) {
    for (site, pointer) in &found.pointers {
        let name = site.parameter;
        match pointer {
            Some((value, version)) => {
                let version = screen.dim(format!("(version {version})"));
                screen.line(format!("   SSM           {name} {version}"));
                screen.line(format!("                 {value}"));
            }
            None => screen.line(format!("   SSM           {name} does not exist")),
        }
    }
    if found.invalidations.is_empty() {
        screen.line("   Invalidation  none");
    }
    for sent in &found.invalidations {
        screen.line(format!(
            "   Invalidation  {}  {}  {}",
            sent.id,
            sent.paths.join(" "),
            sent.status
        ));
        screen.line(format!(
            "                 {}",
            screen.dim(format!("CallerReference {}", sent.caller_reference))
        ));
    }
}

/// What a site's points of presence served meanwhile.
pub(super) fn edge(screen: &Screen, site: &Site, release: &str, watched: &Watched) {
    let arrived = |sightings: &Vec<Sighting>| Some(sightings.iter().find(|seen| seen.release == release)?.first);
    let mut arrivals: Vec<Duration> = watched.points.values().filter_map(arrived).collect();
    arrivals.sort();
    let when: Vec<String> = arrivals.into_iter().map(in_words).collect();
    let failures = watched.failures.len();
    screen.line(format!(
        "   Edge          {:<4} {release} at {} of {} points of presence, after {}; {} requests meanwhile, {failures} failed",
        site.component,
        when.len(),
        watched.points.len(),
        when.join(", "),
        watched.requests,
    ));
}

/// What it took, by the job's own times and by the clock on the wall.
pub(super) fn times(screen: &Screen, job: &Job, wall: Duration) {
    let shifted = between(job.created_at, job.traffic_shifted_at)
        .map(|after| format!("traffic shifted after {}, ", in_words(after)))
        .unwrap_or_default();
    let ended = if job.settled_at.is_some() { "settled" } else { "ended" };
    let settled = between(job.created_at, job.settled_at.or(job.finished_at))
        .map(|after| format!("{ended} after {} ", in_words(after)))
        .unwrap_or_default();
    let waited = between(job.created_at, job.started_at)
        .filter(|waited| *waited >= Duration::from_secs(1))
        .map(|waited| format!(" {} of it waiting for a worker;", in_words(waited)))
        .unwrap_or_default();
    let converged = between(job.created_at, job.converged_at)
        .map(|after| format!("seen from outside after {}, ", in_words(after)))
        .unwrap_or_default();
    screen.line(format!(
        "   Took          {shifted}{converged}{settled}by the job's times;{waited} {} on the wall",
        in_words(wall)
    ));
}

/// Why a job failed, and everything that happened until then.
pub(super) fn failure(screen: &Screen, job: &Job, events: &[Event]) {
    if let Some(error) = &job.error {
        screen.line(format!(
            "   {} {} (code {})",
            screen.bad("✗"),
            error.message,
            error.code
        ));
        if let Some(step) = &error.step {
            screen.line(format!("     in step {}", in_text(step)));
        }
        if let Some(hint) = &error.hint {
            screen.line(format!("     {hint}"));
        }
    }
    for event in events {
        let after = between(job.created_at, event.at).map(in_words).unwrap_or_default();
        let data = if event.data.is_null() {
            String::new()
        } else {
            in_text(&event.data)
        };
        screen.line(format!("   {after:>8}  {}  {}", event.kind, screen.dim(data)));
    }
}

fn component(step: &Step) -> &str {
    step.component.as_deref().unwrap_or_default()
}

/// None if one of the two is missing, or they are in the wrong order.
fn between(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Option<Duration> {
    (to? - from?).to_std().ok()
}

/// A string without its quotes, everything else as JSON.
fn in_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
