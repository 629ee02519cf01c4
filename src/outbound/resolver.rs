//! From a name to the addresses that may be connected to.
//!
//! **Invariant:** one look-up a connection, and its answer is filtered before anybody sees it. An answer that mixes
//! addresses that may be reached with others is cut down to the first kind; one without any is refused. So neither a
//! name that answers differently the second time (DNS rebinding) nor one with two answers leads anywhere else.

use std::{
    fmt::Debug,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{AllowList, OutboundError};

/// Says which addresses a name has. The system's resolver does; tests have names of their own.
#[async_trait]
pub trait Lookup: Debug + Send + Sync {
    /// Every address of the name, in the order in which they are to be tried.
    ///
    /// # Errors
    /// When the name can't be looked up.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
pub(super) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// A look-up, less the addresses that may not be reached.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    pub(super) allow: Arc<AllowList>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, lookup) = (Arc::clone(&self.allow), Arc::clone(&self.lookup));
        Box::pin(async move {
            let found = lookup.addresses(name.as_str()).await?;
            let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| allow.allows(*address));
            match (good.is_empty(), bad.first()) {
                (true, Some(address)) => {
                    // Which address a name has in here is nobody's business who may only name it.
                    tracing::warn!(name = name.as_str(), %address, "refused to ask a private address");
                    Err(OutboundError::Forbidden {
                        address: name.as_str().to_owned(),
                    }
                    .into())
                }
                (true, None) => Err(OutboundError::Unreachable(format!("{} has no address", name.as_str())).into()),
                // The port is the URL's.
                _ => Ok(Box::new(good.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs),
            }
        })
    }
}
