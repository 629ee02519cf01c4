//! A job's events as a stream: while it runs, resumable, and ended when the job has ended.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{all_pages, without_workers};
use crate::support::{TestApp, web, web_with};

/// How long the next message may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream that is being read.
struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

/// One message of it.
#[derive(Debug, PartialEq)]
struct Message {
    id: i64,
    event: String,
    data: Value,
}

impl Stream {
    async fn open(app: &TestApp, path: &str, last: Option<i64>) -> Self {
        let mut request: Request<Body> = app.request(Method::GET, path, None);
        let headers = request.headers_mut();
        headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last {
            headers.insert("last-event-id", last.into());
        }
        let answer = app.router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        assert!(answer.headers().contains_key("x-request-id"));
        Self {
            body: answer.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next message; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = parse(message);
                self.text = rest.to_owned();
                match message {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next())
                .await
                .expect("the stream is silent");
            let Some(chunk) = chunk else {
                assert_eq!(self.text, "", "the stream broke off");
                return None;
            };
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn rest(mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }
}

/// `None`: a comment, which keeps the connection alive.
fn parse(text: &str) -> Option<Message> {
    let field = |name: &str| -> Option<&str> {
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_start);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {text}");
        value
    };
    let data = field("data")?;
    Some(Message {
        id: field("id").expect("an id").parse().unwrap(),
        event: field("event").expect("an event").to_owned(),
        data: serde_json::from_str(data).unwrap(),
    })
}

/// Sees that messages are exactly these events.
#[track_caller]
fn assert_same(messages: &[Message], events: &[Value]) {
    let data: Vec<&Value> = messages.iter().map(|message| &message.data).collect();
    assert_eq!(data, events.iter().collect::<Vec<_>>());
    for message in messages {
        assert_eq!(message.data["id"], message.id);
        assert_eq!(message.data["kind"], message.event);
    }
}

#[tokio::test]
async fn events_arrive_while_the_job_runs_and_the_stream_ends_with_it() {
    let app = TestApp::start().await;
    app.set_up(web_with(json!({"edge_ttl_seconds": 60})), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = Stream::open(&app, &path, None).await;
    let mut messages = Vec::new();
    while !messages
        .iter()
        .any(|message: &Message| message.event == "pointer.intended")
    {
        messages.push(stream.next().await.expect("the job is not at its end"));
    }
    let waiting = app.job_until(&id, |job| job["state"] == "waiting").await;
    assert_eq!(waiting["finished_at"], Value::Null, "and yet there were events");
    app.finish_as(&id, "succeeded").await;
    messages.extend(stream.rest().await);
    assert!(messages.windows(2).all(|pair| pair[0].id < pair[1].id), "{messages:?}");
    assert_eq!(messages.last().unwrap().event, "job.succeeded");
    // Moving time has moved the stored times as well: told apart by id and kind.
    let sent: Vec<(i64, &str)> = messages
        .iter()
        .map(|message| (message.id, message.event.as_str()))
        .collect();
    let events = all_pages(&app, &path, 200).await;
    let stored = events
        .iter()
        .map(|event| (event["id"].as_i64().unwrap(), event["kind"].as_str().unwrap()));
    assert_eq!(sent, stored.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_is_resumed_with_exactly_the_rest() {
    let app = TestApp::start().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote_to_the_end("1.0.0").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}/events");
    let events = all_pages(&app, &path, 200).await;
    assert_same(&Stream::open(&app, &path, None).await.rest().await, &events);
    assert_same(&Stream::open(&app, &path, Some(0)).await.rest().await, &events);
    for (at, event) in events.iter().enumerate() {
        let last = event["id"].as_i64().unwrap();
        assert_same(
            &Stream::open(&app, &path, Some(last)).await.rest().await,
            &events[at + 1..],
        );
        let after = format!("{path}?after={last}");
        assert_same(&Stream::open(&app, &after, None).await.rest().await, &events[at + 1..]);
        // What the browser remembers is newer than the address it opens again.
        let old = format!("{path}?after=0");
        assert_same(
            &Stream::open(&app, &old, Some(last)).await.rest().await,
            &events[at + 1..],
        );
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let path = format!("/v1/jobs/{id}/events");
    let mut first = Stream::open(&app, &path, None).await;
    let mut messages = vec![first.next().await.unwrap()];
    drop(first);
    app.start_worker();
    app.finish_as(&id, "succeeded").await;
    messages.extend(Stream::open(&app, &path, Some(messages[0].id)).await.rest().await);
    assert_same(&messages, &all_pages(&app, &path, 200).await);
}

#[tokio::test]
async fn several_readers_hear_the_same() {
    let mut app = without_workers().await;
    app.set_up(web(), &["1.0.0"]).await;
    let id = app.promote("1.0.0").await;
    let path = format!("/v1/jobs/{id}/events");
    let streams = futures::future::join_all((0..5).map(|_| Stream::open(&app, &path, None))).await;
    app.start_worker();
    let heard = futures::future::join_all(streams.into_iter().map(Stream::rest)).await;
    let events = all_pages(&app, &path, 200).await;
    for messages in heard {
        assert_same(&messages, &events);
    }
}
