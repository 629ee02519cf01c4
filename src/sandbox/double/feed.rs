//! What a local edge watches in the double, given in small pieces: it asks at every request.

use super::AwsDouble;
use crate::sandbox::edge::Invalidation;

impl AwsDouble {
    /// The invalidations of a distribution of the default account after the first `seen`, oldest first.
    pub fn invalidations_after(&self, distribution: &str, seen: usize) -> Vec<Invalidation> {
        let account = self.account_id();
        self.world().read(|state| {
            let distribution = state.distribution(account, distribution);
            let invalidations = distribution
                .into_iter()
                .flat_map(|it| it.invalidations.iter().skip(seen));
            invalidations
                .map(|invalidation| Invalidation {
                    paths: invalidation.paths.clone(),
                    created_at: invalidation.created_at,
                    completes_at: invalidation.completes_at,
                })
                .collect()
        })
    }
}
