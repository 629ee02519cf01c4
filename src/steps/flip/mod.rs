//! `flip`: makes a component's pointer say what it shall, in every region, and verifies it.
//!
//! ```text
//! observe every region ─▶ decide ─▶ one transaction: found, wanted, intents ─▶ write side by side ─▶ verify
//! ```
//! Every region is driven by itself. What a pointer said before our first write is stored once; so is what
//! it shall say. A value that equals one of our intents is ours, not drift. A write without an answer
//! stays recorded as such: it may still land, and whoever settles watches for it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;

use super::{FlipOutput, TargetOutput, combine, note_landed, pointer_of, said, wrong_params};
use crate::{
    aws::{Aws, guard::WriteGuard},
    domain::{
        environment::PointerIdentity,
        error::{JobError, Retry, Warning},
        plan::{Flip, OnFailure, OnForeign, StepParams, Want},
        pointer::{self, Values},
    },
    engine::{Done, Effect, Outcome, StepContext, StepError, StepRunner},
    store::{
        StoreError,
        pointers::{self, NewWrite, Pointer},
    },
    traffic::{self, Observed, TrafficRouter},
};

/// Tries to read back a write before saying that it can't be seen (SSM's reads may be stale).
const VERIFY_TRIES: u32 = 4;
const VERIFY_PAUSE: std::time::Duration = std::time::Duration::from_millis(150);

/// Flips one component.
pub struct FlipStep {
    pub aws: Aws,
}

/// One pointer that this run has to do with.
struct Plan<'a> {
    identity: &'a PointerIdentity,
    seen: Observed,
    /// What goes into `found`: before the first of us wrote.
    found: Option<String>,
    wanted: Option<String>,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Write,
    Already,
    Leave,
}

/// Target, error, whether trying again can help.
type TargetError = (String, JobError, Retry);

struct Run<'a> {
    context: &'a StepContext,
    flip: &'a Flip,
    router: Box<dyn TrafficRouter>,
    component: String,
    warnings: Vec<Warning>,
    errors: Vec<TargetError>,
    /// Writes that were answered, with their version and what came of them.
    answered: Vec<(i64, Option<i64>, &'static str)>,
}

#[async_trait]
impl StepRunner for FlipStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Flip(flip) = &context.step.params else {
            return Err(wrong_params(context));
        };
        let environment = context.environment()?;
        let component = context.component()?;
        let run = Run {
            context,
            flip,
            router: traffic::router(&self.aws, &environment.aws, component),
            component: component.name.to_string(),
            warnings: Vec::new(),
            errors: Vec::new(),
            answered: Vec::new(),
        };
        run.flip().await
    }
}

