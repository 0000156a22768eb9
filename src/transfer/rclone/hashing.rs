//! The hashes of the sources of a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::super::source::{self, Digests};
use super::super::{Outgoing, TransferError};
use super::command::Patience;

/// Of each file of a batch; `None` where nobody wants it.
pub(super) type SourceDigests = Vec<Option<Result<Digests, String>>>;

/// Hashes the sources on a thread of their own, beside the transfer. Dropped, it stops.
pub(super) struct Hashing {
    stop: Arc<AtomicBool>,
    running: tokio::task::JoinHandle<SourceDigests>,
}

impl Hashing {
    pub(super) fn start(batch: Arc<Vec<Outgoing>>, wanted: Vec<bool>, with_md5: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let running = tokio::task::spawn_blocking(move || {
            batch
                .iter()
                .zip(wanted)
                .map(|(file, is_wanted)| {
                    if !is_wanted {
                        return None;
                    }
                    let goes_on = || !stopped.load(Ordering::Relaxed);
                    let found = source::digests(&file.file, file.size_bytes, with_md5, goes_on);
                    Some(found.map_err(|error| error.to_string()))
                })
                .collect()
        });
        Self { stop, running }
    }

    pub(super) async fn finish(
        mut self,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<SourceDigests, TransferError> {
        let left = patience.ends_at.saturating_duration_since(Instant::now());
        tokio::select! {
            found = &mut self.running => {
                found.map_err(|error| TransferError::Io(std::io::Error::other(error)))
            }
            () = cancel.cancelled() => Err(TransferError::Cancelled),
            () = tokio::time::sleep(left) => Err(TransferError::TimedOut),
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
