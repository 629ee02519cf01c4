//! What a flip does with each pointer that it has seen: write, leave, or nothing, and with which value.

use super::{Action, Plan, Run};
use crate::{
    domain::{
        environment::PointerIdentity,
        error::{JobError, Retry, Warning},
        plan::{OnFailure, OnForeign, Want},
        pointer,
    },
    engine::StepError,
    steps::{FlipOutput, note_landed, pointer_of, said},
    store::{
        StoreError,
        pointers::{self, Pointer},
    },
    traffic::Observed,
};

impl Run<'_> {
    /// What to do with each pointer that was seen.
    pub(super) async fn decide<'p>(
        &mut self,
        seen: Vec<(&'p PointerIdentity, Observed)>,
    ) -> Result<Vec<Plan<'p>>, StepError> {
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
                // A compare-and-swap of the same value takes the place of a late-write watch.
                let fence = observed.etag.is_some() && wanted.is_some();
                if !(fence
                    && self
                        .may_be_overwritten(&mut connection, identity, wanted.as_deref())
                        .await?)
                {
                    action = Action::Already;
                }
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
                if action == Action::Write && observed.value.is_none() && !taken && !self.may_create(target, &found) {
                    self.errors
                        .push((target.clone(), self.router.missing(target), Retry::No));
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

    /// True when a write of another value that got no answer may still land.
    async fn may_be_overwritten(
        &self,
        connection: &mut sqlx::PgConnection,
        identity: &PointerIdentity,
        wanted: Option<&str>,
    ) -> Result<bool, StepError> {
        let watch_secs = self.context.config.late_write_watch.as_secs_f64();
        let left = pointers::late_for(connection, &identity.key, wanted, watch_secs).await?;
        Ok(left.is_some_and(|secs| secs > 0.0))
    }

    /// A way back may always make again what it found; a first flip only what it is allowed to.
    fn may_create(&self, target: &str, found: &Option<String>) -> bool {
        self.router.may_create(target) || found.is_some() || self.context.step.on_failure == OnFailure::GoOn
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
}
