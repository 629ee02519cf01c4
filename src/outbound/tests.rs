//! What is asked, what never is, and how much of an answer is read. The sites are on loopback, opened for them.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    http::HeaderMap as Headers,
    response::{IntoResponse, Redirect},
    routing::{any, get, post},
};
use futures::{StreamExt, stream};
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
/// One address of every kind that only a service can reach.
const INSIDE: [&str; 19] = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.0.1",
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "0.0.0.0",
    "::1",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "::ffff:0:169.254.169.254",
];

fn site() -> Router {
    let hello = async |headers: Headers| ([("x-host", headers["host"].clone())], "hello");
    let endless = async || {
        let zeros = stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'0'; 1000])));
        // Not in one go: a site like this one must not keep the whole runtime.
        Body::from_stream(zeros.then(async |chunk| {
            tokio::task::yield_now().await;
            chunk
        }))
    };
    let stalls = async || {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"first"))]);
        Body::from_stream(first.chain(stream::pending()))
    };
    let gzip = async || ([("content-encoding", "gzip")], &b"\x1f\x8b\x08 not unpacked"[..]);
    Router::new()
        .route("/", get(hello))
        .route(
            "/echo",
            post(async |headers: Headers, body: Bytes| ([("x-kind", headers["content-type"].clone())], body)),
        )
        .route("/endless", any(endless))
        .route("/stalls", get(stalls))
        .route("/gzip", get(gzip))
}

async fn serve_at(address: &str, router: Router) -> io::Result<u16> {
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(port)
}

/// A site on loopback that says which host it was asked for; returns its port.
async fn start() -> u16 {
    serve_at("127.0.0.1:0", site()).await.unwrap()
}

fn outbound(allow: &str) -> Outbound {
    Outbound::new(allow.parse().unwrap())
}

fn ask<'a>(url: &'a str, address: Option<&'a str>) -> Question<'a> {
    Question {
        address,
        ..Question::get(url, PATIENCE)
    }
}

fn reading(url: &str, read_bytes: usize) -> Question<'_> {
    Question {
        read_bytes,
        ..Question::get(url, PATIENCE)
    }
}

/// GET and POST of a URL.
fn both<'a>(url: &'a str, address: Option<&'a str>) -> [Question<'a>; 2] {
    let posted = Question {
        method: Method::POST,
        body: Some(b"{}".to_vec()),
        ..ask(url, address)
    };
    [ask(url, address), posted]
}

/// Names as a test has them: for each look-up the next answer, the last one for ever.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    fn answering(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        Arc::new(Self {
            answers: Mutex::new(HashMap::from([(name.to_owned(), answers)])),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let Some(left) = answers.get_mut(name) else {
            return Err(io::Error::other("no such name"));
        };
        let next = left.front().cloned().unwrap_or_default();
        if left.len() > 1 {
            left.pop_front();
        }
        Ok(next)
    }
}

/// Two sites on one port: what may be reached on 127.0.0.2, what may not on 127.0.0.1. Returns the port, and how
/// often the second was asked.
async fn outside_and_inside() -> (u16, Arc<AtomicUsize>) {
    loop {
        let port = serve_at("127.0.0.2:0", site().route("/where", any("outside")))
            .await
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        let inside = Router::new().fallback(async move || {
            seen.fetch_add(1, Ordering::SeqCst);
            "inside"
        });
        // Somebody else may have that port there.
        if serve_at(&format!("127.0.0.1:{port}"), inside).await.is_ok() {
            return (port, asked);
        }
    }
}

#[tokio::test]
async fn what_only_the_service_can_reach_is_not_asked() {
    let port = start().await;
    let guarded = outbound("");
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        let error = guarded.ask(ask(&url, None)).await.unwrap_err();
        assert!(matches!(error, OutboundError::Forbidden { .. }), "{host}: {error:?}");
        assert!(error.to_string().contains("GREENLIGHT_OUTBOUND_ALLOW"), "{error}");
    }
}

