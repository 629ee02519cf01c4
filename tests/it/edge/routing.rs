//! The routing function of this project at the local edge: pages, their assets, pins, previews, and a pointer that can't be
//! read.

use std::time::Duration;

use greenlight::sandbox::edge::{Routing, StoreError};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::stage::{Answer, BLUE, GREEN, KEY, NAVIGATE, SUBRESOURCE, Stage, TTL, pointer};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The value of a cookie that an answer sets.
fn cookie<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let cookies = answer.cookies();
    let line = cookies
        .into_iter()
        .find_map(|line| line.strip_prefix(&format!("{name}=")))?;
    line.split(';').next()
}

fn token(release: &str, expires: i64) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    hmac.update(format!("greenlight-preview\n{release}\n{expires}").as_bytes());
    format!("{expires}~{release}~{}", hex::encode(hmac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_page_is_marked_pinned_and_never_kept_by_the_browser() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let page = stage.get("/some/route?a=1", &[NAVIGATE]).await;
    assert_eq!((page.status, page.text().as_str()), (200, "index.html of 1.42.0"));
    assert_eq!(
        (page.release(), page.header("cache-control")),
        (Some(BLUE), Some("no-cache"))
    );
    let [pin] = page.cookies()[..] else {
        panic!("{:?}", page.cookies())
    };
    let (value, attributes) = pin.split_once("; ").unwrap();
    assert_eq!(value, "greenlight-pin=1.42.0~7");
    for attribute in ["Path=/", "Max-Age=1800", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(attributes.split("; ").any(|one| one == attribute), "{attributes}");
    }
    // Nothing of it is in the cache: the next viewer gets it for itself or not at all.
    let asset = stage.get("/index.html", &[SUBRESOURCE]).await;
    assert_eq!((asset.x_cache(), asset.cookies().len()), ("Hit from cloudfront", 0));
}

#[tokio::test]
async fn only_content_hashed_names_keep_what_the_origin_says() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for (file, kept) in [("app.3f2a9c1b.js", true), ("app.js", false), ("sw.js", false)] {
        let key = format!("releases/1.42.0/{file}");
        stage.put_object(
            &key,
            greenlight::sandbox::edge::Object {
                cache_control: Some("max-age=31536000, immutable".to_owned()),
                ..super::stage::object(file)
            },
        );
        let answer = stage.get(&format!("/{file}"), &[SUBRESOURCE]).await;
        let expected = if kept {
            "max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        assert_eq!(answer.header("cache-control"), Some(expected), "{file}");
    }
}

#[tokio::test]
async fn an_open_page_keeps_its_assets_through_a_flip_until_the_epoch_is_raised() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let page = stage.get("/", &[NAVIGATE]).await;
    let pin = format!("greenlight-pin={}", cookie(&page, "greenlight-pin").unwrap());
    stage.write(KEY, &pointer(GREEN, json!({})));
    stage.advance(TTL);
    let asset = stage.get("/app.js", &[SUBRESOURCE, ("cookie", &pin)]).await;
    assert_eq!(
        (asset.release(), asset.text().as_str()),
        (Some(BLUE), "app.js of 1.42.0")
    );
    let stranger = stage.get("/app.js", &[SUBRESOURCE]).await;
    assert_eq!(stranger.release(), Some(GREEN));
    let next = stage.get("/", &[NAVIGATE, ("cookie", &pin)]).await;
    assert_eq!(
        (next.release(), cookie(&next, "greenlight-pin")),
        (Some(GREEN), Some("1.43.0~7"))
    );
    // A rollback raises the epoch: everyone is free at once.
    let pin = "greenlight-pin=1.43.0~7";
    stage.write(KEY, &pointer(BLUE, json!({ "epoch": 8 })));
    stage.advance(TTL);
    let freed = stage.get("/app.js", &[SUBRESOURCE, ("cookie", pin)]).await;
    assert_eq!(freed.release(), Some(BLUE));
}

