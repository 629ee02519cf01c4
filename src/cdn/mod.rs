//! CloudFront's cache: when to ask whether an invalidation is completed.
//!
//! The SDK's waiter sleeps at least 20 s between looks, and in memory: here each wait is stored.

pub mod schedule;
