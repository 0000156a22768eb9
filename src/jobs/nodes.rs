//! Several nodes on one database: telling each other to look, and duties that one of them has.
//!
//! Hints only make a look come sooner. Each node sends few of them, because every one costs a lock of the whole database
//! server; whoever misses one finds the change with its next poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::runner::Chain;
use super::{Jobs, Shared};
use crate::clock;
use crate::repository::{Hint, Hints, Store, StoreError};

/// Two hints of one node are at least this far apart.
const APART: Duration = Duration::from_millis(200);
/// How soon to listen again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// How long a duty is held by a node that is not heard of any more.
const DUTY: Duration = Duration::from_secs(20);

/// What other nodes are to be told, and what they told this one.
#[derive(Default)]
pub(super) struct Wires {
    /// Woken when something of `out` is to be told.
    to_tell: Notify,
    out: Signals,
    /// Woken when another node, or this one, told something of `heard`.
    pub(super) told: Notify,
    heard: Signals,
    /// Whether somebody watches jobs on another node.
    pub(super) watched_elsewhere: AtomicBool,
}

#[derive(Default)]
struct Signals {
    queued: AtomicBool,
    changed: AtomicBool,
    watched: AtomicBool,
}

impl Signals {
    fn of(&self, hint: Hint) -> &AtomicBool {
        match hint {
            Hint::Queued => &self.queued,
            Hint::Changed => &self.changed,
            Hint::Watched => &self.watched,
        }
    }

    fn take(&self, hint: Hint) -> bool {
        self.of(hint).swap(false, Ordering::AcqRel)
    }
}

impl Wires {
    /// Tells other nodes soon, if there are any.
    pub(super) fn announce(&self, hint: Hint) {
        self.out.of(hint).store(true, Ordering::Release);
        self.to_tell.notify_one();
    }

    /// Whether this was told since it was last asked for.
    pub(super) fn has_heard(&self, hint: Hint) -> bool {
        self.heard.take(hint)
    }

    fn hear(&self, hint: Hint) {
        self.heard.of(hint).store(true, Ordering::Release);
        self.told.notify_one();
    }
}

/// Passes hints on until `stop`; nothing where there is one node only.
pub(super) async fn keep_wires(shared: Arc<Shared>, stop: CancellationToken) {
    if shared.store.is_shared() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(tell(&shared), listen(&shared)); } => {}
        }
    }
}

async fn tell(shared: &Shared) {
    loop {
        shared.wires.to_tell.notified().await;
        for hint in [Hint::Watched, Hint::Queued, Hint::Changed] {
            if shared.wires.out.take(hint)
                && let Err(error) = shared.store.announce(hint).await
            {
                debug!(error = %Chain(&error), "a hint was lost; the polls of other nodes make up for it");
            }
        }
        sleep(APART).await;
    }
}

async fn listen(shared: &Shared) {
    loop {
        if let Err(error) = hear_all(shared).await {
            debug!(error = %Chain(&error), "listening failed; polls make up for it");
        }
        sleep(LISTEN_AGAIN).await;
    }
}

async fn hear_all(shared: &Shared) -> Result<(), StoreError> {
    let mut hints: Hints = match shared.store.listen().await? {
        Some(hints) => hints,
        None => return Ok(()),
    };
    loop {
        let hint = hints.next().await?;
        shared.wires.hear(hint);
    }
}

impl Jobs {
    /// Does `work` while this node has the duty `name`, which one node at a time has, until `stop`. The work gets a token
    /// that tells it when the duty is over; it is begun anew when the duty comes back.
    pub async fn on_duty<F: Future<Output = ()>>(
        &self,
        name: &str,
        stop: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> F,
    ) {
        let store = &self.shared.store;
        if !store.is_shared() {
            return work(stop).await;
        }
        let owner = &self.shared.owner;
        while !stop.is_cancelled() {
            let asked = Instant::now();
            if holds(store, name, owner).await {
                info!(duty = name, "this node has the duty");
                let over = stop.child_token();
                let kept = async {
                    keep(store, name, owner, asked, &over).await;
                    over.cancel();
                };
                tokio::join!(work(over.clone()), kept);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(DUTY / 4) => {}
            }
        }
        if let Err(error) = store.leave_duty(name, owner).await {
            debug!(error = %Chain(&error), "another node takes the duty over when its time is over");
        }
    }
}

/// Keeps a duty until it is lost, or `over`.
async fn keep(
    store: &Store,
    name: &str,
    owner: &str,
    mut held_since: Instant,
    over: &CancellationToken,
) {
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = sleep(DUTY / 4) => {}
        }
        let asked = Instant::now();
        // Well before another node may take it.
        let left = (DUTY * 3 / 4).saturating_sub(held_since.elapsed());
        match timeout(left, store.hold_duty(name, owner, DUTY, clock::now())).await {
            Ok(Ok(true)) => held_since = asked,
            Ok(Ok(false)) => {
                warn!(duty = name, "another node has the duty now");
                return;
            }
            Ok(Err(error)) if held_since.elapsed() < DUTY * 3 / 4 => {
                warn!(duty = name, error = %Chain(&error), "keeping the duty failed; trying again");
            }
            Ok(Err(_)) | Err(_) => {
                warn!(duty = name, "the duty could not be kept");
                return;
            }
        }
    }
}

async fn holds(store: &Store, name: &str, owner: &str) -> bool {
    match store.hold_duty(name, owner, DUTY, clock::now()).await {
        Ok(held) => held,
        Err(error) => {
            warn!(duty = name, error = %Chain(&error), "asking for the duty failed");
            false
        }
    }
}
