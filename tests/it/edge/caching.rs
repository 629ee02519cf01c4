//! What is kept, for how long, and under which key.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use greenlight::sandbox::edge::{Object, Origin, OriginError, Routing};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use super::stage::{INVALIDATION, NAVIGATE, SUBRESOURCE, Stage, object};
use crate::double::support::soon;

const PATH: &str = "/app.js";
const KEY: &str = "releases/1.42.0/app.js";

#[tokio::test]
async fn the_second_request_is_a_hit_with_an_age() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let first = stage.get(PATH, &[SUBRESOURCE]).await;
    assert_eq!((first.status, first.x_cache()), (200, "Miss from cloudfront"));
    assert_eq!(first.header("age"), None);
    assert_eq!(first.header("x-amz-cf-pop"), Some("LOCAL1-C1"));
    assert_eq!(first.header("server"), Some("AmazonS3"));
    let via = first.header("via").unwrap();
    assert!(
        via.starts_with("1.1 ") && via.ends_with(".cloudfront.net (CloudFront)"),
        "{via}"
    );
    stage.advance(Duration::from_secs(90));
    let second = stage.get(PATH, &[SUBRESOURCE]).await;
    assert_eq!(second.x_cache(), "Hit from cloudfront");
    let age: u64 = second.header("age").unwrap().parse().unwrap();
    assert!((90..100).contains(&age), "{age}");
    assert_eq!(second.header("via"), Some(via));
    assert_ne!(second.header("x-amz-cf-id"), first.header("x-amz-cf-id"));
    assert_eq!(second.body, first.body);
    let counters = stage.edge.counters();
    assert_eq!((counters.requests, counters.hits, counters.misses), (2, 1, 1));
    assert_eq!(counters.statuses[&200], 2);
}

#[tokio::test]
async fn each_point_of_presence_has_a_cache_of_its_own_and_the_main_port_is_the_first() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for pop in 0..3 {
        let answer = stage.get_at(pop, PATH, &[]).await;
        assert_eq!(answer.x_cache(), "Miss from cloudfront");
        let name = format!("LOCAL{}-C1", pop + 1);
        assert_eq!(answer.header("x-amz-cf-pop"), Some(name.as_str()));
    }
    let main = super::stage::ask(stage.edge.address(), "GET", PATH, &[]).await;
    assert_eq!(
        (main.x_cache(), main.header("x-amz-cf-pop")),
        ("Hit from cloudfront", Some("LOCAL1-C1"))
    );
    assert_eq!(stage.edge.url(), format!("http://{}", stage.edge.address()));
    assert_eq!(stage.edge.pop_ports().len(), 3);
    assert!(!stage.edge.pop_ports().contains(&stage.edge.address().port()));
}

#[tokio::test]
async fn query_strings_cookies_and_headers_are_no_part_of_the_key() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    stage.get(PATH, &[]).await;
    for (target, headers) in [
        ("/app.js?a=1", vec![]),
        ("/app.js?", vec![("cookie", "a=b")]),
        (PATH, vec![("accept", "text/plain"), ("x-own", "1")]),
        (PATH, vec![("cache-control", "no-cache"), ("pragma", "no-cache")]),
        (PATH, vec![SUBRESOURCE]),
        ("http://other.example/app.js", vec![]),
    ] {
        let answer = stage.get(target, &headers).await;
        assert_eq!(
            (answer.status, answer.x_cache()),
            (200, "Hit from cloudfront"),
            "{target} {headers:?}"
        );
    }
}

#[tokio::test]
async fn an_object_expires_as_its_origin_says() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let with = |cache_control: Option<&str>| Object {
        cache_control: cache_control.map(str::to_owned),
        ..object("x")
    };
    let hit_after = async |seconds: u64| {
        stage.get(PATH, &[]).await;
        stage.advance(Duration::from_secs(seconds));
        stage.get(PATH, &[]).await.x_cache() == "Hit from cloudfront"
    };
    for (said, seconds, is_hit) in [
        (None, 86_390, true),
        (None, 86_400, false),
        (Some("max-age=10"), 5, true),
        (Some("max-age=10"), 10, false),
        (Some("no-cache"), 0, false),
        (Some("no-store"), 0, false),
        (Some("max-age=10, s-maxage=100"), 50, true),
    ] {
        stage.put_object(KEY, with(said));
        stage.advance(Duration::from_secs(400 * 86_400));
        assert_eq!(hit_after(seconds).await, is_hit, "{said:?} after {seconds} s");
    }
}

#[tokio::test]
async fn a_missing_file_is_a_404_without_marks_that_is_kept_for_ten_seconds() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let missing = stage.get("/new.js", &[SUBRESOURCE]).await;
    assert_eq!((missing.status, missing.x_cache()), (404, "Error from cloudfront"));
    assert_eq!(missing.header("content-type"), Some("application/xml"));
    assert!(missing.text().contains("NoSuchKey"));
    assert_eq!((missing.release(), missing.cookies().len()), (None, 0));
    stage.put("releases/1.42.0/new.js", "new");
    stage.advance(Duration::from_secs(5));
    assert_eq!(stage.get("/new.js", &[]).await.status, 404);
    stage.advance(Duration::from_secs(5));
    assert_eq!(stage.get("/new.js", &[]).await.status, 200);
    let counters = stage.edge.counters();
    assert_eq!((counters.hits, counters.misses), (1, 2));
}

