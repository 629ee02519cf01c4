//! The environment's document: what a user would keep in a repository and PUT.
//!
//! It only says what is wanted; what it leads to is told in `mod`, `flip` and `canary`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{DOCS, REGION, Stage, WEB, check};

/// Tries of the smoke test: an edge may still have to learn the secret that its preview is signed with.
const SMOKE_ATTEMPTS: u32 = 15;

/// The environment's document.
pub(super) fn environment(stage: &Stage) -> Value {
    let converge = |points: &[SocketAddr]| {
        let addresses: Vec<String> = points.iter().map(SocketAddr::to_string).collect();
        json!({ "consecutive": 2, "interval_ms": 100, "timeout_seconds": 30, "addresses": addresses })
    };
    json!({
        "aws": { "region": REGION },
        "components": [
            {
                "name": WEB.component,
                "router": {
                    "kind": "ssm_pointer",
                    "parameter": WEB.parameter,
                    "format": "json",
                    "edge_ttl_seconds": stage.edge_ttl_seconds,
                    "create_parameter": true,
                    "kvs_arn": stage.kvs_arn,
                },
                "edge": {
                    "mode": "viewer_rewrite",
                    "fallback": "spa",
                    "public_url": stage.web_url,
                    "converge": converge(&stage.web),
                },
                "cdn": { "distribution_id": WEB.distribution, "invalidate": { "mode": "none" } },
                "artifact": { "kind": "s3", "bucket": WEB.bucket, "prefix": format!("{}{{release}}/", WEB.prefix) },
            },
            {
                "name": DOCS.component,
                "router": {
                    "kind": "ssm_pointer",
                    "parameter": DOCS.parameter,
                    "format": "json",
                    "edge_ttl_seconds": stage.edge_ttl_seconds,
                    "create_parameter": true,
                },
                "edge": { "mode": "origin", "public_url": stage.docs_url, "converge": converge(&stage.docs) },
                "cdn": {
                    "distribution_id": DOCS.distribution,
                    "invalidate": { "mode": "paths", "paths": [check::PATHS] },
                },
                "artifact": { "kind": "s3", "bucket": DOCS.bucket, "prefix": format!("{}{{release}}/", DOCS.prefix) },
            },
        ],
    })
}

/// The same, with a test of each release before it has traffic: web's edge is asked for a file of the release, with the
/// cookie of a preview. It waits for the first release: before that there is no pointer, and the edge serves nobody.
pub(super) fn with_smoke_test(stage: &Stage) -> Value {
    let mut document = environment(stage);
    document["checks"] = json!([{
        "name": "smoke",
        "kind": "http",
        "when": "before_traffic",
        "url": format!("{}{}{{release}}/release.json", stage.web_url, WEB.prefix),
        "preview": true,
        "expect_status": 200,
        "expect_body": { "contains": "\"release\"" },
        "attempts": SMOKE_ATTEMPTS,
        "interval_seconds": 1,
    }]);
    document
}
