//! Faults on demand: which calls they match, what they do to them, and what a test can watch.
//!
//! Faults are asked in the order in which they were added; the first one that matches and is neither
//! skipping nor used up decides. A fault that skips a call leaves it to the next one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::world::lock;

/// What happens to a call that a fault matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// `ThrottlingException` (SSM, 400; KeyValueStore, 429), `Throttling` (CloudFront, CloudWatch, STS, 400) or
    /// `SlowDown` (S3, 503); no effect.
    Throttle,
    /// 503 `ServiceUnavailable`, no effect.
    Unavailable,
    /// 500 in the service's own words, no effect.
    InternalError,
    /// `AccessDeniedException` (SSM, 400; KeyValueStore, 403) or `AccessDenied` (403), naming caller, action and
    /// resource.
    AccessDenied,
    /// Answers normally, this much later.
    Delay(Duration),
    /// The effect happens; the connection is closed without an answer.
    LoseAnswer,
    /// No effect; the connection is closed without an answer.
    LoseRequest,
    /// The effect happens; there is no answer until the client goes away.
    HangAfterEffect,
    /// No effect, and no answer until the client goes away.
    HangBeforeEffect,
    /// No answer; the effect lands when [`FaultHandle::release`] is called, even if the client has
    /// gone. A signed request in flight at AWS behaves like this for up to five minutes.
    HoldEffect,
    /// The effect happens, and a read has read; the answer comes when [`FaultHandle::release`] is called.
    HoldAnswer,
    /// This error, no effect.
    Error {
        /// The HTTP status.
        status: u16,
        /// The AWS error code.
        code: String,
        /// The message.
        message: String,
    },
    /// Reads see the state before the latest change: `GetParameter` and `GetParameters` answer with
    /// the previous version (not found when there is none), `GetInvalidation` with `InProgress`, a store's
    /// `DescribeKeyValueStore` and `GetKey` with the ETag and the value before the latest change of the store,
    /// `DescribeAlarms` with the region's alarms before the latest change to any of them. Other calls answer normally.
    StaleRead,
}

/// A fault to add: which calls, how many, and what to do to them.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operation, `PutParameter` for instance; `None` for any.
    pub operation: Option<String>,
    /// The account that the call acts in; `None` for any.
    pub account: Option<String>,
    /// The region of the credential scope (`*` for KeyValueStore); `None` for any.
    pub region: Option<String>,
    /// A part of the parameter name, distribution id, store ARN, alarm's name, bucket and key, or role ARN; `None` for
    /// any.
    pub resource_contains: Option<String>,
    /// So many matching calls pass first.
    pub skip: u64,
    /// So many matching calls are hit; `None` for ever.
    pub times: Option<u64>,
    /// What happens to them.
    pub action: FaultAction,
}

impl Fault {
    /// Every call of one operation, for ever.
    pub fn on(operation: &str, action: FaultAction) -> Self {
        Self {
            operation: Some(operation.to_owned()),
            ..Self::on_any(action)
        }
    }

    /// Every call of every operation, for ever.
    pub fn on_any(action: FaultAction) -> Self {
        Self {
            operation: None,
            account: None,
            region: None,
            resource_contains: None,
            skip: 0,
            times: None,
            action,
        }
    }

    /// Only in this account.
    pub fn in_account(self, account: &str) -> Self {
        Self {
            account: Some(account.to_owned()),
            ..self
        }
    }

    /// Only in this region.
    pub fn in_region(self, region: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            ..self
        }
    }

    /// Only when the resource's name contains this.
    pub fn on_resource(self, part: &str) -> Self {
        Self {
            resource_contains: Some(part.to_owned()),
            ..self
        }
    }

    /// Lets so many matching calls pass first.
    pub fn skip(self, calls: u64) -> Self {
        Self { skip: calls, ..self }
    }

    /// Hits so many matching calls, then no more.
    pub fn times(self, calls: u64) -> Self {
        Self {
            times: Some(calls),
            ..self
        }
    }

    /// Hits the next matching call only.
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        let is = |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|it| it == actual);
        is(&self.operation, target.operation)
            && is(&self.account, target.account)
            && is(&self.region, target.region)
            && self
                .resource_contains
                .as_deref()
                .is_none_or(|part| target.resource.contains(part))
    }
}

/// What a fault is matched against.
pub(super) struct Target<'a> {
    pub operation: &'a str,
    pub account: &'a str,
    pub region: &'a str,
    pub resource: &'a str,
}

type HeldEffect = Box<dyn FnOnce() + Send>;

/// A fault that was added, with its counters and held effects.
pub(super) struct Entry {
    id: u64,
    fault: Fault,
    seen: AtomicU64,
    hits: watch::Sender<u64>,
    held: Mutex<VecDeque<HeldEffect>>,
}

impl Entry {
    pub(super) fn action(&self) -> &FaultAction {
        &self.fault.action
    }

    /// Tells those who wait that the fault has done its part on one more call.
    pub(super) fn hit(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }

    /// Keeps an effect until it is released.
    pub(super) fn hold(&self, effect: HeldEffect) {
        lock(&self.held).push_back(effect);
    }

    fn release(&self) -> usize {
        let mut released = 0;
        loop {
            // One at a time, so that no effect runs under this lock.
            let Some(effect) = lock(&self.held).pop_front() else {
                return released;
            };
            effect();
            released += 1;
        }
    }

    /// Counts a matching call and says whether this fault takes it.
    fn takes(&self) -> bool {
        let before = self.seen.fetch_add(1, Ordering::SeqCst);
        before >= self.fault.skip
            && self
                .fault
                .times
                .is_none_or(|times| before < self.fault.skip.saturating_add(times))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("id", &self.id)
            .field("fault", &self.fault)
            .finish()
    }
}

