//! One distribution and its invalidations: quotas, idempotency and progress.
//!
//! Pure data and rules: what time it is comes in as an argument.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::sandbox::double::CallerReferenceReuse;
use crate::sandbox::double::error::AwsError;
use crate::sandbox::double::ids;

/// Individual paths in progress, per distribution (Developer Guide, *Quotas on invalidations*).
const MAX_PATHS: usize = 3000;
/// Wildcard paths in progress, per distribution (same page); counted by themselves.
const MAX_WILDCARDS: usize = 15;
/// The longest path (Developer Guide, *What you need to know when invalidating files*).
const MAX_PATH: usize = 4000;

/// A distribution: only what a control plane reads of one.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Distribution {
    pub id: String,
    pub etag: String,
    pub created_at: DateTime<Utc>,
    /// Oldest first.
    pub invalidations: Vec<Invalidation>,
    /// Caller reference to index in `invalidations`.
    by_reference: BTreeMap<String, usize>,
}

/// An invalidation; its status follows from the time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::sandbox::double) struct Invalidation {
    pub id: String,
    pub caller_reference: String,
    pub paths: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub completes_at: DateTime<Utc>,
}

/// What CreateInvalidation asks for.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox::double) struct Batch {
    pub caller_reference: String,
    pub paths: Vec<String>,
    pub quantity: Option<usize>,
}

impl Invalidation {
    /// `InProgress` or `Completed`, spelled as AWS spells them.
    pub(in crate::sandbox::double) fn status(&self, now: DateTime<Utc>) -> &'static str {
        if self.is_in_progress(now) {
            "InProgress"
        } else {
            "Completed"
        }
    }

    fn is_in_progress(&self, now: DateTime<Utc>) -> bool {
        now < self.completes_at
    }
}

impl Distribution {
    pub(in crate::sandbox::double) fn new(id: &str, now: DateTime<Utc>) -> Self {
        Self {
            id: id.to_owned(),
            etag: ids::token("E", 13),
            created_at: now,
            invalidations: Vec::new(),
            by_reference: BTreeMap::new(),
        }
    }

    /// How many batches are in progress.
    pub(super) fn in_progress(&self, now: DateTime<Utc>) -> usize {
        self.invalidations.iter().filter(|it| it.is_in_progress(now)).count()
    }

    pub(super) fn invalidation(&self, id: &str) -> Option<&Invalidation> {
        self.invalidations.iter().find(|invalidation| invalidation.id == id)
    }

    /// Starts an invalidation, or returns the earlier one with the same reference and paths.
    pub(super) fn invalidate(
        &mut self,
        batch: Batch,
        now: DateTime<Utc>,
        takes: TimeDelta,
        reuse: CallerReferenceReuse,
    ) -> Result<&Invalidation, AwsError> {
        batch.check()?;
        if let Some(&index) = self.by_reference.get(&batch.caller_reference) {
            let earlier = &self.invalidations[index];
            return match reuse {
                CallerReferenceReuse::AsDocumented if same_paths(&earlier.paths, &batch.paths) => Ok(earlier),
                CallerReferenceReuse::AsDocumented => Err(AwsError::new(
                    400,
                    "InvalidationBatchAlreadyExists",
                    "An invalidation batch with the same caller reference and other paths already exists.",
                )),
                CallerReferenceReuse::AlwaysRefused => Err(invalid(
                    "Your request contains a caller reference that was used for a previous invalidation batch for \
                     the same distribution.",
                )),
            };
        }
        self.check_quota(&batch, now)?;
        self.by_reference
            .insert(batch.caller_reference.clone(), self.invalidations.len());
        self.invalidations.push(Invalidation {
            id: ids::token("I", 24),
            caller_reference: batch.caller_reference,
            paths: batch.paths,
            created_at: now,
            completes_at: now + takes,
        });
        Ok(&self.invalidations[self.invalidations.len() - 1])
    }

    fn check_quota(&self, batch: &Batch, now: DateTime<Utc>) -> Result<(), AwsError> {
        let running = self.invalidations.iter().filter(|it| it.is_in_progress(now));
        let running_paths: usize = running.clone().map(|it| it.paths.len()).sum();
        let running_wildcards: usize = running.map(|it| wildcards(&it.paths)).sum();
        let wildcards = wildcards(&batch.paths);
        let individual = batch.paths.len() - wildcards;
        let what = if wildcards > 0 && running_wildcards + wildcards > MAX_WILDCARDS {
            "in-progress wildcard invalidations"
        } else if individual > 0 && running_paths - running_wildcards + individual > MAX_PATHS {
            "in-progress invalidations"
        } else {
            return Ok(());
        };
        let message = format!("Processing your request will cause you to exceed the maximum number of {what}.");
        Err(AwsError::new(400, "TooManyInvalidationsInProgress", message))
    }
}

