//! Watching: one job to its end, or all that match.
//!
//! Both watches send the newest state and skip what came between, so that their memory does not depend on the reader.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Jobs, JobsError};
use crate::domain::backup::alert::{Alert, AlertChange, PresentAlerts, changes};
use crate::domain::job::{Job, JobKind, JobState};
use crate::repository::{JobFilter, Page};

/// States of one job are sent at most this often.
const COALESCE: Duration = Duration::from_millis(250);
/// A stream on which nothing was sent for this long sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Ended jobs in the first part of a watch over many.
const ENDED_SHOWN: u32 = 1000;
/// Jobs read at once for a watch over many: what a reader that never reads keeps in memory.
const READ_AHEAD: u32 = 50;
/// Ended jobs of which a watch over many remembers that they were sent.
const ENDED_REMEMBERED: usize = 4 * ENDED_SHOWN as usize;

/// What a watch has to say.
#[derive(Clone, Debug)]
pub enum JobChange {
    /// A job's full state.
    Job(Arc<Job>),
    /// Something of backups that somebody has to look at, or that it is over. Only in watches over many.
    Alert(AlertChange),
    /// The first part is over; this many jobs were in it.
    SnapshotEnd(u64),
    /// Nothing happened for a while.
    Heartbeat,
}

/// Follows one job.
pub struct JobWatch {
    changes: watch::Receiver<Arc<Job>>,
    /// The revision sent last.
    sent: u64,
    may_send_at: Instant,
    heartbeat_at: Instant,
    ended: bool,
    draining: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl JobWatch {
    /// The next thing to say; `None` after the end state. Fails when the process shuts down.
    pub async fn next(&mut self) -> Result<Option<JobChange>, JobsError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let newest = Arc::clone(&self.changes.borrow_and_update());
            let is_end = newest.state.is_terminal();
            if is_end || newest.revision > self.sent {
                // The end is never held back: whoever waits for it wants it now.
                if is_end || Instant::now() >= self.may_send_at {
                    self.sent = newest.revision;
                    self.ended = is_end;
                    self.may_send_at = Instant::now() + COALESCE;
                    self.heartbeat_at = Instant::now() + HEARTBEAT;
                    return Ok(Some(JobChange::Job(newest)));
                }
            }
            let waiting = newest.revision > self.sent;
            tokio::select! {
                biased;
                changed = self.changes.changed() => if changed.is_err() && !self.changes.borrow().state.is_terminal() {
                    // Its slot was given up; the caller can ask again.
                    return Err(JobsError::Draining);
                },
                () = self.draining.cancelled() => return Err(JobsError::Draining),
                () = sleep_until(self.may_send_at), if waiting => {}
                () = sleep_until(self.heartbeat_at) => {
                    self.heartbeat_at = Instant::now() + HEARTBEAT;
                    return Ok(Some(JobChange::Heartbeat));
                }
            }
        }
    }
}

/// Follows all jobs that match.
pub struct JobsWatch {
    jobs: Jobs,
    filter: JobFilter,
    changes: broadcast::Receiver<Arc<Job>>,
    /// What is being read from the database: the first part, or what a reader that fell too far behind missed.
    reading: Option<Reading>,
    /// Jobs of the first part; `None` when it is over.
    snapshot_count: Option<u64>,
    /// Changes not yet sent: one per job, whatever the reader does.
    waiting: HashMap<String, Arc<Job>>,
    /// Live jobs that were sent, and their revisions. One of them that matches no more, by its state, is sent once again:
    /// its reader must not believe for ever that it still does.
    shown: HashMap<String, u64>,
    /// Digests of the ids of ended jobs that were sent, the latest last; an ended job never changes.
    ended: VecDeque<u64>,
    digests: RandomState,
    ready: Vec<Arc<Job>>,
    alerts: watch::Receiver<PresentAlerts>,
    /// Alerts as they were last read, and what of the change to them is not yet sent.
    alerts_seen: Vec<Alert>,
    alert_changes: VecDeque<AlertChange>,
    may_send_at: Instant,
    heartbeat_at: Instant,
    draining: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl JobsWatch {
    /// The next thing to say. Fails when the process shuts down or the database does not answer.
    pub async fn next(&mut self) -> Result<JobChange, JobsError> {
        loop {
            if let Some(change) = self.read_on().await? {
                return Ok(change);
            }
            if let Some(change) = self.next_alert() {
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return Ok(JobChange::Alert(change));
            }
            if let Some(job) = self.ready.pop() {
                self.note_shown(&job);
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return Ok(JobChange::Job(job));
            }
            if !self.waiting.is_empty() && Instant::now() >= self.may_send_at {
                self.ready.extend(self.waiting.drain().map(|(_, job)| job));
                self.ready
                    .sort_by_key(|job| std::cmp::Reverse(job.update_time));
                self.may_send_at = Instant::now() + COALESCE;
                continue;
            }
            tokio::select! {
                biased;
                changed = self.changes.recv() => match changed {
                    Ok(job) => {
                        if self.was_sent(&job) {
                            continue;
                        }
                        if self.filter.matches(&job) || self.shown.contains_key(&job.id) {
                            self.waiting.insert(job.id.clone(), job);
                        } else {
                            // What waits of it matched, and is out of date.
                            self.waiting.remove(&job.id);
                        }
                    }
                    // Too far behind: what was missed is in the database.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.waiting.clear();
                        self.reading = Some(Reading::of(&self.filter, self.shown.keys().cloned().collect()));
                    }
                    Err(broadcast::error::RecvError::Closed) => return Err(JobsError::Draining),
                },
                () = self.draining.cancelled() => return Err(JobsError::Draining),
                changed = self.alerts.changed() => match changed {
                    // Waiting takes the mark away by which the next turn finds the news.
                    Ok(()) => self.alerts.mark_changed(),
                    Err(_) => return Err(JobsError::Draining),
                },
                () = sleep_until(self.may_send_at), if !self.waiting.is_empty() => {}
                () = sleep_until(self.heartbeat_at) => {
                    self.heartbeat_at = Instant::now() + HEARTBEAT;
                    return Ok(JobChange::Heartbeat);
                }
            }
        }
    }
}

