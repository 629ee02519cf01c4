//! `settle`: the job's last word.
//!
//! SSM can't be fenced, and a signed request stays valid for five minutes: a write that got no answer may
//! still land. (In a KeyValueStore the next answered write fences it; then nothing is left to watch for.) So
//! this step watches each pointer until none can, puts right what does land (and sends edge TTL and
//! invalidation again), looks once more, and records the new state in the transaction that ends the job.
//!
//! It asks whether a write may still land **before** it looks: one that landed between a look and the end of the
//! watch would be seen by nobody.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{FlipOutput, aws_step_error, note_landed, said, wrong_params};
use crate::{
    aws::Aws,
    domain::{
        error::{JobError, Warning},
        job::{Job, StepState},
        names::{Name, Version},
        plan::{self, Record, StepParams},
        pointer::{self, Values},
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner},
    store::{
        StoreError,
        deployments::{self, NewDeployment},
        pointers::{self, Pointer, Settled},
    },
    traffic::{self, Observed},
};

/// Seconds between looks while a late write may still land.
const WATCH_SECS: f64 = 5.0;

/// Proves and records.
pub struct Settle {
    pub aws: Aws,
}

/// What the last flip of a pointer left there.
struct LastWord {
    expected: Option<String>,
    found: Option<String>,
    left: bool,
}

/// A pointer as the job leaves it.
struct Final {
    component: Name,
    target: String,
    words: String,
    key: String,
    expected: Option<String>,
    found: Option<String>,
    /// An undo left somebody else's value: that is drift, not ours to judge again.
    left: bool,
    observed: Result<Observed, JobError>,
}

#[async_trait]
impl StepRunner for Settle {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Settle { flips, record } = &context.step.params else {
            return Err(wrong_params(context));
        };
        let words = last_words(context, flips);
        let late = may_still_land(context, &words).await?;
        let finals = self.look(context, words).await?;
        if let Some(error) = unsettled(context, &finals) {
            return Err(error);
        }
        let seen = finals
            .iter()
            .filter_map(|last| Some((last.key.as_str(), last.observed.as_ref().ok()?)));
        let landed = note_landed(context, seen).await?;
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let known = pointers::of_environment(&mut connection, context.job.environment_id).await?;
        let (mut settled, mut warnings) = (Vec::new(), Vec::new());
        let mut wrong: BTreeMap<Name, Values> = BTreeMap::new();
        for last in &finals {
            let observed = last
                .observed
                .as_ref()
                .map_err(|error| StepError::fatal(error.clone()))?;
            let before = pointer_before(&known, &last.key);
            let mut drift = None;
            if observed.value != last.expected {
                if !last.left && landed.contains(&last.key) {
                    wrong
                        .entry(last.component.clone())
                        .or_default()
                        .insert(last.target.clone(), last.expected.clone());
                    warnings.push(late_landed(last, observed));
                    continue;
                }
                drift = Some(drift_of(last, last.expected.as_deref(), observed));
                warnings.push(drifted(last, observed));
            } else if last.left || (*record == Record::Undone && before.is_some_and(|p| put_back_foreign(p, last))) {
                drift = Some(drift_of(
                    last,
                    before.and_then(|pointer| pointer.value.as_deref()),
                    observed,
                ));
            }
            settled.push(settled_pointer(last, observed, drift, before, record));
        }
        drop(connection);
        if !wrong.is_empty() {
            let mut done = Done::new(json!({"put_right": wrong}));
            done.append = plan::put_right(context.environment()?, &context.steps, &context.step, &wrong);
            done.warnings = warnings;
            return Ok(Outcome::Done(done));
        }
        if late > 0.0 {
            return Ok(Outcome::wait(
                late.min(WATCH_SECS),
                "a write to the pointer got no answer and may still land: watching, to put it right".to_owned(),
            ));
        }
        let shown: BTreeMap<String, Value> = settled
            .iter()
            .map(|pointer| {
                (
                    pointer.key.clone(),
                    json!({"value": pointer.value, "version": pointer.version}),
                )
            })
            .collect();
        let mut done = Done::new(json!({"pointers": shown}));
        done.warnings = warnings;
        let job = context.job.clone();
        let record = record.clone();
        let taken_over = newly_taken(&finals, &known);
        done.effects.push(Box::new(move |connection| {
            Box::pin(async move {
                for pointer in &settled {
                    pointers::settle(connection, pointer).await?;
                }
                record_deployment(connection, &job, &record, &taken_over).await
            })
        }));
        Ok(Outcome::Done(done))
    }
}