#[tokio::test]
async fn no_address_inside_is_reached_as_a_literal_as_an_address_to_connect_to_or_by_a_name() {
    for inside in INSIDE {
        let ip: IpAddr = inside.parse().unwrap();
        let literal = format!("http://{}/latest/meta-data/", SocketAddr::new(ip, 80));
        let with_port = SocketAddr::new(ip, 80).to_string();
        let names = Names::answering("metadata.example.com", &[&[inside]]);
        let guarded = Outbound::with_lookup(AllowList::default(), names);
        for question in both(&literal, None)
            .into_iter()
            .chain(both("http://example.com/", Some(inside)))
            .chain(both("https://example.com/", Some(&with_port)))
            .chain(both("http://metadata.example.com/", None))
        {
            let what = format!("{} {} at {:?}", question.method, question.url, question.address);
            let answer = guarded.ask(question).await;
            assert!(
                matches!(answer, Err(OutboundError::Forbidden { .. })),
                "{what}: {answer:?}"
            );
        }
        let opened: AllowList = ip.to_canonical().to_string().parse().unwrap();
        assert!(opened.allows(ip), "{inside}: what the operator names may be asked");
    }
}

#[tokio::test]
async fn an_allowed_address_is_asked_for_the_urls_host() {
    let port = start().await;
    let open = outbound("127.0.0.0/8");
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(open.ask(ask(&url, None)).await.unwrap().status, 200);
    let address = format!("127.0.0.1:{port}");
    for (url, host) in [
        ("http://www.example.com/", "www.example.com"),
        ("http://www.example.com:8443/", "www.example.com:8443"),
        ("http://192.0.2.1:81/", "192.0.2.1:81"),
    ] {
        let answer = open.ask(ask(url, Some(&address))).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["x-host"]),
            (200, &HeaderValue::from_static(host))
        );
    }
}

