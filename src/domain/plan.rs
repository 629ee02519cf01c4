//! The plan of a job: which steps, in which stages, after what. Made once, when the job is activated.
//!
//! A step runs when all it comes `after` have ended, so the steps of a stage run side by side. Undoing
//! and retrying append steps; none is ever rewritten.
//!
//! - promotion: preflight of every component side by side, then for each component in order flip →
//!   edge TTL → invalidation → converge, then settle. A failure unwinds.
//! - rollback: flip → edge TTL → invalidation → converge of every component side by side, each driven by itself,
//!   then settle. A failure goes on with the rest and leaves the job stuck.
//! - undo: the touched components in reverse order, then settle.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    environment::{Converge, EnvironmentDocument, OnTimeout},
    job::{OnDrift, Step, StepState},
    names::{Name, Version},
    pointer::{Shift, Values},
};

/// Which way a step works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Forward,
    Undo,
}

/// What a step's final failure does to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Everything touched is undone.
    Unwind,
    /// The rest goes on; the job ends stuck.
    GoOn,
}

/// A step before it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    pub position: i32,
    pub direction: Direction,
    pub stage: String,
    pub component: Option<Name>,
    pub params: StepParams,
    pub after: Vec<i32>,
    pub on_failure: OnFailure,
}

/// What a step does, with all it needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepParams {
    /// Looks before anything is touched: pointers as expected, distribution there and permitted.
    Preflight { on_drift: OnDrift },
    /// Writes a component's pointer in every target, and verifies it.
    Flip(Flip),
    /// Waits until every edge has let go of the pointer it held.
    EdgeTtl { flip: i32, seconds: u32 },
    /// Sends an invalidation and waits for it.
    Invalidate {
        flip: i32,
        distribution_id: String,
        paths: Vec<String>,
        timeout_seconds: u32,
        on_timeout: OnTimeout,
    },
    /// Asks the public URL until it names the release.
    Converge {
        release: Version,
        url: String,
        settings: Converge,
    },
    /// Watches for late writes, looks once more, records the new state.
    Settle { flips: Vec<i32>, record: Record },
}

/// What a flip writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    pub want: Want,
    pub on_foreign: OnForeign,
    /// Frees pinned visitors: on every rollback and undo.
    pub raise_epoch: bool,
}

/// The pointer's new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Names these releases.
    Shift(Shift),
    /// Says again what it said, only with a new epoch.
    Restore(Values),
    /// Says exactly this, byte for byte; `null` deletes the parameter.
    Exactly(Values),
}

/// What a flip does about a value that is neither expected nor ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnForeign {
    /// Fails before writing.
    Refuse,
    /// Writes over it and warns.
    Overwrite,
    /// Leaves it and warns: an undo takes back what is ours, nothing else.
    Leave,
}

/// What settling records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// `release` is active now.
    Promoted { release: Version },
    /// `release` is active again; `None`: deployment 0.
    RolledBack { release: Option<Version> },
    /// Everything is as before.
    Undone,
}

impl StepParams {
    /// The step's kind, as it is stored and shown.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Flip(_) => "flip",
            Self::EdgeTtl { .. } => "edge_ttl",
            Self::Invalidate { .. } => "invalidate",
            Self::Converge { .. } => "converge",
            Self::Settle { .. } => "settle",
        }
    }

    /// One line for a person: what the step will do.
    pub fn describe(&self) -> String {
        match self {
            Self::Preflight {
                on_drift: OnDrift::Reject,
            } => "look whether the pointer says what it should and the distribution is there".into(),
            Self::Preflight {
                on_drift: OnDrift::Overwrite,
            } => "look whether pointer and distribution are there; a changed pointer will be written over".into(),
            Self::Flip(Flip {
                want: Want::Shift(shift),
                ..
            }) => {
                format!("make the pointer name {} everywhere, and verify", shift.active)
            }
            Self::Flip(_) => "put the pointer back everywhere, and verify".into(),
            Self::EdgeTtl { seconds, .. } => format!("wait {seconds} s until every edge has let go of the old pointer"),
            Self::Invalidate {
                distribution_id, paths, ..
            } => {
                format!(
                    "invalidate {} path(s) on {distribution_id} and wait until it is completed",
                    paths.len()
                )
            }
            Self::Converge { release, url, settings } => {
                format!(
                    "ask {url} until {} answers in a row name {release}",
                    settings.consecutive
                )
            }
            Self::Settle { .. } => "look once more, and record the new state".into(),
        }
    }
}