impl Settle {
    /// What every pointer says now that the flips have left somewhere.
    async fn look(
        &self,
        context: &StepContext,
        mut last: BTreeMap<(Name, String), LastWord>,
    ) -> Result<Vec<Final>, StepError> {
        let environment = context.environment()?;
        let mut looks = Vec::new();
        for component in &environment.components {
            let router = traffic::router(&self.aws, &environment.aws, component);
            for identity in component.pointers(&environment.aws) {
                let Some(word) = last.remove(&(component.name.clone(), identity.target.clone())) else {
                    continue;
                };
                let words = router.describe(&identity.target);
                let router = traffic::router(&self.aws, &environment.aws, component);
                looks.push(async move {
                    let observed = router.observe(&identity.target).await;
                    (identity, words, word, observed)
                });
            }
        }
        let mut finals = Vec::new();
        for (identity, words, word, observed) in join_all(looks).await {
            let failed = failed(context);
            let observed = match observed {
                Ok(observed) => Ok(observed),
                // With a failed step behind us this is evidence; without one it is worth another try.
                Err(error) if failed => Err(error.job_error()),
                Err(error) => return Err(aws_step_error(&error)),
            };
            finals.push(Final {
                component: identity.component,
                target: identity.target,
                words,
                key: identity.key,
                expected: word.expected,
                found: word.found,
                left: word.left,
                observed,
            });
        }
        Ok(finals)
    }
}

/// What the flips have left, by component and target.
fn last_words(context: &StepContext, flips: &[i32]) -> BTreeMap<(Name, String), LastWord> {
    // Later flips (those that put a late write right) have the last word on a target.
    let mut last: BTreeMap<(Name, String), LastWord> = BTreeMap::new();
    for step in flips.iter().filter_map(|position| context.other(*position)) {
        let Some(component) = &step.component else { continue };
        let output = FlipOutput::of(step);
        for (target, after) in output.targets {
            let key = (component.clone(), target);
            // What was there before the first of them stays what was found.
            let found = last.remove(&key).map_or(after.found, |earlier| earlier.found);
            let left = after.outcome == "left";
            last.insert(
                key,
                LastWord {
                    expected: after.value,
                    found,
                    left,
                },
            );
        }
    }
    last
}

/// Seconds for which a write of another value may still land on one of the pointers.
async fn may_still_land(context: &StepContext, words: &BTreeMap<(Name, String), LastWord>) -> Result<f64, StepError> {
    let environment = context.environment()?;
    let watch_secs = context.config.late_write_watch.as_secs_f64();
    let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
    let mut late: f64 = 0.0;
    for component in &environment.components {
        for identity in component.pointers(&environment.aws) {
            if let Some(word) = words.get(&(component.name.clone(), identity.target)) {
                let expected = word.expected.as_deref();
                let left = pointers::late_for(&mut connection, &identity.key, expected, watch_secs).await?;
                late = late.max(left.unwrap_or(0.0));
            }
        }
    }
    Ok(late)
}

/// True when a step of this round and direction has failed.
fn failed(context: &StepContext) -> bool {
    context.siblings().any(|step| step.state == StepState::Failed)
}

/// When something failed on the way, nothing is settled: the error says what each pointer says.
fn unsettled(context: &StepContext, finals: &[Final]) -> Option<StepError> {
    if !failed(context) {
        return None;
    }
    let says: Vec<String> = finals
        .iter()
        .map(|last| match &last.observed {
            Ok(observed) if observed.value == last.expected => {
                format!(
                    "{} says what it shall: {}.",
                    last.words,
                    said(observed.value.as_deref())
                )
            }
            Ok(observed) => format!(
                "{} says {} and shall say {}.",
                last.words,
                said(observed.value.as_deref()),
                said(last.expected.as_deref())
            ),
            Err(error) => format!("{} can't be read: {}", last.words, error.message),
        })
        .collect();
    let message = if says.is_empty() {
        "No pointer could be reached.".to_owned()
    } else {
        says.join(" ")
    };
    Some(StepError::fatal(JobError::new("not_settled", message)))
}

