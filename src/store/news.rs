//! Telling readers that jobs have changed: after the commit, and many jobs at once.
//!
//! A transaction that notifies takes a lock on all notifications when it commits, and keeps it until it is on disk
//! (`PreCommit_Notify` in PostgreSQL's async.c): notified inside, the commits of all workers would reach the disk one
//! after the other. A notification is a hint, so it may be lost with the process: readers poll slowly besides.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sqlx::PgPool;
use uuid::Uuid;

/// What is still to be told.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    untold: Arc<Mutex<Untold>>,
}

#[derive(Debug, Default)]
struct Untold {
    jobs: BTreeSet<Uuid>,
    /// A task is at it, and looks again before it ends.
    telling: bool,
}

impl News {
    /// Tells readers of a job whose change is committed. Returns at once.
    pub(super) fn tell(&self, pool: &PgPool, job: Uuid) {
        let mut untold = self.untold();
        untold.jobs.insert(job);
        if !mem::replace(&mut untold.telling, true) {
            tokio::spawn(tell_all(self.clone(), pool.clone()));
        }
    }

    /// `None`: nothing is left, and the next one to tell starts anew.
    fn take(&self) -> Option<Vec<Uuid>> {
        let mut untold = self.untold();
        untold.telling = !untold.jobs.is_empty();
        untold
            .telling
            .then(|| mem::take(&mut untold.jobs).into_iter().collect())
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        // A panic while it was held cannot leave a set half-changed.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While one batch is on its way the next one gathers.
async fn tell_all(news: News, pool: PgPool) {
    while let Some(jobs) = news.take() {
        let told = sqlx::query("SELECT pg_notify('greenlight_jobs', job::text) FROM unnest($1::uuid[]) AS job")
            .bind(&jobs)
            .execute(&pool)
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, jobs = jobs.len(), "could not tell readers; they find out by themselves");
        }
    }
}
