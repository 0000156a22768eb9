//! Jobs that are claimed while they are let in: where a place is free, a job is claimed in the transaction that writes it, and
//! waits for the disk once instead of twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{
    Notify, OwnedSemaphorePermit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::hub::Hub;
use crate::domain::job::{Job, JobKind};

/// How long those who have leave are waited for. Nobody gets it meanwhile.
const LONGEST_CLAIM: Duration = Duration::from_secs(1);

/// A job of this process that is to be run now: one that was claimed while it was let in, or by the runner itself.
pub(super) struct Claimed {
    pub(super) job: Arc<Job>,
    pub(super) place: OwnedSemaphorePermit,
    /// When the job was asked for: its lease runs from no earlier than this.
    pub(super) asked: Instant,
    /// Stops it, also before it runs.
    pub(super) stop: CancellationToken,
}

impl Claimed {
    /// A job that was just claimed. From now on it counts as one that runs here: who cancels it is heard, and it is not
    /// taken for abandoned.
    pub(super) fn new(hub: &Hub, job: Job, place: OwnedSemaphorePermit, asked: Instant) -> Self {
        let (job, stop) = (Arc::new(job), CancellationToken::new());
        hub.set_running(Arc::clone(&job), stop.clone());
        Self {
            job,
            place,
            asked,
            stop,
        }
    }
}

/// Where admission finds free places, and leaves what it claimed for the runner.
#[derive(Default)]
pub(super) struct Claims {
    desk: Mutex<Desk>,
    /// Read by who claims, from the look at whether jobs are drained until the hub knows of the claim and it is left here.
    claiming: RwLock<()>,
    /// Woken when there is something to run.
    pub(super) ready: Notify,
}

#[derive(Default)]
struct Desk {
    /// Of each kind that a runner runs; none before one does.
    places: Vec<(JobKind, Arc<Semaphore>)>,
    claimed: Vec<Claimed>,
}

/// Leave to claim jobs. While it is held, the runner does not end, unless the database keeps it waiting.
pub(super) struct Leave<'a> {
    claims: &'a Claims,
    _claiming: RwLockReadGuard<'a, ()>,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        // Nothing panics while it holds the lock.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the jobs of a registry claimed from now on.
    pub(super) fn open(&self, registry: &Registry) {
        let places = registry.kinds.iter();
        self.lock().places = places
            // Of the runs that send to a destination one may be claimed at a time. Two nodes that claim such at the same
            // moment are kept apart by an index, at the price of one's transaction.
            .filter(|(kind, _)| *kind != JobKind::Backup)
            .map(|(kind, registered)| (*kind, Arc::clone(&registered.places)))
            .collect();
    }

    /// Leave to claim, unless no more work is taken on, or somebody just looks at what is claimed.
    pub(super) fn leave(&self, draining: &CancellationToken) -> Option<Leave<'_>> {
        let claiming = self.claiming.try_read().ok()?;
        (!draining.is_cancelled()).then_some(Leave {
            claims: self,
            _claiming: claiming,
        })
    }

    /// Waits for those who have leave; while jobs are drained, nobody gets it any more.
    pub(super) async fn closed(&self) {
        drop(self.claiming.write().await);
    }

    /// While this is held nobody has leave; `None` when somebody has it for too long.
    pub(super) async fn paused(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let paused = tokio::time::timeout(LONGEST_CLAIM, self.claiming.write());
        paused.await.ok()
    }

    /// What is to be run.
    pub(super) fn take(&self) -> Vec<Claimed> {
        std::mem::take(&mut self.lock().claimed)
    }
}

impl Leave<'_> {
    /// A free place for a job of this kind.
    pub(super) fn place(&self, kind: JobKind) -> Option<OwnedSemaphorePermit> {
        let desk = self.claims.lock();
        let (_, places) = desk.places.iter().find(|(of, _)| *of == kind)?;
        Arc::clone(places).try_acquire_owned().ok()
    }

    /// Has the runner run what was claimed.
    pub(super) fn hand_over(self, claimed: Vec<Claimed>) {
        if !claimed.is_empty() {
            self.claims.lock().claimed.extend(claimed);
            self.claims.ready.notify_one();
        }
    }
}
