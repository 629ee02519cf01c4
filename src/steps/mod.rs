//! What a job can do: one file a kind of step.
//!
//! To add one: a variant of [`crate::domain::plan::StepParams`], a file here that implements
//! [`StepRunner`], and its line in [`all`]. A step must be safe to repeat: it stores what it found and
//! what it is about to do before it does it, and looks before it writes.

pub mod approval;
pub mod bake;
mod calling;
pub mod check;
pub mod converge;
pub mod edge_ttl;
mod facts;
pub mod flip;
pub mod hook;
pub mod invalidate;
pub mod preflight;
pub mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    aws::{Aws, error::AwsError},
    checks::Asker,
    domain::{
        error::{JobError, Retry},
        job::Step,
    },
    engine::{StepContext, StepError, Steps},
    outbound::webhook::Webhooks,
    store::{
        StoreError,
        pointers::{self, Pointer},
    },
    traffic::Observed,
};

/// Every kind of step. `public_url`: where the service is reached, for webhooks that call back.
pub fn all(aws: &Aws, webhooks: &Webhooks, public_url: Option<&str>) -> Steps {
    let public_url = || public_url.map(str::to_owned);
    let asker = Asker {
        aws: aws.clone(),
        webhooks: webhooks.clone(),
    };
    Steps::default()
        .with("preflight", Arc::new(preflight::Preflight { aws: aws.clone() }))
        .with("flip", Arc::new(flip::FlipStep { aws: aws.clone() }))
        .with("edge_ttl", Arc::new(edge_ttl::EdgeTtl))
        .with("invalidate", Arc::new(invalidate::Invalidate { aws: aws.clone() }))
        .with(
            "converge",
            Arc::new(converge::ConvergeStep {
                outbound: webhooks.outbound.clone(),
            }),
        )
        .with(
            "check",
            Arc::new(check::CheckStep {
                asker,
                public_url: public_url(),
            }),
        )
        .with("bake", Arc::new(bake::Bake))
        .with("approval", Arc::new(approval::ApprovalStep))
        .with(
            "hook",
            Arc::new(hook::HookStep {
                webhooks: webhooks.clone(),
                public_url: public_url(),
            }),
        )
        .with("settle", Arc::new(settle::Settle { aws: aws.clone() }))
}

/// What a flip leaves in its output, by target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FlipOutput {
    pub targets: BTreeMap<String, TargetOutput>,
}

/// One pointer after a flip.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetOutput {
    pub pointer: String,
    /// What it says now. `None`: it does not exist.
    pub value: Option<String>,
    pub version: Option<i64>,
    /// What it said before.
    pub found: Option<String>,
    /// `written`, `already` (it said so), or `left` (somebody else's value, not ours to take back).
    pub outcome: String,
}

impl FlipOutput {
    pub fn of(step: &Step) -> Self {
        serde_json::from_value(step.output.clone()).unwrap_or_default()
    }
}

fn aws_step_error(error: &AwsError) -> StepError {
    StepError::failed(error.job_error(), error.retry())
}

fn wrong_params(context: &StepContext) -> StepError {
    StepError::fatal(JobError::new(
        "plan_broken",
        format!("Step {} has parameters of another kind.", context.step.position),
    ))
}

/// Several errors of several targets as one.
fn combine(errors: &[(String, JobError, Retry)], retry: Retry) -> StepError {
    let Some((_, first, _)) = errors.first() else {
        return StepError::fatal(JobError::new("failed", "It failed without a reason."));
    };
    let messages: Vec<&str> = errors.iter().map(|(_, error, _)| error.message.as_str()).collect();
    let error = JobError {
        message: messages.join(" "),
        ..first.clone()
    };
    StepError::failed(error, retry)
}

fn pointer_of<'a>(pointers: &'a [Pointer], key: &str) -> Option<&'a Pointer> {
    pointers.iter().find(|pointer| pointer.key == key)
}

/// Marks unanswered writes whose value was just seen as landed: nobody need wait for those any more. On a road
/// without versions they stay unanswered, until a compare-and-swap fences them.
/// Returns the pointers on which one was seen, now or (by a worker that is gone) before.
async fn note_landed(
    context: &StepContext,
    seen: impl Iterator<Item = (&str, &Observed)>,
) -> Result<BTreeSet<String>, StepError> {
    let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
    let mut landed = Vec::new();
    for (key, observed) in seen {
        let value = observed.value.as_deref();
        if pointers::is_late_write(&mut connection, key, value, observed.version).await? {
            landed.push((key, observed));
        }
    }
    drop(connection);
    if !landed.is_empty() {
        let mut fenced = context.fence().await?;
        for (key, observed) in &landed {
            if let (Some(value), Some(version)) = (&observed.value, observed.version) {
                pointers::landed(fenced.connection(), key, value, version).await?;
            }
        }
        fenced.commit("landed").await?;
    }
    Ok(landed.into_iter().map(|(key, _)| key.to_owned()).collect())
}

fn said(value: Option<&str>) -> String {
    value.map_or_else(
        || "nothing (it does not exist)".to_owned(),
        |value| format!("{value:?}"),
    )
}