impl JobsWatch {
    /// The next change of alerts that was not sent. The list is read again only when all changes to the one before were
    /// sent, so that no more than one list waits.
    fn next_alert(&mut self) -> Option<AlertChange> {
        if self.alert_changes.is_empty() && self.alerts.has_changed().unwrap_or(false) {
            let present: Vec<Alert> = self
                .alerts
                .borrow_and_update()
                .iter()
                .filter(|alert| shows_alert(&self.filter, alert))
                .cloned()
                .collect();
            self.alert_changes = changes(&self.alerts_seen, &present).into();
            self.alerts_seen = present;
        }
        self.alert_changes.pop_front()
    }

    /// What comes of the reading; `None` when it is over.
    async fn read_on(&mut self) -> Result<Option<JobChange>, JobsError> {
        if self.reading.is_none() {
            return Ok(None);
        }
        if let Some(job) = self.read_next().await? {
            if let Some(count) = &mut self.snapshot_count {
                *count += 1;
            }
            self.note_shown(&job);
            self.heartbeat_at = Instant::now() + HEARTBEAT;
            return Ok(Some(JobChange::Job(job)));
        }
        if self.snapshot_count.is_some()
            && let Some(change) = self.next_alert()
        {
            return Ok(Some(JobChange::Alert(change)));
        }
        self.reading = None;
        Ok(self.snapshot_count.take().map(JobChange::SnapshotEnd))
    }

