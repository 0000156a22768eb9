//! What systemd is told of the server: that it serves, that it is alive, that it stops (sd_notify(3), systemd.service(5)).
//!
//! Started by anything else, without `NOTIFY_SOCKET`, the server tells nobody. No child gets the variable, so none can
//! speak for the server.

use std::net::SocketAddr;
use std::time::Duration;

use heldar_footage::jobs::Pulse;
use heldar_footage::repository::Store;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Parts of the watchdog's time: one to wait for the next look, one for the look itself, one to spare.
const LOOKS_PER_TIMEOUT: u32 = 3;

/// Tells that callers are served from now on.
pub(super) async fn ready(address: SocketAddr) {
    let status = format!("listening on http://{address}");
    tell(move || sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)])).await;
}

/// Tells that the server stops, and that this may take as long as `at_most`, whatever the unit's `TimeoutStopSec` says.
pub(super) async fn stopping(at_most: Duration) {
    let at_most_us = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(move || {
        sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(at_most_us),
            NotifyState::Status("stopping: running calls and jobs may end"),
        ])
    })
    .await;
}

/// Tells until `stop` that the server is alive: for as long as its own database answers, or, where the database is another
/// machine's, for as long as the runtime and the `runner` do, because to start every node anew would bring no database
/// back. Does nothing where no watchdog waits for it (`WatchdogSec` of the unit).
pub(super) async fn keep_alive(store: &Store, runner: Pulse, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let period = (limit / LOOKS_PER_TIMEOUT).max(Duration::from_millis(1));
    info!(
        watchdog_s = limit.as_secs_f64(),
        "the watchdog is told while the server and a database of its own answer"
    );
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_healthy = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let is_healthy = if store.is_shared() {
            runner.is_beating()
        } else {
            matches!(timeout(period, store.ping()).await, Ok(Ok(())))
        };
        if is_healthy {
            tell(|| sd_notify::notify(&[NotifyState::Watchdog])).await;
        }
        match (was_healthy, is_healthy) {
            (true, false) => {
                warn!(
                    "the database or the runner of jobs does not answer; the watchdog is not told"
                )
            }
            (false, true) => info!("they answer again"),
            _ => {}
        }
        was_healthy = is_healthy;
    }
}

/// Sends a message. A manager that does not read holds up the one thread that waits for it and nothing else.
async fn tell(send: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    match tokio::task::spawn_blocking(send).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "the service manager cannot be told"),
        Err(error) => warn!(%error, "telling the service manager ended abnormally"),
    }
}
