//! What every pointer says, and what it shall say.
//!
//! Reads AWS and writes nothing. To decide is pure: [`shift`].

use std::time::Duration;

use futures::future::join_all;

use super::{Failure, Request, write::patiently};
use crate::{
    aws::{Aws, error::AwsError},
    domain::{
        environment::{Component, EnvironmentDocument},
        names::{Name, Version},
        pointer::{self, Shift},
    },
    traffic::{self, Observed, TrafficRouter},
};

/// Tries to read a pointer before it is given up.
const LOOK_TRIES: u32 = 3;

/// Everything that is going to happen, in its order.
pub(super) struct Plan {
    pub components: Vec<ComponentPlan>,
}

/// One component: its pointers side by side, then what comes after them.
pub(super) struct ComponentPlan {
    pub name: Name,
    pub router: Box<dyn TrafficRouter>,
    pub pointers: Vec<PointerPlan>,
    pub edge_ttl: Duration,
    pub invalidation: Option<Clear>,
}

/// What is cleared from a cache.
pub(super) struct Clear {
    pub distribution: String,
    pub paths: Vec<String>,
    pub timeout: Duration,
}

/// One pointer.
pub(super) struct PointerPlan {
    pub target: String,
    /// In words.
    pub described: String,
    /// What it says; nothing when it can't be read, or does not exist.
    pub says: Option<String>,
    pub action: Action,
}

/// What is done with a pointer.
#[derive(Debug)]
pub(super) enum Action {
    Write(String),
    /// It says so.
    Already,
    /// It is left: it can't be read, or it is not there and may not be made.
    Leave(Failure),
}

impl Plan {
    /// False when every pointer is left as it is.
    pub fn has_something_to_do(&self) -> bool {
        let mut pointers = self.components.iter().flat_map(|component| &component.pointers);
        pointers.any(|pointer| !matches!(pointer.action, Action::Leave(_)))
    }

    /// What can't be done, as far as is known before anything is.
    pub fn failures(&self) -> Vec<(String, Failure)> {
        let mut failures = Vec::new();
        for component in &self.components {
            for pointer in &component.pointers {
                if let Action::Leave(failure) = &pointer.action {
                    failures.push((format!("{}: {}", component.name, pointer.described), failure.clone()));
                }
            }
        }
        failures
    }
}

impl ComponentPlan {
    /// Pointers to be written, and what they shall say.
    pub fn to_write(&self) -> impl Iterator<Item = (&PointerPlan, &str)> {
        self.pointers.iter().filter_map(|pointer| match &pointer.action {
            Action::Write(wanted) => Some((pointer, wanted.as_str())),
            Action::Already | Action::Leave(_) => None,
        })
    }
}

/// Looks at every pointer of every component that was asked for.
pub(super) async fn look(aws: &Aws, request: &Request, create: bool) -> Plan {
    let components = request
        .components
        .iter()
        .filter_map(|name| request.document.component(name));
    let looks = components.map(|component| look_at(aws, &request.document, component, &request.release, create));
    Plan {
        components: join_all(looks).await,
    }
}

async fn look_at(
    aws: &Aws,
    document: &EnvironmentDocument,
    component: &Component,
    release: &Version,
    create: bool,
) -> ComponentPlan {
    let router = traffic::router(aws, &document.aws, component);
    let identities = router.pointers().to_vec();
    let looks = join_all(identities.iter().map(|identity| {
        let router = router.as_ref();
        patiently(LOOK_TRIES, async move || router.observe(&identity.target).await)
    }))
    .await;
    let seen = looks
        .iter()
        .flatten()
        .map(|observed| pointer::epoch_of(observed.value.as_deref()));
    // Whatever any of them said, everybody is freed.
    let epoch = pointer::next_epoch(seen, true);
    let render = |says: Option<&str>| router.render(&shift(release, says), epoch);
    let plan = |(target, look): (&str, Result<Observed, AwsError>)| {
        let (says, action) = decide(look, create, render);
        PointerPlan {
            target: target.to_owned(),
            described: router.describe(target),
            says,
            action,
        }
    };
    let targets = identities.iter().map(|identity| identity.target.as_str());
    let pointers = targets.zip(looks).map(plan).collect();
    let invalidation = component.invalidation().map(|(distribution, paths)| Clear {
        distribution: distribution.to_owned(),
        paths: paths.paths,
        timeout: Duration::from_secs(paths.timeout_seconds.into()),
    });
    ComponentPlan {
        name: component.name.clone(),
        pointers,
        router,
        edge_ttl: Duration::from_secs(component.edge_ttl_seconds().into()),
        invalidation,
    }
}

