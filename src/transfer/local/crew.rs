//! Threads that share a batch: one takes the next file when it has done one.
//!
//! What is done with a file may have a second step, which comes some files later: a file that was written is made to
//! outlast a loss of power when the disk has had time for it, and for its neighbours with the same effort.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{BatchProgress, TransferError};
use super::pace::Pace;

/// Time between two tellings of progress.
const TELLING: Duration = Duration::from_millis(250);
/// Files of a thread that wait for their second step. What a killed process leaves unfinished is at most these.
const LAG: usize = 32;
/// What is written whole when the time is over gets that long to be made to last.
const LAST_STEPS: Duration = Duration::from_secs(10);
/// The same when the caller cancels, who waits for two seconds at most.
const LAST_STEPS_OF_CANCELLED: Duration = Duration::from_millis(800);
/// A thread that the disk does not let go is left behind after that long; it removes its part when it is let go.
const LEAVING: Duration = Duration::from_millis(400);

/// What the threads of a batch tell and are told.
pub(super) struct Shared {
    stop: AtomicBool,
    /// The time is over: what is not whole yet is given up, and what is gets its second step.
    cut_off: AtomicBool,
    /// A file failed in a way that ends the batch: none is begun any more, and those that are under way are finished.
    closing: AtomicBool,
    moved_bytes: AtomicU64,
    files_done: AtomicU64,
    /// Grows whenever a thread shows that it is not stuck.
    beats: AtomicU64,
    current: Mutex<BTreeSet<String>>,
    pace: Pace,
}

impl Shared {
    fn new(bandwidth: watch::Receiver<u64>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            moved_bytes: AtomicU64::new(0),
            files_done: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            current: Mutex::default(),
            pace: Pace::new(bandwidth),
        }
    }

    /// Whether to go on.
    pub(super) fn goes_on(&self) -> bool {
        self.beats.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }

    /// Whether to go on with what is not whole yet.
    pub(super) fn copies_on(&self) -> bool {
        self.goes_on() && !self.cut_off.load(Ordering::Relaxed)
    }

    /// Counts bytes that moved, and waits as long as the limit wants.
    pub(super) fn moved(&self, bytes: usize) {
        self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.pace.wait(bytes, || self.copies_on());
    }

    /// Counts a file that is whole at the other side.
    pub(super) fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn progress(&self) -> BatchProgress {
        BatchProgress {
            files_done: self.files_done.load(Ordering::Relaxed),
            bytes_moved: self.moved_bytes.load(Ordering::Relaxed),
            retries: 0,
            current: locked(&self.current).iter().cloned().collect(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half changed by whoever panicked with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a batch is given.
pub(super) struct Terms<'a> {
    pub(super) threads: u32,
    pub(super) bandwidth: watch::Receiver<u64>,
    pub(super) deadline: Duration,
    pub(super) stall_limit: Duration,
    pub(super) cancel: &'a CancellationToken,
}

/// What the first step of a file leaves.
pub(super) enum Step<M, R> {
    /// The result; there is no second step.
    Done(R),
    /// What the second step goes on with.
    Later(M),
}

/// How a batch ended.
pub(super) struct Ended<R> {
    /// In the order of the items; `None` for those that have none.
    pub(super) results: Vec<Option<R>>,
    /// What ended it early.
    pub(super) error: Option<TransferError>,
}

/// Does `work` for every item, and answers its results in their order. The first error ends all.
pub(super) async fn run<T, R>(
    items: Vec<(String, T)>,
    terms: Terms<'_>,
    on_progress: &mut (dyn FnMut(BatchProgress) + Send),
    work: impl Fn(&Shared, &T) -> Result<R, TransferError> + Send + Sync + 'static,
) -> Result<Vec<R>, TransferError>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
{
    let first = move |shared: &Shared, item: &T| work(shared, item).map(Step::Done);
    let ended = run_in_steps(
        items,
        terms,
        on_progress,
        first,
        |_, _, never: Infallible| match never {},
    )
    .await?;
    match ended.error {
        Some(error) => Err(error),
        None => Ok(ended.results.into_iter().flatten().collect()),
    }
}

/// As [`run`] in two steps: each thread does the second one of a file when it has done the first of [`LAG`] others, or of
/// all. An error of a file lets those that had their first step have their second one, too, and so does the end of the time,
/// also when the caller cancels, as far as it is a matter of moments.
///
/// # Errors
/// When a thread cannot be waited for; what ended the batch early is in [`Ended::error`].
pub(super) async fn run_in_steps<T, M, R>(
    items: Vec<(String, T)>,
    terms: Terms<'_>,
    on_progress: &mut (dyn FnMut(BatchProgress) + Send),
    first: impl Fn(&Shared, &T) -> Result<Step<M, R>, TransferError> + Send + Sync + 'static,
    second: impl Fn(&Shared, &T, M) -> Result<R, TransferError> + Send + Sync + 'static,
) -> Result<Ended<R>, TransferError>
where
    T: Send + Sync + 'static,
    M: 'static,
    R: Send + 'static,
{
    let shared = Arc::new(Shared::new(terms.bandwidth));
    let count = items.len();
    let batch = Arc::new(Batch {
        items,
        next: AtomicUsize::new(0),
        results: Mutex::new((0..count).map(|_| None).collect()),
        error: Mutex::new(None),
        first,
        second,
    });
    let threads = (terms.threads.max(1) as usize).min(count);
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let (shared, batch) = (Arc::clone(&shared), Arc::clone(&batch));
            tokio::task::spawn_blocking(move || batch.help(&shared))
        })
        .collect();
    // A caller that goes away stops the threads, too.
    let leaving = Leaving(Arc::clone(&shared));
    let mut all = std::pin::pin!(futures::future::join_all(running));
    let ends_at = tokio::time::Instant::now() + terms.deadline;
    let mut telling = tokio::time::interval(TELLING);
    let (mut beats, mut beat_at) = (0, Instant::now());
    let stopped = loop {
        tokio::select! {
            joined = &mut all => {
                for one in joined {
                    one.map_err(std::io::Error::other)?;
                }
                break None;
            }
            _ = telling.tick() => {
                on_progress(shared.progress());
                let now = shared.beats.load(Ordering::Relaxed);
                if now != beats {
                    (beats, beat_at) = (now, Instant::now());
                } else if beat_at.elapsed() > terms.stall_limit {
                    break Some(TransferError::Stalled(terms.stall_limit.as_secs()));
                }
            }
            () = terms.cancel.cancelled() => break Some(TransferError::Cancelled),
            () = tokio::time::sleep_until(ends_at) => break Some(TransferError::TimedOut),
        }
    };
    if let Some(error) = stopped {
        let last_steps = match error {
            TransferError::TimedOut => LAST_STEPS.min(terms.stall_limit),
            TransferError::Cancelled => LAST_STEPS_OF_CANCELLED,
            _ => Duration::ZERO,
        };
        shared.cut_off.store(true, Ordering::Relaxed);
        if tokio::time::timeout(last_steps, &mut all).await.is_ok() {
            return Ok(batch.ended(Some(error)));
        }
        drop(leaving);
        let _ = tokio::time::timeout(LEAVING, all).await;
        return Ok(batch.ended(Some(error)));
    }
    on_progress(shared.progress());
    let error = locked(&batch.error).take();
    Ok(batch.ended(error))
}

struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

struct Batch<T, R, F, S> {
    items: Vec<(String, T)>,
    next: AtomicUsize,
    results: Mutex<Vec<Option<R>>>,
    error: Mutex<Option<TransferError>>,
    first: F,
    second: S,
}

impl<T, R, F, S> Batch<T, R, F, S> {
    fn help<M>(&self, shared: &Shared)
    where
        F: Fn(&Shared, &T) -> Result<Step<M, R>, TransferError>,
        S: Fn(&Shared, &T, M) -> Result<R, TransferError>,
    {
        let mut waiting: VecDeque<(usize, M)> = VecDeque::with_capacity(LAG);
        while shared.copies_on() && !shared.closing.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((path, item)) = self.items.get(index) else {
                break;
            };
            locked(&shared.current).insert(path.clone());
            let done = (self.first)(shared, item);
            locked(&shared.current).remove(path);
            match done {
                Ok(Step::Done(result)) => self.keep(shared, index, Ok(result)),
                Ok(Step::Later(what)) => waiting.push_back((index, what)),
                Err(error) => self.keep(shared, index, Err(error)),
            }
            if waiting.len() > LAG {
                self.go_on_with_oldest(shared, &mut waiting);
            }
        }
        while shared.goes_on() && !waiting.is_empty() {
            self.go_on_with_oldest(shared, &mut waiting);
        }
    }

    fn go_on_with_oldest<M>(&self, shared: &Shared, waiting: &mut VecDeque<(usize, M)>)
    where
        S: Fn(&Shared, &T, M) -> Result<R, TransferError>,
    {
        if let Some((index, what)) = waiting.pop_front() {
            let done = (self.second)(shared, &self.items[index].1, what);
            self.keep(shared, index, done);
        }
    }

    fn keep(&self, shared: &Shared, index: usize, done: Result<R, TransferError>) {
        match done {
            // A thread that was left behind may come back when the results were taken already.
            Ok(result) => {
                if let Some(place) = locked(&self.results).get_mut(index) {
                    *place = Some(result);
                }
            }
            Err(error) => {
                locked(&self.error).get_or_insert(error);
                shared.closing.store(true, Ordering::Relaxed);
            }
        }
    }

    fn ended(&self, error: Option<TransferError>) -> Ended<R> {
        Ended {
            results: std::mem::take(&mut *locked(&self.results)),
            error,
        }
    }
}
