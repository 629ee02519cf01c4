//! `check`: asks a question of the release, until the answer holds.
//!
//! Once: a try that does not pass is repeated until there are no attempts left. During a bake: asked again and again;
//! so many failures in a row as there are attempts end the bake at once, and when it ends there is a last try. What
//! stays inconclusive does what the check's settings say.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    calling::{self, Pending},
    facts::Facts,
    wrong_params,
};
use crate::{
    checks::{Asker, Judged, Reply},
    domain::{
        environment::{Check, OnInconclusive, Tries},
        error::{JobError, Warning},
        plan::{CheckRun, StepParams},
        verdict::Verdict,
    },
    engine::{Done, Outcome, StepContext, StepError, StepRunner, Wait},
    store::{StoreError, events::NewEvent, steps},
};

/// How long an edge may take to learn a preview's secret: it keeps for a minute that there is none, and a
/// KeyValueStore takes some seconds to reach it. Until then its answers count as no try.
const EDGE_LEARNS_SECS: f64 = 90.0;
const TOO_EARLY_SECS: f64 = 5.0;

/// Asks.
pub struct CheckStep {
    pub asker: Asker,
    /// Where the service is reached: what webhooks call back to.
    pub public_url: Option<String>,
}

/// The step's notes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Notes {
    #[serde(default)]
    tries: i32,
    /// In a row.
    #[serde(default)]
    failures: u32,
    /// In a row, neither yes nor no.
    #[serde(default)]
    unclear: u32,
    #[serde(default)]
    verdict: Option<Verdict>,
    /// The try whose call-back is waited for.
    #[serde(default)]
    pending: Option<i32>,
}

/// The bake beside a check.
struct Bake {
    /// Seconds until it ends; 0: it is over, this is the last try.
    left: f64,
}

#[async_trait]
impl StepRunner for CheckStep {
    async fn run(&self, context: &StepContext) -> Result<Outcome, StepError> {
        let StepParams::Check(run) = &context.step.params else {
            return Err(wrong_params(context));
        };
        let mut notes: Notes = serde_json::from_value(context.step.record.clone()).unwrap_or_default();
        let bake = match run.bake {
            Some(position) => Some(look_at_bake(context, position).await?),
            None => None,
        };
        let timeout = run.check.tries().timeout_seconds;
        let judged = match notes.pending {
            Some(attempt) => match calling::look(context, attempt, timeout, run.bake.is_none()).await? {
                Pending::Answered(judged) => judged,
                Pending::Late => calling::too_late(timeout),
                Pending::Open(left) => return Ok(still_open(run, left, &notes, Vec::new())),
            },
            None => {
                notes.tries += 1;
                match self.ask(context, run, notes.tries).await? {
                    Reply::Now(judged) => judged,
                    Reply::Later => {
                        notes.pending = Some(notes.tries);
                        return Ok(still_open(run, f64::from(timeout), &notes, Vec::new()));
                    }
                }
            }
        };
        notes.pending = None;
        if judged.too_early && age(context, context.step.position).await? < EDGE_LEARNS_SECS {
            notes.tries -= 1;
            let reason = format!("check {}: the edge does not show the release yet", run.check.name());
            return Ok(Outcome::Wait(Wait {
                secs: TOO_EARLY_SECS,
                reason,
                record: Some(json!(notes)),
                events: Vec::new(),
            }));
        }
        decide(context, run, bake, notes, judged)
    }
}

impl CheckStep {
    async fn ask(&self, context: &StepContext, run: &CheckRun, attempt: i32) -> Result<Reply, StepError> {
        let facts = Facts::read(context, &run.release).await?;
        let asked = facts.asked(context, (&run.release, run.from_release.as_ref()), run.weight)?;
        let Check::Webhook(settings) = &run.check else {
            return Ok(self.asker.ask(&run.check, &asked, None).await);
        };
        let token = calling::token(context, attempt, None).await?;
        let url = self.public_url.as_deref();
        // Each try is a question of its own: who knows the last one's answer must not give it again.
        let id = format!("{}-{attempt}", context.step.token);
        let call = calling::call_back(context, &id, url, &token, attempt, settings.timeout_seconds);
        Ok(self.asker.ask(&run.check, &asked, Some(&call)).await)
    }
}

