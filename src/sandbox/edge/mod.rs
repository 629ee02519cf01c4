//! The local edge: an HTTP port that behaves as CloudFront does for what this project is about.
//!
//! Several points of presence, each with its own cache and its own copy of the pointer, run the routing function's real
//! JavaScript for every request. Writes to the pointer reach them one after the other, invalidations pass through them
//! one after the other, and time can be moved: so the races of a real edge happen here, on demand.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use greenlight::domain::environment::Fallback;
//! # use greenlight::sandbox::double::AwsDouble;
//! # use greenlight::sandbox::edge::{Bucket, DistributionInvalidations, EdgeOptions, FunctionConfig, LocalEdge, Parameter};
//! # async fn example(double: AwsDouble) -> Result<(), greenlight::sandbox::edge::EdgeError> {
//! let config = FunctionConfig {
//!     prefix: "releases/".into(),
//!     fallback: Fallback::Spa,
//!     key: "/storefront/production/release".into(),
//! };
//! let edge = LocalEdge::start(EdgeOptions::new(
//!     config,
//!     double.clock().clone(),
//!     Arc::new(Bucket::new(|_key| None)),
//!     Arc::new(Parameter::new(&double, "us-east-1", "/storefront/production/release")),
//!     Arc::new(DistributionInvalidations::new(&double, "E2EXAMPLE")),
//! ))
//! .await?;
//! // … a browser at edge.url() …
//! edge.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! A request is followed in `walk`. What time does to a point of presence is in `pop`, what is cached for how long in
//! `cache`, what functions see and may return in `event`, and the engine that runs them in `js`. What it looks at comes in
//! through the traits of `sources`.
//!
//! What it leaves out: compression, TLS, requests for the same object that wait for one another, `Expires`, ranges in
//! several parts, and errors of the origin are not kept. It must never be reachable from outside: it is for one
//! developer's machine.

mod cache;
mod double;
mod event;
mod functions;
mod http;
mod js;
mod miss;
mod options;
mod pop;
mod serve;
mod sources;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::{
    double::{Bucket, DistributionInvalidations, KeyValueStore, Parameter, Store},
    functions::FunctionSources,
    js::FunctionError,
    options::{EdgeOptions, FunctionConfig, Routing},
    pop::Counters,
    sources::{Invalidation, Invalidations, KeyValues, Object, Origin, OriginError, PointerStore, StoreError},
};
use self::{js::FunctionPool, pop::PointOfPresence, walk::Front};

/// How long `shutdown` waits for connections to end before it leaves them.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Why a local edge didn't start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("the local edge can't listen at {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("an edge function can't be used")]
    Function(#[from] FunctionError),
}

/// A running local edge. Clones are the same edge; it ends with the last of them.
#[derive(Clone)]
pub struct LocalEdge {
    handle: Arc<Handle>,
}

struct Handle {
    main: SocketAddr,
    addresses: Vec<SocketAddr>,
    pops: Vec<Arc<PointOfPresence>>,
    changes: watch::Sender<u64>,
    closing: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl fmt::Debug for LocalEdge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LocalEdge")
            .field("main", &self.handle.main)
            .field("pops", &self.handle.addresses)
            .finish()
    }
}

impl LocalEdge {
    /// Loads the functions, listens, and makes the first copies of the pointer. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When an address can't be bound, or a function is no JavaScript.
    pub async fn start(options: EdgeOptions) -> Result<Self, EdgeError> {
        let options = Arc::new(EdgeOptions {
            points_of_presence: options.points_of_presence.max(1),
            ..options
        });
        let functions = match options.routing {
            Routing::ViewerRewrite => Some(Arc::new(viewer_functions(&options)?)),
            Routing::Origin => None,
        };
        let (main_listener, main) = listen(options.listen).await?;
        let mut served = Vec::new();
        let mut pops = Vec::new();
        let mut addresses = Vec::new();
        for number in 0..options.points_of_presence {
            let pop = Arc::new(PointOfPresence::new(number, Arc::clone(&options))?);
            let front = Arc::new(Front::new(Arc::clone(&pop), functions.clone(), Arc::clone(&options)));
            let (listener, address) = listen(SocketAddr::new(options.listen.ip(), 0)).await?;
            pops.push(pop);
            addresses.push(address);
            served.push((listener, front));
        }
        served.push((main_listener, Arc::clone(&served[0].1)));
        let closing = CancellationToken::new();
        let (changes, _) = watch::channel(0);
        let mut tasks: Vec<JoinHandle<()>> = served
            .into_iter()
            .map(|(listener, front)| tokio::spawn(serve::run(listener, front, closing.clone())))
            .collect();
        tasks.push(tokio::spawn(serve::tick(
            pops.clone(),
            changes.clone(),
            closing.clone(),
        )));
        let handle = Handle {
            main,
            addresses,
            pops,
            changes,
            closing,
            tasks: Mutex::new(tasks),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Where the main port listens.
    pub fn address(&self) -> SocketAddr {
        self.handle.main
    }

    /// The URL of the main port, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.handle.main)
    }

    /// Where each point of presence listens; the first one is at the main port too.
    pub fn pop_addresses(&self) -> &[SocketAddr] {
        &self.handle.addresses
    }

    /// The port of each point of presence.
    pub fn pop_ports(&self) -> Vec<u16> {
        self.handle.addresses.iter().map(SocketAddr::port).collect()
    }

    /// What a point of presence, counted from 0, takes for the pointer's value. `None`: it has none (yet), or there is no
    /// such point of presence.
    pub fn pointer_at(&self, pop: usize) -> Option<String> {
        self.handle.pops.get(pop)?.pointer()
    }

    /// The figures of all points of presence together.
    pub fn counters(&self) -> Counters {
        let each = self.handle.pops.iter().map(|pop| pop.counted.so_far());
        each.fold(Counters::default(), |sum, counters| sum.plus(&counters))
    }

    /// The figures of each point of presence.
    pub fn pop_counters(&self) -> Vec<Counters> {
        self.handle.pops.iter().map(|pop| pop.counted.so_far()).collect()
    }

    /// Changes whenever a point of presence got another pointer, or an invalidation passed through it. It may take a
    /// few moments to be told; requests see it at once.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.handle.changes.subscribe()
    }

    /// Waits until `condition` holds, looking anew at each change. Never gives up by itself.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.changed();
        while !condition(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops listening and ends every connection. Safe to repeat.
    pub async fn shutdown(&self) {
        self.handle.closing.cancel();
        let tasks = std::mem::take(&mut *self.handle.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = futures::future::join_all(tasks);
        if tokio::time::timeout(SHUTDOWN_LIMIT, ended).await.is_err() {
            tracing::warn!("the local edge left connections that did not end");
        }
    }
}

/// The CloudFront Functions, configured: viewer-request, then viewer-response.
fn viewer_functions(options: &EdgeOptions) -> Result<FunctionPool, FunctionError> {
    let config = functions::viewer_config(options);
    let request = functions::configured(&options.functions.viewer_request, &config);
    let response = functions::configured(&options.functions.viewer_response, &config);
    FunctionPool::start(&[&request, &response], options.function_threads)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), EdgeError> {
    let failed = |source| EdgeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