    /// The next job of what is being read that the reader has not seen.
    async fn read_next(&mut self) -> Result<Option<Arc<Job>>, JobsError> {
        while let Some(reading) = &mut self.reading {
            let Some(job) = reading.next(&self.jobs).await? else {
                break;
            };
            if !self.was_sent(&job) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    fn was_sent(&self, job: &Job) -> bool {
        if job.state.is_terminal() {
            !self.shown.contains_key(&job.id)
                && self.ended.contains(&self.digests.hash_one(&job.id))
        } else {
            let sent = self.shown.get(&job.id);
            sent.is_some_and(|revision| *revision >= job.revision)
        }
    }

    fn note_shown(&mut self, job: &Job) {
        if job.state.is_terminal() || !self.filter.matches(job) {
            self.shown.remove(&job.id);
        } else {
            self.shown.insert(job.id.clone(), job.revision);
        }
        if job.state.is_terminal() {
            self.ended.truncate(ENDED_REMEMBERED);
            self.ended.push_front(self.digests.hash_one(&job.id));
        }
    }
}

/// Whether a watch with this filter is told of the alert: no condition stands that only a job can meet.
fn shows_alert(filter: &JobFilter, alert: &Alert) -> bool {
    let JobFilter {
        kinds,
        states,
        camera_id,
        policy_id,
        destination_id,
        created_by,
        labels,
    } = filter;
    let is_any_or = |wanted: &Option<String>, id: &str| wanted.as_deref().is_none_or(|it| it == id);
    (kinds.is_empty() || kinds.contains(&JobKind::Backup))
        && is_any_or(policy_id, &alert.policy_id)
        && is_any_or(destination_id, &alert.destination_id)
        && states.is_empty()
        && camera_id.is_none()
        && created_by.is_none()
        && labels.is_empty()
}

impl Jobs {
    /// Follows one job, skipping states up to `after_revision`.
    pub async fn watch(&self, id: &str, after_revision: u64) -> Result<JobWatch, JobsError> {
        let place = self.watch_place()?;
        let draining = self.draining();
        let job = self.get(id).await?;
        let changes = self.shared.hub.subscribe(job);
        self.shared.watch_begun.notify_one();
        self.catch_up(id).await?;
        let now = Instant::now();
        Ok(JobWatch {
            changes,
            sent: after_revision,
            may_send_at: now,
            heartbeat_at: now + HEARTBEAT,
            ended: false,
            draining,
            _place: place,
        })
    }

    /// Follows all jobs that match, and those of `alerts` that go with them.
    pub async fn watch_all(
        &self,
        filter: JobFilter,
        mut alerts: watch::Receiver<PresentAlerts>,
    ) -> Result<JobsWatch, JobsError> {
        let place = self.watch_place()?;
        // Those that are present already are news to this reader.
        alerts.mark_changed();
        let changes = self.shared.hub.changes();
        self.shared.watch_begun.notify_one();
        let mut reading = Reading::of(&filter, HashSet::new());
        // A caller whose watch cannot begin hears so at once.
        reading.look_ahead(self).await?;
        let now = Instant::now();
        Ok(JobsWatch {
            jobs: self.clone(),
            reading: Some(reading),
            filter,
            changes,
            snapshot_count: Some(0),
            waiting: HashMap::new(),
            shown: HashMap::new(),
            ended: VecDeque::new(),
            digests: RandomState::new(),
            ready: Vec::new(),
            alerts,
            alerts_seen: Vec::new(),
            alert_changes: VecDeque::new(),
            may_send_at: now,
            heartbeat_at: now + HEARTBEAT,
            draining: self.draining(),
            _place: place,
        })
    }
}

/// Every live job that matches and the newest of those that have ended, newest first; then those of `missed` that were not
/// among them. Read a little at a time, as the reader takes it.
struct Reading {
    live: Cursor,
    ended: Cursor,
    missed: HashSet<String>,
}

impl Reading {
    fn of(filter: &JobFilter, missed: HashSet<String>) -> Self {
        let (live, ended): (Vec<_>, Vec<_>) = JobState::ALL
            .into_iter()
            .filter(|state| filter.states.is_empty() || filter.states.contains(state))
            .partition(|state| !state.is_terminal());
        Self {
            live: Cursor::over(filter, live, u32::MAX),
            ended: Cursor::over(filter, ended, ENDED_SHOWN),
            missed,
        }
    }

    async fn look_ahead(&mut self, jobs: &Jobs) -> Result<(), JobsError> {
        self.live.look_ahead(jobs).await?;
        self.ended.look_ahead(jobs).await
    }

    async fn next(&mut self, jobs: &Jobs) -> Result<Option<Arc<Job>>, JobsError> {
        self.look_ahead(jobs).await?;
        let age = |cursor: &Cursor| {
            let next = cursor.read.front();
            next.map(|job| (job.create_time, job.id.clone()))
        };
        let newer = if age(&self.live) >= age(&self.ended) {
            &mut self.live
        } else {
            &mut self.ended
        };
        if let Some(job) = newer.read.pop_front() {
            self.missed.remove(&job.id);
            return Ok(Some(job));
        }
        while let Some(id) = self.missed.iter().next().cloned() {
            let found = jobs.get(&id).await;
            self.missed.remove(&id);
            match found {
                Ok(job) => return Ok(Some(job)),
                Err(JobsError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Jobs in some states, newest first, read a page at a time.
struct Cursor {
    filter: JobFilter,
    read: VecDeque<Arc<Job>>,
    after: Option<(i64, String)>,
    /// How many more may be read.
    left: u32,
}

impl Cursor {
    fn over(filter: &JobFilter, states: Vec<JobState>, at_most: u32) -> Self {
        // No state at all would stand for all of them.
        let left = if states.is_empty() { 0 } else { at_most };
        Self {
            filter: JobFilter {
                states,
                ..filter.clone()
            },
            read: VecDeque::new(),
            after: None,
            left,
        }
    }

    async fn look_ahead(&mut self, jobs: &Jobs) -> Result<(), JobsError> {
        if !self.read.is_empty() || self.left == 0 {
            return Ok(());
        }
        let size = READ_AHEAD.min(self.left);
        let page = Page {
            size,
            after: self.after.clone(),
        };
        let (found, next) = jobs.list(&self.filter, &page).await?;
        jobs.shared.hub.attend(found.iter().map(AsRef::as_ref));
        self.left = match next {
            Some(_) => self.left - size,
            None => 0,
        };
        self.after = next;
        self.read = found.into();
        Ok(())
    }
}
