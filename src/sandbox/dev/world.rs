//! The names of everything in the AWS of `greenlight dev`: two sites, each behind a distribution of its own.

/// A component of the demo, and what it has in AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    pub component: &'static str,
    pub distribution: &'static str,
    pub parameter: &'static str,
    pub bucket: &'static str,
    /// What comes before `{release}/` in the bucket.
    pub prefix: &'static str,
}

/// Routed at viewer-request by the function in `edge/`: a flip needs no invalidation.
pub const WEB: Site = Site {
    component: "web",
    distribution: "E2EXAMPLE",
    parameter: "/storefront/production/release",
    bucket: "storefront-web",
    prefix: "releases/",
};

/// Routed at origin-request, behind the cache: a flip needs one.
pub const DOCS: Site = Site {
    component: "docs",
    distribution: "E3EXAMPLE",
    parameter: "/storefront/production/docs-release",
    bucket: "storefront-docs",
    prefix: "",
};

/// In the order in which they flip.
pub const SITES: [Site; 2] = [WEB, DOCS];

/// The KeyValueStore that web's routing function reads.
pub const KEY_VALUE_STORE: &str = "greenlight-dev";

impl Site {
    /// The key of its pointer in the KeyValueStore: the parameter's name without its first `/`.
    pub fn key(&self) -> &'static str {
        self.parameter.trim_start_matches('/')
    }
}