/// The operation token: what makes a repeated call the same call.
pub fn token(job: Uuid, position: i32, direction: Direction, round: i32) -> String {
    let letter = match direction {
        Direction::Forward => 'f',
        Direction::Undo => 'u',
    };
    format!("greenlight-{job}-{position}{letter}{round}")
}

struct Builder<'a> {
    environment: &'a EnvironmentDocument,
    direction: Direction,
    on_failure: OnFailure,
    next: i32,
    steps: Vec<PlannedStep>,
}

impl<'a> Builder<'a> {
    fn new(environment: &'a EnvironmentDocument, direction: Direction, on_failure: OnFailure, first: i32) -> Self {
        Self {
            environment,
            direction,
            on_failure,
            next: first,
            steps: Vec::new(),
        }
    }

    fn push(&mut self, stage: &str, component: Option<&Name>, params: StepParams, after: Vec<i32>) -> i32 {
        let position = self.next;
        self.next += 1;
        self.steps.push(PlannedStep {
            position,
            direction: self.direction,
            stage: stage.to_owned(),
            component: component.cloned(),
            params,
            after,
            on_failure: self.on_failure,
        });
        position
    }

    /// flip → edge TTL → invalidation → converge of one component. Returns the flip and the last of the chain.
    fn chain(&mut self, component: &Name, flip: Flip, on_timeout: Option<OnTimeout>, after: Vec<i32>) -> (i32, i32) {
        let stage = match self.direction {
            Direction::Forward => format!("traffic:{component}"),
            Direction::Undo => format!("undo:{component}"),
        };
        let spec = self
            .environment
            .component(component)
            .expect("the plan is made from the environment's own components");
        let release = match &flip.want {
            Want::Shift(shift) => Some(shift.active.clone()),
            // What was there before may be no release of ours: nothing the edge could be asked for.
            Want::Restore(_) | Want::Exactly(_) => None,
        };
        let position = self.push(&stage, Some(component), StepParams::Flip(flip), after);
        let mut last = position;
        let seconds = spec.edge_ttl_seconds();
        if seconds > 0 {
            last = self.push(
                &stage,
                Some(component),
                StepParams::EdgeTtl {
                    flip: position,
                    seconds,
                },
                vec![last],
            );
        }
        if let Some((distribution, settings)) = spec.invalidation() {
            let params = StepParams::Invalidate {
                flip: position,
                distribution_id: distribution.to_owned(),
                paths: settings.paths,
                timeout_seconds: settings.timeout_seconds,
                on_timeout: on_timeout.unwrap_or(settings.on_timeout),
            };
            last = self.push(&stage, Some(component), params, vec![last]);
        }
        if let (Some(release), Some((url, settings))) = (release, spec.convergence()) {
            let mut settings = settings.clone();
            settings.on_timeout = on_timeout.unwrap_or(settings.on_timeout);
            let params = StepParams::Converge {
                release,
                url: url.to_owned(),
                settings,
            };
            last = self.push(&stage, Some(component), params, vec![last]);
        }
        (position, last)
    }

    fn settle(mut self, flips: Vec<i32>, record: Record, after: Vec<i32>) -> Vec<PlannedStep> {
        self.push("settle", None, StepParams::Settle { flips, record }, after);
        self.steps
    }
}

