//! `hook`: calls a webhook that does something, or takes one back.
//!
//! That it is called is stored before the first call: from then on its undo is owed. It is called at least once, each
//! time with the same `Idempotency-Key`, the step's token.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    calling::{self, Pending},
    facts::Facts,
    wrong_params,
};
use crate::{
    checks::{
        Judged, Reply,
        webhook::{self, Target},
    },
    domain::{
        error::JobError,
        plan::{HookRun, StepParams},
        verdict::Verdict,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner, Wait},
    outbound::webhook::Webhooks,
};

/// Calls.
pub struct HookStep {
    pub webhooks: Webhooks,
    /// Where the service is reached: what webhooks call back to.
    pub public_url: Option<String>,
}

/// The step's notes. `called` is what [`crate::domain::plan::owed`] reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Notes {
    #[serde(default)]
    called: bool,
    #[serde(default)]
    tries: i32,
    /// The try whose call-back is waited for.
    #[serde(default)]
    pending: Option<i32>,
}

#[async_trait]
impl StepRunner for HookStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Hook(run) = &context.step.params else {
            return Err(wrong_params(context));
        };
        let Some(target) = target(run) else {
            return Ok(Outcome::Skip(json!({"because": "the hook has no undo"})));
        };
        let mut notes: Notes = serde_json::from_value(context.step.record.clone()).unwrap_or_default();
        let timeout = run.hook.timeout_seconds;
        let judged = match notes.pending {
            Some(attempt) => match calling::look(context, attempt, timeout).await? {
                Pending::Answered(judged) => judged,
                Pending::Late => calling::too_late(timeout),
                Pending::Open(left) => return Ok(waits(run, left, &notes)),
            },
            None => {
                notes.tries += 1;
                match self.call(context, run, &target, &notes).await? {
                    Reply::Now(judged) => judged,
                    Reply::Later => {
                        notes.called = true;
                        notes.pending = Some(notes.tries);
                        return Ok(waits(run, f64::from(timeout), &notes));
                    }
                }
            }
        };
        notes.called = true;
        notes.pending = None;
        if judged.verdict == Verdict::Pass {
            return Ok(Outcome::Done(Done::new(output(run, &notes, &judged))));
        }
        let spent = u32::try_from(notes.tries).unwrap_or(u32::MAX) >= run.hook.attempts;
        if spent || judged.hopeless {
            return Err(failed(run, &notes, &judged));
        }
        Ok(waits(run, f64::from(run.hook.interval_seconds), &notes))
    }
}

impl HookStep {
    async fn call(
        &self,
        context: &StepContext,
        run: &HookRun,
        target: &Target<'_>,
        notes: &Notes,
    ) -> Result<Reply, StepError> {
        // The try is not counted yet: a crash repeats it.
        let record = json!(Notes {
            called: true,
            tries: notes.tries - 1,
            pending: None
        });
        let token = calling::token(context, notes.tries, Some(&record)).await?;
        let facts = Facts::read(context, &run.release).await?;
        let asked = facts.asked(context, (&run.release, run.from_release.as_ref()), run.weight)?;
        let url = self.public_url.as_deref();
        let call = calling::call_back(context, url, &token, notes.tries, run.hook.timeout_seconds);
        Ok(webhook::call(&self.webhooks, target, &asked, &call).await)
    }
}

fn target(run: &HookRun) -> Option<Target<'_>> {
    let (kind, url, headers) = match (&run.undoes, &run.hook.undo) {
        (None, _) => ("hook", &run.hook.url, &run.hook.headers),
        (Some(_), Some(undo)) => ("hook_undo", &undo.url, &undo.headers),
        (Some(_), None) => return None,
    };
    Some(Target {
        kind,
        name: &run.hook.name,
        url,
        headers,
    })
}

fn waits(run: &HookRun, secs: f64, notes: &Notes) -> Outcome {
    let name = &run.hook.name;
    let reason = if notes.pending.is_some() {
        format!("hook {name} will call back")
    } else {
        format!("hook {name} did not get through: calling again")
    };
    Outcome::Wait(Wait {
        secs,
        reason,
        record: Some(json!(notes)),
        events: Vec::new(),
    })
}

fn output(run: &HookRun, notes: &Notes, judged: &Judged) -> Value {
    json!({"hook": run.hook.name, "release": run.release, "message": judged.message, "tries": notes.tries,
           "evidence": judged.evidence})
}

fn failed(run: &HookRun, notes: &Notes, judged: &Judged) -> StepError {
    let name = &run.hook.name;
    let error = if run.undoes.is_some() {
        JobError::new(
            "hook_undo_failed",
            format!("Hook {name} could not be taken back: {}", judged.message),
        )
        .hint("Take back by hand what it did, or mend it and retry the job.")
    } else {
        JobError::new("hook_failed", format!("Hook {name} failed: {}", judged.message))
            .hint("See what the hook's own log says; promote again when it works.")
    };
    StepError::Failed {
        error: error.evidence(json!({"hook": name, "seen": judged.evidence})),
        retry: crate::domain::error::Retry::No,
        output: output(run, notes, judged),
        warnings: Vec::new(),
        events: Vec::new(),
    }
}
