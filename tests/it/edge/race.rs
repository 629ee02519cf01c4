//! The flip race: an edge that holds an old pointer refills a cache that was cleared too early, for good. With the right
//! order it can't, and a release in the cache key needs no order at all.

use std::time::Duration;

use greenlight::sandbox::edge::Routing;
use serde_json::json;

use super::stage::{BLUE, GREEN, INVALIDATION, KEY, Stage, TTL, pointer};
use crate::double::support::soon;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn an_invalidation_before_the_ttl_leaves_the_old_release_in_the_caches() {
    let stage = Stage::new(Routing::Origin).await;
    assert_eq!(stage.pages().await, [BLUE; 3]);

    stage.write(KEY, &pointer(GREEN, json!({})));
    stage.invalidate("too-early", &["/*"]).await;
    stage.advance(INVALIDATION);
    assert_eq!(stage.invalidation_status(), "Completed");

    // Every cache is empty, but every edge still holds the pointer that it read before the flip.
    let refilled = stage.everywhere("/", &[]).await;
    for answer in &refilled {
        assert_eq!(
            (answer.x_cache(), answer.release()),
            ("Miss from cloudfront", Some(BLUE))
        );
    }
    // The TTL passes, every edge would know better now, and nobody asks it: what is cached is served, hour after hour.
    for passes in [TTL, Duration::from_secs(3600), DAY - TTL - Duration::from_secs(3700)] {
        stage.advance(passes);
        for answer in stage.everywhere("/", &[]).await {
            assert_eq!(answer.x_cache(), "Hit from cloudfront");
            assert_eq!(
                (answer.text(), answer.release()),
                ("index.html of 1.42.0".to_owned(), Some(BLUE))
            );
        }
    }
    // What nobody had cached is of the new release by then: a page of one release with assets of the other.
    let asset = stage.get("/app.js", &[]).await;
    assert_eq!(asset.release(), Some(GREEN));
    // Only the default TTL of the cache ends it.
    stage.advance(Duration::from_secs(200));
    assert_eq!(stage.pages().await, [GREEN; 3]);
}

#[tokio::test]
async fn one_late_edge_is_enough() {
    let stage = Stage::new(Routing::Origin).await;
    // The second point of presence reads the pointer just before the flip, the others long before.
    stage.get_at(0, "/", &[]).await;
    stage.get_at(2, "/", &[]).await;
    stage.advance(TTL - Duration::from_secs(1));
    stage.get_at(1, "/", &[]).await;
    stage.write(KEY, &pointer(GREEN, json!({})));
    stage.advance(Duration::from_secs(1));
    stage.invalidate("too-early", &["/*"]).await;
    stage.advance(INVALIDATION);
    assert_eq!(stage.pages().await, [GREEN, BLUE, GREEN]);
    stage.advance(DAY / 2);
    assert_eq!(stage.pages().await, [GREEN, BLUE, GREEN]);
}

#[tokio::test]
async fn flip_then_ttl_then_invalidation_is_right_everywhere() {
    let stage = Stage::new(Routing::Origin).await;
    assert_eq!(stage.pages().await, [BLUE; 3]);

    stage.write(KEY, &pointer(GREEN, json!({})));
    stage.advance(TTL);
    assert_eq!(stage.pages().await, [BLUE; 3], "cached, until the invalidation passes");
    stage.invalidate("in-time", &["/*"]).await;
    assert_eq!(stage.invalidation_status(), "InProgress");
    // It passes through the points of presence one after the other, at a quarter of its time each.
    stage.advance(INVALIDATION / 4);
    assert_eq!(stage.pages().await, [GREEN, BLUE, BLUE]);
    stage.advance(INVALIDATION / 4);
    assert_eq!(stage.pages().await, [GREEN, GREEN, BLUE]);
    stage.advance(INVALIDATION / 4);
    assert_eq!(stage.invalidation_status(), "InProgress");
    assert_eq!(stage.pages().await, [GREEN; 3], "all of them before it is completed");
    stage.advance(INVALIDATION / 4);
    assert_eq!(stage.invalidation_status(), "Completed");
    assert_eq!(stage.pages().await, [GREEN; 3]);
    assert_eq!(stage.get("/", &[]).await.release(), Some(GREEN));
    assert_eq!(stage.edge.counters().cleared, 3);
    assert_eq!(stage.edge.counters().server_errors(), 0);
}

#[tokio::test]
async fn an_edge_reads_the_pointer_at_most_once_in_its_ttl() {
    let stage = Stage::new(Routing::Origin).await;
    for round in 1..=3_u64 {
        for file in ["/", "/app.js", "/sw.js", "/missing.js"] {
            stage.get(&format!("{file}?round={round}"), &[]).await;
        }
        stage.invalidate(&format!("round-{round}"), &["/*"]).await;
        stage.advance(TTL);
        let reads: Vec<u64> = stage
            .edge
            .pop_counters()
            .iter()
            .map(|each| each.pointer_reads)
            .collect();
        assert_eq!(reads, [round, 0, 0]);
    }
}

#[tokio::test]
async fn a_release_in_the_cache_key_needs_no_invalidation() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    assert_eq!(stage.pages().await, [BLUE; 3]);
    for (from, to) in [(BLUE, GREEN), (GREEN, BLUE), (BLUE, GREEN)] {
        stage.write(KEY, &pointer(to, json!({})));
        assert_eq!(stage.pages().await, [from; 3]);
        // The store reaches the points of presence one after the other, all within the TTL.
        for expected in [[to, from, from], [to, to, from], [to, to, to]] {
            stage.advance(TTL / 3);
            assert_eq!(stage.pages().await, expected);
            let pointers = (0..3).map(|pop| stage.edge.pointer_at(pop).unwrap());
            let known: Vec<bool> = pointers
                .map(|pointer| pointer.contains(&format!("\"active\":\"{to}\"")))
                .collect();
            assert_eq!(known, expected.map(|release| release == to));
        }
    }
    assert!(stage.double.invalidations("E2EXAMPLE").is_empty());
    // Both releases are cached side by side: coming back to one is a hit.
    assert_eq!(stage.edge.counters().misses, 6);
}

#[tokio::test]
async fn whoever_waits_is_told_of_a_new_pointer_and_of_a_clear() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let new = pointer(GREEN, json!({}));
    stage.write(KEY, &new);
    stage.advance(TTL);
    let everywhere = |edge: &greenlight::sandbox::edge::LocalEdge| {
        (0..3).all(|pop| edge.pointer_at(pop).as_deref() == Some(new.as_str()))
    };
    soon(stage.edge.wait_until(everywhere)).await;
    let before = stage.edge.changed();
    stage.get("/", &[]).await;
    stage.invalidate("clear", &["/*"]).await;
    stage.advance(INVALIDATION);
    soon(stage.edge.wait_until(|edge| edge.counters().cleared == 1)).await;
    assert!(before.has_changed().unwrap());
    assert_eq!(stage.edge.pointer_at(3), None);
}
