//! Progressive validation: shares, checks, gates, hooks, locks, and the ways back.

mod calls;
mod canary;
mod checks;
mod gates;
mod hooks;
mod locks;
mod pauses;
mod preview;
mod purges;
mod settled;
pub mod site;
mod waiting;