/// What the admin interface shows of a fault.
#[derive(Clone, Debug)]
pub struct FaultView {
    /// The id for `DELETE /_double/faults/{id}`.
    pub id: u64,
    /// The fault as it was added.
    pub fault: Fault,
    /// How many calls it has hit.
    pub hits: u64,
    /// How many effects it holds.
    pub held: usize,
}

#[derive(Debug, Default)]
struct Book {
    next_id: u64,
    entries: Vec<Arc<Entry>>,
}

/// All faults of a double; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    book: Arc<Mutex<Book>>,
}

impl Faults {
    /// Adds a fault behind those that are there. It stays until it is removed, even when the handle
    /// is dropped.
    pub fn add(&self, fault: Fault) -> FaultHandle {
        let mut book = lock(&self.book);
        book.next_id += 1;
        let entry = Arc::new(Entry {
            id: book.next_id,
            fault,
            seen: AtomicU64::new(0),
            hits: watch::Sender::new(0),
            held: Mutex::default(),
        });
        book.entries.push(Arc::clone(&entry));
        FaultHandle {
            entry,
            book: Arc::downgrade(&self.book),
        }
    }

    /// Removes every fault; what they hold is lost unless a handle still releases it.
    pub fn clear(&self) {
        lock(&self.book).entries.clear();
    }

    /// Removes one fault; `false` when there is none with that id.
    pub fn remove(&self, id: u64) -> bool {
        let mut book = lock(&self.book);
        let before = book.entries.len();
        book.entries.retain(|entry| entry.id != id);
        book.entries.len() < before
    }

    /// Lets what one fault holds take effect; `None` when there is no fault with that id.
    pub fn release(&self, id: u64) -> Option<usize> {
        let entry = lock(&self.book).entries.iter().find(|entry| entry.id == id).cloned();
        entry.map(|entry| entry.release())
    }

    /// The faults in the order in which they are asked.
    pub fn list(&self) -> Vec<FaultView> {
        let entries = lock(&self.book).entries.clone();
        let view = |entry: &Arc<Entry>| FaultView {
            id: entry.id,
            fault: entry.fault.clone(),
            hits: *entry.hits.borrow(),
            held: lock(&entry.held).len(),
        };
        entries.iter().map(view).collect()
    }

    /// The fault that takes this call.
    pub(super) fn pick(&self, target: &Target<'_>) -> Option<Arc<Entry>> {
        let book = lock(&self.book);
        book.entries
            .iter()
            .find(|entry| entry.fault.matches(target) && entry.takes())
            .cloned()
    }
}

/// A test's hold on a fault that it added.
#[derive(Clone, Debug)]
pub struct FaultHandle {
    entry: Arc<Entry>,
    book: Weak<Mutex<Book>>,
}

impl FaultHandle {
    /// The id that the admin interface knows it by.
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// How many calls it has hit. An effect that belongs to a hit has happened (or is held) by the
    /// time the hit is counted.
    pub fn hits(&self) -> u64 {
        *self.entry.hits.borrow()
    }

    /// Waits until at least `count` calls were hit. Never gives up by itself.
    pub async fn wait_hit(&self, count: u64) {
        let mut hits = self.entry.hits.subscribe();
        // The sender lives in `self.entry`, so waiting can't fail while this future runs.
        let _ = hits.wait_for(|hits| *hits >= count).await;
    }

    /// How many effects wait for `release`.
    pub fn held(&self) -> usize {
        lock(&self.entry.held).len()
    }

    /// Lets the held effects land, oldest first, and says how many there were. Works after `remove`.
    pub fn release(&self) -> usize {
        self.entry.release()
    }

    /// Takes the fault away: later calls are answered normally. Safe to repeat.
    pub fn remove(&self) {
        if let Some(book) = self.book.upgrade() {
            lock(&book).entries.retain(|entry| entry.id != self.entry.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> = Target {
        operation: "PutParameter",
        account: "000000000000",
        region: "eu-west-1",
        resource: "/storefront/release",
    };

    #[test]
    fn a_fault_skips_then_hits_then_is_used_up() {
        let faults = Faults::default();
        faults.add(Fault::on("PutParameter", FaultAction::Throttle).skip(1).times(2));
        let taken: Vec<bool> = (0..5).map(|_| faults.pick(&TARGET).is_some()).collect();
        assert_eq!(taken, [false, true, true, false, false]);
    }

    #[test]
    fn a_call_that_the_first_fault_skips_goes_to_the_second() {
        let faults = Faults::default();
        faults.add(Fault::on_any(FaultAction::Throttle).skip(1));
        faults.add(Fault::on_any(FaultAction::Unavailable));
        let action = |faults: &Faults| faults.pick(&TARGET).map(|entry| entry.action().clone());
        assert_eq!(action(&faults), Some(FaultAction::Unavailable));
        assert_eq!(action(&faults), Some(FaultAction::Throttle));
    }

    #[test]
    fn each_condition_narrows_the_match() {
        let any = Fault::on_any(FaultAction::Throttle);
        assert!(any.matches(&TARGET));
        assert!(
            any.clone()
                .in_region("eu-west-1")
                .on_resource("storefront")
                .matches(&TARGET)
        );
        assert!(!any.clone().in_region("us-east-1").matches(&TARGET));
        assert!(!any.clone().on_resource("checkout").matches(&TARGET));
        assert!(!any.in_account("111111111111").matches(&TARGET));
        assert!(!Fault::on("GetParameter", FaultAction::Throttle).matches(&TARGET));
    }
}
