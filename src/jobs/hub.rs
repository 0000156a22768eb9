//! The newest state of each live job, for everybody in this process who watches it.
//!
//! Watchers share one slot per job and see only the newest state, so a slow reader costs nothing. The database stays
//! the truth; the hub only knows it sooner.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::job::Job;

/// Changes that a watcher of all jobs may be behind before it has to look at the database instead.
const CHANGES_KEPT: usize = 1024;

pub(super) struct Hub {
    slots: Mutex<Slots>,
    changes: broadcast::Sender<Arc<Job>>,
}

#[derive(Default)]
struct Slots {
    live: HashMap<String, watch::Sender<Arc<Job>>>,
    /// Attempts that this process was given.
    given: HashMap<String, Given>,
    told: Told,
    /// Jobs that watchers of many have seen live, and of whose end they have to hear.
    shown: HashSet<String>,
}

/// An attempt that this process was given.
struct Given {
    epoch: i64,
    stop: CancellationToken,
    /// False for one that is over and whose end could not be written: its job is not run, and waits for its lease to run out.
    is_running: bool,
}

impl Slots {
    fn runs(&self, id: &str) -> bool {
        self.given.get(id).is_some_and(|given| given.is_running)
    }
}

/// What was told last of each job, in two generations so that the memory is bounded.
#[derive(Default)]
struct Told {
    young: HashMap<String, State>,
    old: HashMap<String, State>,
}

/// How new a state is.
#[derive(Clone, Copy)]
struct State {
    revision: u64,
    is_end: bool,
}

impl State {
    fn of(job: &Job) -> Self {
        Self {
            revision: job.revision,
            is_end: job.state.is_terminal(),
        }
    }

    /// Whether a watcher who has seen `self` need not see `other`. An end is final, and newer than anything else: its writer
    /// may know less of revisions than a worker that was cut off.
    fn covers(self, other: Self) -> bool {
        self.is_end || (!other.is_end && self.revision >= other.revision)
    }
}

impl Told {
    const GENERATION: usize = 4096;

    /// Whether this state or a newer one was told.
    fn has(&self, id: &str, state: State) -> bool {
        self.young
            .get(id)
            .or_else(|| self.old.get(id))
            .is_some_and(|told| told.covers(state))
    }

    /// Whether this state is newer than what was told of the job, and notes it.
    fn is_news(&mut self, id: &str, state: State) -> bool {
        if self.has(id, state) {
            return false;
        }
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id.to_owned(), state);
        true
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
        }
    }
}

impl Hub {
    /// Tells watchers about a state, unless it or a newer one was told already.
    pub(super) fn publish(&self, job: Arc<Job>) {
        let mut slots = self.lock();
        // A slot may be made from a job that was read before its end was told: what is no news is new to it.
        if let Some(slot) = slots.live.get(&job.id)
            && !State::of(&slot.borrow()).covers(State::of(&job))
        {
            slot.send_replace(Arc::clone(&job));
        }
        if job.state.is_terminal() {
            // Its watchers keep the last state; whoever comes later finds it in the database.
            slots.live.remove(&job.id);
            slots.shown.remove(&job.id);
        } else if self.changes.receiver_count() > 0 {
            slots.shown.insert(job.id.clone());
        }
        if !slots.told.is_news(&job.id, State::of(&job)) {
            return;
        }
        // Sent under the lock, so that changes of one job arrive in order. Nobody may be listening, and that is fine.
        let _ = self.changes.send(job);
    }

    /// The slot of a job that was read as `job`. The caller must look at the database once more afterwards.
    pub(super) fn subscribe(&self, job: Arc<Job>) -> watch::Receiver<Arc<Job>> {
        if job.state.is_terminal() {
            return watch::channel(job).1;
        }
        let mut slots = self.lock();
        slots
            .live
            .entry(job.id.clone())
            .or_insert_with(|| watch::Sender::new(job))
            .subscribe()
    }

