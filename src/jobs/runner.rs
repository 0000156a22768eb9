//! The running side: claims jobs as places are free, takes over those of dead workers, forgets old ones.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::attempt::{self, Claim};
use super::claims::Claimed;
use super::nodes::keep_wires;
use super::{Jobs, Registered, Registry, Shared};
use crate::clock;
use crate::repository::{Fence, Finish, Hint, StoreError};

/// How often to look for work that nobody announced: retries that have become due, jobs of other processes.
const POLL: Duration = Duration::from_secs(1);
/// How often to look at the jobs of other nodes while somebody here watches them and no hint comes.
const LOOK: Duration = Duration::from_millis(400);
/// How long this node counts as one where somebody watches.
const WATCHING: TimeDelta = TimeDelta::seconds(15);
/// Changes read in one go.
const CHANGES_AT_ONCE: u32 = 1000;
/// How often to forget old jobs.
const FORGET: Duration = Duration::from_secs(600);
/// How soon to go on when there are more of them.
const FORGET_ON: Duration = Duration::from_millis(200);
/// How often to look whether anything was missed of jobs that are watched here.
const REVIEW: Duration = Duration::from_secs(5);
/// Jobs forgotten in one transaction, so that no other writer waits long.
const FORGOTTEN_AT_ONCE: u32 = 500;
/// How far back each look at other processes' changes reaches, because a commit can become visible after a later one.
const CHANGES_OVERLAP: TimeDelta = TimeDelta::seconds(3);

/// How long a claim that is under way when work is no longer taken on may take, however short the grace is.
const LAST_CLAIM: Duration = Duration::from_secs(2);

/// A runner that was not heard of for this long hangs. Each of its steps waits for the database, and each wait has an end:
/// a connection is waited for at most 10 s, and a statement at most 60 s.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// Whether a [`Runner`] goes on.
#[derive(Clone, Debug)]
pub struct Pulse(watch::Receiver<Instant>);

impl Pulse {
    /// Whether the runner was heard of lately, however its database fares. One that has ended hangs no more.
    pub fn is_beating(&self) -> bool {
        self.0.has_changed().is_err() || self.0.borrow().elapsed() < HANGS_AFTER
    }
}

/// Runs jobs until it is told to stop.
pub struct Runner {
    shared: Arc<Shared>,
    registry: Registry,
    /// Told when running jobs must give up and go back to the queue.
    interrupt: CancellationToken,
    attempts: JoinSet<()>,
    /// Told when nothing more is to be said to other nodes.
    wires_end: CancellationToken,
    /// Up to when the changes of other processes are known; `None` while nobody here watches.
    changes_seen: Option<DateTime<Utc>>,
    /// When other nodes were last told that somebody watches here.
    marked_watching: Option<Instant>,
    beat: watch::Sender<Instant>,
}

impl Runner {
    /// A runner for `jobs` that can do what is in `registry`.
    pub fn new(jobs: &Jobs, registry: Registry) -> Self {
        Self {
            shared: Arc::clone(&jobs.shared),
            registry,
            interrupt: CancellationToken::new(),
            attempts: JoinSet::new(),
            wires_end: CancellationToken::new(),
            changes_seen: None,
            marked_watching: None,
            beat: watch::Sender::new(Instant::now()),
        }
    }

