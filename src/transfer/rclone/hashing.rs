//! The hashes of the sources of a batch.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::super::source::{self, Digests};
use super::super::{Outgoing, TransferError, side_by_side};
use super::command::Patience;

/// Threads that hash a batch at most. They run beside the transfer, which wants cores, too.
const THREADS_MAX: usize = 4;

/// Of each file of a batch; `None` where nobody wants it.
pub(super) type SourceDigests = Vec<Option<Result<Digests, String>>>;

/// Hashes the sources on threads of their own, beside the transfer. Dropped, it stops.
pub(super) struct Hashing {
    work: Arc<Work>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

struct Work {
    stop: AtomicBool,
    batch: Arc<Vec<Outgoing>>,
    wanted: Vec<bool>,
    with_md5: bool,
    next: AtomicUsize,
    found: Mutex<SourceDigests>,
}

impl Hashing {
    pub(super) fn start(batch: Arc<Vec<Outgoing>>, wanted: Vec<bool>, with_md5: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(THREADS_MAX).min(batch.len());
        let work = Arc::new(Work {
            stop: AtomicBool::new(false),
            found: Mutex::new(vec![None; batch.len()]),
            batch,
            wanted,
            with_md5,
            next: AtomicUsize::new(0),
        });
        let running = (0..threads)
            .map(|_| {
                let work = Arc::clone(&work);
                tokio::task::spawn_blocking(move || work.help())
            })
            .collect();
        Self { work, running }
    }

    pub(super) async fn finish(
        mut self,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<SourceDigests, TransferError> {
        let left = patience.ends_at.saturating_duration_since(Instant::now());
        tokio::select! {
            all = try_join_all(std::mem::take(&mut self.running)) => {
                all.map_err(std::io::Error::other)?;
                let mut found = self.work.found.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(std::mem::take(&mut *found))
            }
            () = cancel.cancelled() => Err(TransferError::Cancelled),
            () = tokio::time::sleep(left) => Err(TransferError::TimedOut),
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.work.stop.store(true, Ordering::Relaxed);
    }
}

impl Work {
    fn help(&self) {
        let goes_on = || !self.stop.load(Ordering::Relaxed);
        if self.with_md5 {
            side_by_side::digest_all(
                || self.next(),
                |index, found| self.keep(index, found),
                goes_on,
            );
            return;
        }
        while goes_on() {
            let Some((index, file, size_bytes)) = self.next() else {
                break;
            };
            self.keep(index, source::digests(file, size_bytes, goes_on));
        }
    }

    /// The next file that is wanted, with its place in the batch and its size.
    fn next(&self) -> Option<(usize, &File, u64)> {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let file = self.batch.get(index)?;
            if self.wanted[index] {
                return Some((index, &file.file, file.size_bytes));
            }
        }
    }

    fn keep(&self, index: usize, digests: io::Result<Digests>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that nobody waited for may come back when the results were taken already.
        if let Some(place) = found.get_mut(index) {
            *place = Some(digests.map_err(|error| error.to_string()));
        }
    }
}
