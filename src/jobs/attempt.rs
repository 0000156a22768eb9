//! One attempt at a job: runs the work, keeps the lease, tells how far it is, and writes how it ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use super::Shared;
use super::claims::Claimed;
use super::runner::Chain;
use crate::clock;
use crate::domain::job::{Job, JobState, Notice, Progress, Reason, backoff};
use crate::repository::{Fence, Finish, Hint};
use crate::work::{Attempt, Done, Work, WorkError};

/// Watchers hear of progress at most this often.
const TELL: Duration = Duration::from_millis(250);
/// The database hears of progress at most this often, unless somebody watches on another node: then it hears of it
/// when watchers here do.
const SAVE: Duration = Duration::from_secs(1);
/// How soon to try again to renew a lease.
const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// How often to try again to write the end of an attempt while the database is away.
const END_RETRY: Duration = Duration::from_secs(1);

/// For how many leases the end of an attempt is tried to be written while the lease can be renewed.
const FINISH_LEASES: u32 = 2;

pub(super) struct Claim {
    pub(super) shared: Arc<Shared>,
    pub(super) work: Arc<dyn Work>,
    pub(super) claimed: Claimed,
    pub(super) deadline: Option<Duration>,
    pub(super) interrupt: CancellationToken,
}

/// Runs the claimed job to its end and gives its place back.
pub(super) async fn run(claim: Claim) {
    let span = info_span!(
        "job",
        job_id = claim.claimed.job.id,
        kind = claim.claimed.job.spec.kind().as_str(),
        attempt = claim.claimed.job.attempt
    );
    let Claim {
        shared,
        work,
        claimed,
        deadline,
        interrupt,
    } = claim;
    let Claimed {
        job,
        place,
        asked,
        stop,
    } = claimed;
    async {
        let (attempt, progress) =
            Attempt::new(job.id.clone(), job.epoch, job.spec.clone(), stop.clone());
        let mut keeper = Keeper {
            fence: Fence {
                job_id: job.id.clone(),
                epoch: job.epoch,
                owner: shared.owner.clone(),
            },
            shared: Arc::clone(&shared),
            job,
            stop,
            progress,
            speed: Speed::new(),
            ending: Ending::None,
            deadline,
            started: Instant::now(),
            renewed: asked,
            lease: shared.store.lease().to_std().unwrap_or_default(),
            unsaved: false,
        };
        shared.wires.announce(Hint::Changed);
        info!("job started");
        // A fault in the work of one job must not cost its place, nor leave the job to its lease.
        let kept = attempt.kept();
        let working = AssertUnwindSafe(async { work.run(attempt).await }).catch_unwind();
        let working = working.map(|ended| ended.unwrap_or_else(|_| Err(panicked())));
        let ended = keeper.keep(working, interrupt).await;
        let is_told = keeper.finish(ended).await;
        drop(kept);
        let Fence { job_id, epoch, .. } = &keeper.fence;
        shared.hub.set_stopped(job_id, *epoch, is_told);
        if !is_told {
            // Perhaps it was ended by somebody else, or by this worker, who did not hear of it.
            tell_truth(&shared, job_id).await;
        }
    }
    .instrument(span)
    .await;
    drop(place);
}

/// Tells watchers here how a job is that this process no longer runs. What cannot be read now is read again while somebody
/// watches.
async fn tell_truth(shared: &Shared, job_id: &str) {
    match shared.store.job(job_id).await {
        Ok(Some(job)) => shared.hub.publish(Arc::new(job)),
        Ok(None) => {}
        Err(error) => warn!(error = %Chain(&error), "reading the job again failed"),
    }
}

/// How work ends that panicked; the panic itself is in the log.
fn panicked() -> WorkError {
    WorkError::Retry(Notice::new(
        Reason::Internal,
        "the work ended abnormally; the server's log says more",
    ))
}

/// A number from 0 to 1 that is another one each time.
fn draw() -> f64 {
    // The last bytes of such an id are random (RFC 9562, section 5.7).
    let random = uuid::Uuid::now_v7().as_u128() & u128::from(u32::MAX);
    random as f64 / f64::from(u32::MAX)
}

/// Why the work was told to stop, when it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    None,
    Interrupted,
    TimedOut,
    /// Another worker may have the job by now: nothing may be written any more.
    LeaseLost,
}

/// What a keeper writes to the database while the work goes on.
enum Chore {
    Renew,
    Save,
}

struct Keeper {
    shared: Arc<Shared>,
    fence: Fence,
    job: Arc<Job>,
    stop: CancellationToken,
    progress: watch::Receiver<Progress>,
    speed: Speed,
    ending: Ending,
    deadline: Option<Duration>,
    started: Instant,
    renewed: Instant,
    lease: Duration,
    unsaved: bool,
}

