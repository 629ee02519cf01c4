//! One invalidation: sent under a reference of its own, and waited for.
//!
//! The reference is told before the first call, so that whoever has to look for the invalidation finds it. A call is
//! repeated under the same one: CloudFront then answers with the invalidation it has.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{
    Failure,
    plan::{Clear, ComponentPlan},
    screen::{Screen, few},
};
use crate::{
    aws::{cloudfront::CloudFront, error::AwsError},
    cdn::schedule,
    domain::error::Retry,
};

/// What became of an invalidation that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cleared {
    Completed,
    /// It was not seen to be completed, for this reason.
    NotSeen(String),
}

/// Sends it and waits for it, up to its timeout. Returns what was sent, in words, and what became of it.
///
/// # Errors
/// When it could not be sent; one that is late was.
pub(super) async fn invalidate(
    cloudfront: &CloudFront,
    component: &ComponentPlan,
    clear: &Clear,
    screen: &Screen,
) -> Result<(String, Cleared), Failure> {
    let (name, distribution) = (&component.name, &clear.distribution);
    let reference = format!("greenlight-break-glass-{}", Uuid::now_v7());
    let paths = few(&clear.paths);
    screen.say(format!(
        "{name}: sending an invalidation of {paths} on distribution {distribution}, CallerReference {reference}"
    ));
    let started = Instant::now();
    let left = || clear.timeout.saturating_sub(started.elapsed());
    let pause = async |secs: f64| tokio::time::sleep(Duration::from_secs_f64(secs).min(left())).await;
    let age = || started.elapsed().as_secs_f64();

    let sent = loop {
        match cloudfront
            .create_invalidation(distribution, &reference, &clear.paths)
            .await
        {
            Ok(sent) => break sent,
            Err(error) if error.retry() == Retry::No || left().is_zero() => return Err(not_sent(&error, &reference)),
            Err(error) => {
                screen.say(format!("{name}: trying again after: {error}"));
                pause(schedule::next_try_secs(age())).await;
            }
        }
    };
    let line = format!("{} of {paths} (CallerReference {reference})", sent.id);
    screen.say(format!("{name}: invalidation {} is sent; waiting for it", sent.id));
    let mut completed = sent.is_completed();
    while !completed {
        if left().is_zero() {
            let secs = clear.timeout.as_secs();
            let why = format!(
                "{} was not completed within {secs} s. It mostly completes by itself; until then some visitors may \
                 see the release before, from CloudFront's cache.",
                sent.id
            );
            screen.say(format!("{name}: {why}"));
            return Ok((line, Cleared::NotSeen(why)));
        }
        pause(schedule::next_look_secs(age())).await;
        match cloudfront.invalidation(distribution, &sent.id).await {
            Ok(now) => completed = now.is_completed(),
            // Its reads may be stale: it said the id itself.
            Err(error) if error.retry() != Retry::No || error.is_code("NoSuchInvalidation") => {}
            Err(error) => {
                let why = format!("{} was sent, but can't be looked at: {error}", sent.id);
                screen.say(format!("{name}: {why}"));
                return Ok((line, Cleared::NotSeen(why)));
            }
        }
    }
    screen.say(format!("{name}: invalidation {} is completed", sent.id));
    Ok((format!("{line}, completed"), Cleared::Completed))
}

fn not_sent(error: &AwsError, reference: &str) -> Failure {
    let Failure { message, hint } = Failure::from(error);
    Failure {
        message: format!("it was NOT SENT: {message} (CallerReference {reference})"),
        hint,
    }
}
