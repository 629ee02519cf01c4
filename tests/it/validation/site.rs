//! A service on loopback that checks and hooks ask: it answers as it is told, and remembers what it was sent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Sent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// How a path answers.
#[derive(Debug, Clone)]
pub enum Answers {
    With(u16, String),
    /// Never, until the connection is closed.
    Never,
    /// With this status, when somebody says so.
    When(u16, Arc<Notify>),
    /// As the routing function does: naming the release that it is of.
    Named(&'static str),
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<HashMap<String, Vec<Answers>>>,
    sent: Mutex<Vec<Sent>>,
    heard: Notify,
}

/// The service. Ends when it is dropped.
pub struct Site {
    pub url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Site {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Self {
            url,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// From now on a path answers so.
    pub fn answer(&self, path: &str, status: u16, body: &str) {
        self.answer_in_turn(path, vec![Answers::With(status, body.to_owned())]);
    }

    /// From now on a path answers so, one after the other; the last one stays.
    pub fn answer_in_turn(&self, path: &str, answers: Vec<Answers>) {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answers);
    }

    /// All that was sent to a path.
    pub fn sent_to(&self, path: &str) -> Vec<Sent> {
        let sent = self.shared.sent.lock().unwrap();
        sent.iter().filter(|sent| sent.path == path).cloned().collect()
    }

    /// Waits until something was sent to a path.
    pub async fn hears(&self, path: &str) -> Sent {
        loop {
            let heard = self.shared.heard.notified();
            if let Some(sent) = self.sent_to(path).pop() {
                return sent;
            }
            heard.await;
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    shared.sent.lock().unwrap().push(Sent {
        method,
        path: path.clone(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    shared.heard.notify_waiters();
    let next = {
        let mut answers = shared.answers.lock().unwrap();
        let turns = answers.get_mut(&path);
        turns.and_then(|turns| {
            if turns.len() > 1 {
                Some(turns.remove(0))
            } else {
                turns.first().cloned()
            }
        })
    };
    match next {
        Some(Answers::With(status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Some(Answers::Never) => std::future::pending().await,
        Some(Answers::When(status, said)) => {
            said.notified().await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
        Some(Answers::Named(release)) => [("x-greenlight-release", release)].into_response(),
        None => (StatusCode::OK, "ok").into_response(),
    }
}
