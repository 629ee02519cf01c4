//! The local edges of `greenlight dev`: one a site, over what the AWS double holds.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;

use super::{
    screen::Screen,
    world::{DOCS, Site, WEB},
};
use crate::{
    domain::environment::Fallback,
    sandbox::{
        double::AwsDouble,
        edge::{
            Bucket, DistributionInvalidations, EdgeError, EdgeOptions, FunctionConfig, KeyValueStore, LocalEdge,
            Object, Parameter, PointerStore, Routing,
        },
    },
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8090);

/// Both of them.
#[derive(Debug)]
pub(super) struct Edges {
    pub web: LocalEdge,
    pub docs: LocalEdge,
}

impl Edges {
    /// Starts both. Web listens where it is asked to; docs at any free port.
    pub(super) async fn start(
        double: &AwsDouble,
        kvs_arn: &str,
        asked: Option<SocketAddr>,
        pointer_ttl: Duration,
        screen: &Screen,
    ) -> anyhow::Result<Self> {
        let store = KeyValueStore::new(double, kvs_arn);
        let mut web = options(double, &WEB, WEB.key(), Fallback::Spa, Arc::new(store), pointer_ttl);
        web.listen = asked.unwrap_or(DEFAULT_LISTEN);
        let started = match LocalEdge::start(web.clone()).await {
            Err(EdgeError::Listen { source, address })
                if asked.is_none() && source.kind() == io::ErrorKind::AddrInUse =>
            {
                screen.line(format!("Port {} is taken; the edge takes a free one.", address.port()));
                web.listen = SocketAddr::new(address.ip(), 0);
                LocalEdge::start(web).await
            }
            started => started,
        };
        let parameter = Parameter::new(double, super::cloud::REGION, DOCS.parameter);
        let mut docs = options(
            double,
            &DOCS,
            DOCS.parameter,
            Fallback::Index,
            Arc::new(parameter),
            pointer_ttl,
        );
        docs.routing = Routing::Origin;
        Ok(Self {
            web: started.context("could not start the edge of web")?,
            docs: LocalEdge::start(docs)
                .await
                .context("could not start the edge of docs")?,
        })
    }

    pub(super) async fn shutdown(&self) {
        self.web.shutdown().await;
        self.docs.shutdown().await;
    }
}

fn options(
    double: &AwsDouble,
    site: &Site,
    key: &str,
    fallback: Fallback,
    pointer: Arc<dyn PointerStore>,
    pointer_ttl: Duration,
) -> EdgeOptions {
    let config = FunctionConfig {
        prefix: site.prefix.to_owned(),
        fallback,
        key: key.to_owned(),
    };
    let origin = Bucket::new({
        let (double, bucket) = (double.clone(), site.bucket);
        move |key: &str| object(&double, bucket, key)
    });
    let invalidations = DistributionInvalidations::new(double, site.distribution);
    let mut options = EdgeOptions::new(
        config,
        double.clock().clone(),
        Arc::new(origin),
        pointer,
        Arc::new(invalidations),
    );
    options.distribution_id = site.distribution.to_owned();
    options.pointer_ttl = pointer_ttl;
    options
}

fn object(double: &AwsDouble, bucket: &str, key: &str) -> Option<Object> {
    let stored = double.object(bucket, key)?;
    Some(Object {
        body: stored.body,
        content_type: stored.content_type,
        etag: Some(format!("\"{}\"", stored.etag)),
        last_modified: Some(stored.last_modified),
        cache_control: stored.cache_control,
        content_encoding: stored.content_encoding,
        ..Object::default()
    })
}
