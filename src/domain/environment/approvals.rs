//! Who has to agree before a promotion goes on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::role::Role;

/// Approvals that one gate may need.
pub const APPROVALS_MAX: u32 = 10;
/// Longest time for which a gate waits: 30 days.
pub const APPROVAL_MAX_SECONDS: u32 = 2_592_000;

/// The environment's policy for gates: those of a canary's steps, and the one before traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalPolicy {
    /// A gate before anybody is on the release, after the checks of `before_traffic`.
    #[serde(default)]
    pub before_traffic: bool,
    /// How many people have to approve, 1 to 10. Never the one who started the promotion, nobody twice.
    #[serde(default = "default_required")]
    pub required: u32,
    /// The least role that may.
    #[serde(default = "default_role")]
    pub role: Role,
    /// When nobody has decided by then the job aborts by itself, 60 to 2592000 (30 days).
    #[serde(default = "default_expiry")]
    pub expires_after_seconds: u32,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self {
            before_traffic: false,
            required: default_required(),
            role: default_role(),
            expires_after_seconds: default_expiry(),
        }
    }
}

fn default_required() -> u32 {
    1
}

fn default_role() -> Role {
    Role::Releaser
}

fn default_expiry() -> u32 {
    86_400
}