    /// Shows whether it goes on.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.beat.subscribe())
    }

    /// Gives back the jobs of `dead_owner`, a process that is known to be gone. Its attempts are used up.
    pub async fn take_over_from(&self, dead_owner: &str) -> Result<(), StoreError> {
        let (owner, hub) = (&self.shared.owner, &self.shared.hub);
        let rescued = self
            .shared
            .store
            .rescue_jobs(
                dead_owner,
                |job| job.owner == *owner && hub.is_running(&job.id, job.epoch),
                self.shared.keep_until(),
                clock::now(),
            )
            .await?;
        if !rescued.is_empty() {
            self.shared.wires.announce(Hint::Queued);
        }
        for job in rescued {
            warn!(
                job_id = job.id,
                state = job.state.as_str(),
                attempt = job.attempt,
                "job taken over from a stopped worker"
            );
            hub.publish(Arc::new(job));
        }
        Ok(())
    }

    /// Gives back what this process was given and never heard of, because the database's answer was lost. That costs no
    /// attempt.
    pub(super) async fn give_back_unheard(&self) -> Result<(), StoreError> {
        let Shared {
            store, hub, owner, ..
        } = &*self.shared;
        let fences = {
            // The hub does not know yet what is being claimed just now.
            let Some(_paused) = self.shared.claims.paused().await else {
                return Ok(());
            };
            let fences = store.claims_of(owner).await?;
            hub.forget_over(|id, epoch| {
                let mut fences = fences.iter();
                fences.any(|fence| fence.job_id == id && fence.epoch == epoch)
            });
            let unheard = |fence: &Fence| !hub.has_heard_of(&fence.job_id, fence.epoch);
            fences.into_iter().filter(unheard).collect::<Vec<_>>()
        };
        for fence in fences {
            let (keep_until, now) = (self.shared.keep_until(), clock::now());
            let given_back =
                store.finish_job(&fence, Finish::Interrupted, None, 0, keep_until, now);
            match given_back.await {
                Ok(Some(job)) => {
                    warn!(
                        job_id = job.id,
                        "job given back: nobody heard that it was claimed"
                    );
                    self.shared.announce(&job);
                }
                Ok(None) => {}
                // It must not keep the others from going back; what cannot be read waits for the end of its lease.
                Err(error) => {
                    warn!(job_id = fence.job_id, error = %Chain(&error), "giving a job back failed");
                }
            }
        }
        Ok(())
    }

    /// Claims and runs until the jobs are drained; then gives running ones `grace` to end, and interrupts the rest.
    pub async fn run(mut self, grace: Duration) {
        let mut poll = tick(POLL);
        let mut look = tick(LOOK);
        let mut rescue = tick(self.shared.store.lease().to_std().unwrap_or(POLL) / 4);
        let mut forget = tick(FORGET);
        let mut review = tick(REVIEW);
        let draining = self.shared.draining.clone();
        let is_shared = self.shared.store.is_shared();
        self.shared.claims.open(&self.registry);
        let wires = tokio::spawn(keep_wires(Arc::clone(&self.shared), self.wires_end.clone()));
        // Whatever is asked for without a pause, each of these has its turn; only draining goes before all.
        while !draining.is_cancelled() {
            self.beat.send_replace(Instant::now());
            tokio::select! {
                () = draining.cancelled() => break,
                () = self.shared.claims.ready.notified() => self.run_claimed(),
                () = self.shared.work_to_do.notified() => self.claim_all().await,
                Some(ended) = self.attempts.join_next() => {
                    log_panic(ended);
                    self.claim_all().await;
                }
                () = self.shared.wires.told.notified() => self.heed_hints().await,
                () = self.shared.watch_begun.notified() => self.note_watchers().await,
                _ = poll.tick() => {
                    self.note_watchers().await;
                    self.hear_of_other_processes().await;
                    if is_shared {
                        self.stop_cancelled().await;
                        self.look_for_watchers().await;
                    }
                    self.claim_all().await;
                }
                _ = look.tick(), if is_shared => self.hear_of_other_processes().await,
                _ = rescue.tick() => {
                    // No process has the empty name, so this takes only what ran out of its lease.
                    let rescued = self.take_over_from("").await;
                    if let Err(error) = rescued.and(self.give_back_unheard().await) {
                        warn!(error = %Chain(&error), "looking for abandoned jobs failed");
                    }
                    self.shared.hub.tidy();
                }
                _ = review.tick() => self.review().await,
                _ = forget.tick() => {
                    if self.forget_old().await {
                        forget.reset_after(FORGET_ON);
                    }
                }
            }
        }
        self.wind_down(grace).await;
        self.wires_end.cancel();
        log_panic(wires.await);
    }

    async fn wind_down(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        // What is claimed later than this, because the database does not answer, is taken for abandoned.
        let last_claim = deadline.max(Instant::now() + LAST_CLAIM);
        let _ = tokio::time::timeout_at(last_claim, self.shared.claims.closed()).await;
        self.run_claimed();
        let mut alive = tick(POLL);
        while !self.attempts.is_empty() {
            self.beat.send_replace(Instant::now());
            tokio::select! {
                _ = alive.tick() => {}
                Some(ended) = self.attempts.join_next() => log_panic(ended),
                () = tokio::time::sleep_until(deadline), if !self.interrupt.is_cancelled() => {
                    info!(jobs = self.attempts.len(), "interrupting jobs that are still running; they go back to the queue");
                    self.interrupt.cancel();
                }
            }
        }
    }

    /// Runs what was claimed while it was let in.
    fn run_claimed(&mut self) {
        for claimed in self.shared.claims.take() {
            let kind = claimed.job.spec.kind();
            let registered = self.registry.kinds.iter().find(|(of, _)| *of == kind);
            if let Some((_, registered)) = registered {
                let claim = self.claim(registered, claimed);
                self.attempts.spawn(attempt::run(claim));
            }
        }
    }

    fn claim(&self, registered: &Registered, claimed: Claimed) -> Claim {
        Claim {
            shared: Arc::clone(&self.shared),
            work: Arc::clone(&registered.work),
            deadline: registered.deadline,
            claimed,
            interrupt: self.interrupt.clone(),
        }
    }

    /// Claims until no kind has both a free place and a waiting job.
    async fn claim_all(&mut self) {
        for (kind, registered) in &self.registry.kinds {
            while let Ok(place) = Arc::clone(&registered.places).try_acquire_owned() {
                if self.shared.draining.is_cancelled() {
                    return;
                }
                let asked = Instant::now();
                match self
                    .shared
                    .store
                    .claim_job(*kind, &self.shared.owner, clock::now())
                    .await
                {
                    Ok(Some(job)) => {
                        let claimed = Claimed::new(&self.shared.hub, job, place, asked);
                        let claim = self.claim(registered, claimed);
                        self.attempts.spawn(attempt::run(claim));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        error!(error = %Chain(&error), kind = kind.as_str(), "claiming a job failed");
                        return;
                    }
                }
            }
        }
    }

    /// Looks at once where other nodes say that there is something to see.
    async fn heed_hints(&mut self) {
        let wires = &self.shared.wires;
        let (queued, changed) = (
            wires.has_heard(Hint::Queued),
            wires.has_heard(Hint::Changed),
        );
        if wires.has_heard(Hint::Watched) {
            self.look_for_watchers().await;
        }
        if queued || changed {
            self.hear_of_other_processes().await;
        }
        if changed {
            self.stop_cancelled().await;
        }
        if queued {
            self.claim_all().await;
        }
    }

    /// Tells watchers here what other processes did to their jobs.
    async fn hear_of_other_processes(&mut self) {
        if !self.shared.hub.is_watched() {
            // Whoever begins to watch reads the job after that, so that nothing before it is missed.
            self.changes_seen = None;
            return;
        }
        if let Err(error) = self.read_changes().await {
            warn!(error = %Chain(&error), "reading changes of jobs failed");
        }
    }

    async fn read_changes(&mut self) -> Result<(), StoreError> {
        let (store, hub) = (&self.shared.store, &self.shared.hub);
        let seen = match self.changes_seen {
            Some(seen) => seen,
            None => store.present(clock::now()).await?,
        };
        let mut newest = seen;
        let (mut after, mut after_id) = (seen - CHANGES_OVERLAP, String::new());
        loop {
            let changes = store
                .job_changes_after(after, &after_id, CHANGES_AT_ONCE)
                .await?;
            let is_last = changes.len() < CHANGES_AT_ONCE as usize;
            if let Some(last) = changes.last() {
                (after, after_id) = (last.time, last.id.clone());
                newest = newest.max(last.time);
            }
            let news: Vec<String> = changes
                .into_iter()
                .filter(|change| hub.is_news(&change.id, change.revision))
                .map(|change| change.id)
                .collect();
            for job in store.jobs_by_id(&news).await? {
                hub.publish(Arc::new(job));
            }
            if is_last {
                break;
            }
        }
        self.changes_seen = Some(newest);
        Ok(())
    }

    /// Lets the workers of other nodes know that somebody watches here, so that they write progress as often as it is
    /// shown.
    async fn note_watchers(&mut self) {
        let renew = WATCHING.to_std().unwrap_or(POLL) / 3;
        let is_marked = self
            .marked_watching
            .is_some_and(|marked| marked.elapsed() < renew);
        let shared = &self.shared;
        if !shared.store.is_shared() || is_marked || !shared.hub.is_watched() {
            return;
        }
        match shared
            .store
            .mark_watching(&shared.owner, WATCHING, clock::now())
            .await
        {
            Ok(()) => {
                if self
                    .marked_watching
                    .is_none_or(|marked| marked.elapsed() > 2 * renew)
                {
                    shared.wires.announce(Hint::Watched);
                }
                self.marked_watching = Some(Instant::now());
            }
            Err(error) => warn!(error = %Chain(&error), "telling other nodes of watchers failed"),
        }
    }

    async fn look_for_watchers(&self) {
        let shared = &self.shared;
        let found = shared
            .store
            .is_watched_elsewhere(&shared.owner, clock::now());
        match found.await {
            Ok(watched) => shared
                .wires
                .watched_elsewhere
                .store(watched, Ordering::Relaxed),
            Err(error) => {
                warn!(error = %Chain(&error), "looking for watchers on other nodes failed")
            }
        }
    }

    /// Stops jobs here that were cancelled on another node; their next heartbeat would do it later.
    async fn stop_cancelled(&self) {
        if self.attempts.is_empty() {
            return;
        }
        match self.shared.store.jobs_to_stop(&self.shared.owner).await {
            Ok(ids) => {
                for id in ids {
                    self.shared.hub.stop_running(&id);
                }
            }
            Err(error) => warn!(error = %Chain(&error), "looking for cancelled jobs failed"),
        }
    }

    /// Looks at all that is watched here and runs elsewhere. Changes are read by their time, and one may have been passed
    /// over: a commit that took longer than the overlap, or a clock of the database that was set back.
    async fn review(&self) {
        let hub = &self.shared.hub;
        if !hub.is_watched() {
            return;
        }
        if let Err(error) = self.read_again().await {
            warn!(error = %Chain(&error), "reading watched jobs again failed");
        }
    }

    async fn read_again(&self) -> Result<(), StoreError> {
        let (store, hub) = (&self.shared.store, &self.shared.hub);
        // In this order, so that what begins in between is not taken for ended.
        let attended = hub.attended();
        let live = store.live_jobs().await?;
        let mut stale: Vec<String> = live
            .iter()
            .filter(|mark| hub.is_news(&mark.id, mark.revision))
            .map(|mark| mark.id.clone())
            .collect();
        let live: HashSet<String> = live.into_iter().map(|mark| mark.id).collect();
        stale.extend(attended.into_iter().filter(|id| !live.contains(id)));
        for some in stale.chunks(CHANGES_AT_ONCE as usize) {
            let found = store.jobs_by_id(some).await?;
            let found_ids: HashSet<&String> = found.iter().map(|job| &job.id).collect();
            for id in some.iter().filter(|id| !found_ids.contains(id)) {
                hub.attend_no_more(id);
            }
            for job in found {
                hub.publish(Arc::new(job));
            }
        }
        Ok(())
    }

    /// Forgets some of the ended jobs whose time is over; whether there may be more.
    async fn forget_old(&self) -> bool {
        let expired = self
            .shared
            .store
            .delete_expired_jobs(clock::now(), FORGOTTEN_AT_ONCE);
        match expired.await {
            Ok(0) => false,
            Ok(forgotten) => {
                info!(forgotten, "forgot old jobs");
                forgotten >= u64::from(FORGOTTEN_AT_ONCE)
            }
            Err(error) => {
                warn!(error = %Chain(&error), "forgetting old jobs failed");
                false
            }
        }
    }
}

fn tick(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a job's task ended abnormally; its job is taken over when the lease has run out");
    }
}

/// An error with its causes, for one log line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