/// The plan of a promotion of `release` from `previous`.
pub fn promotion(
    environment: &EnvironmentDocument,
    release: &Version,
    previous: Option<&Version>,
    on_drift: OnDrift,
) -> Vec<PlannedStep> {
    let mut plan = Builder::new(environment, Direction::Forward, OnFailure::Unwind, 1);
    let mut after: Vec<i32> = environment
        .components
        .iter()
        .map(|component| {
            plan.push(
                "preflight",
                Some(&component.name),
                StepParams::Preflight { on_drift },
                vec![],
            )
        })
        .collect();
    let on_foreign = match on_drift {
        OnDrift::Reject => OnForeign::Refuse,
        OnDrift::Overwrite => OnForeign::Overwrite,
    };
    let mut flips = Vec::new();
    for component in &environment.components {
        let shift = Shift {
            active: release.clone(),
            previous: previous.cloned(),
            candidate: None,
            weight: 0,
        };
        let flip = Flip {
            want: Want::Shift(shift),
            on_foreign,
            raise_epoch: false,
        };
        let (position, last) = plan.chain(&component.name, flip, None, after);
        flips.push(position);
        after = vec![last];
    }
    plan.settle(
        flips,
        Record::Promoted {
            release: release.clone(),
        },
        after,
    )
}

/// The plan of a rollback to `release`, whose pointer names `left` as previous; or to the values of deployment 0
/// in `restore`.
pub fn rollback(
    environment: &EnvironmentDocument,
    release: Option<&Version>,
    left: Option<&Version>,
    restore: &BTreeMap<Name, Values>,
) -> Vec<PlannedStep> {
    let mut plan = Builder::new(environment, Direction::Forward, OnFailure::GoOn, 1);
    let (mut flips, mut ends) = (Vec::new(), Vec::new());
    for component in environment.components.iter().rev() {
        let want = match release {
            Some(release) => Want::Shift(Shift {
                active: release.clone(),
                previous: left.cloned(),
                candidate: None,
                weight: 0,
            }),
            // A component without a found value was not there to be taken over: nothing to put back.
            None => match restore.get(&component.name) {
                Some(values) => Want::Exactly(values.clone()),
                None => continue,
            },
        };
        let flip = Flip {
            want,
            on_foreign: OnForeign::Overwrite,
            raise_epoch: true,
        };
        let (position, last) = plan.chain(&component.name, flip, Some(OnTimeout::Continue), vec![]);
        flips.push(position);
        ends.push(last);
    }
    plan.settle(
        flips,
        Record::RolledBack {
            release: release.cloned(),
        },
        ends,
    )
}

/// What the flips among `steps` have touched and not taken back, with what each pointer said before;
/// added to what superseded jobs had `inherited`. What was found first wins.
pub fn touched(steps: &[Step], inherited: &BTreeMap<Name, Values>) -> BTreeMap<Name, Values> {
    let mut found = inherited.clone();
    let flips = steps
        .iter()
        .filter(|step| step.direction == Direction::Forward && step.state != StepState::Undone)
        .filter(|step| matches!(step.params, StepParams::Flip(_)) && !step.wanted.is_empty());
    for step in flips {
        let Some(component) = &step.component else { continue };
        let values = found.entry(component.clone()).or_default();
        for target in step.wanted.keys() {
            let before = step.found.get(target).cloned().unwrap_or_default();
            values.entry(target.clone()).or_insert(before);
        }
    }
    found
}

