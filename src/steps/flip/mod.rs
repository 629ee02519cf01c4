//! `flip`: makes a component's pointer say what it shall, in every target, and verifies it.
//!
//! ```text
//! observe every target ─▶ decide ─▶ one transaction: found, wanted, intents ─▶ write side by side ─▶ verify
//! ```
//! Every target (a region, or the key in a KeyValueStore) is driven by itself. What a pointer said before our
//! first write is stored once; so is what it shall say. A value that equals one of our intents is ours, not
//! drift. A write without an answer stays recorded as such: it may still land, and whoever settles watches for
//! it, unless a compare-and-swap has fenced it. `decide` has the judgement, `write` the writes.

mod decide;
mod write;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;

use super::{FlipOutput, TargetOutput, combine, wrong_params};
use crate::{
    aws::Aws,
    domain::{
        environment::PointerIdentity,
        error::{JobError, Retry, Warning},
        plan::{Flip, OnFailure, StepParams},
    },
    engine::{Done, Effect, Outcome, StepContext, StepError, StepRunner},
    store::pointers::{self, Answer},
    traffic::{self, Observed, TrafficRouter},
};

/// Flips one component.
pub struct FlipStep {
    pub aws: Aws,
}

/// One pointer that this run has to do with.
struct Plan<'a> {
    identity: &'a PointerIdentity,
    seen: Observed,
    /// What goes into `found`: before the first of us wrote.
    found: Option<String>,
    wanted: Option<String>,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Write,
    Already,
    Leave,
}

/// Target, error, whether trying again can help.
type TargetError = (String, JobError, Retry);

struct Run<'a> {
    context: &'a StepContext,
    flip: &'a Flip,
    router: Box<dyn TrafficRouter>,
    component: String,
    warnings: Vec<Warning>,
    errors: Vec<TargetError>,
    /// Answers that are not stored yet.
    answered: Vec<Answer>,
}

#[async_trait]
impl StepRunner for FlipStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Flip(flip) = &context.step.params else {
            return Err(wrong_params(context));
        };
        let environment = context.environment()?;
        let component = context.component()?;
        let run = Run {
            context,
            flip,
            router: traffic::router(&self.aws, &environment.aws, component),
            component: component.name.to_string(),
            warnings: Vec::new(),
            errors: Vec::new(),
            answered: Vec::new(),
        };
        run.flip().await
    }
}

impl Run<'_> {
    async fn flip(mut self) -> Result<Outcome, StepError> {
        let identities = self.router.pointers().to_vec();
        let looks = join_all(identities.iter().map(|identity| self.router.observe(&identity.target))).await;
        let mut seen = Vec::new();
        for (identity, look) in identities.iter().zip(looks) {
            match look {
                Ok(observed) => seen.push((identity, observed)),
                Err(error) => {
                    self.errors
                        .push((identity.target.clone(), error.job_error(), error.retry()));
                }
            }
        }
        // A promotion touches nothing unless it can see everything; a way back drives what it can reach.
        if !self.errors.is_empty() && self.context.step.on_failure == OnFailure::Unwind {
            return Err(self.failure(&FlipOutput::default()));
        }
        let plans = self.decide(seen).await?;
        let mut output = FlipOutput::default();
        let mut drift = BTreeMap::new();
        for plan in plans.iter().filter(|plan| plan.action != Action::Write) {
            let left = plan.action == Action::Leave;
            if left {
                drift.insert(
                    plan.identity.key.clone(),
                    json!({"component": self.component, "target": plan.identity.target,
                           "expected": plan.wanted, "found": plan.seen.value}),
                );
            }
            output.targets.insert(
                plan.identity.target.clone(),
                target_output(plan, plan.seen.version, if left { "left" } else { "already" }),
            );
        }
        self.write_and_verify(plans, &mut output).await?;
        if !self.errors.is_empty() {
            return Err(self.failure(&output));
        }
        let mut done = Done::new(json!(output));
        done.warnings = std::mem::take(&mut self.warnings);
        let answered = std::mem::take(&mut self.answered);
        done.effects.push(Box::new(move |connection| {
            Box::pin(async move {
                for answer in &answered {
                    pointers::answer(connection, answer).await?;
                }
                Ok(())
            })
        }));
        if !drift.is_empty() {
            let effect: Effect =
                Box::new(move |connection| Box::pin(async move { pointers::set_drift(connection, &drift).await }));
            done.effects.push(effect);
        }
        Ok(Outcome::Done(done))
    }

    /// The step's error: for a promotion the worst decides, for a way back the most hopeful.
    fn failure(&self, output: &FlipOutput) -> StepError {
        let any = |wanted: Retry| self.errors.iter().any(|(_, _, retry)| *retry == wanted);
        let retry = match self.context.step.on_failure {
            OnFailure::Unwind if any(Retry::No) => Retry::No,
            OnFailure::GoOn if any(Retry::Backoff) => Retry::Backoff,
            _ if any(Retry::Throttled) => Retry::Throttled,
            _ if any(Retry::Backoff) => Retry::Backoff,
            _ => Retry::No,
        };
        match combine(&self.errors, retry) {
            StepError::Failed { error, retry, .. } => StepError::Failed {
                error,
                retry,
                output: json!(output),
                warnings: self.warnings.clone(),
                events: Vec::new(),
            },
            other => other,
        }
    }
}

fn target_output(plan: &Plan<'_>, version: Option<i64>, outcome: &str) -> TargetOutput {
    TargetOutput {
        pointer: plan.identity.key.clone(),
        value: match outcome {
            "left" => plan.seen.value.clone(),
            _ => plan.wanted.clone(),
        },
        version,
        found: plan.found.clone(),
        outcome: outcome.to_owned(),
    }
}
