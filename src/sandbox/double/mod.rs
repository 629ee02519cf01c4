//! The strict AWS double: SSM Parameter Store, CloudFront invalidations, KeyValueStore, CloudWatch alarms, S3 and STS on
//! one port.
//!
//! It speaks the services' own wire formats, so the real SDKs are its clients, and it keeps to what
//! AWS documents where the usual emulators don't: invalidations are `InProgress` for a while, quotas
//! are counted, caller references are idempotent, parameters have at most a hundred versions. It
//! fails on demand, in AWS's words or as a network does ([`Faults`]), and it remembers what it was
//! asked ([`AwsDouble::calls`]).
//!
//! ```no_run
//! # use greenlight::sandbox::double::{AwsDouble, DoubleOptions, Fault, FaultAction};
//! # async fn example() -> std::io::Result<()> {
//! let aws = AwsDouble::start(DoubleOptions::default()).await?;
//! aws.add_distribution("E2EXAMPLE");
//! let held = aws.faults().add(Fault::on("PutParameter", FaultAction::HoldEffect).once());
//! // … point the SDK at aws.endpoint_url(), start the work that puts a parameter …
//! held.wait_hit(1).await;
//! held.release(); // the write lands late, as a request in flight would
//! # Ok(()) }
//! ```
//!
//! What it must never do: accept what AWS would refuse. What it doesn't know it refuses, in the
//! protocol's own error shape. A request is followed in `server`; to add a service, add its module
//! and its lines in `request`.

mod admin;
mod auth;
mod calls;
mod cbor;
mod clock;
mod cloudfront;
mod cloudwatch;
mod cut;
mod error;
mod faults;
mod feed;
mod ids;
mod kvs;
mod request;
mod s3;
mod server;
mod ssm;
mod state;
mod sts;
mod views;
mod world;
mod xml;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use calls::{Call, Outcome};
pub use clock::DoubleClock;
pub use cloudwatch::AlarmView;
pub use error::AwsError;
pub use faults::{Fault, FaultAction, FaultHandle, FaultView, Faults};
pub use s3::StoredObject;
pub use views::{InvalidationView, ParameterVersion};

use world::{World, lock};

/// How long `shutdown` waits for connections to end before it leaves them.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How a double behaves; the defaults suit tests.
#[derive(Clone, Debug)]
pub struct DoubleOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long an invalidation stays `InProgress`, by the double's clock. Zero: it is `Completed`
    /// in the answer that creates it.
    pub invalidation_duration: Duration,
    /// A latency for every call, before its effect.
    pub answer_delay: Duration,
    /// The file from which the state is loaded and to which it is saved at each change. The bodies of
    /// objects are in a folder beside it.
    pub persist: Option<PathBuf>,
    /// The account of every access key that isn't itself an account id or a session's.
    pub account_id: String,
    /// What becomes of a caller reference that was used before.
    pub caller_reference_reuse: CallerReferenceReuse,
    /// How a key value store refuses an ETag that is not its own any more.
    pub stale_etag: StaleEtag,
}

impl Default for DoubleOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            invalidation_duration: Duration::from_secs(2),
            answer_delay: Duration::ZERO,
            persist: None,
            account_id: "000000000000".to_owned(),
            caller_reference_reuse: CallerReferenceReuse::AsDocumented,
            stale_etag: StaleEtag::AsDocumented,
        }
    }
}

/// What CreateInvalidation does with a caller reference that was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallerReferenceReuse {
    /// As the API Reference, *InvalidationBatch*, says: the same paths give the earlier invalidation,
    /// other paths `InvalidationBatchAlreadyExists`.
    #[default]
    AsDocumented,
    /// As users have reported (aws-cdk issue 3878): any reuse is `InvalidArgument`, "a caller reference
    /// that was used for a previous invalidation batch".
    AlwaysRefused,
}

/// How PutKey, DeleteKey and UpdateKeys refuse an `If-Match` that is not the store's ETag any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleEtag {
    /// As the API Reference, *UpdateKeys*, says: `ConflictException`, 409.
    #[default]
    AsDocumented,
    /// As users have met it (the retry in SST's `kv-routes-update.go`): `ValidationException`, 400,
    /// "Pre-Condition failed".
    AsSeen,
}

/// A running double. Clones are the same double; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct AwsDouble {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    world: Arc<World>,
    address: SocketAddr,
    closing: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closing.cancel();
        // Held effects point back at the world; without this the two would keep each other alive.
        self.world.faults.clear();
    }
}

impl AwsDouble {
    /// Loads the saved state, if there is one to load, and listens. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When the address can't be bound, or the saved state can't be read.
    pub async fn start(options: DoubleOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World::open(options)?);
        let closing = CancellationToken::new();
        let server = server::run(cut::CutListener(listener), Arc::clone(&world), closing.clone());
        let server = Mutex::new(Some(tokio::spawn(server)));
        Ok(Self {
            handle: Arc::new(Handle {
                world,
                address,
                closing,
                server,
            }),
        })
    }

    /// The URL for an SDK's `endpoint_url`; the same for all services.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.handle.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.handle.address
    }

    /// The default account.
    pub fn account_id(&self) -> &str {
        &self.world().options.account_id
    }

    /// Stops listening and ends every connection, hanging ones too. Safe to repeat.
    pub async fn shutdown(&self) {
        self.handle.closing.cancel();
        let server = lock(&self.handle.server).take();
        if let Some(server) = server
            && tokio::time::timeout(SHUTDOWN_LIMIT, server).await.is_err()
        {
            tracing::warn!("the AWS double left connections that did not end");
        }
    }

    /// The clock by which invalidations complete.
    pub fn clock(&self) -> &DoubleClock {
        &self.world().clock
    }

    /// Faults on demand.
    pub fn faults(&self) -> &Faults {
        &self.world().faults
    }

    /// What it was asked, oldest first (the newest 20,000 calls).
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.all()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.world().calls.clear();
    }

    /// The first recorded call that `wanted` accepts, now or later. A call is recorded when it
    /// arrives; look at its `outcome` to wait for its end. Never gives up by itself.
    pub async fn wait_for_call(&self, wanted: impl Fn(&Call) -> bool) -> Call {
        self.world().calls.wait_for(wanted).await
    }

    fn world(&self) -> &World {
        &self.handle.world
    }
}