#[tokio::test]
async fn a_clear_takes_what_it_names_and_nothing_else() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for path in ["/app.js", "/sw.js"] {
        stage.get(path, &[]).await;
    }
    // The path as the viewer has it is not the one in the cache.
    stage.invalidate("viewer", &["/app.js"]).await;
    stage.advance(INVALIDATION);
    assert_eq!(stage.get("/app.js", &[]).await.x_cache(), "Hit from cloudfront");
    stage.invalidate("rewritten", &["/releases/1.42.0/app.js"]).await;
    stage.advance(INVALIDATION);
    assert_eq!(stage.get("/app.js", &[]).await.x_cache(), "Miss from cloudfront");
    assert_eq!(stage.get("/sw.js", &[]).await.x_cache(), "Hit from cloudfront");
    stage.invalidate("all of a release", &["/releases/1.42.0/*"]).await;
    stage.advance(INVALIDATION);
    assert_eq!(stage.get("/app.js", &[]).await.x_cache(), "Miss from cloudfront");
    assert_eq!(stage.get("/sw.js", &[]).await.x_cache(), "Miss from cloudfront");
}

/// An origin that a test holds up, or makes fail.
struct Slow {
    body: Mutex<String>,
    fails: AtomicBool,
    asked: Semaphore,
    may_answer: Semaphore,
}

#[async_trait]
impl Origin for Slow {
    async fn fetch(&self, _: &str) -> Result<Option<Object>, OriginError> {
        let body = self.body.lock().unwrap().clone();
        self.asked.add_permits(1);
        self.may_answer.acquire().await.unwrap().forget();
        if self.fails.load(Ordering::SeqCst) {
            return Err(OriginError("out of order".to_owned()));
        }
        Ok(Some(object(&body)))
    }
}

async fn slow_stage() -> (Stage, Arc<Slow>) {
    let origin = Arc::new(Slow {
        body: Mutex::new("old".to_owned()),
        fails: AtomicBool::new(false),
        asked: Semaphore::new(0),
        may_answer: Semaphore::new(0),
    });
    let given = Arc::clone(&origin);
    (Stage::with(|options| options.origin = given).await, origin)
}

#[tokio::test]
async fn what_was_on_its_way_when_a_clear_passed_is_served_and_not_kept() {
    let (stage, origin) = slow_stage().await;
    let under_way = stage.get(PATH, &[]);
    let meanwhile = async {
        origin.asked.acquire().await.unwrap().forget();
        "new".clone_into(&mut origin.body.lock().unwrap());
        stage.invalidate("meanwhile", &["/*"]).await;
        stage.advance(INVALIDATION);
        origin.may_answer.add_permits(2);
    };
    let (old, ()) = soon(async { tokio::join!(under_way, meanwhile) }).await;
    assert_eq!(old.text(), "old");
    let next = stage.get(PATH, &[]).await;
    assert_eq!(
        (next.text(), next.x_cache()),
        ("new".to_owned(), "Miss from cloudfront")
    );
}

#[tokio::test]
async fn while_the_origin_is_down_what_has_expired_is_good_enough() {
    let (stage, origin) = slow_stage().await;
    origin.may_answer.add_permits(10);
    stage.get(PATH, &[NAVIGATE]).await;
    origin.fails.store(true, Ordering::SeqCst);
    stage.advance(Duration::from_secs(2 * 86_400));
    let stale = stage.get(PATH, &[]).await;
    assert_eq!((stale.status, stale.text()), (200, "old".to_owned()));
    let nothing = stage.get("/other.js", &[]).await;
    assert_eq!((nothing.status, nothing.x_cache()), (502, "Error from cloudfront"));
    origin.fails.store(false, Ordering::SeqCst);
    assert_eq!(stage.get("/other.js", &[]).await.status, 200, "a failure isn't kept");
}

#[tokio::test]
async fn an_edge_that_is_shut_down_lets_its_ports_and_idle_connections_go() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let mut idle = TcpStream::connect(stage.edge.address()).await.unwrap();
    idle.write_all(b"GET /app.js HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let limit = Duration::from_secs(4);
    tokio::time::timeout(limit, stage.edge.shutdown())
        .await
        .expect("nothing is left behind");
    stage.edge.shutdown().await;
    let mut rest = Vec::new();
    soon(idle.read_to_end(&mut rest)).await.unwrap();
    for address in stage.edge.pop_addresses().iter().chain([&stage.edge.address()]) {
        TcpStream::connect(address).await.unwrap_err();
    }
}
