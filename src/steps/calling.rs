//! A call of a webhook that may be answered later: its token, and what came back.

use std::time::Duration;

use rand::Rng;
use serde_json::json;

use crate::{
    checks::{
        Judged,
        webhook::{CallBack, said_so},
    },
    domain::{callback, verdict::Verdict},
    engine::{StepContext, StepError},
    store::{StoreError, callbacks},
};

/// What is known of a call that was answered with 202.
pub(super) enum Pending {
    Answered(Judged),
    /// Not yet; so many seconds are left.
    Open(f64),
    /// It had its time.
    Late,
}

/// Looks whether the call of this try was answered by calling back. `one_work`: every try asks for the same, so that
/// what comes late for an earlier one is an answer too.
pub(super) async fn look(
    context: &StepContext,
    attempt: i32,
    timeout_seconds: u32,
    one_work: bool,
) -> Result<Pending, StepError> {
    let (job, position) = (context.job.id, context.step.position);
    let mut connection = context.store.pool().acquire().await.map_err(StoreError::from)?;
    let mut call = callbacks::get(&mut connection, job, position, attempt).await?;
    if one_work && call.as_ref().is_none_or(|call| call.verdict.is_none()) {
        call = callbacks::answered_since(&mut connection, job, position, attempt).await?;
    }
    if let Some(verdict) = call.as_ref().and_then(|call| call.verdict.as_deref()) {
        let verdict: Verdict = verdict.parse().map_err(|why| StoreError::corrupt("callback", why))?;
        let message = call.as_ref().and_then(|call| call.message.as_deref());
        let evidence = json!({"callback": {"verdict": verdict, "message": message}});
        return Ok(Pending::Answered(said_so(
            verdict,
            message,
            "It called back with",
            evidence,
        )));
    }
    let age = callbacks::age(&mut connection, job, position, attempt).await?;
    let left = f64::from(timeout_seconds) - age.unwrap_or(f64::MAX);
    Ok(if left > 0.0 { Pending::Open(left) } else { Pending::Late })
}

/// That nobody called back in time.
pub(super) fn too_late(timeout_seconds: u32) -> Judged {
    Judged::new(
        Verdict::Inconclusive,
        format!("It promised to call back, and did not within {timeout_seconds} s."),
        json!({"callback": null, "timeout_seconds": timeout_seconds}),
    )
}

/// Makes the token of a try, and stores its hash before the call. `called`: also that the hook is called.
pub(super) async fn token(
    context: &StepContext,
    attempt: i32,
    record: Option<&serde_json::Value>,
) -> Result<String, StepError> {
    let mut secret = [0u8; 32];
    rand::rng().fill_bytes(&mut secret);
    let (token, hash) = callback::token(context.step.position, attempt, secret);
    let mut fenced = context.fence().await?;
    if let Some(record) = record {
        fenced.note(context.step.position, record).await?;
    }
    callbacks::expect(
        fenced.connection(),
        context.job.id,
        context.step.position,
        attempt,
        &hash,
    )
    .await?;
    fenced.commit("call").await?;
    Ok(token)
}

/// How the webhook is called, and calls back. `id`: the same in each repetition of what is one call to its receiver.
pub(super) fn call_back<'a>(
    context: &'a StepContext,
    id: &'a str,
    public_url: Option<&str>,
    token: &'a str,
    attempt: i32,
    timeout_seconds: u32,
) -> CallBack<'a> {
    let path = format!("/v1/jobs/{}/callback", context.job.id);
    CallBack {
        job: context.job.id,
        id,
        attempt,
        url: public_url.map(|url| format!("{}{path}", url.trim_end_matches('/'))),
        path,
        token,
        timeout: Duration::from_secs(timeout_seconds.into()),
    }
}
