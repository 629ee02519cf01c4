//! The signals that mean "stop": Ctrl-C, SIGTERM, a closed terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Cancelled by the first signal. The second one ends the process at once: what it leaves behind,
/// the kernel ends.
///
/// # Errors
/// When the operating system refuses a handler.
pub(super) fn listen() -> io::Result<CancellationToken> {
    let mut signals = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];
    let told_to_stop = CancellationToken::new();
    let told = told_to_stop.clone();
    tokio::spawn(async move {
        any(&mut signals).await;
        told.cancel();
        any(&mut signals).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(told_to_stop)
}

async fn any(signals: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
