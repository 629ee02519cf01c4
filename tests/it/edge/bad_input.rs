//! What nobody should send: methods, lengths, paths and bytes. No input makes a 5xx, and none ends the edge.

use greenlight::sandbox::edge::Routing;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::stage::{BLUE, NAVIGATE, SUBRESOURCE, Stage, ask, send};

/// The status that a raw request gets; `None`: the connection ended without an answer.
async fn status(stage: &Stage, request: &[u8]) -> Option<u16> {
    let answer = send(stage.edge.address(), request).await;
    let line = String::from_utf8_lossy(&answer).lines().next()?.to_owned();
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn other_methods_and_bodies_are_403_before_any_function_runs() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    for method in ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
        let refused = ask(stage.edge.address(), method, "/app.js", &[("content-length", "0")]).await;
        assert_eq!(
            (refused.status, refused.x_cache()),
            (403, "Error from cloudfront"),
            "{method}"
        );
        assert_eq!(refused.header("server"), Some("CloudFront"));
        assert!(refused.text().contains(refused.header("x-amz-cf-id").unwrap()));
    }
    let body = b"GET /app.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(status(&stage, body).await, Some(403));
    assert_eq!(stage.edge.counters().misses, 0);
}

#[tokio::test]
async fn oversized_requests_are_413_and_oversized_cookies_are_as_if_absent() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let long = "x".repeat(20_000);
    let headers = stage
        .get("/", &[NAVIGATE, ("x-long", &long), ("x-more", &long[..1_000])])
        .await;
    assert_eq!((headers.status, headers.header("connection")), (413, Some("close")));
    let cookies = stage
        .get("/", &[NAVIGATE, ("cookie", &format!("a={long}; b={long}"))])
        .await;
    assert_eq!(cookies.status, 413);
    assert_eq!(stage.get(&format!("/{}", &long[..8_200]), &[]).await.status, 413);
    let fits = stage.get(&format!("/{}", &long[..8_000]), &[SUBRESOURCE]).await;
    assert_eq!(fits.status, 200, "a route of a single-page application, however long");
    let pin = format!(
        "greenlight-pin={}~7; greenlight-preview={}",
        &long[..9_000],
        &long[..9_000]
    );
    let ignored = stage.get("/app.js", &[SUBRESOURCE, ("cookie", &pin)]).await;
    assert_eq!((ignored.status, ignored.release()), (200, Some(BLUE)));
    // More than the HTTP server reads at all.
    let endless = format!("GET / HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(matches!(
        status(&stage, endless.as_bytes()).await,
        None | Some(413 | 431)
    ));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    assert!(matches!(status(&stage, many.as_bytes()).await, Some(413 | 431)));
    assert_eq!(stage.get("/", &[NAVIGATE]).await.status, 200);
}

#[tokio::test]
async fn no_path_leads_out_of_the_release() {
    for routing in [Routing::ViewerRewrite, Routing::Origin] {
        let stage = Stage::new(routing).await;
        stage.put("secret.txt", "secret");
        stage.put("releases/secret.txt", "secret");
        for path in [
            "/../secret.txt",
            "/../../secret.txt",
            "/a/../../secret.txt",
            "/./app.js",
            "/%2e%2e/secret.txt",
            "/%2E%2E/%2e%2e/secret.txt",
            "/.%2e/secret.txt",
            "/%252e%252e/secret.txt",
            "/..%2fsecret.txt",
            "/..%5csecret.txt",
            "/a\\..\\secret.txt",
            "/%00",
            "/app.js%00.html",
            "/%",
            "/%zz",
            "/%ff",
            "/%c0%ae%c0%ae/secret.txt",
            "/releases/1.43.0/../../secret.txt",
            "/releases/1.43.0%2f..%2f..%2fsecret.txt",
        ] {
            let answer = stage.get(path, &[SUBRESOURCE]).await;
            assert_eq!(answer.status, 400, "{routing:?} {path}");
            assert!(!answer.text().contains("secret"), "{path}");
            assert_eq!((answer.release(), answer.cookies().len()), (None, 0));
        }
        assert_eq!(
            stage.edge.counters().misses,
            if routing == Routing::Origin { 19 } else { 0 }
        );
        // Nothing to be afraid of, and found where it belongs.
        for (path, status) in [
            ("//evil.example/x.js", 404),
            ("/a..b/c.js", 404),
            ("/...", 404),
            ("/%C3%BC.js", 404),
        ] {
            let answer = stage.get(path, &[SUBRESOURCE]).await;
            assert_eq!(answer.status, status, "{routing:?} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_next_request_is_fine() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let requests: [&[u8]; 13] = [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET app.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\na b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n: c\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
    ];
    for request in requests {
        let seen = status(&stage, request).await;
        assert!(
            seen.is_none_or(|status| (400..500).contains(&status)),
            "{:?}: {seen:?}",
            String::from_utf8_lossy(request)
        );
    }
    assert_eq!(stage.get("/", &[NAVIGATE]).await.status, 200);
    assert_eq!(stage.edge.counters().server_errors(), 0);
}

#[tokio::test]
async fn headers_need_not_be_text() {
    let stage = Stage::new(Routing::ViewerRewrite).await;
    let request =
        b"GET /app.js?\xc3\xbc=\xc3\xbc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: greenlight-pin=\xff\xfe; \
        __proto__=1; constructor=2\r\n__proto__: x\r\nAccept: \xe9\r\n\r\n";
    assert_eq!(status(&stage, request).await, Some(200));
    let no_host = b"GET /app.js HTTP/1.0\r\n\r\n";
    let answer = send(stage.edge.address(), no_host).await;
    assert!(
        String::from_utf8_lossy(&answer).contains(" 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// Pieces of which paths, queries, headers and cookies are put together at random.
const PIECES: [&str; 36] = [
    "/",
    "//",
    ".",
    "..",
    "%",
    "%2e",
    "%252e",
    "%2f",
    "%5c",
    "\\",
    "%00",
    "%zz",
    "%ff",
    "%F0%9F%98%80",
    "a",
    "index.html",
    "app.3f2a9c1b.js",
    "releases",
    "1.42.0",
    "1.43.0",
    "%2B",
    "+",
    "~",
    "?",
    ";",
    "=",
    "&",
    "__proto__",
    "constructor",
    ".well-known",
    "sw.js",
    "\"",
    "<script>",
    "${x}",
    "greenlight-preview=",
    "1~2~3",
];
const NAMES: [&str; 12] = [
    "cookie",
    "accept",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "x-greenlight-decision",
    "range",
    "if-none-match",
    "if-range",
    "if-modified-since",
    "origin",
    "__proto__",
    "constructor",
];

#[tokio::test]
async fn nonsense_never_makes_a_5xx() {
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    for routing in [Routing::ViewerRewrite, Routing::Origin] {
        let stage = Stage::new(routing).await;
        for number in 0..400 {
            let mut text = |most: usize| {
                let pieces = random.random_range(0..=most);
                (0..pieces)
                    .map(|_| PIECES[random.random_range(0..PIECES.len())])
                    .collect::<String>()
            };
            let target = format!("/{}", text(6));
            let values: Vec<String> = (0..3).map(|_| format!("greenlight-pin={}", text(5))).collect();
            let mut headers: Vec<(&str, &str)> = Vec::new();
            for value in &values {
                headers.push((NAMES[random.random_range(0..NAMES.len())], value));
            }
            let answer = stage.get_at(number % 3, &target, &headers).await;
            assert!(answer.status < 500, "seed {seed}: {target} {headers:?}: {answer:?}");
        }
        assert_eq!(stage.edge.counters().function_errors, 0);
    }
}
