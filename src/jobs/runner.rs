//! The running side: claims jobs as places are free, takes over those of dead workers, forgets old ones.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::attempt::{self, Claim};
use super::{Jobs, Registry, Shared};
use crate::clock;
use crate::repository::StoreError;

/// How often to look for work that nobody announced: retries that have become due, jobs of other processes.
const POLL: Duration = Duration::from_secs(1);
/// How often to look for jobs whose worker is gone.
const RESCUE: Duration = Duration::from_secs(15);
/// How often to forget old jobs.
const FORGET: Duration = Duration::from_secs(600);
/// Jobs forgotten in one transaction, so that no other writer waits long.
const FORGOTTEN_AT_ONCE: u32 = 500;
/// How far back each look at other processes' changes reaches, because a commit can become visible after a later one.
const CHANGES_OVERLAP: TimeDelta = TimeDelta::seconds(3);

/// Runs jobs until it is told to stop.
pub struct Runner {
    shared: Arc<Shared>,
    registry: Registry,
    /// Told when running jobs must give up and go back to the queue.
    interrupt: CancellationToken,
    attempts: JoinSet<()>,
    changes_seen: DateTime<Utc>,
}

impl Runner {
    /// A runner for `jobs` that can do what is in `registry`.
    pub fn new(jobs: &Jobs, registry: Registry) -> Self {
        Self {
            shared: Arc::clone(&jobs.shared),
            registry,
            interrupt: CancellationToken::new(),
            attempts: JoinSet::new(),
            changes_seen: clock::now(),
        }
    }

    /// Gives back the jobs of `dead_owner`, a process that is known to be gone. Its attempts are used up.
    pub async fn take_over_from(&self, dead_owner: &str) -> Result<(), StoreError> {
        let rescued = self
            .shared
            .store
            .rescue_jobs(
                dead_owner,
                |job| job.owner == self.shared.owner && self.shared.hub.is_running(&job.id),
                self.shared.keep_until(),
                clock::now(),
            )
            .await?;
        for job in rescued {
            warn!(
                job_id = job.id,
                state = job.state.as_str(),
                attempt = job.attempt,
                "job taken over from a stopped worker"
            );
            self.shared.hub.publish(Arc::new(job));
        }
        Ok(())
    }

    /// Claims and runs until the jobs are drained; then gives running ones `grace` to end, and interrupts the rest.
    pub async fn run(mut self, grace: Duration) {
        let mut poll = tick(POLL);
        let mut rescue = tick(RESCUE);
        let mut forget = tick(FORGET);
        let draining = self.shared.draining.clone();
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                () = self.shared.work_to_do.notified() => self.claim_all().await,
                Some(ended) = self.attempts.join_next() => {
                    log_panic(ended);
                    self.claim_all().await;
                }
                _ = poll.tick() => {
                    self.hear_of_other_processes().await;
                    self.claim_all().await;
                }
                _ = rescue.tick() => {
                    // No process has the empty name, so this takes only what ran out of its lease.
                    if let Err(error) = self.take_over_from("").await {
                        warn!(error = %Chain(&error), "looking for abandoned jobs failed");
                    }
                    self.shared.hub.tidy();
                }
                _ = forget.tick() => self.forget_old().await,
            }
        }
        self.wind_down(grace).await;
    }

    async fn wind_down(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ended) = self.attempts.join_next() => log_panic(ended),
                () = tokio::time::sleep_until(deadline), if !self.interrupt.is_cancelled() => {
                    info!(jobs = self.attempts.len(), "interrupting jobs that are still running; they go back to the queue");
                    self.interrupt.cancel();
                }
            }
        }
    }

    /// Claims until no kind has both a free place and a waiting job.
    async fn claim_all(&mut self) {
        for (kind, registered) in &self.registry.kinds {
            while let Ok(place) = Arc::clone(&registered.places).try_acquire_owned() {
                match self
                    .shared
                    .store
                    .claim_job(*kind, &self.shared.owner, clock::now())
                    .await
                {
                    Ok(Some(job)) => {
                        let claim = Claim {
                            shared: Arc::clone(&self.shared),
                            work: Arc::clone(&registered.work),
                            deadline: registered.deadline,
                            job,
                            interrupt: self.interrupt.clone(),
                            place,
                        };
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

    /// Tells watchers here what other processes did to their jobs.
    async fn hear_of_other_processes(&mut self) {
        match self
            .shared
            .store
            .jobs_changed_after(self.changes_seen - CHANGES_OVERLAP)
            .await
        {
            Ok(jobs) => {
                for job in jobs {
                    self.changes_seen = self.changes_seen.max(job.update_time);
                    // What this process runs, the hub knows sooner and better than the database.
                    if !self.shared.hub.is_running(&job.id) {
                        self.shared.hub.publish(Arc::new(job));
                    }
                }
            }
            Err(error) => warn!(error = %Chain(&error), "reading changes of jobs failed"),
        }
    }

    async fn forget_old(&self) {
        let mut forgotten = 0;
        loop {
            let expired = self
                .shared
                .store
                .delete_expired_jobs(clock::now(), FORGOTTEN_AT_ONCE);
            match expired.await {
                Ok(0) => break,
                Ok(count) => forgotten += count,
                Err(error) => {
                    warn!(error = %Chain(&error), "forgetting old jobs failed");
                    break;
                }
            }
        }
        if forgotten > 0 {
            info!(forgotten, "forgot old jobs");
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
