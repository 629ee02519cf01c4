//! Whether the roads can do what a strategy asks: decided when it is asked for, with the nearest that can be done.

use super::{
    AllAtOnce, Canary, EdgeMode, EnvironmentDocument, Linear, Strategy,
    router::{Limits, Router},
};
use crate::domain::{names::Name, pointer::PointerFormat};

/// Why a strategy can't be run here, and what can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible {
    /// Within the strategy, such as `steps[1].weight`; empty: all of it.
    pub field: String,
    pub reason: String,
    pub nearest: Strategy,
}

impl super::Component {
    /// What its road can do with a share of the visitors.
    pub fn limits(&self) -> Limits {
        let (max_share, reason) = match (&self.router, self.edge_mode()) {
            (router, _) if router.format() == PointerFormat::Plain => (
                0,
                "the plain format of its pointer names one release and knows no share",
            ),
            (_, EdgeMode::Origin) => (
                0,
                "with edge.mode origin one cache serves everyone, so a share would be cached for all",
            ),
            (_, EdgeMode::None) if self.cdn.is_some() => (
                0,
                "its distribution's cache knows nothing of releases, so a share would be cached for all: \
                 edge.mode viewer_rewrite has an object of each release",
            ),
            (Router::SsmPointer(_) | Router::CloudfrontKvs(_), _) => (99, "a share is 1 to 99 percent"),
        };
        Limits {
            max_share,
            reason,
            // The routing function tells visitors apart by a hash that does not depend on the weight.
            sticky: max_share > 0,
            takes_seconds: self.edge_ttl_seconds(),
        }
    }
}

impl EnvironmentDocument {
    /// Why `strategy` can't be run here; `None`: it can.
    pub fn impossible(&self, strategy: &Strategy) -> Option<Impossible> {
        let refuse = |field: String, reason: String| {
            Some(Impossible {
                field,
                reason,
                nearest: self.nearest(strategy),
            })
        };
        let shares = strategy.shares();
        for (at, name) in strategy.components().unwrap_or_default().iter().enumerate() {
            if self.component(name).is_none() {
                return refuse(
                    format!("components[{at}]"),
                    format!("there is no component {name} here"),
                );
            }
        }
        if strategy.components().is_some_and(<[Name]>::is_empty) {
            return refuse(
                "components".into(),
                "name at least one component, or leave it out".into(),
            );
        }
        for component in self.components.iter().filter(|c| strategy.takes_part(&c.name)) {
            let limits = component.limits();
            if let Some(at) = shares.iter().position(|share| share.weight > limits.max_share) {
                let field = match strategy {
                    Strategy::Canary(_) => format!("steps[{at}].weight"),
                    _ => "step_weight".to_owned(),
                };
                let reason = format!(
                    "component {} can't give {} percent of its visitors another release: {}",
                    component.name, shares[at].weight, limits.reason
                );
                return refuse(field, reason);
            }
        }
        None
    }

    /// The strategy most like it that the roads can do: weights cut to what each can, then only the components that
    /// can share their visitors, else everyone at once.
    fn nearest(&self, strategy: &Strategy) -> Strategy {
        let able: Vec<Name> = self
            .components
            .iter()
            .filter(|c| strategy.takes_part(&c.name) && c.limits().max_share > 0)
            .map(|c| c.name.clone())
            .collect();
        let everyone = Strategy::AllAtOnce(AllAtOnce {
            bake_seconds: strategy.everyone().bake_seconds,
        });
        if able.is_empty() {
            return everyone;
        }
        let max_share = |name: &Name| self.component(name).map_or(0, |component| component.limits().max_share);
        let least = able.iter().map(max_share).min().unwrap_or(0);
        let named = (able.len() < self.components.len()).then_some(able);
        match strategy {
            Strategy::AllAtOnce(_) => everyone,
            Strategy::Canary(canary) => {
                let mut steps = canary.steps.clone();
                steps.retain(|step| step.weight <= least || step.weight == 100);
                if steps.is_empty() {
                    return everyone;
                }
                Strategy::Canary(Canary {
                    steps,
                    components: named,
                })
            }
            Strategy::Linear(linear) => Strategy::Linear(Linear {
                step_weight: linear.step_weight.min(least),
                components: named,
                ..linear.clone()
            }),
        }
    }
}