#[tokio::test]
async fn what_is_connected_to_is_what_was_looked_at() {
    let (port, asked_inside) = outside_and_inside().await;
    for second in ["127.0.0.1", "169.254.169.254", "::1"] {
        let names = Names::answering("rebinds.example.com", &[&["127.0.0.2"], &[second]]);
        let open = Outbound::with_lookup("127.0.0.2".parse().unwrap(), Arc::clone(&names) as Arc<dyn Lookup>);
        let url = format!("http://rebinds.example.com:{port}/where");
        let answer = open.ask(reading(&url, 100)).await.unwrap();
        assert_eq!(answer.body, b"outside", "the first answer holds for the whole question");
        assert_eq!(names.asked(), 1, "a name is looked up once a question");
        for question in both(&url, None) {
            let answer = open.ask(question).await;
            assert!(matches!(answer, Err(OutboundError::Forbidden { .. })), "{answer:?}");
            let said = answer.unwrap_err().to_string();
            assert!(
                !said.contains(second),
                "what a name means in here is told to nobody: {said}"
            );
        }
        assert_eq!(names.asked(), 3);
    }
    assert_eq!(asked_inside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_an_answer_that_mixes_only_what_may_be_reached_is() {
    let (port, asked_inside) = outside_and_inside().await;
    let mixed: [&[&str]; 3] = [
        &["127.0.0.1", "127.0.0.2"],
        &["127.0.0.2", "127.0.0.1"],
        &["169.254.169.254", "::1", "127.0.0.2", "10.0.0.1"],
    ];
    for addresses in mixed {
        let names = Names::answering("mixed.example.com", &[addresses]);
        let open = Outbound::with_lookup("127.0.0.2".parse().unwrap(), names);
        let url = format!("http://mixed.example.com:{port}/where");
        for question in both(&url, None) {
            let answer = open
                .ask(Question {
                    read_bytes: 100,
                    ..question
                })
                .await
                .unwrap();
            assert_eq!(answer.body, b"outside", "{addresses:?}");
        }
        // Where what may be reached does not answer, nothing else is tried in its place.
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let closed_port = closed.local_addr().unwrap().port();
        drop(closed);
        let url = format!("http://mixed.example.com:{closed_port}/");
        let answer = open.ask(ask(&url, None)).await;
        assert!(matches!(answer, Err(OutboundError::Unreachable(_))), "{answer:?}");
    }
    assert_eq!(asked_inside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let router = Router::new()
        .route("/303", any(async || Redirect::to("http://169.254.169.254/latest/")))
        .route("/307", any(async || Redirect::temporary("/arrived")))
        .route(
            "/308",
            any(async || Redirect::permanent("http://[fd00:ec2::254]/latest/")),
        )
        .route(
            "/302",
            any(async || (axum::http::StatusCode::FOUND, [("location", "/arrived")]).into_response()),
        )
        .route(
            "/arrived",
            any(async move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        );
    let port = serve_at("127.0.0.1:0", router).await.unwrap();
    let open = outbound("127.0.0.0/8");
    for status in [302, 303, 307, 308] {
        let url = format!("http://127.0.0.1:{port}/{status}");
        for question in both(&url, None) {
            let answer = open.ask(question).await.unwrap();
            assert_eq!(answer.status, status);
            assert!(answer.headers.contains_key("location"));
        }
    }
    assert_eq!(arrived.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_post_is_sent_with_its_body_and_its_length_is_not_the_headers_to_say() {
    let url = format!("http://127.0.0.1:{}/echo", start().await);
    let mut headers = HeaderMap::from_iter([("content-type".parse().unwrap(), HeaderValue::from_static("text/x"))]);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    let question = Question {
        method: Method::POST,
        headers,
        body: Some(b"what is sent".to_vec()),
        ..reading(&url, 1000)
    };
    let answer = outbound("127.0.0.0/8").ask(question).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_slice(), answer.truncated),
        (200, &b"what is sent"[..], false)
    );
    assert_eq!(answer.headers["x-kind"], "text/x");
    assert!(answer.took < PATIENCE);
}

#[tokio::test]
async fn of_a_body_no_more_is_read_than_was_asked_for() {
    let base = format!("http://127.0.0.1:{}", start().await);
    let open = outbound("127.0.0.0/8");
    let (hello, endless) = (format!("{base}/"), format!("{base}/endless"));
    for (url, max, length, truncated) in [
        (&hello, 100, 5, false),
        (&hello, 5, 5, false),
        (&hello, 4, 4, true),
        (&hello, 0, 0, true),
        (&endless, 2500, 2500, true),
        (&endless, 0, 0, true),
    ] {
        let answer = open.ask(reading(url, max)).await.unwrap();
        assert_eq!(
            (answer.body.len(), answer.truncated),
            (length, truncated),
            "{url} {max}"
        );
    }
    let gzip = format!("{base}/gzip");
    let packed = open.ask(reading(&gzip, 100)).await.unwrap();
    assert_eq!(
        packed.body, b"\x1f\x8b\x08 not unpacked",
        "as it came: it can't grow in here"
    );
}

#[tokio::test]
async fn a_body_that_never_ends_costs_its_time_and_no_more() {
    let base = format!("http://127.0.0.1:{}", start().await);
    let open = outbound("127.0.0.0/8");
    let stalls = format!("{base}/stalls?token=secret");
    let timeout = Duration::from_millis(300);
    let question = Question {
        timeout,
        ..reading(&stalls, 100)
    };
    let asked = Instant::now();
    let error = open.ask(question).await.unwrap_err();
    assert!(
        asked.elapsed() >= timeout && asked.elapsed() < PATIENCE,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(error, OutboundError::Unreachable("no answer in time".to_owned()));
    // What was to be read has come: the rest is not waited for.
    for max in [0, 5] {
        let answer = open.ask(reading(&stalls, max)).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (max, true));
        assert!(answer.took < PATIENCE);
    }
}

#[tokio::test]
async fn what_can_not_be_asked_says_why() {
    let open = outbound("127.0.0.0/8");
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/",
        "nonsense",
        "http://user:secret@example.com/",
    ] {
        let error = open.ask(ask(url, None)).await.unwrap_err();
        assert!(matches!(error, OutboundError::Invalid(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=secret", listener.local_addr().unwrap());
    drop(listener);
    for question in both(&url, None) {
        let error = open.ask(question).await.unwrap_err();
        assert!(matches!(&error, OutboundError::Unreachable(_)), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let names = Names::answering("empty.example.com", &[&[]]);
    let open = Outbound::with_lookup(AllowList::default(), names);
    for host in ["empty.example.com", "unknown.example.com"] {
        let url = format!("http://{host}/");
        let error = open.ask(ask(&url, None)).await.unwrap_err();
        assert!(matches!(&error, OutboundError::Unreachable(_)), "{host}: {error:?}");
    }
}
