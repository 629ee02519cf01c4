//! Puts steps one after the other: what every plan is built with.

use super::{Direction, Flip, OnFailure, PlannedStep, Record, StepParams, Want};
use crate::domain::{
    environment::{EnvironmentDocument, OnTimeout},
    names::Name,
};

pub(super) struct Builder<'a> {
    environment: &'a EnvironmentDocument,
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
    pub(super) fn chain(
        &mut self,
        component: &Name,
        flip: Flip,
        on_timeout: Option<OnTimeout>,
        after: Vec<i32>,
    ) -> (i32, i32) {
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

    pub(super) fn settle(mut self, flips: Vec<i32>, record: Record, after: Vec<i32>) -> Vec<PlannedStep> {
        self.push("settle", None, StepParams::Settle { flips, record }, after);
        self.steps
    }
}