fn late_landed(last: &Final, observed: &Observed) -> Warning {
    Warning::new(
        "late_write_landed",
        format!(
            "Component {}: a write that had got no answer landed late on {} ({}); it is put right.",
            last.component,
            last.words,
            said(observed.value.as_deref())
        ),
    )
}

fn drifted(last: &Final, observed: &Observed) -> Warning {
    Warning::new(
        "pointer_drifted",
        format!(
            "Component {}: {} says {}, not {}: somebody else changed it. The environment says drift.",
            last.component,
            last.words,
            said(observed.value.as_deref()),
            said(last.expected.as_deref())
        ),
    )
}

fn drift_of(last: &Final, expected: Option<&str>, observed: &Observed) -> Value {
    json!({"component": last.component, "target": last.target, "expected": expected, "found": observed.value})
}

fn pointer_before<'a>(known: &'a [Pointer], key: &str) -> Option<&'a Pointer> {
    known.iter().find(|pointer| pointer.key == key)
}

/// What is true of a pointer from now on.
fn settled_pointer(
    last: &Final,
    observed: &Observed,
    drift: Option<Value>,
    before: Option<&Pointer>,
    record: &Record,
) -> Settled {
    let was_taken = before.is_some_and(|pointer| pointer.taken);
    let (taken, release) = match record {
        Record::Promoted { release } => (true, Some(release.to_string())),
        Record::RolledBack { release: Some(release) } => (true, Some(release.to_string())),
        Record::RolledBack { release: None } => (was_taken, None),
        Record::Undone => (was_taken, before.and_then(|pointer| pointer.release.clone())),
    };
    // What is somebody else's is not what we say it must be: the old expectation stays.
    let foreign = *record == Record::Undone && before.is_some_and(|pointer| put_back_foreign(pointer, last));
    let value = if last.left || foreign {
        before.and_then(|pointer| pointer.value.clone())
    } else {
        last.expected.clone()
    };
    Settled {
        key: last.key.clone(),
        taken,
        epoch: pointer::epoch_of(last.expected.as_deref()).max(pointer::epoch_of(observed.value.as_deref())),
        value,
        version: observed.version,
        release,
        drift,
    }
}

/// What pointers said that are taken from now on: deployment 0, or what joins it.
fn newly_taken(finals: &[Final], known: &[Pointer]) -> BTreeMap<Name, Values> {
    let mut found: BTreeMap<Name, Values> = BTreeMap::new();
    for last in finals {
        if !pointer_before(known, &last.key).is_some_and(|pointer| pointer.taken) {
            found
                .entry(last.component.clone())
                .or_default()
                .insert(last.target.clone(), last.found.clone());
        }
    }
    found
}

/// An undo put back what was there before: not necessarily what the database says should have been.
fn put_back_foreign(before: &Pointer, last: &Final) -> bool {
    let plain = |value: &Option<String>| value.as_deref().map(|value| pointer::with_epoch(value, 0));
    before.taken && plain(&before.value) != plain(&last.expected)
}

async fn record_deployment(
    connection: &mut sqlx::PgConnection,
    job: &Job,
    record: &Record,
    taken_over: &BTreeMap<Name, Values>,
) -> crate::store::Result<()> {
    let environment: Uuid = job.environment_id;
    let new = |release, kind| NewDeployment {
        environment,
        release,
        kind,
        job: job.id,
        by: &job.created_by,
    };
    match record {
        Record::Promoted { release } => {
            if !taken_over.is_empty() {
                deployments::add_taken_over(connection, environment, taken_over, &job.created_by).await?;
            }
            deployments::open(connection, &new(Some(release), "promotion")).await
        }
        Record::RolledBack { release } => {
            let release: Option<&Version> = release.as_ref();
            // The first promotion was rolled back before it settled: there is no history to go on with.
            if deployments::history(connection, environment).await?.is_empty() {
                return Ok(());
            }
            deployments::mark_rolled_back(connection, environment, release).await?;
            deployments::open(connection, &new(release, "rollback")).await
        }
        Record::Undone => Ok(()),
    }
}
