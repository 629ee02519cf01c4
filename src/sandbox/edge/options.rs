//! How a local edge is set up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    functions::FunctionSources,
    sources::{Invalidations, Origin, PointerStore},
};
use crate::{domain::environment::Fallback, sandbox::double::DoubleClock};

/// Where the release of a request is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// By the CloudFront Functions at viewer-request and viewer-response: the release is in the cache key.
    ViewerRewrite,
    /// By a Lambda@Edge function at origin-request, behind the cache: a flip needs an invalidation.
    Origin,
}

/// What the functions are told in their `CONFIG`.
#[derive(Debug, Clone)]
pub struct FunctionConfig {
    /// What comes before `{release}/` in the origin: empty, or ending in a slash, never beginning with one.
    pub prefix: String,
    pub fallback: Fallback,
    /// The pointer's key in the store, or its parameter.
    pub key: String,
}

/// A local edge, before it is started.
#[derive(Clone)]
pub struct EdgeOptions {
    /// How many points of presence, each with a cache, a copy of the pointer and a port of its own; 1 at least.
    pub points_of_presence: usize,
    /// Where the main port listens; port 0 takes a free one. It always leads to the first point of presence. The
    /// ports of all points of presence are free ones at the same address.
    pub listen: SocketAddr,
    /// The distribution that it plays.
    pub distribution_id: String,
    pub routing: Routing,
    pub config: FunctionConfig,
    /// How old a point of presence's copy of the pointer gets: after a write, each has the new value within this time,
    /// one after the other. Lambda@Edge counts in whole seconds.
    pub pointer_ttl: Duration,
    pub functions: FunctionSources,
    /// Threads for CloudFront Functions.
    pub function_threads: usize,
    /// By this clock the pointer's copies age, objects expire, invalidations pass, and functions know the time.
    pub clock: DoubleClock,
    pub origin: Arc<dyn Origin>,
    pub pointer: Arc<dyn PointerStore>,
    pub invalidations: Arc<dyn Invalidations>,
}

impl EdgeOptions {
    /// Three points of presence on free ports that rewrite at viewer-request, with a pointer TTL of five seconds.
    pub fn new(
        config: FunctionConfig,
        clock: DoubleClock,
        origin: Arc<dyn Origin>,
        pointer: Arc<dyn PointerStore>,
        invalidations: Arc<dyn Invalidations>,
    ) -> Self {
        Self {
            points_of_presence: 3,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            distribution_id: "E2EXAMPLE".to_owned(),
            routing: Routing::ViewerRewrite,
            config,
            pointer_ttl: Duration::from_secs(5),
            functions: FunctionSources::default(),
            function_threads: 2,
            clock,
            origin,
            pointer,
            invalidations,
        }
    }
}
