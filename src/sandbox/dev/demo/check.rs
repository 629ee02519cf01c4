//! What must be true in AWS after traffic was moved: every pointer names the release, and nobody is given another one,
//! web's KeyValueStore says the same as its parameter, and exactly one invalidation went out, of docs' distribution, of
//! everything, and is complete. Where docs was never moved, none went out.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::{AwsView, DOCS, Invalidation, REGION, SITES, Site, WEB, client::Job};

/// What is invalidated.
pub(super) const PATHS: &str = "/*";

/// AWS as it was before the call.
pub(super) struct Before {
    invalidations: HashSet<String>,
    /// By parameter.
    epochs: BTreeMap<&'static str, Option<u64>>,
}

/// What the call is to lead to.
pub(super) struct Expected<'a> {
    /// Where the job moves to.
    job: &'a str,
    /// What everyone is on afterwards.
    pub release: &'a str,
    /// The sites whose pointers' epochs have grown, which frees visitors of the release they are pinned to.
    frees: &'static [Site],
    invalidations: usize,
}

impl<'a> Expected<'a> {
    pub(super) fn promoted(release: &'a str) -> Self {
        Self {
            job: release,
            release,
            frees: &[],
            invalidations: 1,
        }
    }

    pub(super) fn rolled_back(release: &'a str) -> Self {
        Self {
            frees: &SITES,
            ..Self::promoted(release)
        }
    }

    /// A promotion that had given a part of web's visitors its release, and has put them back on `from`.
    pub(super) fn taken_back(release: &'a str, from: &'a str) -> Self {
        Self {
            job: release,
            release: from,
            frees: &[WEB],
            invalidations: 0,
        }
    }
}

/// AWS as it is after the call.
pub(super) struct Found {
    /// By site: the pointer's value and version.
    pub pointers: Vec<(Site, Option<(String, u64)>)>,
    pub invalidations: Vec<Invalidation>,
    /// What is not as it should be; empty when all is well.
    pub objections: Vec<String>,
}

/// The part of the pointer's document that is checked.
#[derive(Deserialize)]
struct Pointer {
    active: Option<String>,
    candidate: Option<String>,
    epoch: Option<u64>,
}

impl Before {
    pub(super) fn look(aws: &dyn AwsView) -> Self {
        let epoch = |site: &Site| {
            let (value, _) = aws.pointer(REGION, site.parameter)?;
            Some(serde_json::from_str::<Pointer>(&value).ok()?.epoch.unwrap_or(0))
        };
        let invalidations = all_invalidations(aws).into_iter().map(|seen| seen.id).collect();
        let epochs = SITES.iter().map(|site| (site.parameter, epoch(site))).collect();
        Self { invalidations, epochs }
    }

    /// True when every site has something to serve.
    pub(super) fn has_pointers(&self) -> bool {
        self.epochs.values().all(Option::is_some)
    }

    pub(super) fn compare(self, aws: &dyn AwsView, job: &Job, expected: &Expected<'_>) -> Found {
        let mut objections = Vec::new();
        if job.release.as_deref() != Some(expected.job) {
            let says = job.release.as_deref().unwrap_or("no release");
            objections.push(format!("the job says {says}, not {}", expected.job));
        }
        let mut pointers = Vec::new();
        for site in SITES {
            let pointer = aws.pointer(REGION, site.parameter);
            match &pointer {
                None => objections.push(format!("SSM has no parameter {}", site.parameter)),
                Some((value, _)) => self.object_to_pointer(&site, value, expected, &mut objections),
            }
            pointers.push((site, pointer));
        }
        let projected = aws.key_value(WEB.key());
        if projected != pointers[0].1.as_ref().map(|(value, _)| value.clone()) {
            let says = projected.as_deref().unwrap_or("nothing");
            objections.push(format!("web's KeyValueStore says {says}"));
        }
        let mut invalidations = aws.invalidations(DOCS.distribution);
        invalidations.retain(|seen| !self.invalidations.contains(&seen.id));
        if invalidations.len() != expected.invalidations {
            let wanted = if expected.invalidations == 0 { "none" } else { "one" };
            objections.push(format!("{} invalidations went out, not {wanted}", invalidations.len()));
        }
        let of_web = aws.invalidations(WEB.distribution);
        if of_web.iter().any(|seen| !self.invalidations.contains(&seen.id)) {
            objections.push("an invalidation of web went out, where none is needed".to_owned());
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
            pointers,
            invalidations,
            objections,
        }
    }

    fn object_to_pointer(&self, site: &Site, value: &str, expected: &Expected<'_>, objections: &mut Vec<String>) {
        let Ok(pointer) = serde_json::from_str::<Pointer>(value) else {
            objections.push(format!("SSM says something that is no pointer: {value}"));
            return;
        };
        if pointer.active.as_deref() != Some(expected.release) {
            let says = pointer.active.as_deref().unwrap_or("no release");
            objections.push(format!(
                "SSM says {says} for {}, not {}",
                site.component, expected.release
            ));
        }
        if let Some(candidate) = &pointer.candidate {
            objections.push(format!("SSM gives visitors of {} still {candidate}", site.component));
        }
        let before = self.epochs.get(site.parameter).copied().flatten();
        if expected.frees.contains(site) && pointer.epoch <= before {
            objections.push(format!("the epoch of {}'s pointer has not grown", site.component));
        }
    }
}

fn all_invalidations(aws: &dyn AwsView) -> Vec<Invalidation> {
    SITES
        .iter()
        .flat_map(|site| aws.invalidations(site.distribution))
        .collect()
}
