//! Limits of strategies and of the policy for their gates.

use std::collections::BTreeSet;

use super::checks;
use crate::domain::environment::{
    ApprovalPolicy, EnvironmentDocument, Strategy,
    approvals::{APPROVAL_MAX_SECONDS, APPROVALS_MAX},
    strategy::{BAKE_MAX_SECONDS, SHARES_MAX},
};
use crate::domain::error::FieldError;

impl EnvironmentDocument {
    /// Everything that is wrong with `strategy` on its own, if it were this environment's; `field` is its path.
    pub fn strategy_problems(&self, strategy: &Strategy, field: &str) -> Vec<FieldError> {
        let mut problems = Vec::new();
        check(strategy, self, field, &mut |field, message| {
            problems.push(FieldError::new(field, message));
        });
        problems
    }
}

/// What is wrong with a strategy, whatever the roads can do.
pub fn check(strategy: &Strategy, document: &EnvironmentDocument, field: &str, wrong: &mut impl FnMut(String, &str)) {
    let seconds = |name: String, value: u32, wrong: &mut dyn FnMut(String, &str)| {
        if value > BAKE_MAX_SECONDS {
            wrong(name, "0 to 604800 (a week)");
        }
    };
    let named = strategy.components().unwrap_or_default();
    if named.iter().collect::<BTreeSet<_>>().len() < named.len() {
        wrong(format!("{field}.components"), "a component is named twice");
    }
    match strategy {
        Strategy::AllAtOnce(all) => seconds(format!("{field}.bake_seconds"), all.bake_seconds, wrong),
        Strategy::Linear(linear) => {
            if !(5..=99).contains(&linear.step_weight) {
                wrong(format!("{field}.step_weight"), "5 to 99 percent");
            }
            seconds(format!("{field}.interval_seconds"), linear.interval_seconds, wrong);
            seconds(format!("{field}.bake_seconds"), linear.bake_seconds, wrong);
        }
        Strategy::Canary(canary) => {
            if canary.steps.is_empty() || canary.steps.len() > SHARES_MAX {
                wrong(format!("{field}.steps"), "1 to 20 steps");
            }
            let mut before = 0;
            for (at, step) in canary.steps.iter().enumerate() {
                let field = format!("{field}.steps[{at}]");
                if !(1..=100).contains(&step.weight) {
                    wrong(format!("{field}.weight"), "1 to 100 percent");
                } else if step.weight <= before {
                    wrong(format!("{field}.weight"), "greater than that of the step before");
                }
                before = before.max(step.weight);
                seconds(format!("{field}.bake_seconds"), step.bake_seconds, wrong);
                checks::of_step(
                    &step.checks,
                    step.bake_seconds,
                    document,
                    &format!("{field}.checks"),
                    wrong,
                );
            }
        }
    }
}

/// What is wrong with the policy for gates.
pub fn check_approvals(policy: &ApprovalPolicy, wrong: &mut impl FnMut(String, &str)) {
    if !(1..=APPROVALS_MAX).contains(&policy.required) {
        wrong("approvals.required".into(), "1 to 10");
    }
    if !(60..=APPROVAL_MAX_SECONDS).contains(&policy.expires_after_seconds) {
        wrong(
            "approvals.expires_after_seconds".into(),
            "60 to 2592000 (a minute to 30 days)",
        );
    }
}
