//! HEAD, ranges and conditions, with the marks of viewer-response on all that went well.

use greenlight::sandbox::edge::Routing;

use super::stage::{BLUE, NAVIGATE, SUBRESOURCE, Stage};

const BODY: &str = "app.js of 1.42.0";
const ETAG: &str = "\"etag of app.js of 1.42.0\"";

#[tokio::test]
async fn head_is_served_from_what_get_left_and_the_other_way_round() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let head = stage.head("/app.js", &[SUBRESOURCE]).await;
    assert_eq!(
        (head.status, head.body.len(), head.x_cache()),
        (200, 0, "Miss from cloudfront")
    );
    assert_eq!(head.header("content-length"), Some(BODY.len().to_string().as_str()));
    assert_eq!(head.release(), Some(BLUE));
    let get = stage.get("/app.js", &[SUBRESOURCE]).await;
    assert_eq!((get.text().as_str(), get.x_cache()), (BODY, "Hit from cloudfront"));
    let again = stage.head("/app.js", &[]).await;
    assert_eq!((again.body.len(), again.x_cache()), (0, "Hit from cloudfront"));
    for name in [
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "accept-ranges",
        "cache-control",
    ] {
        assert_eq!(again.header(name), get.header(name), "{name}");
    }
    let missing = stage.head("/missing.js", &[]).await;
    assert_eq!((missing.status, missing.body.len()), (404, 0));
}

#[tokio::test]
async fn a_head_of_a_page_sets_the_pin_too() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let head = stage.head("/", &[NAVIGATE]).await;
    assert_eq!((head.status, head.cookies().len()), (200, 1));
    assert!(head.cookies()[0].starts_with("greenlight-pin=1.42.0~7; "));
}

#[tokio::test]
async fn a_range_is_cut_out_of_the_cached_object() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for expected in ["Miss from cloudfront", "Hit from cloudfront"] {
        let part = stage.get("/app.js", &[SUBRESOURCE, ("range", "bytes=4-7")]).await;
        assert_eq!(
            (part.status, part.text().as_str(), part.x_cache()),
            (206, "js o", expected)
        );
        assert_eq!(part.header("content-range"), Some("bytes 4-7/16"));
        assert_eq!(part.header("content-length"), Some("4"));
        assert_eq!(
            (part.release(), part.header("cache-control")),
            (Some(BLUE), Some("no-cache"))
        );
    }
    assert_eq!(
        stage.get("/app.js", &[]).await.text(),
        BODY,
        "the whole object is cached"
    );
    let end = stage.get("/app.js", &[("range", "bytes=-6")]).await;
    assert_eq!((end.status, end.text().as_str()), (206, "1.42.0"));
    let changed = stage
        .get("/app.js", &[("range", "bytes=0-1"), ("if-range", "\"other\"")])
        .await;
    assert_eq!((changed.status, changed.text().as_str()), (200, BODY));
    let nonsense = stage.get("/app.js", &[("range", "bytes=7-4")]).await;
    assert_eq!((nonsense.status, nonsense.text().as_str()), (200, BODY));
}

#[tokio::test]
async fn a_range_outside_the_object_is_416_and_carries_no_marks() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let outside = stage.get("/app.js", &[NAVIGATE, ("range", "bytes=16-")]).await;
    assert_eq!((outside.status, outside.body.len()), (416, 0));
    assert_eq!(outside.header("content-range"), Some("bytes */16"));
    assert_eq!((outside.release(), outside.cookies().len()), (None, 0));
}

#[tokio::test]
async fn what_the_viewer_has_is_not_sent_again_but_marked_anew() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let first = stage.get("/app.js", &[]).await;
    assert_eq!(first.header("etag"), Some(ETAG));
    let modified = first.header("last-modified").unwrap();
    assert_eq!(modified, "Tue, 14 Nov 2023 22:13:20 GMT");
    for condition in [("if-none-match", ETAG), ("if-modified-since", modified)] {
        let answer = stage.get("/app.js", &[NAVIGATE, condition]).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition:?}");
        assert_eq!(answer.header("etag"), Some(ETAG));
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(
            (answer.release(), answer.header("cache-control")),
            (Some(BLUE), Some("no-cache"))
        );
        assert!(answer.cookies()[0].starts_with("greenlight-pin="));
    }
    let other = stage.get("/app.js", &[("if-none-match", "\"other\"")]).await;
    assert_eq!((other.status, other.text().as_str()), (200, BODY));
    assert_eq!(stage.get("/missing.js", &[("if-none-match", "*")]).await.status, 404);
}
