//! Waiting for a job to change: woken by the hub, with a slow poll under it, ended by a shutdown.
//!
//! **Invariant:** whoever waits subscribes before the first look, so that no change falls between.

use std::time::Duration;

use tokio::{
    sync::broadcast::Receiver,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::hub::{Hub, News, heard};

/// How often to look without having heard anything.
const POLL: Duration = Duration::from_secs(3);

/// Hears of one job.
pub struct Watch {
    job: Uuid,
    news: Receiver<News>,
    shutdown: CancellationToken,
}

/// Why to look, or to stop looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The job may have changed.
    Look,
    /// The time is over, or the process ends.
    Stop,
}

impl Watch {
    pub fn new(hub: &Hub, job: Uuid, shutdown: CancellationToken) -> Self {
        Self {
            job,
            news: hub.subscribe(),
            shutdown,
        }
    }

    /// Waits until it is worth looking again, or until `deadline`.
    pub async fn changed(&mut self, deadline: Option<Instant>) -> Wake {
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Wake::Stop,
            () = over => Wake::Stop,
            () = heard(&mut self.news, self.job) => Wake::Look,
            () = sleep(POLL) => Wake::Look,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_and_the_shutdown_end_a_wait() {
        let (hub, shutdown) = (Hub::default(), CancellationToken::new());
        let mut watch = Watch::new(&hub, Uuid::now_v7(), shutdown.clone());
        assert_eq!(watch.changed(Some(Instant::now())).await, Wake::Stop);
        shutdown.cancel();
        assert_eq!(watch.changed(None).await, Wake::Stop);
    }
}
