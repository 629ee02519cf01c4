//! What must be true in AWS after traffic was moved: the pointer names the release, and exactly one
//! invalidation went out, of everything, and is complete.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AwsView, DISTRIBUTION, Invalidation, PARAMETER, REGION, client::Job};

/// What is invalidated.
pub(super) const PATHS: &str = "/*";

/// AWS as it was before the call.
pub(super) struct Before {
    invalidations: HashSet<String>,
    epoch: Option<u64>,
}

/// What the call is to lead to.
pub(super) struct Expected<'a> {
    pub release: &'a str,
    /// A rollback raises the pointer's epoch, which frees visitors of the release they are pinned to.
    pub raises_epoch: bool,
}

/// AWS as it is after the call.
pub(super) struct Found {
    pub pointer: Option<(String, u64)>,
    pub invalidations: Vec<Invalidation>,
    /// What is not as it should be; empty when all is well.
    pub objections: Vec<String>,
}

/// The part of the pointer's document that is checked.
#[derive(Deserialize)]
struct Pointer {
    active: Option<String>,
    epoch: Option<u64>,
}

impl Before {
    pub(super) fn look(aws: &dyn AwsView) -> Self {
        let epoch = aws
            .pointer(REGION, PARAMETER)
            .and_then(|(value, _)| serde_json::from_str::<Pointer>(&value).ok())
            .and_then(|pointer| pointer.epoch);
        let invalidations = aws
            .invalidations(DISTRIBUTION)
            .into_iter()
            .map(|seen| seen.id)
            .collect();
        Self { invalidations, epoch }
    }

    pub(super) fn compare(self, aws: &dyn AwsView, job: &Job, expected: &Expected<'_>) -> Found {
        let mut objections = Vec::new();
        if job.release.as_deref() != Some(expected.release) {
            let says = job.release.as_deref().unwrap_or("no release");
            objections.push(format!("the job says {says}, not {}", expected.release));
        }
        let pointer = aws.pointer(REGION, PARAMETER);
        match &pointer {
            None => objections.push(format!("SSM has no parameter {PARAMETER}")),
            Some((value, _)) => self.object_to_pointer(value, expected, &mut objections),
        }
        let mut invalidations = aws.invalidations(DISTRIBUTION);
        invalidations.retain(|seen| !self.invalidations.contains(&seen.id));
        if invalidations.len() != 1 {
            objections.push(format!("{} invalidations went out, not one", invalidations.len()));
        }
        for sent in &invalidations {
            if sent.paths != [PATHS] {
                objections.push(format!(
                    "invalidation {} is of {}, not of {PATHS}",
                    sent.id,
                    sent.paths.join(" ")
                ));
            }
            if !sent.status.eq_ignore_ascii_case("completed") {
                objections.push(format!("invalidation {} is {}, not Completed", sent.id, sent.status));
            }
        }
        Found {
            pointer,
            invalidations,
            objections,
        }
    }

    fn object_to_pointer(&self, value: &str, expected: &Expected<'_>, objections: &mut Vec<String>) {
        let Ok(pointer) = serde_json::from_str::<Pointer>(value) else {
            objections.push(format!("SSM says something that is no pointer: {value}"));
            return;
        };
        if pointer.active.as_deref() != Some(expected.release) {
            let says = pointer.active.as_deref().unwrap_or("no release");
            objections.push(format!("SSM says {says}, not {}", expected.release));
        }
        if expected.raises_epoch && pointer.epoch <= self.epoch {
            objections.push("the pointer's epoch has not grown".to_owned());
        }
    }
}
