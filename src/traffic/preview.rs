//! The secret that a component's edge verifies previews with: beside the pointer, the same in every target.

use std::time::Duration;

use super::{Observed, TrafficRouter};
use crate::{
    aws::{
        error::{AwsError, Class},
        guard::WriteGuard,
    },
    domain::{error::Retry, preview::is_secret},
};

/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(8);
/// Somebody may make it at the same time: then theirs is taken.
const TRIES: u32 = 8;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// What lies there is none, and it is not ours to throw away.
    #[error("beside {0} lies something else than a secret")]
    NoSecret(String),
}

/// The secret; `fresh` where there is none yet. A target that has another one, or none, gets that of the first.
///
/// # Errors
/// [`SecretError::NoSecret`] before anything is written; else whatever AWS says. Safe to repeat, also side by side:
/// everybody ends with the same one.
pub async fn secret(router: &dyn TrafficRouter, fresh: &str) -> Result<String, SecretError> {
    let mut tries = 1;
    loop {
        match try_once(router, fresh).await {
            // Made or changed meanwhile by somebody else: look again.
            Err(SecretError::Aws(error))
                if matches!(error.class, Class::Refused | Class::Moved)
                    && error.retry() != Retry::No
                    && tries < TRIES =>
            {
                tries += 1
            }
            ended => return ended,
        }
    }
}

async fn try_once(router: &dyn TrafficRouter, fresh: &str) -> Result<String, SecretError> {
    let mut seen: Vec<(&str, Observed)> = Vec::new();
    for pointer in router.pointers() {
        seen.push((&pointer.target, router.observe_preview_key(&pointer.target).await?));
    }
    let there = || {
        seen.iter()
            .filter_map(|(target, observed)| Some((*target, observed.value.as_ref()?)))
    };
    let secret = match there().find(|(_, value)| is_secret(value)) {
        Some((_, known)) => known.clone(),
        None => match there().next() {
            Some((target, _)) => return Err(SecretError::NoSecret(router.describe(target))),
            None => fresh.to_owned(),
        },
    };
    for (target, observed) in &seen {
        if observed.value.as_deref() != Some(secret.as_str()) {
            let guard = WriteGuard::new(WRITE_WITHIN);
            router.write_preview_key(target, observed, &secret, guard).await?;
        }
    }
    Ok(secret)
}