#[tokio::test]
async fn a_share_of_the_visitors_gets_the_candidate_and_stays_there() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let shared = pointer(BLUE, json!({ "candidate": GREEN, "weight": 50 }));
    stage.write(KEY, &shared);
    stage.advance(TTL);
    let mut on_candidate = 0;
    for _ in 0..60 {
        let first = stage.get("/", &[NAVIGATE]).await;
        let visitor = format!("greenlight-visitor={}", cookie(&first, "greenlight-visitor").unwrap());
        let release = first.release().unwrap().to_owned();
        on_candidate += usize::from(release == GREEN);
        let again = stage.get("/", &[NAVIGATE, ("cookie", &visitor)]).await;
        assert_eq!(again.release(), Some(release.as_str()));
        assert_eq!(cookie(&again, "greenlight-visitor"), None, "only newcomers get one");
    }
    // Newcomers are told apart by their request's id. One in 10^9 runs would leave these bounds.
    assert!((7..=53).contains(&on_candidate), "{on_candidate} of 60");
}

#[tokio::test]
async fn a_release_in_the_path_is_served_as_it_is() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let named = stage.get("/releases/1.43.0/app.js", &[SUBRESOURCE]).await;
    assert_eq!(
        (named.release(), named.text().as_str()),
        (Some(GREEN), "app.js of 1.43.0")
    );
    let unknown = stage.get("/releases/9.9.9/app.js", &[SUBRESOURCE]).await;
    assert_eq!((unknown.status, unknown.release()), (404, None));
}

#[tokio::test]
async fn a_plus_in_a_version_reaches_the_object() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    stage.put("releases/2.0.0+build.7/index.html", "with a plus");
    stage.write(KEY, &pointer("2.0.0+build.7", json!({})));
    stage.advance(TTL);
    let page = stage.get("/", &[NAVIGATE]).await;
    assert_eq!((page.status, page.text().as_str()), (200, "with a plus"));
    assert_eq!(page.release(), Some("2.0.0+build.7"));
    // Behind the cache, too.
    let behind = Stage::new(Routing::Origin).await;
    behind.put("releases/2.0.0+build.7/index.html", "with a plus");
    behind.write(KEY, &pointer("2.0.0+build.7", json!({})));
    let page = behind.get("/", &[NAVIGATE]).await;
    assert_eq!(
        (page.text().as_str(), page.release()),
        ("with a plus", Some("2.0.0+build.7"))
    );
}

#[tokio::test]
async fn a_preview_shows_one_browser_a_release_that_nobody_else_sees_until_it_expires() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    stage.write(&format!("{KEY}.preview-key"), SECRET);
    stage.put("releases/2.0.0/index.html", "not for everyone");
    stage.advance(TTL);
    let expires = stage.double.clock().now().timestamp() + 600;
    let token = token("2.0.0", expires);

    let link = stage
        .get(&format!("/page?a=1&greenlight-preview={token}&b=2"), &[NAVIGATE])
        .await;
    assert_eq!((link.status, link.header("location")), (302, Some("/page?a=1&b=2")));
    assert_eq!(link.header("cache-control"), Some("no-store"));
    assert_eq!(cookie(&link, "greenlight-preview"), Some(token.as_str()));
    let cookies = format!("greenlight-preview={token}");
    let preview = stage.get("/page", &[NAVIGATE, ("cookie", &cookies)]).await;
    assert_eq!((preview.status, preview.text().as_str()), (200, "not for everyone"));
    assert_eq!(
        (preview.release(), preview.header("x-robots-tag")),
        (Some("2.0.0"), Some("noindex"))
    );
    assert_eq!(preview.header("cache-control"), Some("no-cache"));
    assert_eq!(stage.get("/page", &[NAVIGATE]).await.text(), "index.html of 1.42.0");

    let tampered = token.replacen("2.0.0", "2.0.1", 1);
    let refused = stage
        .get(&format!("/?greenlight-preview={tampered}"), &[NAVIGATE])
        .await;
    assert_eq!((refused.status, refused.cookies().len()), (403, 0));
    let ignored = stage
        .get("/", &[NAVIGATE, ("cookie", &format!("greenlight-preview={tampered}"))])
        .await;
    assert_eq!(
        (ignored.release(), cookie(&ignored, "greenlight-preview")),
        (Some(BLUE), Some(""))
    );

    // Functions have the edge's clock: an hour later the link is worth nothing.
    stage.advance(Duration::from_secs(600));
    let late = stage.get("/", &[NAVIGATE, ("cookie", &cookies)]).await;
    assert_eq!(late.release(), Some(BLUE));
    assert_eq!(
        stage.get(&format!("/?greenlight-preview={token}"), &[]).await.status,
        403
    );
}