impl Batch {
    fn check(&self) -> Result<(), AwsError> {
        if self.quantity != Some(self.paths.len()) {
            return Err(AwsError::new(
                400,
                "InconsistentQuantities",
                "The value of Quantity and the size of Items don't match.",
            ));
        }
        if self.caller_reference.is_empty() {
            return Err(invalid("Your request contains an empty caller reference."));
        }
        if self.paths.is_empty() {
            return Err(invalid("Your request contains an empty invalidation batch."));
        }
        if self.paths.len() > MAX_PATHS {
            return Err(AwsError::new(
                413,
                "BatchTooLarge",
                "Invalidation batch specified is too large.",
            ));
        }
        if !self.paths.iter().all(|path| is_path(path)) {
            return Err(invalid("Your request contains one or more invalid invalidation paths."));
        }
        Ok(())
    }
}

fn invalid(message: &str) -> AwsError {
    AwsError::new(400, "InvalidArgument", message)
}

fn wildcards(paths: &[String]) -> usize {
    paths.iter().filter(|path| path.ends_with('*')).count()
}

fn same_paths(left: &[String], right: &[String]) -> bool {
    let sorted = |paths: &[String]| {
        let mut paths = paths.to_vec();
        paths.sort();
        paths
    };
    sorted(left) == sorted(right)
}

/// A path begins with a slash, has its wildcard at the end only, and has non-ASCII and unsafe
/// characters URL-encoded (Developer Guide, *What you need to know when invalidating files*).
fn is_path(path: &str) -> bool {
    let body = path.strip_suffix('*').unwrap_or(path);
    path.starts_with('/')
        && path.len() <= MAX_PATH
        && !body.contains('*')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>\"{}|\\^[]`".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKES: TimeDelta = TimeDelta::seconds(10);

    fn create(
        distribution: &mut Distribution,
        reference: &str,
        paths: &[String],
        now: DateTime<Utc>,
    ) -> Result<String, AwsError> {
        let batch = Batch {
            caller_reference: reference.into(),
            paths: paths.to_vec(),
            quantity: Some(paths.len()),
        };
        let reuse = CallerReferenceReuse::AsDocumented;
        distribution
            .invalidate(batch, now, TAKES, reuse)
            .map(|invalidation| invalidation.id.clone())
    }

    fn named(count: usize, prefix: &str, suffix: &str) -> Vec<String> {
        (0..count).map(|number| format!("/{prefix}{number}{suffix}")).collect()
    }

    #[test]
    fn the_two_quotas_are_counted_apart_and_end_with_the_invalidation() {
        let now = Utc::now();
        let mut distribution = Distribution::new("E2EXAMPLE", now);
        create(&mut distribution, "files", &named(3000, "f", ""), now).unwrap();
        create(&mut distribution, "wild", &named(15, "w", "/*"), now).unwrap();
        for (reference, path) in [("one more file", "/x"), ("one more wildcard", "/x*")] {
            let error = create(&mut distribution, reference, &[path.into()], now).unwrap_err();
            assert_eq!(error.code, "TooManyInvalidationsInProgress");
        }
        assert_eq!(distribution.in_progress(now), 2);
        create(&mut distribution, "later", &["/x*".into()], now + TAKES).unwrap();
        assert_eq!(distribution.in_progress(now + TAKES), 1);
    }

    #[test]
    fn a_reference_is_good_for_one_set_of_paths() {
        let now = Utc::now();
        let mut distribution = Distribution::new("E2EXAMPLE", now);
        let first = create(&mut distribution, "token", &named(2, "a", ""), now).unwrap();
        assert_eq!(create(&mut distribution, "token", &named(2, "a", ""), now), Ok(first));
        let error = create(&mut distribution, "token", &named(2, "b", ""), now).unwrap_err();
        assert_eq!(error.code, "InvalidationBatchAlreadyExists");
    }

    #[test]
    fn paths_are_checked_as_the_developer_guide_says() {
        for good in ["/", "/*", "/images/*", "/a?b=c&d=%20", "/~user/x"] {
            assert!(is_path(good), "{good}");
        }
        let long = format!("/{}", "x".repeat(4000));
        for bad in ["index.html", "*", "/a*b", "/a b", "/é", "/{x}", "", long.as_str()] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
