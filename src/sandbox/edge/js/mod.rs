//! The JavaScript of the edge, run by QuickJS: what CloudFront Functions and Lambda@Edge are on AWS.
//!
//! ```text
//! viewer events ──► FunctionPool   a few threads; every event in a realm of its own, as on AWS: nothing is kept
//! origin-request ─► WarmFunction   a thread and a realm of its own for each point of presence, as a Lambda
//!                                  environment: what the module keeps, it keeps until it fails
//! ```
//!
//! A realm made anew costs about a tenth of a millisecond with the function as bytecode, so there is no need to trust a
//! function that it keeps nothing. It has what CloudFront Functions' runtime 2.0 has and nothing else of the outside
//! world: the modules `cloudfront` and `crypto` (`modules`), `console`, and a clock that stands still while an event is
//! handled. No `eval`, no timers, no network.
//!
//! It must never let a function harm its host: time and memory are limited, and whatever goes wrong is a
//! [`FunctionError`], never a panic.

mod engine;
mod modules;
mod pool;
mod warm;

use std::time::Duration;

pub(super) use pool::{FunctionPool, Invocation};
pub(super) use warm::{ParameterReader, WarmFunction};

/// How much memory a function and its event may take (Developer Guide, *Quotas on CloudFront Functions*).
const FUNCTION_MEMORY_BYTES: usize = 2 * 1024 * 1024;
/// How much a Lambda@Edge function may take. AWS gives it 128 MB; the engine needs far less than Node.js.
const WARM_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Processor time for one event. AWS stops a function after about a millisecond of its own kind of time; this is for
/// loops that don't end.
const CPU_LIMIT: Duration = Duration::from_millis(50);

/// Why a function gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// It is no JavaScript module, or throws while it is loaded.
    #[error("the function can't be loaded: {0}")]
    Unloadable(String),
    #[error("the function has no `handler`")]
    NoHandler,
    #[error("the function threw: {0}")]
    Threw(String),
    #[error("the function took more than {} ms of processor time", CPU_LIMIT.as_millis())]
    TookTooLong,
    #[error("the function's promise is never settled")]
    NeverSettled,
    /// It returned something that CloudFront can't use.
    #[error("the function returned an invalid value: {0}")]
    Invalid(String),
    /// It touched a header that edge functions may not touch (Developer Guide, *Restrictions on all edge functions*).
    #[error("the function may not change the header {0}")]
    ForbiddenHeader(String),
    #[error("the JavaScript engine has stopped")]
    Stopped,
}
