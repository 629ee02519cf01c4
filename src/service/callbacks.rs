//! Webhooks that answer later: they call back with the token that they were called with.
//!
//! A token is `glc_<position>_<try>_<secret>`: the numbers find the call, the secret is compared in constant time.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use subtle::{Choice, ConstantTimeEq};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Code, Result, ServiceError, check_reason, signals};
use crate::{
    domain::{callback::PREFIX, job::StepState, verdict::Verdict},
    store::{callbacks, jobs, steps},
};

/// An answer as it comes back.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// Of a hook: `pass` says that it is done.
    pub verdict: Verdict,
    /// What was seen; at most 1000 characters.
    #[serde(default)]
    #[schema(example = "142 of 142 tests passed")]
    pub message: Option<String>,
}

/// Takes an answer, and wakes the step that waits for it. The same answer again changes nothing.
///
/// # Errors
/// [`Code::Unauthenticated`], with the same words for a job that is not there and a token that is wrong;
/// [`Code::CallbackLate`].
pub async fn answer(connection: &mut PgConnection, id: Uuid, token: &str, request: &CallbackRequest) -> Result<()> {
    check_reason("message", request.message.as_deref())?;
    let unknown = || {
        ServiceError::new(
            Code::Unauthenticated,
            "This is no token of a call that this job has made.",
        )
    };
    let (position, attempt, hash) = parse(token).ok_or_else(unknown)?;
    let known = callbacks::get(connection, id, position, attempt)
        .await?
        .ok_or_else(unknown)?;
    let hashes = known.earlier.iter().chain([&known.hash]);
    let matches = hashes.map(|known| known.ct_eq(hash.as_slice()));
    if !bool::from(matches.fold(Choice::from(0), |any, one| any | one)) {
        return Err(unknown());
    }
    let late = |why: String| Err(ServiceError::new(Code::CallbackLate, why));
    signals::lock(connection, id).await?;
    let verdict = request.verdict.as_str();
    if let Some(said) = callbacks::get(connection, id, position, attempt)
        .await?
        .and_then(|call| call.verdict)
    {
        return if said == verdict {
            Ok(())
        } else {
            late(format!("This call was answered with {said} before."))
        };
    }
    let steps = steps::list(connection, id).await?;
    let open = |state: StepState| matches!(state, StepState::Running | StepState::Waiting);
    if !steps.iter().any(|step| step.position == position && open(step.state)) {
        return late("Its step has ended: nobody waits for the answer any more.".to_owned());
    }
    callbacks::answer(connection, id, (position, attempt), verdict, request.message.as_deref()).await?;
    jobs::wake_step(connection, id, position).await?;
    Ok(())
}

fn parse(token: &str) -> Option<(i32, i32, Vec<u8>)> {
    let mut parts = token.strip_prefix(PREFIX)?.splitn(3, '_');
    let (position, attempt, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
    Some((
        position.parse().ok()?,
        attempt.parse().ok()?,
        Sha256::digest(secret).to_vec(),
    ))
}
