//! The plan of a job: which steps, in which stages, after what. Made once, when the job is activated.
//!
//! A step runs when all it comes `after` have ended, so the steps of a stage run side by side. Undoing
//! and retrying append steps; none is ever rewritten.
//!
//! - promotion: preflight of every component side by side, hooks and checks before traffic, then for each share of the
//!   strategy the flips of its components in order, a bake and its gate, then for each component in order flip →
//!   edge TTL → invalidation → converge, then the last checks and bake, then settle. A failure unwinds.
//! - rollback: flip → edge TTL → invalidation → converge of every component side by side, each driven by itself,
//!   then settle. A failure goes on with the rest and leaves the job stuck.
//! - undo: the touched components in reverse order, then settle. Hooks that were called are taken back: those amid
//!   traffic beside it, those before it after it.
//! - invalidation: one for each distribution, side by side.
//!
//! `shares` tells which steps belong to a weight below 100.

mod builder;
mod hooks;
mod invalidation;
mod promotion;
mod retry;
mod rollback;
mod shares;
#[cfg(test)]
mod tests;
mod undo;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    hooks::{HookRun, owed},
    invalidation::invalidation,
    promotion::{Promotion, promotion},
    retry::{forward_round, retry},
    rollback::rollback,
    shares::{served, skipped_by_promoting_fully},
    undo::{is_settled, put_right, touched, undo},
};
use super::{
    environment::{ApprovalPolicy, Check, Converge, OnTimeout},
    job::OnDrift,
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
    /// Sends an invalidation and waits for it. `flip`: only if that one, or one before it, has moved something.
    Invalidate {
        #[serde(default)]
        flip: Option<i32>,
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
    /// Asks a question of the release, until the answer holds. With `bake`: again and again until that one ends.
    Check(CheckRun),
    /// Lets a share stand for so long, under observation.
    Bake { seconds: u32, weight: u32 },
    /// Waits until enough people have agreed. `weight`: the share that stands; `None`: before traffic.
    Approval {
        policy: ApprovalPolicy,
        weight: Option<u32>,
    },
    /// Calls a hook, or takes one back.
    Hook(HookRun),
    /// Watches for late writes, looks once more, records the new state.
    Settle { flips: Vec<i32>, record: Record },
}

/// A check, and of what it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRun {
    pub check: Check,
    pub release: Version,
    pub from_release: Option<Version>,
    /// Percent of the visitors on the release meanwhile.
    pub weight: u32,
    /// The bake during which it is asked.
    #[serde(default)]
    pub bake: Option<i32>,
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
            Self::Check(_) => "check",
            Self::Bake { .. } => "bake",
            Self::Approval { .. } => "approval",
            Self::Hook(_) => "hook",
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
                want:
                    Want::Shift(Shift {
                        candidate: Some(candidate),
                        weight,
                        ..
                    }),
                ..
            }) => {
                format!("give {weight} % of the visitors {candidate}, and verify")
            }
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
            Self::Check(run) => {
                let (kind, name) = (run.check.kind(), run.check.name());
                let how = if run.bake.is_some() { " until the bake ends" } else { "" };
                format!("ask the {kind} check {name}{how}")
            }
            Self::Bake { seconds, weight: 100 } => format!("watch {seconds} s with everyone on the release"),
            Self::Bake { seconds, weight } => {
                format!("watch {seconds} s with {weight} % of the visitors on the release")
            }
            Self::Approval { policy, .. } => format!(
                "wait for {} approval(s) of role {} or greater, at most {} s",
                policy.required, policy.role, policy.expires_after_seconds
            ),
            Self::Hook(run) if run.undoes.is_some() => format!("take hook {} back", run.hook.name),
            Self::Hook(run) => format!("call hook {}", run.hook.name),
            Self::Settle { .. } => "look once more, and record the new state".into(),
        }
    }

    /// True for what moves traffic: a pause comes before these or after them, never amid them.
    pub fn moves_traffic(&self) -> bool {
        matches!(
            self,
            Self::Flip(_) | Self::EdgeTtl { .. } | Self::Invalidate { .. } | Self::Converge { .. }
        )
    }

    /// True when it may be stopped in the middle of something without more harm than when its worker dies: it writes
    /// nothing to AWS.
    pub fn is_interruptible(&self) -> bool {
        match self {
            Self::Preflight { .. }
            | Self::EdgeTtl { .. }
            | Self::Converge { .. }
            | Self::Check(_)
            | Self::Bake { .. }
            | Self::Approval { .. }
            | Self::Hook(_) => true,
            Self::Flip(_) | Self::Invalidate { .. } | Self::Settle { .. } => false,
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
