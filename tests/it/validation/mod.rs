//! Progressive validation: shares, checks, gates, hooks, locks, and the ways back.

mod canary;
mod checks;
mod gates;
mod hooks;
mod locks;
mod pauses;
mod purges;
pub mod site;
mod waiting;
