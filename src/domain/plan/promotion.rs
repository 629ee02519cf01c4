//! The plan of a promotion.
//!
//! ```text
//! preflight ∥ ─▶ hooks before_traffic ─▶ checks before_traffic ∥ ─▶ gate ─▶ ┌ for each share ─────────────────────┐
//!   ┌───────────────────────────────────────────────────────────────────────│ hooks ▶ flips ▶ hooks ▶ bake ▶ gate │
//!   ▼                                                                       └─────────────────────────────────────┘
//! flips of everyone ─▶ hooks after ─▶ checks after_traffic ∥ last bake ─▶ gate ─▶ settle ─▶ hooks owed by another job
//! ```
//! A bake runs beside the checks `during_bake`, each a step of its own, so that one that fails ends it at once.

use std::collections::BTreeSet;

use super::{
    CheckRun, Direction, Flip, HookRun, OnFailure, OnForeign, PlannedStep, Record, StepParams, Want, builder::Builder,
    hooks,
};
use crate::domain::{
    environment::{Check, EnvironmentDocument, HookWhen, Share, Strategy, When},
    job::OnDrift,
    names::{Name, Version},
    pointer::Shift,
};

/// What a promotion is planned from.
#[derive(Debug, Clone, Copy)]
pub struct Promotion<'a> {
    pub environment: &'a EnvironmentDocument,
    pub strategy: &'a Strategy,
    pub release: &'a Version,
    /// What is active.
    pub from: Option<&'a Version>,
    /// What was active before that: open pages of it keep their assets while a share is given.
    pub before: Option<&'a Version>,
    /// Components whose pointers are not ours yet: they have no release that a part of their visitors could stay on, and
    /// flip when everyone is moved.
    pub untaken: &'a BTreeSet<Name>,
    pub on_drift: OnDrift,
    /// Hooks of jobs whose place it takes, to be taken back when it has settled.
    pub owed: &'a [HookRun],
}

struct Planner<'a> {
    promotion: Promotion<'a>,
    plan: Builder<'a>,
    flips: Vec<i32>,
    /// The share that stands.
    given: u32,
}

/// The plan of a promotion.
pub fn promotion(promotion: &Promotion<'_>) -> Vec<PlannedStep> {
    let environment = promotion.environment;
    let mut planner = Planner {
        promotion: *promotion,
        plan: Builder::new(environment, Direction::Forward, OnFailure::Unwind, 1),
        flips: Vec::new(),
        given: 0,
    };
    let mut after = planner.before_traffic();
    for share in promotion.strategy.shares() {
        after = planner.hooks(HookWhen::BeforeWeight, share.weight, after);
        let names = environment.components.iter().map(|component| &component.name);
        let takes_part = |name: &&Name| promotion.strategy.takes_part(name) && !promotion.untaken.contains(*name);
        for name in names.filter(takes_part) {
            after = planner.flip(name, Some(share.weight), after);
        }
        after = planner.hooks(HookWhen::AfterWeight, share.weight, after);
        planner.given = share.weight;
        let (bake, watched) = planner.bake(&share, &after);
        after = planner.gate(&share, [vec![bake], watched].concat());
    }
    after = planner.everyone(after);
    let record = Record::Promoted {
        release: promotion.release.clone(),
    };
    let settle = planner.plan.settle(planner.flips, record, after);
    planner.plan.take_back(promotion.owed.iter().cloned(), vec![settle]);
    planner.plan.finish()
}

