//! The ports of the edge, and the ticker that lets time pass where no request does.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
    serve::ListenerExt,
};
use tokio::{net::TcpListener, sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    pop::{PointOfPresence, Situation},
    walk::Front,
};

/// How soon a change is told that no request has seen.
const TICK: Duration = Duration::from_millis(20);

/// Serves one port until `closing` is cancelled.
pub(super) async fn run(listener: TcpListener, front: Arc<Front>, closing: CancellationToken) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the local edge keeps Nagle's algorithm on");
        }
    });
    let router = Router::new().fallback(answer).with_state(front);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(closing.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "a port of the local edge ended");
    }
}

async fn answer(
    State(front): State<Arc<Front>>,
    ConnectInfo(viewer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let ip: IpAddr = viewer.ip();
    front.answer(&parts, ip).await
}

/// Looks at every point of presence again and again, and tells when there is something new to see.
pub(super) async fn tick(pops: Vec<Arc<PointOfPresence>>, changes: watch::Sender<u64>, closing: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Vec<Situation> = Vec::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            _ = interval.tick() => {}
        }
        let now: Vec<Situation> = pops.iter().map(|pop| pop.situation()).collect();
        if now != before {
            before = now;
            changes.send_modify(|count| *count += 1);
        }
    }
}
