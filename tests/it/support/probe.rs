//! Stopping a worker in the middle: probes of its commits.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use greenlight::store::CommitProbe;
use tokio::sync::Notify;
use uuid::Uuid;

/// Pauses the first worker that has stored its intents after it was armed, until it is told to go on.
#[derive(Default)]
pub struct PauseAfterIntents {
    pub armed: AtomicBool,
    pub paused: Notify,
    pub go_on: Notify,
}

impl fmt::Debug for PauseAfterIntents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PauseAfterIntents")
    }
}

impl CommitProbe for PauseAfterIntents {
    fn committed(&self, _job: Uuid, what: &'static str) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if what == "intents" && self.armed.swap(false, Ordering::SeqCst) {
                self.paused.notify_one();
                self.go_on.notified().await;
            }
        })
    }
}