impl Planner<'_> {
    fn before_traffic(&mut self) -> Vec<i32> {
        let environment = self.promotion.environment;
        let on_drift = self.promotion.on_drift;
        let mut after = Vec::new();
        for component in &environment.components {
            let params = StepParams::Preflight { on_drift };
            after.push(self.plan.push("preflight", Some(&component.name), params, vec![]));
        }
        after = self.hooks(HookWhen::BeforeTraffic, 0, after);
        let asked = self.checks(When::BeforeTraffic, 0, "before_traffic", &after);
        if !asked.is_empty() {
            after = asked;
        }
        if environment.approvals.before_traffic {
            let params = StepParams::Approval {
                policy: environment.approvals.clone(),
                weight: None,
            };
            after = vec![self.plan.push("before_traffic", None, params, after)];
        }
        after
    }

    fn everyone(&mut self, mut after: Vec<i32>) -> Vec<i32> {
        let environment = self.promotion.environment;
        let share = self.promotion.strategy.everyone();
        after = self.hooks(HookWhen::BeforeWeight, 100, after);
        for component in &environment.components {
            after = self.flip(&component.name, None, after);
        }
        after = self.hooks(HookWhen::AfterWeight, 100, after);
        after = self.hooks(HookWhen::AfterTraffic, 100, after);
        let mut watched = self.checks(When::AfterTraffic, 100, "after_traffic", &after);
        if share.bake_seconds > 0 {
            let (bake, during) = self.bake(&share, &after);
            watched.push(bake);
            watched.extend(during);
        }
        if !watched.is_empty() {
            after = watched;
        }
        self.gate(&share, after)
    }

    /// One component, to a share or (without a weight) to everyone.
    fn flip(&mut self, component: &Name, weight: Option<u32>, after: Vec<i32>) -> Vec<i32> {
        let Promotion {
            release, from, before, ..
        } = self.promotion;
        let everyone = Shift {
            active: release.clone(),
            previous: from.cloned(),
            candidate: None,
            weight: 0,
        };
        let shift = match (weight, from) {
            (Some(weight), Some(from)) => Shift {
                active: from.clone(),
                previous: before.cloned(),
                candidate: Some(release.clone()),
                weight,
            },
            // Nothing is active yet that could keep the rest: refused when it was asked for.
            _ => everyone,
        };
        let flip = Flip {
            want: Want::Shift(shift),
            on_foreign: match self.promotion.on_drift {
                OnDrift::Reject => OnForeign::Refuse,
                OnDrift::Overwrite => OnForeign::Overwrite,
            },
            raise_epoch: false,
        };
        let (position, last) = self.plan.chain(component, flip, None, after);
        self.flips.push(position);
        vec![last]
    }

    /// The bake and, beside it, what is asked until it ends.
    fn bake(&mut self, share: &Share, after: &[i32]) -> (i32, Vec<i32>) {
        let stage = stage_of(share.weight);
        let params = StepParams::Bake {
            seconds: share.bake_seconds,
            weight: share.weight,
        };
        let bake = self.plan.push(&stage, None, params, after.to_vec());
        if share.bake_seconds == 0 {
            return (bake, Vec::new());
        }
        let during = |check: &&Check| check.when() == Some(When::DuringBake);
        let checks = self.promotion.environment.checks.iter().filter(during);
        let watched = checks
            .chain(&share.checks)
            .map(|check| self.check(check, share.weight, Some(bake), &stage, after))
            .collect();
        (bake, watched)
    }

    fn gate(&mut self, share: &Share, after: Vec<i32>) -> Vec<i32> {
        if !share.approval {
            return after;
        }
        let params = StepParams::Approval {
            policy: self.promotion.environment.approvals.clone(),
            weight: Some(share.weight),
        };
        vec![self.plan.push(&stage_of(share.weight), None, params, after)]
    }

    /// Checks of one moment, side by side.
    fn checks(&mut self, when: When, weight: u32, stage: &str, after: &[i32]) -> Vec<i32> {
        let checks = self.promotion.environment.checks.iter();
        checks
            .filter(|check| check.when() == Some(when))
            .map(|check| self.check(check, weight, None, stage, after))
            .collect()
    }

    fn check(&mut self, check: &Check, weight: u32, bake: Option<i32>, stage: &str, after: &[i32]) -> i32 {
        let params = StepParams::Check(CheckRun {
            check: check.clone(),
            release: self.promotion.release.clone(),
            from_release: self.promotion.from.cloned(),
            weight,
            bake,
        });
        self.plan.push(stage, None, params, after.to_vec())
    }

    /// Hooks of one moment, one after the other.
    fn hooks(&mut self, when: HookWhen, weight: u32, mut after: Vec<i32>) -> Vec<i32> {
        for hook in hooks::at(&self.promotion.environment.hooks, when, (self.given, weight)) {
            let run = HookRun {
                hook: hook.clone(),
                release: self.promotion.release.clone(),
                from_release: self.promotion.from.cloned(),
                weight,
                undoes: None,
            };
            after = vec![self.plan.push("hooks", None, StepParams::Hook(run), after)];
        }
        after
    }
}

fn stage_of(weight: u32) -> String {
    if weight == 100 {
        "after_traffic".to_owned()
    } else {
        format!("weight-{weight}")
    }
}
