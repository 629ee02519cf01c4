//! What `greenlight dev` and the tests run on instead of a real PostgreSQL and a real AWS.

#![allow(
    clippy::disallowed_methods,
    reason = "the sandbox plays the outside world, whose clock is the machine's"
)]

pub mod dev;
pub mod double;
pub mod edge;
pub mod folder_lock;
pub mod postgres;
