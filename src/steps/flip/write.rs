//! The writes of a flip: intents, calls side by side, answers, and the look back.
//!
//! ```text
//! intents ─▶ write ─▶ answered ─────────────────────────▶ verify
//!    ▲         └─▶ overtaken ─▶ pause, look again
//!    └───── the pointer says what it did ┘ └─ it does not ─▶ the step fails, and decides anew
//! ```
//! A road with a compare-and-swap is overtaken by every other change of what it compares. Writing again is a new
//! write, with an intent and a proven lease of its own: a worker that lost its job to a rollback must not run
//! after the store's ETag until it gets through.

use std::time::Duration;

use futures::future::join_all;
use rand::RngExt;
use serde_json::json;

use super::{Action, Plan, Run, target_output};
use crate::{
    aws::{
        error::{AwsError, Class},
        guard::WriteGuard,
    },
    domain::{
        error::{JobError, Retry, Warning},
        pointer::Values,
    },
    engine::StepError,
    steps::{FlipOutput, said},
    store::pointers::{self, Answer, NewWrite},
};

/// Tries to read back a write before saying that it can't be seen (SSM's reads may be stale).
const VERIFY_TRIES: u32 = 4;
const VERIFY_PAUSE: Duration = Duration::from_millis(150);
/// Tries of a write that others overtake: 40, 80, 160, 320, 640, 640, 640 ms at most between them. After that the
/// engine's pauses are longer.
const OVERTAKEN_TRIES: u32 = 8;
const OVERTAKEN_PAUSE: Duration = Duration::from_millis(40);
const OVERTAKEN_DOUBLINGS: u32 = 4;

impl<'p> Run<'_> {
    pub(super) async fn write_and_verify(
        &mut self,
        plans: Vec<Plan<'p>>,
        output: &mut FlipOutput,
    ) -> Result<(), StepError> {
        let mut open: Vec<Plan> = plans.into_iter().filter(|plan| plan.action == Action::Write).collect();
        let mut written = Vec::new();
        for attempt in 1.. {
            if open.is_empty() {
                break;
            }
            let overtaken = self
                .write(open, attempt < OVERTAKEN_TRIES, &mut written, output)
                .await?;
            open = self.look_again(overtaken, attempt, output).await;
        }
        self.verify_all(written, output).await;
        if self.errors.is_empty() {
            // Stored with the step's result; a crash before that leaves them unanswered, which is safe.
            return Ok(());
        }
        let answered = std::mem::take(&mut self.answered);
        let mut fenced = self.context.fence().await?;
        for answer in &answered {
            pointers::answer(fenced.connection(), answer).await?;
        }
        fenced.commit("answers").await?;
        Ok(())
    }

    /// One write each. Returns those that were overtaken and may be looked at again.
    async fn write(
        &mut self,
        plans: Vec<Plan<'p>>,
        may_try_again: bool,
        written: &mut Vec<(Plan<'p>, Option<i64>)>,
        output: &mut FlipOutput,
    ) -> Result<Vec<Plan<'p>>, StepError> {
        let guard = WriteGuard::new(self.context.config.write_timeout);
        let intents = self.store_intents(&plans).await?;
        let answers = join_all(plans.iter().map(|plan| {
            self.router
                .write(&plan.identity.target, &plan.seen, plan.wanted.as_deref(), guard)
        }))
        .await;
        let mut overtaken = Vec::new();
        for ((plan, write), answer) in plans.into_iter().zip(intents).zip(answers) {
            match answer {
                Ok(said) => {
                    self.answered.push(Answer {
                        write,
                        version: said.version,
                        outcome: "written",
                        fences: said.fences,
                    });
                    written.push((plan, said.version));
                }
                Err(error) => {
                    if error.is_surely_without_effect() {
                        self.answered.push(Answer {
                            write,
                            version: None,
                            outcome: "refused",
                            fences: false,
                        });
                    }
                    if error.class == Class::Moved && may_try_again {
                        overtaken.push(plan);
                    } else {
                        self.fail(&plan, None, (error.job_error(), error.retry()), output);
                    }
                }
            }
        }
        Ok(overtaken)
    }

    /// Those whose pointer still says what it was seen to say, as they are now: the same decision holds. What
    /// says something else has to be decided anew, from the start.
    async fn look_again(&mut self, overtaken: Vec<Plan<'p>>, attempt: u32, output: &mut FlipOutput) -> Vec<Plan<'p>> {
        if overtaken.is_empty() {
            return overtaken;
        }
        tokio::time::sleep(pause_after(attempt)).await;
        let looks = join_all(overtaken.iter().map(|plan| self.router.observe(&plan.identity.target))).await;
        let mut again = Vec::new();
        for (plan, look) in overtaken.into_iter().zip(looks) {
            match look {
                Ok(seen) if seen.value == plan.seen.value => again.push(Plan { seen, ..plan }),
                Ok(seen) => {
                    let message = format!(
                        "{} was changed from {} to {} between our look and our write.",
                        self.router.describe(&plan.identity.target),
                        said(plan.seen.value.as_deref()),
                        said(seen.value.as_deref())
                    );
                    let error = JobError::new("pointer_contended", message)
                        .hint("Somebody else writes this pointer at the same time: find out who, then retry.");
                    self.fail(&plan, None, (error, Retry::Backoff), output);
                }
                Err(error) => self.fail(&plan, None, (error.job_error(), error.retry()), output),
            }
        }
        again
    }

    fn fail(
        &mut self,
        plan: &Plan<'_>,
        version: Option<i64>,
        (error, retry): (JobError, Retry),
        output: &mut FlipOutput,
    ) {
        let target = &plan.identity.target;
        output
            .targets
            .insert(target.clone(), target_output(plan, version, "failed"));
        self.errors.push((target.clone(), error, retry));
    }

    /// Stores, in one transaction and before any call, what was found, what is wanted, and each intent; and what
    /// came of the intents before.
    async fn store_intents(&mut self, plans: &[Plan<'_>]) -> Result<Vec<i64>, StepError> {
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
        let answered = std::mem::take(&mut self.answered);
        let mut fenced = self.context.fence().await?;
        fenced.extend(config.lease.as_secs_f64()).await?;
        for answer in &answered {
            pointers::answer(fenced.connection(), answer).await?;
        }
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

    async fn verify_all(&mut self, written: Vec<(Plan<'p>, Option<i64>)>, output: &mut FlipOutput) {
        let verified = join_all(written.iter().map(|(plan, version)| self.verify(plan, *version))).await;
        for ((plan, version), result) in written.into_iter().zip(verified) {
            match result {
                Ok(()) => {
                    output
                        .targets
                        .insert(plan.identity.target.clone(), target_output(&plan, version, "written"));
                    self.note_race(&plan, version).await;
                }
                Err(error) => self.fail(&plan, version, error, output),
            }
        }
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
                .map_err(|error: AwsError| (error.job_error(), error.retry()))?;
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
        let error = JobError::new("pointer_not_verified", message).hint(
            "Somebody else may be writing it: look at a parameter's history, or for a key's writes in CloudTrail.",
        );
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
}

fn pause_after(attempt: u32) -> Duration {
    let full = OVERTAKEN_PAUSE * 2u32.pow(attempt.saturating_sub(1).min(OVERTAKEN_DOUBLINGS));
    rand::rng().random_range(full / 2..=full)
}