impl Keeper {
    /// Waits for the work, and meanwhile renews the lease and passes on progress.
    async fn keep(
        &mut self,
        work: impl Future<Output = Result<Done, WorkError>>,
        interrupt: CancellationToken,
    ) -> Result<Done, WorkError> {
        tokio::pin!(work);
        let beat = self.lease / 4;
        let mut heartbeat = interval_at(self.renewed + beat, beat);
        let mut tell = interval(TELL);
        let mut save = interval_at(Instant::now() + SAVE, SAVE);
        for ticks in [&mut heartbeat, &mut tell, &mut save] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let out_of_time = sleep_until(self.started + self.deadline.unwrap_or_default());
        tokio::pin!(out_of_time);
        loop {
            let chore = tokio::select! {
                biased;
                ended = &mut work => return ended,
                () = &mut out_of_time, if self.deadline.is_some() && self.ending == Ending::None => {
                    self.ending = Ending::TimedOut;
                    self.stop.cancel();
                    continue;
                }
                () = interrupt.cancelled(), if self.ending == Ending::None => {
                    self.ending = Ending::Interrupted;
                    self.stop.cancel();
                    continue;
                }
                // Before silence: a process that was frozen asks once more, as nobody may have taken its job.
                _ = heartbeat.tick() => Chore::Renew,
                () = sleep_until(self.silent_at()), if self.ending != Ending::LeaseLost => {
                    self.lose("the lease could not be renewed");
                    continue;
                }
                _ = tell.tick() => {
                    self.tell();
                    if !self.is_watched_elsewhere() {
                        continue;
                    }
                    Chore::Save
                }
                _ = save.tick() => Chore::Save,
            };
            let has_lost = self.ending == Ending::LeaseLost;
            let silent_at = self.silent_at().max(Instant::now() + self.lease / 16);
            let is_silent = {
                let done = async {
                    match chore {
                        Chore::Renew => {
                            if !self.renew().await {
                                heartbeat.reset_after(RENEW_AGAIN.min(beat));
                            }
                        }
                        Chore::Save => self.save().await,
                    }
                };
                tokio::pin!(done);
                // The work goes on meanwhile: it may hold the one connection that writes, for which the chore waits.
                tokio::select! {
                    biased;
                    ended = &mut work => {
                        done.await;
                        return ended;
                    }
                    () = &mut done => false,
                    () = sleep_until(silent_at), if !has_lost => true,
                }
            };
            if is_silent {
                self.lose("the lease could not be renewed");
            }
        }
    }

    /// When a worker that could not renew its lease stops: well before another may take the job. By a clock that nobody
    /// sets.
    fn silent_at(&self) -> Instant {
        self.renewed + self.lease * 3 / 4
    }

    fn is_watched_elsewhere(&self) -> bool {
        self.shared.wires.watched_elsewhere.load(Ordering::Relaxed)
    }

    /// Whether the database answered.
    async fn renew(&mut self) -> bool {
        // The lease runs from no later than this.
        let asked = Instant::now();
        match self
            .shared
            .store
            .renew_lease(&self.fence, clock::now())
            .await
        {
            Ok(Some(state)) => {
                self.renewed = asked;
                if state == JobState::Cancelling {
                    self.stop.cancel();
                }
            }
            Ok(None) => self.lose("the job was given to another worker"),
            Err(error) => {
                warn!(error = %Chain(&error), "renewing the lease failed");
                return false;
            }
        }
        true
    }

    fn lose(&mut self, why: &str) {
        warn!(why, "stopping the job");
        self.ending = Ending::LeaseLost;
        self.stop.cancel();
    }

    /// Takes over what the work reported since the last look, and tells watchers here.
    fn tell(&mut self) {
        // Another worker may be telling of the job by now.
        if self.ending == Ending::LeaseLost {
            return;
        }
        // The work drops its end when it is done; what it reported last counts all the same.
        if !self.progress.has_changed().unwrap_or(true) {
            return;
        }
        let progress = self.speed.rate(self.progress.borrow_and_update().clone());
        let mut job = (*self.job).clone();
        job.revision = job.revision.max(self.shared.hub.revision(&job.id)) + 1;
        // A cancel between two reports has already been told; its state must not be taken back.
        if let Some(live) = self.shared.hub.live(&job.id) {
            job.state = live.state;
        }
        job.progress = Some(progress);
        job.update_time = clock::now();
        self.job = Arc::new(job);
        self.shared.hub.publish(Arc::clone(&self.job));
        self.unsaved = true;
    }