impl Run<'_> {
    async fn flip(mut self) -> Result<Outcome, StepError> {
        let identities = self.router.pointers().to_vec();
        let looks = join_all(identities.iter().map(|identity| self.router.observe(&identity.target))).await;
        let mut seen = Vec::new();
        for (identity, look) in identities.iter().zip(looks) {
            match look {
                Ok(observed) => seen.push((identity, observed)),
                Err(error) => {
                    self.errors
                        .push((identity.target.clone(), error.job_error(), error.retry()));
                }
            }
        }
        // A promotion touches nothing unless it can see everything; a way back drives what it can reach.
        if !self.errors.is_empty() && self.context.step.on_failure == OnFailure::Unwind {
            return Err(self.failure(&FlipOutput::default()));
        }
        let plans = self.decide(seen).await?;
        let mut output = FlipOutput::default();
        let mut drift = BTreeMap::new();
        for plan in plans.iter().filter(|plan| plan.action != Action::Write) {
            let left = plan.action == Action::Leave;
            if left {
                drift.insert(
                    plan.identity.key.clone(),
                    json!({"component": self.component, "target": plan.identity.target,
                           "expected": plan.wanted, "found": plan.seen.value}),
                );
            }
            output.targets.insert(
                plan.identity.target.clone(),
                target_output(plan, plan.seen.version, if left { "left" } else { "already" }),
            );
        }
        self.write_and_verify(plans, &mut output).await?;
        if !self.errors.is_empty() {
            return Err(self.failure(&output));
        }
        let mut done = Done::new(json!(output));
        done.warnings = std::mem::take(&mut self.warnings);
        let answered = std::mem::take(&mut self.answered);
        done.effects.push(Box::new(move |connection| {
            Box::pin(async move {
                for (write, version, outcome) in answered {
                    pointers::answer(connection, write, version, outcome).await?;
                }
                Ok(())
            })
        }));
        if !drift.is_empty() {
            let effect: Effect =
                Box::new(move |connection| Box::pin(async move { pointers::set_drift(connection, &drift).await }));
            done.effects.push(effect);
        }
        Ok(Outcome::Done(done))
    }

    /// What to do with each pointer that was seen.
    async fn decide<'p>(&mut self, seen: Vec<(&'p PointerIdentity, Observed)>) -> Result<Vec<Plan<'p>>, StepError> {
        let context = self.context;
        note_landed(
            context,
            seen.iter()
                .map(|(identity, observed)| (identity.key.as_str(), observed)),
        )
        .await?;
        let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
        let known = pointers::of_environment(&mut connection, context.job.environment_id).await?;
        let epoch = self.epoch(&known, &seen);
        let mut ours_jobs = context.job.inherited.jobs.clone();
        ours_jobs.push(context.job.id);
        let inherited = context
            .step
            .component
            .as_ref()
            .and_then(|name| context.job.inherited.found.get(name));
        let mut plans = Vec::new();
        for (identity, observed) in seen {
            let target = &identity.target;
            let Some(wanted) = self.wanted(target, epoch) else {
                continue;
            };
            let found = context
                .step
                .found
                .get(target)
                .or_else(|| inherited.and_then(|values| values.get(target)))
                .cloned()
                .unwrap_or_else(|| observed.value.clone());
            let mut action = Action::Write;
            if observed.value == wanted {
                action = Action::Already;
            } else {
                let pointer = pointer_of(&known, &identity.key);
                let taken = pointer.is_some_and(|pointer| pointer.taken);
                let expected = pointer.and_then(|pointer| pointer.value.clone());
                let ours = pointers::ours(&mut connection, &identity.key, &ours_jobs).await?;
                // Until a pointer is taken, whatever it said at the first look is accepted; by an undo only
                // what is ours.
                let accepted = ours.contains(&observed.value)
                    || match (taken, self.flip.on_foreign) {
                        (true, _) => observed.value == expected,
                        (false, OnForeign::Leave) => false,
                        (false, _) => observed.value == found,
                    };
                if !accepted {
                    self.foreign(identity, &observed, &found, &mut action);
                }
                if action == Action::Write && observed.value.is_none() && !taken && !self.may_create(&found) {
                    let message = format!("{} does not exist.", self.router.describe(target));
                    let error = JobError::new("parameter_not_found", message).hint(
                        "Create the parameter, correct its name in the environment's document, or set \
                         create_parameter to true there.",
                    );
                    self.errors.push((target.clone(), error, Retry::No));
                    action = Action::Leave;
                }
            }
            plans.push(Plan {
                identity,
                seen: observed,
                found,
                wanted,
                action,
            });
        }
        if !self.errors.is_empty() && context.step.on_failure == OnFailure::Unwind {
            return Err(self.failure(&FlipOutput::default()));
        }
        Ok(plans)
    }

    /// A way back may always make again what it found; a first flip only what it is allowed to.
    fn may_create(&self, found: &Option<String>) -> bool {
        self.router.may_create() || found.is_some() || self.context.step.on_failure == OnFailure::GoOn
    }

    fn foreign(
        &mut self,
        identity: &PointerIdentity,
        observed: &Observed,
        found: &Option<String>,
        action: &mut Action,
    ) {
        let pointer = self.router.describe(&identity.target);
        let says = said(observed.value.as_deref());
        match self.flip.on_foreign {
            OnForeign::Overwrite => self.warnings.push(Warning::new(
                "pointer_overwritten",
                format!(
                    "Component {}: {pointer} said {says}, which was not ours; it was written over.",
                    self.component
                ),
            )),
            OnForeign::Leave => {
                *action = Action::Leave;
                self.warnings.push(Warning::new(
                    "pointer_left",
                    format!(
                        "Component {}: {pointer} says {says}, which is not ours; it was left so, not put back to {}.",
                        self.component,
                        said(found.as_deref())
                    ),
                ));
            }
            OnForeign::Refuse => {
                let message = format!(
                    "Component {}: {pointer} was changed to {says} by somebody else while the promotion ran.",
                    self.component
                );
                let error = JobError::new("pointer_drifted", message).hint(
                    "Find out who changed it. Then promote again with \"on_drift\": \"overwrite\", or POST a rollback.",
                );
                self.errors.push((identity.target.clone(), error, Retry::No));
                *action = Action::Leave;
            }
        }
    }

    /// The epoch of this flip: the one already stored, else one made from all that is known.
    fn epoch(&self, known: &[Pointer], seen: &[(&PointerIdentity, Observed)]) -> i64 {
        let wanted = &self.context.step.wanted;
        let stored = wanted.values().map(|value| pointer::epoch_of(value.as_deref())).max();
        match stored {
            Some(epoch) if epoch > 0 => epoch,
            _ => pointer::next_epoch(
                known
                    .iter()
                    .filter(|pointer| Some(&pointer.component) == self.context.step.component.as_ref())
                    .map(|pointer| pointer.epoch)
                    .chain(
                        seen.iter()
                            .map(|(_, observed)| pointer::epoch_of(observed.value.as_deref())),
                    ),
                self.flip.raise_epoch,
            ),
        }
    }

    /// What a target shall say. The outer `None`: it is not this flip's business.
    fn wanted(&self, target: &str, epoch: i64) -> Option<Option<String>> {
        if let Some(stored) = self.context.step.wanted.get(target) {
            return Some(stored.clone());
        }
        match &self.flip.want {
            Want::Shift(shift) => Some(Some(self.router.render(shift, epoch))),
            Want::Restore(values) => values
                .get(target)
                .map(|value| value.as_ref().map(|value| pointer::with_epoch(value, epoch))),
            Want::Exactly(values) => values.get(target).cloned(),
        }
    }

    async fn write_and_verify(&mut self, plans: Vec<Plan<'_>>, output: &mut FlipOutput) -> Result<(), StepError> {
        let plans: Vec<Plan> = plans.into_iter().filter(|plan| plan.action == Action::Write).collect();
        if plans.is_empty() {
            return Ok(());
        }
        let guard = WriteGuard::new(self.context.config.write_timeout);
        let writes = self.store_intents(&plans).await?;
        let answers = join_all(plans.iter().map(|plan| {
            self.router
                .write(&plan.identity.target, &plan.seen, plan.wanted.as_deref(), guard)
        }))
        .await;

        let mut answered = Vec::new();
        let mut verify = Vec::new();
        for ((plan, write), answer) in plans.iter().zip(&writes).zip(answers) {
            match answer {
                Ok(version) => {
                    answered.push((*write, version, "written"));
                    verify.push((plan, version));
                }
                Err(error) => {
                    if error.is_surely_without_effect() {
                        answered.push((*write, None, "refused"));
                    }
                    self.errors
                        .push((plan.identity.target.clone(), error.job_error(), error.retry()));
                    output
                        .targets
                        .insert(plan.identity.target.clone(), target_output(plan, None, "failed"));
                }
            }
        }
        let verified = join_all(verify.iter().map(|(plan, version)| self.verify(plan, *version))).await;
        for ((plan, version), result) in verify.into_iter().zip(verified) {
            let target = &plan.identity.target;
            match result {
                Ok(()) => {
                    output
                        .targets
                        .insert(target.clone(), target_output(plan, version, "written"));
                    self.note_race(plan, version).await;
                }
                Err((error, retry)) => {
                    output
                        .targets
                        .insert(target.clone(), target_output(plan, version, "failed"));
                    self.errors.push((target.clone(), error, retry));
                }
            }
        }
        if self.errors.is_empty() {
            // Stored with the step's result; a crash before that leaves them unanswered, which is safe.
            self.answered = answered;
            return Ok(());
        }
        let mut fenced = self.context.fence().await?;
        for (write, version, outcome) in answered {
            pointers::answer(fenced.connection(), write, version, outcome).await?;
        }
        fenced.commit("answers").await?;
        Ok(())
    }

    /// Stores, in one transaction and before any call, what was found, what is wanted, and each intent.
    async fn store_intents(&self, plans: &[Plan<'_>]) -> Result<Vec<i64>, StepError> {
        let config = &self.context.config;
        let position = self.context.step.position;
        let found: Values = plans
            .iter()
            .map(|plan| (plan.identity.target.clone(), plan.found.clone()))
            .collect();
        let wanted: Values = plans
            .iter()
            .map(|plan| (plan.identity.target.clone(), plan.wanted.clone()))
            .collect();
        let mut fenced = self.context.fence().await?;
        fenced.extend(config.lease.as_secs_f64()).await?;
        fenced.found_and_wanted(position, &found, &wanted).await?;
        let mut writes = Vec::new();
        for plan in plans {
            let write = NewWrite {
                key: &plan.identity.key,
                component: &plan.identity.component,
                target: &plan.identity.target,
                value: plan.wanted.as_deref(),
                replaces: plan.seen.value.as_deref(),
                replaces_version: plan.seen.version,
            };
            writes.push(
                fenced
                    .intend(position, &write, config.write_timeout.as_secs_f64())
                    .await?,
            );
            fenced.event(
                "pointer.intended",
                json!({"position": position, "pointer": self.router.describe(&plan.identity.target),
                       "from": plan.seen.value, "to": plan.wanted}),
            );
        }
        fenced.commit("intents").await?;
        Ok(writes)
    }

    /// Reads a write back.
    async fn verify(&self, plan: &Plan<'_>, version: Option<i64>) -> Result<(), (JobError, Retry)> {
        let target = &plan.identity.target;
        let mut says = None;
        for attempt in 0..VERIFY_TRIES {
            if attempt > 0 {
                tokio::time::sleep(VERIFY_PAUSE).await;
            }
            let observed = self
                .router
                .observe(target)
                .await
                .map_err(|error| (error.job_error(), error.retry()))?;
            if observed.value == plan.wanted {
                return Ok(());
            }
            let newer = observed.version.zip(version).is_some_and(|(seen, ours)| seen > ours);
            says = observed.value;
            if newer {
                break;
            }
        }
        let message = format!(
            "{} was written, but then said {} instead of {}.",
            self.router.describe(target),
            said(says.as_deref()),
            said(plan.wanted.as_deref())
        );
        let error = JobError::new("pointer_not_verified", message)
            .hint("Somebody else may be writing this parameter: look at its history in Parameter Store.");
        Err((error, Retry::Backoff))
    }

    /// The version AWS gave tells whether somebody wrote between our look and our write.
    async fn note_race(&mut self, plan: &Plan<'_>, version: Option<i64>) {
        let (Some(before), Some(ours)) = (plan.seen.version, version) else {
            return;
        };
        if ours <= before + 1 {
            return;
        }
        let target = &plan.identity.target;
        let between = self.router.at_version(target, ours - 1).await.ok().flatten();
        // Our own write, repeated after a lost answer, is no race.
        if between == plan.wanted {
            return;
        }
        let what = between.map_or_else(String::new, |value| format!(" ({value:?})"));
        self.warnings.push(Warning::new(
            "pointer_raced",
            format!(
                "Component {}: somebody wrote {} between our look and our write; that value{what} was written over.",
                self.component,
                self.router.describe(target)
            ),
        ));
    }

    /// The step's error: for a promotion the worst decides, for a way back the most hopeful.
    fn failure(&self, output: &FlipOutput) -> StepError {
        let any = |wanted: Retry| self.errors.iter().any(|(_, _, retry)| *retry == wanted);
        let retry = match self.context.step.on_failure {
            OnFailure::Unwind if any(Retry::No) => Retry::No,
            OnFailure::GoOn if any(Retry::Backoff) => Retry::Backoff,
            _ if any(Retry::Throttled) => Retry::Throttled,
            _ if any(Retry::Backoff) => Retry::Backoff,
            _ => Retry::No,
        };
        match combine(&self.errors, retry) {
            StepError::Failed { error, retry, .. } => StepError::Failed {
                error,
                retry,
                output: json!(output),
                warnings: self.warnings.clone(),
            },
            other => other,
        }
    }
}

fn target_output(plan: &Plan<'_>, version: Option<i64>, outcome: &str) -> TargetOutput {
    TargetOutput {
        pointer: plan.identity.key.clone(),
        value: match outcome {
            "left" => plan.seen.value.clone(),
            _ => plan.wanted.clone(),
        },
        version,
        found: plan.found.clone(),
        outcome: outcome.to_owned(),
    }
}
