//! How a promotion moves traffic: everyone at once, or a share of the visitors first.
//!
//! A strategy is a list of [`Share`]s with growing weights, and what happens when everyone is on the release. What a
//! road can't do is found in [`super::feasible`], when the strategy is asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Check;
use crate::domain::names::Name;

/// Steps of a `canary`, and shares that a `linear` may come to.
pub const SHARES_MAX: usize = 20;
/// Longest bake: a week.
pub const BAKE_MAX_SECONDS: u32 = 604_800;

/// How a promotion moves traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// Everyone at once, component by component.
    AllAtOnce(AllAtOnce),
    /// A share of the visitors first, in steps of your own.
    Canary(Canary),
    /// A share that grows by the same amount each time.
    Linear(Linear),
}

impl Default for Strategy {
    fn default() -> Self {
        Self::AllAtOnce(AllAtOnce::default())
    }
}

/// Settings of the `all_at_once` strategy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllAtOnce {
    /// How long the release is watched when everyone is on it, before the job settles; 0 to 604800.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub bake_seconds: u32,
}

/// Settings of the `canary` strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// 1 to 20, with growing weights. After the last one everyone is moved; one with weight 100 says how long the
    /// release is watched then.
    pub steps: Vec<CanaryStep>,
    /// The components whose visitors are shared. Left out: all. The others flip when everyone is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub components: Option<Vec<Name>>,
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// Percent of the visitors on the new release, 1 to 100.
    #[schema(minimum = 1, maximum = 100, example = 5)]
    pub weight: u32,
    /// How long this share is watched, counted from when every edge knows it; 0 to 604800.
    #[schema(maximum = 604_800, example = 300)]
    pub bake_seconds: u32,
    /// After the bake somebody has to approve before it goes on.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub approval: bool,
    /// Asked during this step's bake, besides the environment's own; at most 10. Their `when` is `during_bake`, and
    /// may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub checks: Vec<Check>,
}

/// Settings of the `linear` strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// By how many percent the share grows each time, 5 to 99.
    #[schema(minimum = 5, maximum = 99, example = 20)]
    pub step_weight: u32,
    /// How long each share is watched, 0 to 604800.
    #[schema(maximum = 604_800, example = 120)]
    pub interval_seconds: u32,
    /// How long the release is watched when everyone is on it, before the job settles; 0 to 604800.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub bake_seconds: u32,
    /// As in `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub components: Option<Vec<Name>>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A weight, and what happens while it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Percent of the visitors on the new release; 100: everyone.
    pub weight: u32,
    pub bake_seconds: u32,
    pub approval: bool,
    pub checks: Vec<Check>,
}

impl Share {
    fn plain(weight: u32, bake_seconds: u32) -> Self {
        Self {
            weight,
            bake_seconds,
            approval: false,
            checks: Vec::new(),
        }
    }

    fn of(step: &CanaryStep) -> Self {
        Self {
            weight: step.weight,
            bake_seconds: step.bake_seconds,
            approval: step.approval,
            checks: step.checks.clone(),
        }
    }
}

impl Strategy {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AllAtOnce(_) => "all_at_once",
            Self::Canary(_) => "canary",
            Self::Linear(_) => "linear",
        }
    }

    /// The shares before everyone is moved, growing: weights 1 to 99.
    pub fn shares(&self) -> Vec<Share> {
        match self {
            Self::AllAtOnce(_) => Vec::new(),
            Self::Canary(canary) => {
                let partial = canary.steps.iter().filter(|step| step.weight < 100);
                partial.map(Share::of).collect()
            }
            Self::Linear(linear) => (1..)
                .map(|at| linear.step_weight.max(1).saturating_mul(at))
                .take_while(|weight| *weight < 100)
                .map(|weight| Share::plain(weight, linear.interval_seconds))
                .collect(),
        }
    }

    /// What happens when everyone is on the release.
    pub fn everyone(&self) -> Share {
        match self {
            Self::AllAtOnce(all) => Share::plain(100, all.bake_seconds),
            Self::Canary(canary) => {
                let last = canary.steps.iter().find(|step| step.weight == 100);
                last.map_or_else(|| Share::plain(100, 0), Share::of)
            }
            Self::Linear(linear) => Share::plain(100, linear.bake_seconds),
        }
    }

    /// True when a component's visitors are shared before everyone is moved.
    pub fn takes_part(&self, component: &Name) -> bool {
        match self.components() {
            Some(named) => named.contains(component),
            None => true,
        }
    }

    /// The components named as those that take part.
    pub fn components(&self) -> Option<&[Name]> {
        match self {
            Self::AllAtOnce(_) => None,
            Self::Canary(canary) => canary.components.as_deref(),
            Self::Linear(linear) => linear.components.as_deref(),
        }
    }

    /// True when it watches the release at any weight.
    pub fn has_bake(&self) -> bool {
        self.shares().iter().any(|share| share.bake_seconds > 0) || self.everyone().bake_seconds > 0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weights(strategy: serde_json::Value) -> Vec<u32> {
        let strategy: Strategy = serde_json::from_value(strategy).unwrap();
        strategy.shares().iter().map(|share| share.weight).collect()
    }

    #[test]
    fn a_linear_share_grows_to_below_everyone() {
        let of = |step: u32| weights(json!({"kind": "linear", "step_weight": step, "interval_seconds": 1}));
        assert_eq!(of(25), [25, 50, 75]);
        assert_eq!(of(33), [33, 66, 99]);
        assert_eq!(of(50), [50]);
        assert_eq!(of(99), [99]);
        assert_eq!(of(5).len(), 19);
        assert!(of(5).len() <= SHARES_MAX);
    }

    #[test]
    fn a_canary_step_of_everyone_is_the_last_bake() {
        let canary = json!({"kind": "canary", "steps": [
            {"weight": 5, "bake_seconds": 300}, {"weight": 100, "bake_seconds": 60, "approval": true}]});
        assert_eq!(weights(canary.clone()), [5]);
        let strategy: Strategy = serde_json::from_value(canary).unwrap();
        let last = strategy.everyone();
        assert_eq!((last.bake_seconds, last.approval), (60, true));
        assert!(weights(json!({"kind": "all_at_once"})).is_empty());
    }

    #[test]
    fn what_is_left_out_is_not_written_either() {
        assert_eq!(
            serde_json::to_value(Strategy::default()).unwrap(),
            json!({"kind": "all_at_once"})
        );
    }
}
