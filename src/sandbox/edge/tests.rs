//! What the unit tests of the edge begin with.

use std::sync::Arc;

use super::{Bucket, EdgeOptions, FunctionConfig, Invalidation, Invalidations, KeyValues, Store};
use crate::{domain::environment::Fallback, sandbox::double::DoubleClock};

struct NoInvalidations;

impl Invalidations for NoInvalidations {
    fn after(&self, _: usize) -> Vec<Invalidation> {
        Vec::new()
    }
}

/// An edge that looks at nothing.
pub(super) fn options() -> EdgeOptions {
    let config = FunctionConfig {
        prefix: "releases/".to_owned(),
        fallback: Fallback::Spa,
        key: "key".to_owned(),
    };
    EdgeOptions::new(
        config,
        DoubleClock::default(),
        Arc::new(Bucket::new(|_| None)),
        Arc::new(Store::new(|| Ok(KeyValues::new()))),
        Arc::new(NoInvalidations),
    )
}
