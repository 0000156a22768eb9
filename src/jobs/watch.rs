//! Watching: one job to its end, or all that match.
//!
//! Both watches send the newest state and skip what came between, so that their memory does not depend on the reader.

use std::collections::{HashMap, HashSet, VecDeque};
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
    /// The first part, newest first; then `None`.
    snapshot: Option<std::vec::IntoIter<Arc<Job>>>,
    snapshot_count: u64,
    /// Changes not yet sent: one per job, whatever the reader does.
    waiting: HashMap<String, Arc<Job>>,
    /// Live jobs that were sent. One of them that matches no more, by its state, is sent once again: its reader must
    /// not believe for ever that it still does.
    shown: HashSet<String>,
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
        if let Some(snapshot) = &mut self.snapshot {
            return Ok(match snapshot.next() {
                Some(job) => {
                    self.snapshot_count += 1;
                    self.note_shown(&job);
                    JobChange::Job(job)
                }
                None => match self.next_alert() {
                    Some(change) => JobChange::Alert(change),
                    None => {
                        self.snapshot = None;
                        JobChange::SnapshotEnd(self.snapshot_count)
                    }
                },
            });
        }
        loop {
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
                        if self.filter.matches(&job) || self.shown.contains(&job.id) {
                            self.waiting.insert(job.id.clone(), job);
                        } else {
                            // What waits of it matched, and is out of date.
                            self.waiting.remove(&job.id);
                        }
                    }
                    // Too far behind: what was missed is in the database.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        for job in self.jobs.matching(&self.filter).await? {
                            self.waiting.insert(job.id.clone(), job);
                        }
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

    fn note_shown(&mut self, job: &Job) {
        if job.state.is_terminal() || !self.filter.matches(job) {
            self.shown.remove(&job.id);
        } else {
            self.shown.insert(job.id.clone());
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
        let snapshot = self.matching(&filter).await?;
        let now = Instant::now();
        Ok(JobsWatch {
            jobs: self.clone(),
            filter,
            changes,
            snapshot: Some(snapshot.into_iter()),
            snapshot_count: 0,
            waiting: HashMap::new(),
            shown: HashSet::new(),
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

    /// Every live job that matches, and the newest of those that have ended.
    async fn matching(&self, filter: &JobFilter) -> Result<Vec<Arc<Job>>, JobsError> {
        let (live, ended): (Vec<_>, Vec<_>) = JobState::ALL
            .into_iter()
            .filter(|state| filter.states.is_empty() || filter.states.contains(state))
            .partition(|state| !state.is_terminal());
        let mut found = Vec::new();
        if !live.is_empty() {
            let live = JobFilter {
                states: live,
                ..filter.clone()
            };
            let mut after = None;
            loop {
                let (jobs, next) = self
                    .list(
                        &live,
                        &Page {
                            size: ENDED_SHOWN,
                            after,
                        },
                    )
                    .await?;
                found.extend(jobs);
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        if !ended.is_empty() {
            let ended = JobFilter {
                states: ended,
                ..filter.clone()
            };
            found.extend(
                self.list(
                    &ended,
                    &Page {
                        size: ENDED_SHOWN,
                        after: None,
                    },
                )
                .await?
                .0,
            );
        }
        found.sort_by(|a, b| (b.create_time, &b.id).cmp(&(a.create_time, &a.id)));
        Ok(found)
    }
}
