//! SHA-256 beside the copying: hashes run in threads of their own, so that a pass costs its longest part and not the sum.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::hashing::{FarHasher, Sha256};

/// Chunks that may wait; the pool of buffers bounds their bytes.
const WAITING_MAX: usize = 64;

enum Order {
    Data(Bytes),
    /// The digest of what came since the last one.
    Digest,
}

/// A thread that hashes one stream after another.
pub(super) struct Lane {
    orders: Option<SyncSender<Order>>,
    digests: Receiver<Sha256>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    pub(super) fn start() -> std::io::Result<Self> {
        let (orders, incoming) = sync_channel(WAITING_MAX);
        let (outgoing, digests) = channel();
        let thread = std::thread::Builder::new()
            .name("sha256".to_owned())
            .spawn(move || {
                let mut hasher = FarHasher::default();
                for order in incoming {
                    match order {
                        Order::Data(bytes) => hasher.update(&bytes),
                        Order::Digest => {
                            // Whoever no longer wants the digest has dropped its end.
                            let _ = outgoing.send(hasher.digest());
                        }
                    }
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            digests,
            thread: Some(thread),
        })
    }

    /// Adds to the stream.
    pub(super) fn add(&self, bytes: Bytes) {
        self.order(Order::Data(bytes));
    }

    /// Ends the stream; its digest comes from [`Lane::digest`], in the order of the streams.
    pub(super) fn end(&self) {
        self.order(Order::Digest);
    }

    /// The digest of the earliest stream that was ended and not yet asked for; `None` when the thread is gone.
    pub(super) fn digest(&self) -> Option<Sha256> {
        self.digests.recv().ok()
    }

    /// The same, unless it would have to be waited for.
    pub(super) fn digest_if_there(&self) -> Option<Sha256> {
        self.digests.try_recv().ok()
    }

    /// A thread that is gone shows in [`Lane::digest`].
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
