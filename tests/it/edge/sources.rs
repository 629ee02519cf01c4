//! The double's own stores as what an edge looks at.

use std::sync::Arc;

use greenlight::sandbox::edge::{KeyValueStore, Parameter, Routing};
use serde_json::json;

use super::stage::{BLUE, GREEN, KEY, NAVIGATE, Stage, TTL, pointer};
use crate::double::support;

const REGION: &str = "us-east-1";

#[tokio::test]
async fn a_key_value_store_of_the_double() {
    let double = support::double().await;
    let arn = double.add_key_value_store("storefront");
    double.set_kvs_value(&arn, KEY, &pointer(BLUE, json!({}))).unwrap();
    let stage = Stage::with(|options| {
        options.pointer = Arc::new(KeyValueStore::new(&double, &arn));
    })
    .await;
    assert_eq!(stage.pages().await, [BLUE; 3]);
    double.set_kvs_value(&arn, KEY, &pointer(GREEN, json!({}))).unwrap();
    stage.advance(TTL);
    assert_eq!(stage.pages().await, [GREEN; 3]);
    // A key that is gone leaves its last good copy.
    double
        .set_kvs_value(&arn, &format!("{KEY}.last-good"), &pointer(BLUE, json!({})))
        .unwrap();
    double.delete_kvs_value(&arn, KEY).unwrap();
    stage.advance(TTL);
    assert_eq!(stage.edge.pointer_at(0), None);
    assert_eq!(stage.pages().await, [BLUE; 3]);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_a_503() {
    let nowhere = "arn:aws:cloudfront::000000000000:key-value-store/00000000-0000-0000-0000-000000000000";
    let double = support::double().await;
    let stage = Stage::with(|options| {
        options.pointer = Arc::new(KeyValueStore::new(&double, nowhere));
    })
    .await;
    assert_eq!(stage.get("/", &[NAVIGATE]).await.status, 503);
}

#[tokio::test]
async fn a_parameter_of_the_double_in_both_kinds_of_routing() {
    for routing in [Routing::ViewerRewrite, Routing::Origin] {
        let double = support::double().await;
        double.put_parameter(REGION, KEY, &pointer(BLUE, json!({}))).unwrap();
        let stage = Stage::with(|options| {
            options.routing = routing;
            options.pointer = Arc::new(Parameter::new(&double, REGION, KEY));
        })
        .await;
        assert_eq!(stage.pages().await, [BLUE; 3], "{routing:?}");
        assert!(stage.edge.pointer_at(0).unwrap().contains(BLUE));
        double.put_parameter(REGION, KEY, &pointer(GREEN, json!({}))).unwrap();
        stage.advance(TTL);
        let answer = stage.get("/sw.js", &[]).await;
        assert_eq!(answer.release(), Some(GREEN), "{routing:?}");
        assert!(
            stage
                .edge
                .pointer_at(0)
                .unwrap()
                .contains(&format!("\"active\":\"{GREEN}\""))
        );
    }
}
