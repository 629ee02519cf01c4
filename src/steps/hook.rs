//! `hook`: calls a webhook that does something, or takes one back.
//!
//! That it is called is stored before the first call: from then on its undo is owed, unless nothing could be sent at
//! all. It is called at least once, each time with the same `Idempotency-Key`, the step's token.

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
        job::StepState,
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
        if let Some(undoes) = &run.undoes {
            if taken_back(context, undoes) {
                return Ok(Outcome::Skip(json!({"because": "it was taken back before"})));
            }
            if traffic_is_not_back(context) {
                return Err(withheld(run));
            }
        }
        let mut notes: Notes = serde_json::from_value(context.step.record.clone()).unwrap_or_default();
        let timeout = run.hook.timeout_seconds;
        let judged = match notes.pending {
            Some(attempt) => match calling::look(context, attempt, timeout, true).await? {
                Pending::Answered(judged) => judged,
                Pending::Late => calling::too_late(timeout),
                Pending::Open(left) => return Ok(waits(run, left, &notes)),
            },
            None => {
                let owed = notes.called;
                notes.tries += 1;
                match self.call(context, run, &target, &notes).await? {
                    Reply::Now(judged) => {
                        if judged.hopeless && !owed {
                            not_called(context).await?;
                        }
                        judged
                    }
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
        // It does something, once: every try is the same call.
        let call = calling::call_back(
            context,
            &context.step.token,
            url,
            &token,
            notes.tries,
            run.hook.timeout_seconds,
        );
        Ok(webhook::call(&self.webhooks, target, &asked, &call).await)
    }
}

/// True when an earlier round has taken this very call back: a retry repeats what comes after what it repeats.
fn taken_back(context: &StepContext, undoes: &str) -> bool {
    context.steps.iter().any(|step| {
        let same = matches!(&step.params, StepParams::Hook(run) if run.undoes.as_deref() == Some(undoes));
        same && step.state == StepState::Succeeded
    })
}

/// True when the last word before this step could not be had: what the hook did may still be needed by who is on the
/// release.
fn traffic_is_not_back(context: &StepContext) -> bool {
    context.siblings().any(|step| {
        let before = step.position < context.step.position && step.state == StepState::Failed;
        before && matches!(step.params, StepParams::Settle { .. })
    })
}

fn withheld(run: &HookRun) -> StepError {
    let message = format!(
        "Hook {} is not taken back while traffic is not where it shall be.",
        run.hook.name
    );
    StepError::Failed {
        error: JobError::new("hook_undo_failed", message).hint("Retry the job when what kept the traffic is mended."),
        retry: crate::domain::error::Retry::No,
        output: json!({}),
        warnings: Vec::new(),
        events: Vec::new(),
    }
}

/// It can't be called: nothing was sent, now or before, and no undo is owed.
async fn not_called(context: &StepContext) -> Result<(), StepError> {
    let mut fenced = context.fence().await?;
    fenced.note(context.step.position, &json!(Notes::default())).await?;
    fenced.commit("not_called").await?;
    Ok(())
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
