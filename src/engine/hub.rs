//! One listener a process: wakes the worker, and every reader that waits for a job to change.
//!
//! A notification is a hint. It can be lost across a reconnect, so after each one everybody is told to
//! look again, and everybody polls slowly besides.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::{JOBS_CHANNEL, SIGNALS_CHANNEL, Store, WORK_CHANNEL};

/// What readers hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// This job has changed.
    Job(Uuid),
    /// Something may have been missed: look again.
    Everything,
}

/// Waits until something is said of this job, or may have been missed.
pub async fn heard(news: &mut broadcast::Receiver<News>, job: Uuid) {
    loop {
        match news.recv().await {
            Ok(News::Job(other)) if other != job => {}
            // A lag means that something was missed.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // Nobody speaks any more: the poll remains.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Where wake-ups are spread within the process.
#[derive(Debug, Clone)]
pub struct Hub {
    work: Arc<Notify>,
    news: broadcast::Sender<News>,
    signals: broadcast::Sender<News>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            work: Arc::new(Notify::new()),
            news: broadcast::channel(1024).0,
            signals: broadcast::channel(1024).0,
        }
    }
}

impl Hub {
    /// The same hub, without what people say to jobs: a worker on it is as one that stalls, and hears only from the
    /// database that its lease is gone.
    #[must_use]
    pub fn deaf(&self) -> Self {
        Self {
            signals: broadcast::channel(1).0,
            ..self.clone()
        }
    }

    /// Ends when something can be claimed, at once if that was said since the last call.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// Wakes this process's worker.
    pub fn wake_worker(&self) {
        self.work.notify_one();
    }

    /// What changes from now on. A receiver that lags has missed something: look again.
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// What people say to jobs from now on: for whoever drives one.
    pub fn signals(&self) -> broadcast::Receiver<News> {
        self.signals.subscribe()
    }

    /// Listens until `stop`, reconnecting for ever.
    pub async fn listen(self, store: Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                result = self.listen_once(&store) => {
                    if let Err(error) = result {
                        tracing::warn!(%error, "lost the notification listener; reconnecting");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn listen_once(&self, store: &Store) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(store.pool()).await?;
        listener.ignore_pool_close_event(true);
        listener
            .listen_all([WORK_CHANNEL, JOBS_CHANNEL, SIGNALS_CHANNEL])
            .await?;
        self.look_again();
        loop {
            match listener.try_recv().await? {
                Some(notification) if notification.channel() == WORK_CHANNEL => self.wake_worker(),
                Some(notification) => {
                    if let Ok(job) = notification.payload().parse() {
                        let readers = if notification.channel() == SIGNALS_CHANNEL {
                            &self.signals
                        } else {
                            &self.news
                        };
                        // No receiver is no error: nobody waits.
                        let _ = readers.send(News::Job(job));
                    }
                }
                // The connection was lost and is back: whatever was said meanwhile is gone.
                None => self.look_again(),
            }
        }
    }

    fn look_again(&self) {
        self.wake_worker();
        let _ = self.news.send(News::Everything);
        let _ = self.signals.send(News::Everything);
    }
}