/// The steps that take back what `steps` and superseded jobs have touched. `taken`: components whose pointer was ours before; the others get their bytes back exactly.
/// Empty when nothing was touched.
pub fn undo(
    environment: &EnvironmentDocument,
    steps: &[Step],
    inherited: &BTreeMap<Name, Values>,
    taken: &BTreeSet<Name>,
) -> Vec<PlannedStep> {
    let mut found = touched(steps, inherited);
    found.retain(|_, values| !values.is_empty());
    if found.is_empty() {
        return Vec::new();
    }
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let mut plan = Builder::new(environment, Direction::Undo, OnFailure::GoOn, first);
    let (mut flips, mut after) = (Vec::new(), Vec::new());
    for component in environment.components.iter().rev() {
        let Some(values) = found.remove(&component.name) else {
            continue;
        };
        let want = if taken.contains(&component.name) {
            Want::Restore(values)
        } else {
            Want::Exactly(values)
        };
        let flip = Flip {
            want,
            on_foreign: OnForeign::Leave,
            raise_epoch: true,
        };
        let (position, last) = plan.chain(&component.name, flip, Some(OnTimeout::Continue), after);
        flips.push(position);
        after = vec![last];
    }
    plan.settle(flips, Record::Undone, after)
}

/// The steps that rewrite pointers on which a late write landed: the same chain again, then settle.
pub fn put_right(
    environment: &EnvironmentDocument,
    steps: &[Step],
    settle: &Step,
    wrong: &BTreeMap<Name, Values>,
) -> Vec<PlannedStep> {
    let StepParams::Settle { flips, record } = &settle.params else {
        return Vec::new();
    };
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let mut plan = Builder::new(environment, settle.direction, settle.on_failure, first);
    let (mut again, mut ends) = (flips.clone(), vec![settle.position]);
    for (component, values) in wrong {
        let flip = Flip {
            want: Want::Exactly(values.clone()),
            on_foreign: OnForeign::Overwrite,
            raise_epoch: false,
        };
        let (position, last) = plan.chain(component, flip, Some(OnTimeout::Continue), vec![settle.position]);
        again.push(position);
        ends.push(last);
    }
    plan.settle(again, record.clone(), ends)
}

/// The last round that has forward steps: a retry of an undo has none.
pub fn forward_round(steps: &[Step]) -> i32 {
    steps
        .iter()
        .filter(|s| s.direction == Direction::Forward)
        .map(|s| s.round)
        .max()
        .unwrap_or(1)
}

/// Fresh copies of what of the last round did not end well, and of all that comes after it.
/// `all`: of every step, whatever became of it.
pub fn retry(steps: &[Step], round: i32, direction: Direction, all: bool) -> Vec<PlannedStep> {
    let mut current: Vec<&Step> = steps
        .iter()
        .filter(|s| s.round == round && s.direction == direction)
        .collect();
    if all
        && let Some(end) = current
            .iter()
            .position(|step| matches!(step.params, StepParams::Settle { .. }))
    {
        // What came after the first settle put a late write of that round right: it is no part of the plan.
        current.truncate(end + 1);
    }
    let mut again: BTreeSet<i32> = BTreeSet::new();
    for step in &current {
        let ended_well = matches!(step.state, StepState::Succeeded | StepState::Skipped);
        if all || !ended_well || step.after.iter().any(|position| again.contains(position)) {
            again.insert(step.position);
        }
    }
    let first = steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let moved: BTreeMap<i32, i32> = again.iter().copied().zip(first..).collect();
    let to = |position: &i32| moved.get(position).copied().unwrap_or(*position);
    current
        .into_iter()
        .filter(|step| again.contains(&step.position))
        .map(|step| PlannedStep {
            position: to(&step.position),
            direction,
            stage: step.stage.clone(),
            component: step.component.clone(),
            params: move_references(&step.params, &to),
            after: step.after.iter().map(to).collect(),
            on_failure: step.on_failure,
        })
        .collect()
}

fn move_references(params: &StepParams, to: &impl Fn(&i32) -> i32) -> StepParams {
    let mut params = params.clone();
    match &mut params {
        StepParams::EdgeTtl { flip, .. } | StepParams::Invalidate { flip, .. } => *flip = to(flip),
        StepParams::Settle { flips, .. } => *flips = flips.iter().map(to).collect(),
        StepParams::Preflight { .. } | StepParams::Flip(_) | StepParams::Converge { .. } => {}
    }
    params
}
