//! Puts steps one after the other: what every plan is built with.

use super::{Direction, Flip, HookRun, OnFailure, PlannedStep, Record, StepParams, Want};
use crate::domain::{
    environment::{EnvironmentDocument, OnTimeout},
    names::Name,
};

pub(super) struct Builder<'a> {
    pub(super) environment: &'a EnvironmentDocument,
    direction: Direction,
    on_failure: OnFailure,
    next: i32,
    steps: Vec<PlannedStep>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        environment: &'a EnvironmentDocument,
        direction: Direction,
        on_failure: OnFailure,
        first: i32,
    ) -> Self {
        Self {
            environment,
            direction,
            on_failure,
            next: first,
            steps: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, stage: &str, component: Option<&Name>, params: StepParams, after: Vec<i32>) -> i32 {
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
    /// A share can't be asked for from outside: who asks gets one release or the other.
    pub(super) fn chain(
        &mut self,
        component: &Name,
        flip: Flip,
        on_timeout: Option<OnTimeout>,
        after: Vec<i32>,
    ) -> (i32, i32) {
        let stage = match self.direction {
            Direction::Undo => format!("undo:{component}"),
            Direction::Forward => match &flip.want {
                Want::Shift(shift) if shift.candidate.is_some() => format!("weight-{}:{component}", shift.weight),
                _ => format!("traffic:{component}"),
            },
        };
        let spec = self
            .environment
            .component(component)
            .expect("the plan is made from the environment's own components");
        let release = match &flip.want {
            Want::Shift(shift) if shift.candidate.is_none() => Some(shift.active.clone()),
            // What was there before may be no release of ours: nothing the edge could be asked for.
            Want::Shift(_) | Want::Restore(_) | Want::Exactly(_) => None,
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
                flip: Some(position),
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

    /// The last word on the pointers. Returns its position.
    pub(super) fn settle(&mut self, flips: Vec<i32>, record: Record, after: Vec<i32>) -> i32 {
        self.push("settle", None, StepParams::Settle { flips, record }, after)
    }

    /// Takes hooks back, one after the other. A failure leaves the job stuck, and stops nothing else.
    pub(super) fn take_back(&mut self, owed: impl IntoIterator<Item = HookRun>, mut after: Vec<i32>) -> Vec<i32> {
        let before = std::mem::replace(&mut self.on_failure, OnFailure::GoOn);
        for run in owed {
            after = vec![self.push("hooks", None, StepParams::Hook(run), after)];
        }
        self.on_failure = before;
        after
    }

    pub(super) fn finish(self) -> Vec<PlannedStep> {
        self.steps
    }
}
