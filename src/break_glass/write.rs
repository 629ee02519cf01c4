//! One pointer: look, write, read back, and again when that can help.
//!
//! Nobody remembers anything here, so a write that got no answer is looked for and repeated: the value is the same.
//! A pointer that says something else than was shown has another hand on it, and is left.

use std::{fmt, time::Duration};

use super::{Failure, plan::PointerPlan, screen::shown};
use crate::{
    aws::{error::AwsError, guard::WriteGuard},
    domain::error::Retry,
    traffic::TrafficRouter,
};

/// Tries of one write: about 0.2, 0.4, 0.8, 1.6, 3.2 s between them.
const WRITE_TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);
/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(8);
/// Looks at what was written before saying that it can't be seen (SSM's reads may be stale).
const VERIFY_TRIES: u32 = 8;
const VERIFY_PAUSE: Duration = Duration::from_millis(250);

/// What became of a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It says the release, under this version if the road counts any.
    Written(Option<i64>),
    /// It said so before.
    Already,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(Some(version)) => write!(f, "written (version {version}) and read back"),
            Self::Written(None) => f.write_str("written and read back"),
            Self::Already => f.write_str("said so already"),
        }
    }
}

/// Repeats a call that may pass the next time.
pub(super) async fn patiently<T>(
    tries: u32,
    mut call: impl AsyncFnMut() -> Result<T, AwsError>,
) -> Result<T, AwsError> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if error.retry() != Retry::No && attempt < tries => {
                tokio::time::sleep(pause_after(attempt)).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

fn pause_after(attempt: u32) -> Duration {
    PAUSE * 2u32.pow(attempt.saturating_sub(1).min(4))
}

/// Makes the pointer say `wanted`, and sees that it does.
///
/// # Errors
/// What AWS said to the last try; or that the pointer says something else than it did when it was shown.
pub(super) async fn write(router: &dyn TrafficRouter, pointer: &PointerPlan, wanted: &str) -> Result<Outcome, Failure> {
    let mut attempt = 1;
    loop {
        let why = match try_once(router, pointer, wanted, attempt).await {
            Ok(outcome) => return Ok(outcome),
            Err((failure, Retry::No)) => return Err(failure),
            Err((failure, _)) => failure,
        };
        if attempt == WRITE_TRIES {
            return Err(why);
        }
        tokio::time::sleep(pause_after(attempt)).await;
        attempt += 1;
    }
}

async fn try_once(
    router: &dyn TrafficRouter,
    pointer: &PointerPlan,
    wanted: &str,
    attempt: u32,
) -> Result<Outcome, (Failure, Retry)> {
    let refused = |error: AwsError| (Failure::from(&error), error.retry());
    let target = &pointer.target;
    let now = router.observe(target).await.map_err(refused)?;
    if now.value.as_deref() == Some(wanted) {
        // A write of ours whose answer was lost.
        return Ok(if attempt > 1 {
            Outcome::Written(now.version)
        } else {
            Outcome::Already
        });
    }
    if now.value != pointer.says {
        let failure = Failure {
            message: format!(
                "it was changed meanwhile, from {} to {}.",
                shown(pointer.says.as_deref()),
                shown(now.value.as_deref())
            ),
            hint: Some("Find out who else writes it; then run this again and look at what it says.".to_owned()),
        };
        // Or the look was a stale one: the next is not.
        return Err((failure, Retry::Backoff));
    }
    let guard = WriteGuard::new(WRITE_WITHIN);
    let written = router.write(target, &now, Some(wanted), guard).await.map_err(refused)?;
    verify(router, target, wanted, written.version).await
}

/// Reads a write back. What can't be seen is not written again: it was answered.
async fn verify(
    router: &dyn TrafficRouter,
    target: &str,
    wanted: &str,
    version: Option<i64>,
) -> Result<Outcome, (Failure, Retry)> {
    let mut last = None;
    for attempt in 0..VERIFY_TRIES {
        if attempt > 0 {
            tokio::time::sleep(VERIFY_PAUSE).await;
        }
        match router.observe(target).await {
            Ok(now) if now.value.as_deref() == Some(wanted) => return Ok(Outcome::Written(version)),
            Ok(now) => {
                let newer = now.version.zip(version).is_some_and(|(seen, ours)| seen > ours);
                let message = format!("it was written, but then said {}.", shown(now.value.as_deref()));
                let hint = "Somebody else may be writing it: look at the parameter's history, or for the key's writes \
                            in CloudTrail.";
                last = Some(Failure {
                    message,
                    hint: Some(hint.to_owned()),
                });
                if newer {
                    break;
                }
            }
            Err(error) => {
                let Failure { message, hint } = Failure::from(&error);
                let message = format!("it was written, but could not be read back: {message}");
                last = Some(Failure { message, hint });
                if error.retry() == Retry::No {
                    break;
                }
            }
        }
    }
    let never_looked = || Failure {
        message: "it was written, but not read back.".to_owned(),
        hint: None,
    };
    Err((last.unwrap_or_else(never_looked), Retry::No))
}
