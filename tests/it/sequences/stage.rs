//! Where a sequence begins: the environment's document, and a promotion's strategy.

use serde_json::{Value, json};

use super::steps::{Roads, Stage, Way};
use crate::{
    support::{TestApp, api_and_web, web_in_kvs, web_projected},
    validation::site::Site,
};

/// The environment's document.
pub fn document(app: &TestApp, site: &Site, stage: &Stage) -> Value {
    let mut document = api_and_web();
    let web = match stage.roads {
        Roads::Parameters => None,
        Roads::Keys => Some(web_in_kvs(&app.store_arn())),
        Roads::Projected => Some(web_projected(&app.store_arn())),
    };
    if let Some(web) = web {
        document["components"][1] = web["components"][0].clone();
    }
    document["components"][1]["edge"] = json!({"mode": "viewer_rewrite"});
    for at in 0..2 {
        document["components"][at]["router"]["edge_ttl_seconds"] = json!(5);
    }
    document["approvals"] = json!({"before_traffic": stage.gate, "expires_after_seconds": 3600});
    if stage.check {
        let check = |name: &str| {
            json!({"name": name, "when": name.replace('-', "_"), "kind": "http", "url": format!("{}/check", site.url),
                   "attempts": 2, "interval_seconds": 5})
        };
        document["checks"] = json!([check("before-traffic"), check("after-traffic")]);
    }
    if stage.hooks {
        let hook = |name: &str, when: &str| {
            json!({"name": name, "when": when, "url": format!("{}/{name}", site.url),
                   "undo": {"url": format!("{}/{name}-undo", site.url)}})
        };
        document["hooks"] = json!([hook("expand", "before_traffic"), hook("warm", "before_weight")]);
        document["hooks"][1]["weight"] = json!(100);
    }
    document
}

/// A strategy as it is sent, and its weights below 100.
pub fn strategy(site: &Site, way: &Way) -> (Value, Vec<u32>) {
    match way {
        Way::AllAtOnce { bake_seconds } => (json!({"kind": "all_at_once", "bake_seconds": bake_seconds}), Vec::new()),
        Way::Canary {
            weights,
            gate,
            check,
            only_web,
        } => {
            let step = |weight: &u32| {
                let mut step = json!({"weight": weight, "bake_seconds": 60, "approval": gate});
                if *check {
                    step["checks"] = json!([{"name": format!("share-{weight}"), "kind": "http",
                        "url": format!("{}/check", site.url), "attempts": 2, "interval_seconds": 20}]);
                }
                step
            };
            let steps: Vec<Value> = weights.iter().map(step).collect();
            let mut strategy = json!({"kind": "canary", "steps": steps});
            if *only_web {
                strategy["components"] = json!(["web"]);
            }
            (strategy, weights.clone())
        }
    }
}
