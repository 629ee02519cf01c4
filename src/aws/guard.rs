//! Refuses to sign a write when its time has passed.
//!
//! A signed request stays valid for five minutes, and SSM has no compare-and-swap: a worker that was
//! paused and then signs could write long after its lease has gone. So the signature itself is guarded,
//! after credentials were resolved and right before it is made.

use std::time::{Duration, Instant, SystemTime};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef, dyn_dispatch_hint},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

/// The time within which a write to AWS must be signed: by the monotonic clock, and by the wall clock,
/// which goes on while a virtual machine is suspended.
#[derive(Debug, Clone, Copy)]
pub struct WriteGuard {
    deadline: Instant,
    wall_deadline: SystemTime,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a signature carries this machine's time, so that is what is guarded"
)]
impl WriteGuard {
    pub fn new(budget: Duration) -> Self {
        Self {
            deadline: Instant::now() + budget,
            wall_deadline: SystemTime::now() + budget,
        }
    }

    /// False: too late to sign.
    pub fn may_sign(&self) -> bool {
        Instant::now() < self.deadline && SystemTime::now() < self.wall_deadline
    }

    /// What is left of it.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The request was not signed: its time had passed. Surely without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time for this write had passed before it was signed")]
pub struct TooLateToSign;

/// The guard as the SDK takes it.
#[derive(Debug, Clone, Copy)]
pub struct SignInTime(pub WriteGuard);

#[dyn_dispatch_hint]
impl Intercept for SignInTime {
    fn name(&self) -> &'static str {
        "SignInTime"
    }

    fn read_before_signing(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.may_sign() {
            Ok(())
        } else {
            Err(TooLateToSign.into())
        }
    }
}