    async fn save(&mut self) {
        let Some(progress) = self.job.progress.clone().filter(|_| self.unsaved) else {
            return;
        };
        let saved = self
            .shared
            .store
            .save_progress(&self.fence, &progress, self.job.revision, clock::now())
            .await;
        match saved {
            Ok(Some(revision)) => {
                self.unsaved = false;
                if self.is_watched_elsewhere() {
                    self.shared.wires.announce(Hint::Changed);
                }
                Arc::make_mut(&mut self.job).revision = revision.max(self.job.revision);
            }
            Ok(None) => self.lose("the job was given to another worker"),
            Err(error) => warn!(error = %Chain(&error), "saving progress failed"),
        }
    }

    fn timed_out(&self) -> Notice {
        let seconds = self.deadline.unwrap_or_default().as_secs_f64();
        Notice::new(
            Reason::TimedOut,
            format!("the job did not end within {seconds} s"),
        )
    }

    /// Writes how the attempt ended, for as long as the job is this worker's; whether watchers were told the end.
    async fn finish(&mut self, ended: Result<Done, WorkError>) -> bool {
        self.tell();
        if self.ending == Ending::LeaseLost {
            return false;
        }
        let finish = match ended {
            Ok(done) => Finish::Succeeded(done.result, done.warnings),
            Err(WorkError::Failed(notice)) => Finish::Failed(notice, Vec::new()),
            // What breaks while it is torn down says nothing about the work.
            Err(WorkError::Stopped | WorkError::Retry(_)) if self.ending == Ending::Interrupted => {
                Finish::Interrupted
            }
            Err(WorkError::Stopped | WorkError::Retry(_)) if self.ending == Ending::TimedOut => {
                Finish::Failed(self.timed_out(), Vec::new())
            }
            Err(WorkError::Later(at)) => Finish::Postponed(at),
            Err(WorkError::Retry(notice)) => {
                let wait = backoff(self.job.attempt, draw());
                Finish::Retry(notice, clock::now() + wait)
            }
            Err(WorkError::Stopped) if self.stop.is_cancelled() => Finish::Stopped,
            Err(WorkError::Stopped) => Finish::Failed(
                Notice::new(
                    Reason::Internal,
                    "the work stopped without having been told to",
                ),
                Vec::new(),
            ),
        };
        let give_up_at = Instant::now() + self.lease * FINISH_LEASES;
        loop {
            let written = self
                .shared
                .store
                .finish_job(
                    &self.fence,
                    finish.clone(),
                    self.job.progress.as_ref(),
                    self.job
                        .revision
                        .max(self.shared.hub.revision(&self.fence.job_id))
                        + 1,
                    self.shared.keep_until(),
                    clock::now(),
                )
                .await;
            match written {
                Ok(Some(job)) => {
                    info!(
                        state = job.state.as_str(),
                        error = job.error.as_ref().map(|error| error.message.as_str()),
                        "job ended"
                    );
                    self.shared.hub.publish(Arc::new(job));
                    self.shared.wires.announce(Hint::Changed);
                    return true;
                }
                Ok(None) => {
                    warn!("the end of the job was written before, or by another worker");
                    return false;
                }
                Err(error)
                    if self.renewed.elapsed() + END_RETRY >= self.lease
                        || Instant::now() >= give_up_at =>
                {
                    error!(error = %Chain(&error), "the end of the job could not be written; another attempt follows");
                    return false;
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "writing the end of the job failed; trying again");
                    tokio::time::sleep(END_RETRY).await;
                    // What cannot be written may be this end alone, or the database be there for moments only.
                    if self.renewed.elapsed() >= self.lease / 4 {
                        self.renew().await;
                    }
                }
            }
        }
    }
}

/// Adds speed and time left to what work reports.
struct Speed {
    last: Option<(Instant, Progress)>,
    started: Instant,
    bytes_per_second: f64,
}

impl Speed {
    fn new() -> Self {
        Self {
            last: None,
            started: Instant::now(),
            bytes_per_second: 0.0,
        }
    }

    fn rate(&mut self, mut progress: Progress) -> Progress {
        let now = Instant::now();
        if let Some((then, last)) = &self.last {
            let seconds = now.duration_since(*then).as_secs_f64().max(1e-3);
            let moved = progress.bytes_done.saturating_sub(last.bytes_done) as f64 / seconds;
            // About the last second counts, so that the figure neither jumps nor lags.
            let weight = seconds.min(1.0);
            self.bytes_per_second = moved * weight + self.bytes_per_second * (1.0 - weight);
        }
        progress.bytes_per_second = self.bytes_per_second as u64;
        progress.time_left_ms =
            progress
                .fraction
                .filter(|fraction| *fraction > 0.01)
                .map(|fraction| {
                    let spent = now.duration_since(self.started).as_millis() as f64;
                    (spent * (1.0 - fraction) / fraction) as u64
                });
        self.last = Some((now, progress.clone()));
        progress
    }
}