#[tokio::test]
async fn a_forged_decision_is_overwritten() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let forged = r#"{"r":"6.6.6","c":[["greenlight-pin","6.6.6~9",999]]}"#;
    for (name, times) in [("x-greenlight-decision", 1), ("X-Greenlight-Decision", 2)] {
        let mut headers = vec![NAVIGATE];
        headers.extend(std::iter::repeat_n((name, forged), times));
        let answer = stage.get("/", &headers).await;
        assert_eq!((answer.status, answer.release()), (200, Some(BLUE)));
        assert_eq!(cookie(&answer, "greenlight-pin"), Some("1.42.0~7"));
    }
}

#[tokio::test]
async fn what_an_origin_says_of_the_release_is_not_passed_on() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let mut lying = super::stage::object("lying");
    lying.headers = vec![
        ("x-greenlight-release".to_owned(), "6.6.6".to_owned()),
        ("x-amz-meta-build".to_owned(), "7".to_owned()),
    ];
    stage.put_object("releases/1.42.0/lying.js", lying);
    let answer = stage.get("/lying.js", &[SUBRESOURCE]).await;
    assert_eq!(
        (answer.release(), answer.header("x-amz-meta-build")),
        (Some(BLUE), Some("7"))
    );
}

#[tokio::test]
async fn without_a_good_pointer_the_last_good_one_counts_and_without_that_one_it_is_a_503() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for broken in ["", "no json", "{\"v\":2}", "{\"v\":1}", "[]", "null"] {
        stage.write(KEY, broken);
        stage.write(&format!("{KEY}.last-good"), &pointer(GREEN, json!({})));
        stage.advance(TTL);
        assert_eq!(stage.get("/", &[NAVIGATE]).await.release(), Some(GREEN), "{broken}");
        stage.write(&format!("{KEY}.last-good"), broken);
        stage.advance(TTL);
        let answer = stage.get("/", &[NAVIGATE]).await;
        assert_eq!(answer.status, 503, "{broken}");
        assert_eq!(
            (answer.header("cache-control"), answer.header("retry-after")),
            (Some("no-store"), Some("5"))
        );
        assert_eq!(answer.x_cache(), "FunctionGeneratedResponse from cloudfront");
    }
    stage.write(KEY, &pointer(BLUE, json!({})));
    stage.advance(TTL);
    assert_eq!(
        stage.get("/", &[NAVIGATE]).await.release(),
        Some(BLUE),
        "nobody kept the 503"
    );
}

#[tokio::test]
async fn a_store_out_of_reach_leaves_every_edge_with_its_copy() {
    for routing in [Routing::ViewerRewrite, Routing::Origin] {
        let stage = Stage::new(routing).await;
        assert_eq!(stage.pages().await, [BLUE; 3]);
        *stage.store.lock().unwrap() = Err(StoreError("no permission".to_owned()));
        stage.advance(TTL * 10);
        // Another page, so that the cache has no answer.
        for answer in stage.everywhere("/app.js", &[SUBRESOURCE]).await {
            assert_eq!((answer.status, answer.release()), (200, Some(BLUE)), "{routing:?}");
        }
        // Long enough for whoever waits a while after a failure.
        stage.write(KEY, &pointer(GREEN, json!({})));
        stage.advance(TTL * 10);
        for answer in stage.everywhere("/sw.js", &[SUBRESOURCE]).await {
            assert_eq!(answer.release(), Some(GREEN), "{routing:?}");
        }
    }
}

#[tokio::test]
async fn behind_the_cache_there_are_no_pins_and_no_pointer_is_a_503() {
    let stage = Stage::new(Routing::Origin).await;
    let page = stage.get("/some/route", &[NAVIGATE]).await;
    assert_eq!(
        (page.text().as_str(), page.release()),
        ("index.html of 1.42.0", Some(BLUE))
    );
    assert_eq!(page.cookies().len(), 0);
    assert_eq!(stage.get("/missing.js", &[]).await.status, 404);
    let broken = Stage::new(Routing::Origin).await;
    broken.write(KEY, "no json");
    let answer = broken.get("/", &[NAVIGATE]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    broken.write(KEY, &pointer(GREEN, json!({})));
    broken.advance(TTL);
    assert_eq!(
        broken.get("/", &[NAVIGATE]).await.release(),
        Some(GREEN),
        "nobody kept the 503"
    );
}