    /// Every change of every job from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<Job>> {
        self.changes.subscribe()
    }

    /// The newest state that was told, if the job is live.
    pub(super) fn live(&self, id: &str) -> Option<Arc<Job>> {
        self.lock()
            .live
            .get(id)
            .map(|slot| Arc::clone(&slot.borrow()))
    }

    /// The newest revision that was told; 0 when nothing was.
    pub(super) fn revision(&self, id: &str) -> u64 {
        self.live(id).map_or(0, |job| job.revision)
    }

    /// Notes that this process runs a job, and how it can be stopped.
    pub(super) fn set_running(&self, job: Arc<Job>, stop: CancellationToken) {
        let id = job.id.clone();
        let mut slots = self.lock();
        slots
            .live
            .entry(id.clone())
            .or_insert_with(|| watch::Sender::new(Arc::clone(&job)));
        let given = Given {
            epoch: job.epoch,
            stop,
            is_running: true,
        };
        slots.given.insert(id, given);
        drop(slots);
        self.publish(job);
    }

    /// Notes that an attempt is over, and whether its end is written. This process may have been given the job anew by now.
    pub(super) fn set_stopped(&self, id: &str, epoch: i64, is_written: bool) {
        let mut slots = self.lock();
        match slots.given.get_mut(id) {
            Some(given) if given.epoch == epoch && is_written => drop(slots.given.remove(id)),
            Some(given) if given.epoch == epoch => given.is_running = false,
            _ => {}
        }
    }

    /// Whether this process runs this attempt at a job.
    pub(super) fn is_running(&self, id: &str, epoch: i64) -> bool {
        let slots = self.lock();
        let given = slots.given.get(id);
        given.is_some_and(|given| given.epoch == epoch && given.is_running)
    }

    /// Whether this process heard that it was given this attempt at a job, wherever that is now.
    pub(super) fn has_heard_of(&self, id: &str, epoch: i64) -> bool {
        let slots = self.lock();
        let given = slots.given.get(id);
        given.is_some_and(|given| given.epoch == epoch)
    }

    /// Forgets attempts that are over, but for those that `is_open` in the database.
    pub(super) fn forget_over(&self, is_open: impl Fn(&str, i64) -> bool) {
        let given = &mut self.lock().given;
        given.retain(|id, given| given.is_running || is_open(id, given.epoch));
    }

    /// Whether somebody here watches jobs that another process may run.
    pub(super) fn is_watched(&self) -> bool {
        let slots = self.lock();
        self.changes.receiver_count() > 0
            || slots
                .live
                .iter()
                .any(|(id, slot)| slot.receiver_count() > 0 && !slots.runs(id))
    }

    /// Whether somebody here would be told of this state, which another process wrote. What this process runs, the hub
    /// knows sooner and better than the database.
    pub(super) fn is_news(&self, id: &str, revision: u64) -> bool {
        let slots = self.lock();
        let is_watched = self.changes.receiver_count() > 0
            || slots
                .live
                .get(id)
                .is_some_and(|slot| slot.receiver_count() > 0);
        let state = State {
            revision,
            is_end: false,
        };
        is_watched && !slots.runs(id) && !slots.told.has(id, state)
    }

    /// Notes live jobs that a watcher of many was shown.
    pub(super) fn attend<'a>(&self, jobs: impl IntoIterator<Item = &'a Job>) {
        let live = jobs.into_iter().filter(|job| !job.state.is_terminal());
        self.lock().shown.extend(live.map(|job| job.id.clone()));
    }

    /// Nobody will ever hear of this job again: there is none.
    pub(super) fn attend_no_more(&self, id: &str) {
        self.lock().shown.remove(id);
    }

    /// The jobs that watchers here believe live and that this process does not run.
    pub(super) fn attended(&self) -> HashSet<String> {
        let slots = self.lock();
        let of_one = slots
            .live
            .iter()
            .filter(|(_, slot)| slot.receiver_count() > 0)
            .map(|(id, _)| id);
        let of_many = slots
            .shown
            .iter()
            .filter(|_| self.changes.receiver_count() > 0);
        of_one
            .chain(of_many)
            .filter(|id| !slots.runs(id))
            .cloned()
            .collect()
    }

    /// Stops a job at once if this process runs it; otherwise its worker looks for the mark.
    pub(super) fn stop_running(&self, id: &str) {
        if let Some(given) = self.lock().given.get(id) {
            given.stop.cancel();
        }
    }

    /// Forgets slots that nobody watches and nobody here runs.
    pub(super) fn tidy(&self) {
        let mut slots = self.lock();
        if self.changes.receiver_count() == 0 {
            slots.shown.clear();
        }
        let Slots { live, given, .. } = &mut *slots;
        live.retain(|id, slot| slot.receiver_count() > 0 || given.contains_key(id));
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Nothing panics while it holds the lock, and the maps are whole between any two statements.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
