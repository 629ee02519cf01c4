//! One job takes the place of those that hold or wait for an environment, in one transaction.
//!
//! The holder's lease epoch rises, so its worker can write no more; what it found before its first write
//! goes to the successor, and with it the invalidations it owes.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::{
    domain::{
        job::{Inherited, Job, JobState, Step},
        plan::{self, HookRun},
    },
    store::{
        events::{self, NewEvent},
        jobs, steps,
    },
};

/// Ends `holder` in favour of `successor`. Returns what the successor inherits.
pub async fn supersede(connection: &mut PgConnection, holder: &Job, successor: Uuid) -> Result<Inherited> {
    let steps = steps::list(connection, holder.id).await?;
    let inherited = inherit(holder, &steps);
    end(connection, holder.id, successor).await?;
    Ok(inherited)
}

/// Ends every queued job of the environment in favour of `successor`.
pub async fn abort_queue(connection: &mut PgConnection, environment: Uuid, successor: Uuid) -> Result<()> {
    for queued in jobs::queued(connection, environment).await? {
        if queued != successor {
            end(connection, queued, successor).await?;
        }
    }
    Ok(())
}

async fn end(connection: &mut PgConnection, job: Uuid, successor: Uuid) -> Result<()> {
    if jobs::supersede(connection, job, successor).await? {
        let data = json!({"superseded_by": successor});
        let events = [
            NewEvent::new("job.superseded", data.clone()),
            NewEvent::new("job.aborted", data),
        ];
        events::append(connection, job, &events).await?;
    }
    Ok(())
}

/// What was found before the first write of the whole chain of jobs, for all that was touched. What a job has settled
/// stays: of it the successor inherits no more than the hooks of others that it had yet to take back.
fn inherit(holder: &Job, steps: &[Step]) -> Inherited {
    let mut inherited = holder.inherited.clone();
    inherited.jobs.push(holder.id);
    let owed = plan::owed(steps, &inherited.hooks);
    if holder.state != JobState::Unwinding && plan::is_settled(steps) {
        inherited.found.clear();
        let of_others = |run: &HookRun| inherited.hooks.iter().any(|other| other.undoes == run.undoes);
        inherited.hooks = owed.into_iter().filter(of_others).collect();
    } else {
        inherited.found = plan::touched(steps, &inherited.found);
        inherited.hooks = owed;
    }
    // Kept oldest first, as they were called.
    inherited.hooks.reverse();
    inherited
}
