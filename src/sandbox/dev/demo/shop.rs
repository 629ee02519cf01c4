//! A service behind web that the demo plays: whoever checks a release asks it how the release does.
//!
//! The shop has 300 visitors at a time. A frail release keeps a connection for each of those who are on it, and has
//! only so many: its tests pass, it does well with a few visitors, and then it fails. The shop can't see who opens a
//! page, so it is told when the visitors of a weight have come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Visitors of one percent.
const A_PERCENT: u32 = 3;
/// Connections of a release.
const CONNECTIONS: u32 = 100;
/// A release that lets go of them needs no more.
const NEEDED: u32 = 8;
/// What a release that does well fails too, and how much may fail.
const USUAL_PERCENT: f64 = 0.1;
const BUDGET_PERCENT: f64 = 1.0;

/// The service, on loopback. Ends when it is dropped.
pub(super) struct Shop {
    health_url: String,
    figures: Arc<Mutex<Figures>>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Figures {
    frail: Option<String>,
    /// By release, the last weight whose visitors have come.
    visited: HashMap<String, u32>,
}

impl Shop {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("could not listen for questions about the release's health")?;
        let address = listener.local_addr().context("could not learn the port")?;
        let figures = Arc::<Mutex<Figures>>::default();
        let router = Router::new()
            .route("/health", get(health))
            .with_state(Arc::clone(&figures));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Ok(Self {
            health_url: format!("http://{address}/health"),
            figures,
            _stop: stop.drop_guard(),
        })
    }

    /// With placeholders, as a check takes it.
    pub(super) fn health_url(&self) -> String {
        format!("{}?release={{release}}&weight={{weight}}", self.health_url)
    }

    /// From now on this release keeps its connections.
    pub(super) fn has_frail(&self, release: &str) {
        lock(&self.figures).frail = Some(release.to_owned());
    }

    /// The visitors of this weight have come.
    pub(super) fn visited(&self, release: &str, weight: u32) {
        lock(&self.figures).visited.insert(release.to_owned(), weight);
    }
}

async fn health(
    State(figures): State<Arc<Mutex<Figures>>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Json<Value> {
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    let (release, weight) = (of("release"), of("weight").parse().unwrap_or(0));
    Json(lock(&figures).health(release, weight))
}

fn lock(figures: &Mutex<Figures>) -> MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Figures {
    fn health(&self, release: &str, weight: u32) -> Value {
        let come = self.visited.get(release).copied().unwrap_or(0);
        let visitors = A_PERCENT.saturating_mul(weight.min(come));
        let wanted = if self.frail.as_deref() == Some(release) {
            visitors
        } else {
            visitors.min(NEEDED)
        };
        let refused = wanted.saturating_sub(CONNECTIONS);
        let errors = if refused == 0 {
            USUAL_PERCENT
        } else {
            (1000.0 * f64::from(refused) / f64::from(wanted)).round() / 10.0
        };
        let status = if errors > BUDGET_PERCENT { "failing" } else { "ok" };
        json!({
            "status": status,
            "errors_percent": errors,
            "budget_percent": BUDGET_PERCENT,
            "connections": { "used": wanted.min(CONNECTIONS), "of": CONNECTIONS },
            "release": release,
            "weight": weight,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frail_release_does_well_until_too_many_have_come() {
        let shop = Shop::open().await.unwrap();
        shop.has_frail("1.2.0");
        let ask = async |release: &str, weight: &str| -> Value {
            let url = shop
                .health_url()
                .replace("{release}", release)
                .replace("{weight}", weight);
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            client.get(url).send().await.unwrap().json().await.unwrap()
        };
        for release in ["1.2.0", "1.3.0"] {
            shop.visited(release, 10);
            assert_eq!(ask(release, "10").await["status"], "ok", "{release}");
            assert_eq!(
                ask(release, "50").await["status"],
                "ok",
                "{release}: they have not come yet"
            );
            shop.visited(release, 50);
        }
        let failing = ask("1.2.0", "50").await;
        assert_eq!(
            (&failing["status"], &failing["errors_percent"]),
            (&json!("failing"), &json!(33.3))
        );
        assert_eq!(failing["weight"], 50);
        assert_eq!(ask("1.3.0", "50").await["status"], "ok");
    }
}