/// What follows from a try.
fn decide(
    context: &StepContext,
    run: &CheckRun,
    bake: Option<Bake>,
    mut notes: Notes,
    judged: Judged,
) -> Result<Outcome, StepError> {
    let Tries {
        attempts,
        interval_seconds,
        ..
    } = run.check.tries();
    let mut events = Vec::new();
    if notes.verdict != Some(judged.verdict) {
        events.push(told(context, run, &judged));
    }
    notes.verdict = Some(judged.verdict);
    notes.failures = match judged.verdict {
        Verdict::Fail => notes.failures + 1,
        Verdict::Pass | Verdict::Inconclusive => 0,
    };
    notes.unclear = match judged.verdict {
        Verdict::Inconclusive => notes.unclear + 1,
        Verdict::Pass | Verdict::Fail => 0,
    };
    let over = bake.as_ref().is_none_or(|bake| bake.left <= 0.0);
    let spent = match &bake {
        // Failures alone end a bake; what it could not tell is settled when it ends, after as many tries in a row.
        Some(_) => notes.failures >= attempts,
        None => u32::try_from(notes.tries).unwrap_or(u32::MAX) >= attempts,
    };
    match judged.verdict {
        Verdict::Pass if over => return Ok(Outcome::Done(done(run, &notes, &judged, events))),
        Verdict::Fail if spent || judged.hopeless => {
            return Err(failed(run, &notes, &judged, "check_failed", events));
        }
        Verdict::Inconclusive if (bake.is_some() && over && notes.unclear >= attempts) || (bake.is_none() && spent) => {
            return inconclusive(run, &notes, &judged, events);
        }
        _ => {}
    }
    let interval = f64::from(interval_seconds);
    let secs = match bake {
        Some(bake) if bake.left > 0.0 => interval.min(bake.left),
        _ => interval,
    };
    Ok(still_open(run, secs, &notes, events))
}

fn still_open(run: &CheckRun, secs: f64, notes: &Notes, events: Vec<NewEvent>) -> Outcome {
    let name = run.check.name();
    let reason = match (notes.pending, notes.verdict) {
        (Some(_), _) => format!("check {name} will call back"),
        (None, Some(Verdict::Pass)) => format!("check {name} passes: asking again"),
        (None, _) => format!("check {name} did not pass: asking again"),
    };
    Outcome::Wait(Wait {
        secs,
        reason,
        record: Some(json!(notes)),
        events,
    })
}

/// A verdict that is another than the one before.
fn told(context: &StepContext, run: &CheckRun, judged: &Judged) -> NewEvent {
    NewEvent::new(
        "check.verdict",
        json!({"position": context.step.position, "check": run.check.name(), "verdict": judged.verdict,
               "message": judged.message, "evidence": judged.evidence}),
    )
}

fn output(run: &CheckRun, notes: &Notes, judged: &Judged) -> Value {
    json!({"check": run.check.name(), "verdict": judged.verdict, "message": judged.message, "tries": notes.tries,
           "evidence": judged.evidence})
}

fn done(run: &CheckRun, notes: &Notes, judged: &Judged, events: Vec<NewEvent>) -> Done {
    let mut done = Done::new(output(run, notes, judged));
    done.events = events;
    done
}

fn failed(run: &CheckRun, notes: &Notes, judged: &Judged, code: &'static str, events: Vec<NewEvent>) -> StepError {
    let name = run.check.name();
    let error = match code {
        "check_inconclusive" => JobError::new(
            "check_inconclusive",
            format!("Check {name} could not tell: {}", judged.message),
        )
        .hint("See why it has no answer; give it more attempts, or set its on_inconclusive to pass or pause."),
        _ => JobError::new("check_failed", format!("Check {name} failed: {}", judged.message))
            .hint("Mend the release and promote the new one; or correct the check, if it asks the wrong thing."),
    };
    StepError::Failed {
        error: error.evidence(json!({"check": name, "verdict": judged.verdict, "seen": judged.evidence})),
        retry: crate::domain::error::Retry::No,
        output: output(run, notes, judged),
        warnings: Vec::new(),
        events,
    }
}

fn inconclusive(run: &CheckRun, notes: &Notes, judged: &Judged, events: Vec<NewEvent>) -> Result<Outcome, StepError> {
    let setting = run.check.on_inconclusive();
    if setting == OnInconclusive::Fail {
        return Err(failed(run, notes, judged, "check_inconclusive", events));
    }
    let mut done = done(run, notes, judged, events);
    let message = format!(
        "Check {} could not tell, and counts as passed: {}",
        run.check.name(),
        judged.message
    );
    if setting == OnInconclusive::Pause {
        done.pause = Some(message.clone());
    }
    done.warnings.push(Warning::new("check_inconclusive", message));
    Ok(Outcome::Done(done))
}

/// The bake is over when it has ended, or its time has and nobody holds it open.
async fn look_at_bake(context: &StepContext, position: i32) -> Result<Bake, StepError> {
    let Some(bake) = context.other(position) else {
        return Err(wrong_params(context));
    };
    let StepParams::Bake { seconds, .. } = &bake.params else {
        return Err(wrong_params(context));
    };
    if bake.state.is_end() {
        return Ok(Bake { left: 0.0 });
    }
    if context.held {
        return Ok(Bake { left: f64::MAX });
    }
    Ok(Bake {
        left: (f64::from(*seconds) - age(context, position).await?).max(0.0),
    })
}

/// Seconds since a step began.
async fn age(context: &StepContext, position: i32) -> Result<f64, StepError> {
    let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
    let age = steps::seconds_since_start(&mut connection, context.job.id, position).await?;
    Ok(age.unwrap_or(0.0))
}
