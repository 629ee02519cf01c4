//! The roads by which traffic is moved: one file each.
//!
//! A router observes, writes and renders; it decides nothing. When to write, what may be overwritten and
//! what is recorded is the flip step's business, the same for every road.
//!
//! To add one: a variant of [`crate::domain::environment::Router`] with its limits, a file here that
//! implements [`TrafficRouter`], and its line in [`router`].

pub mod cloudfront_kvs;
pub mod preview;
pub mod ssm_pointer;

use async_trait::async_trait;

use crate::{
    aws::{Aws, error::AwsError, guard::WriteGuard},
    domain::{
        environment::{AwsAccount, Component, PointerIdentity, Router},
        error::JobError,
        pointer::Shift,
    },
};

/// What a pointer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// `None`: it does not exist.
    pub value: Option<String>,
    /// The road's own version of it, if it counts any.
    pub version: Option<i64>,
    /// What a write must name to replace this and nothing newer, if the road has a compare-and-swap.
    pub etag: Option<String>,
}

/// What became of a write that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The version written, if the road counts any.
    pub version: Option<i64>,
    /// True when no write can land any more whose [`Observed::etag`] was read before this answer.
    pub fences: bool,
}

/// A road.
///
/// Its conformance rules, held by the integration tests: [`Self::observe`] sees what
/// [`Self::write`] wrote; writing is one attempt, and is not signed after its guard has ended; an error
/// that says it is surely without effect is; and where [`Observed::etag`] is given, a write with one that has
/// been overtaken is refused with [`Class::Moved`](crate::aws::error::Class::Moved).
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    /// Every pointer of the component, by target.
    fn pointers(&self) -> &[PointerIdentity];

    /// True when a pointer that does not exist may be made.
    fn may_create(&self, target: &str) -> bool;

    /// What to tell of a pointer that does not exist and may not be made.
    fn missing(&self, target: &str) -> JobError;

    /// The value that names these releases.
    fn render(&self, shift: &Shift, epoch: i64) -> String;

    /// What the pointer says now. Never from a cache.
    async fn observe(&self, target: &str) -> Result<Observed, AwsError>;

    /// Makes the pointer say `value` (`None`: not exist), given what it was seen to say. One attempt: a lost
    /// race is told, never run again.
    async fn write(
        &self,
        target: &str,
        seen: &Observed,
        value: Option<&str>,
        guard: WriteGuard,
    ) -> Result<Written, AwsError>;

    /// What the pointer said in an earlier version, if that is still known.
    async fn at_version(&self, target: &str, version: i64) -> Result<Option<String>, AwsError>;

    /// The secret beside the pointer that the edge verifies previews with. Never from a cache.
    async fn observe_preview_key(&self, target: &str) -> Result<Observed, AwsError>;

    /// Makes that secret `value`, given what it was seen to be.
    async fn write_preview_key(
        &self,
        target: &str,
        seen: &Observed,
        value: &str,
        guard: WriteGuard,
    ) -> Result<(), AwsError>;

    /// The pointer in words, for messages.
    fn describe(&self, target: &str) -> String;
}

/// The router of a component.
pub fn router(aws: &Aws, account: &AwsAccount, component: &Component) -> Box<dyn TrafficRouter> {
    match &component.router {
        Router::SsmPointer(settings) => Box::new(ssm_pointer::SsmPointerRouter::new(aws, account, component, settings)),
        Router::CloudfrontKvs(settings) => Box::new(cloudfront_kvs::CloudfrontKvsRouter::new(
            aws, account, component, settings,
        )),
    }
}