fn decide(
    look: Result<Observed, AwsError>,
    create: bool,
    render: impl Fn(Option<&str>) -> String,
) -> (Option<String>, Action) {
    let says = match look {
        Ok(observed) => observed.value,
        Err(error) => return (None, Action::Leave(Failure::from(&error))),
    };
    if says.is_none() && !create {
        let failure = Failure {
            message: "it does not exist.".to_owned(),
            hint: Some("If its name is right, --create makes it.".to_owned()),
        };
        return (None, Action::Leave(failure));
    }
    let wanted = render(says.as_deref());
    let action = if says.as_deref() == Some(wanted.as_str()) {
        Action::Already
    } else {
        Action::Write(wanted)
    };
    (says, action)
}

/// What a pointer shall name that says this now: the release for everyone, and as the one before it what was active,
/// so that pages of it that are open keep their files.
fn shift(release: &Version, says: Option<&str>) -> Shift {
    let document = says.and_then(pointer::parse);
    let previous = document.and_then(|document| {
        if document.active == *release {
            document.previous
        } else {
            Some(document.active)
        }
    });
    Shift {
        active: release.clone(),
        previous: previous.filter(|previous| previous != release),
        candidate: None,
        weight: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pointer::{PointerFormat, encode};

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn saying(active: &str, previous: Option<&str>, candidate: Option<&str>) -> String {
        let shift = Shift {
            active: version(active),
            previous: previous.map(version),
            candidate: candidate.map(version),
            weight: if candidate.is_some() { 50 } else { 0 },
        };
        encode(PointerFormat::Json, &shift, 7, 1800)
    }

    #[test]
    fn the_release_before_is_what_was_active_if_that_is_another_one() {
        for (says, previous) in [
            (None, None),
            (Some("1.1.0".to_owned()), None),
            (Some("{\"v\":2}".to_owned()), None),
            (Some(saying("1.1.0", Some("1.0.0"), None)), Some("1.1.0")),
            (Some(saying("1.0.0", Some("0.9.0"), None)), Some("0.9.0")),
            (Some(saying("1.0.0", Some("1.0.0"), None)), None),
            (Some(saying("1.0.0", None, Some("1.1.0"))), None),
            (Some(saying("1.1.0", Some("0.9.0"), Some("1.0.0"))), Some("1.1.0")),
        ] {
            let shift = shift(&version("1.0.0"), says.as_deref());
            assert_eq!(shift.previous, previous.map(version), "{says:?}");
            assert_eq!(
                (shift.active, shift.candidate, shift.weight),
                (version("1.0.0"), None, 0)
            );
        }
    }

    #[test]
    fn what_is_not_there_is_made_only_when_that_was_asked_for() {
        let render = |_: Option<&str>| "1.0.0".to_owned();
        let (_, left) = decide(Ok(Observed::default()), false, render);
        assert!(matches!(left, Action::Leave(failure) if failure.hint.as_ref().unwrap().contains("--create")));
        let (_, made) = decide(Ok(Observed::default()), true, render);
        assert!(matches!(made, Action::Write(value) if value == "1.0.0"));
        let said = Observed {
            value: Some("1.0.0".to_owned()),
            ..Observed::default()
        };
        assert!(matches!(decide(Ok(said), false, render), (Some(_), Action::Already)));
    }
}
