//! Many viewers at once while the pointer flips back and forth: no error, no page with assets of another release, and
//! nobody on the old release once every point of presence knows better.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use greenlight::sandbox::edge::Routing;
use serde_json::json;

use super::stage::{BLUE, GREEN, KEY, NAVIGATE, SUBRESOURCE, Stage, TTL, pointer};
use crate::double::support::soon;

const FLIPS: usize = 30;
const VIEWERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_under_load_cost_no_viewer_anything() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let over = AtomicBool::new(false);
    let pages = AtomicU64::new(0);
    let flips = async {
        for flip in 1..=FLIPS {
            let to = if flip % 2 == 1 { GREEN } else { BLUE };
            let written = pointer(to, json!({}));
            stage.write(KEY, &written);
            for reached in 0..3 {
                stage.advance(TTL / 3);
                soon(
                    stage
                        .edge
                        .wait_until(|edge| edge.pointer_at(reached).as_deref() == Some(&written)),
                )
                .await;
            }
            assert_eq!(stage.pages().await, [to; 3], "flip {flip}");
        }
        over.store(true, Ordering::SeqCst);
    };
    let viewers = (0..VIEWERS).map(|viewer| {
        let (stage, over, pages) = (&stage, &over, &pages);
        async move {
            let mut pin = String::new();
            while !over.load(Ordering::SeqCst) {
                let page = stage.get_at(viewer % 3, "/", &[NAVIGATE, ("cookie", &pin)]).await;
                assert_eq!(page.status, 200, "{page:?}");
                let release = page.release().unwrap().to_owned();
                assert_eq!(page.text(), format!("index.html of {release}"));
                page.cookies()[0].split(';').next().unwrap().clone_into(&mut pin);
                // Assets may come from a point of presence that is ahead or behind.
                for (pop, file) in [(viewer % 3, "app.js"), ((viewer + 1) % 3, "sw.js")] {
                    let asset = stage
                        .get_at(pop, &format!("/{file}"), &[SUBRESOURCE, ("cookie", &pin)])
                        .await;
                    assert_eq!(asset.text(), format!("{file} of {release}"), "{asset:?}");
                }
                pages.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    futures::future::join(flips, futures::future::join_all(viewers)).await;
    let counters = stage.edge.counters();
    assert_eq!((counters.server_errors(), counters.function_errors), (0, 0));
    assert!(
        pages.load(Ordering::SeqCst) > FLIPS as u64,
        "there was load: {counters:?}"
    );
}
