//! Hooks: webhooks that do something rather than ask, and that can be taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::names::Name;

/// Hooks of one environment.
pub const HOOKS_MAX: usize = 20;

/// A webhook that does something: warms caches, expands a database's schema, starts a suite of tests. It is called at
/// least once, with the same `Idempotency-Key` each time. Any 2xx but 202 says that it is done; 202, that it will call
/// back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    #[schema(example = "expand-schema")]
    pub name: Name,
    pub when: HookWhen,
    /// With `before_weight` and `after_weight`: which one, a weight of the environment's strategy or 100. A promotion
    /// with a strategy of its own calls the hook when it passes that weight.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Filled in as in an `http` check.
    #[schema(example = "https://ci.example.com/greenlight/expand?release={release}")]
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Tries in all, 1 to 100.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Between two tries, 1 to 3600.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// Until it is done, also by callback, 1 to 86400.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// Called when the job is undone, if the hook was called.
    #[serde(default)]
    pub undo: Option<HookUndo>,
}

/// What takes a hook back. Tries and times are the hook's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookUndo {
    #[schema(example = "https://ci.example.com/greenlight/contract?release={release}")]
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Where in a promotion a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookWhen {
    /// Before the checks of `before_traffic`.
    BeforeTraffic,
    /// When everyone is on the release, before the checks of `after_traffic`.
    AfterTraffic,
    /// Before the share grows to `weight`, or past it.
    BeforeWeight,
    /// As soon as the share is `weight` or more, before its bake.
    AfterWeight,
}

impl Hook {
    /// Called once traffic had begun to move: taken back beside the traffic, not after it.
    pub fn is_amid_traffic(&self) -> bool {
        self.when != HookWhen::BeforeTraffic
    }
}

fn default_attempts() -> u32 {
    3
}

fn default_interval() -> u32 {
    10
}

fn default_timeout() -> u32 {
    60
}
