//! Jobs: submit, claim, lease, progress, cancel, retry. Knows kinds of jobs only through its registry.
//!
//! `Jobs` is what the API calls; `runner` claims and runs; `hub` tells watchers. The states and who may change them
//! are in `domain::job`; the fenced writes are in `repository::attempts`.

mod admission;
mod attempt;
mod claims;
mod hub;
mod nodes;
mod runner;
mod scheduler;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::clock;
use crate::domain::id;
use crate::domain::job::{Job, JobKind, JobSpec, JobState, NewJob, RequestKey};
use crate::repository::{CancelledJob, Hint, InsertedJob, JobFilter, Page, Store, StoreError};
use crate::work::Work;
use admission::Admission;
use claims::Claims;
use hub::Hub;
use nodes::Wires;

pub use crate::domain::job::{PRIORITY_BACKGROUND, PRIORITY_INTERACTIVE};
pub use runner::{Pulse, Runner};
pub use scheduler::{RunDefaults, Scheduler, run_of};
pub use watch::{JobChange, JobWatch, JobsWatch};

/// What the owner of the jobs decides.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// How many jobs may wait, but for a tenth more that is kept for callers of whom none does.
    pub queue_limit: u64,
    /// Open watches at the same time.
    pub watch_limit: usize,
    /// How long an ended job's record is kept.
    pub keep_ended: TimeDelta,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            queue_limit: 1000,
            watch_limit: 20_000,
            keep_ended: TimeDelta::days(30),
        }
    }
}

/// Why a call about jobs failed.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// No such job.
    #[error("job {0} not found")]
    NotFound(String),
    /// The job is in a state that does not allow it.
    #[error("job {id} is {}", state.as_str())]
    WrongState {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
    },
    /// The request id came with another request before.
    #[error("request_id was used before with another request")]
    RequestIdReused,
    /// The id chosen for the output is taken.
    #[error("{id} already exists")]
    OutputTaken {
        /// The kind of job.
        kind: JobKind,
        /// The id.
        id: String,
    },
    /// The id chosen for the job is taken.
    #[error("{0} already exists")]
    IdTaken(String),
    /// A run of the policy has not ended yet; wait for it.
    #[error("a run of policy {policy_id} is under way: {job_id}")]
    PolicyRunning {
        /// The policy.
        policy_id: String,
        /// The run's job.
        job_id: String,
    },
    /// Too many jobs wait; try later.
    #[error("{0} jobs are waiting already; try again later")]
    QueueFull(u64),
    /// Too many open watches; try later.
    #[error("{0} watches are open already; try again later")]
    TooManyWatchers(usize),
    /// The process shuts down; call again.
    #[error("the server is shutting down; call again")]
    Draining,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request for work.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Id for the job; `None`: one is made.
    pub job_id: Option<String>,
    /// The work.
    pub spec: JobSpec,
    /// Smaller is sooner.
    pub priority: i64,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller.
    pub labels: BTreeMap<String, String>,
    /// The job that this one retries; empty for none.
    pub retry_of: String,
    /// Makes the request repeatable.
    pub request: Option<RequestKey>,
}

/// Attempts that a job gets, so that one that takes the server down with it is not tried for ever.
const MAX_ATTEMPTS: u32 = 3;

/// All jobs: what can be asked of them.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

/// What the callers' side and the running side share.
struct Shared {
    store: Store,
    hub: Hub,
    admission: Admission,
    claims: Claims,
    settings: JobSettings,
    /// This process, fresh at every start.
    owner: String,
    /// Woken when there may be something to claim.
    work_to_do: Notify,
    /// Woken when somebody begins to watch.
    watch_begun: Notify,
    /// Cancelled when no more work is to be taken on.
    draining: CancellationToken,
    watches: Arc<Semaphore>,
    /// To and from other nodes.
    wires: Wires,
}

impl Jobs {
    /// Jobs over this database. Nothing runs until a [`Runner`] does.
    pub fn new(store: Store, settings: JobSettings) -> Self {
        let watches = Arc::new(Semaphore::new(settings.watch_limit));
        Self {
            shared: Arc::new(Shared {
                store,
                hub: Hub::default(),
                admission: Admission::default(),
                claims: Claims::default(),
                settings,
                owner: Uuid::now_v7().to_string(),
                work_to_do: Notify::new(),
                watch_begun: Notify::new(),
                draining: CancellationToken::new(),
                watches,
                wires: Wires::default(),
            }),
        }
    }

    /// This process's name in the jobs it runs.
    pub fn owner(&self) -> &str {
        &self.shared.owner
    }

    /// Refuses new work and ends all watches from now on.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }

    /// Told when [`Jobs::drain`] is called.
    pub fn draining(&self) -> CancellationToken {
        self.shared.draining.clone()
    }

    /// Writes a job durably. The same request again gives the same job.
    pub async fn submit(&self, submission: Submission) -> Result<Arc<Job>, JobsError> {
        let is_own_id = submission.job_id.is_none();
        let new = self.new_job(submission)?;
        let inserted = admission::admit(&self.shared, new.clone(), is_own_id)
            .await
            .ok_or(JobsError::Draining)??;
        self.written(inserted, &new)
    }

    /// A job to be written, unless no more work is taken on.
    fn new_job(&self, submission: Submission) -> Result<NewJob, JobsError> {
        if self.shared.draining.is_cancelled() {
            return Err(JobsError::Draining);
        }
        Ok(NewJob {
            id: submission
                .job_id
                .unwrap_or_else(|| job_id(&submission.spec)),
            spec: submission.spec,
            priority: submission.priority,
            max_attempts: MAX_ATTEMPTS,
            created_by: submission.created_by,
            labels: submission.labels,
            retry_of: submission.retry_of,
            request: submission.request,
        })
    }

    /// The job that was written, or was before.
    fn written(&self, inserted: InsertedJob, new: &NewJob) -> Result<Arc<Job>, JobsError> {
        match inserted {
            InsertedJob::New(job) => Ok(Arc::new(job)),
            InsertedJob::Existing(job) => Ok(self.newest(job)),
            InsertedJob::RequestIdReused => Err(JobsError::RequestIdReused),
            InsertedJob::OutputTaken => Err(JobsError::OutputTaken {
                kind: new.spec.kind(),
                id: new.spec.output_id().to_owned(),
            }),
            InsertedJob::IdTaken => Err(JobsError::IdTaken(new.id.clone())),
            InsertedJob::PolicyRunning { job_id } => Err(JobsError::PolicyRunning {
                policy_id: new.spec.policy_id().to_owned(),
                job_id,
            }),
            InsertedJob::QueueFull(limit) => Err(JobsError::QueueFull(limit)),
        }
    }

    /// The job that this very request made before, if it did.
    pub async fn of_request(&self, request: &RequestKey) -> Result<Option<Arc<Job>>, JobsError> {
        match self
            .shared
            .store
            .job_of_request(&request.request_id)
            .await?
        {
            Some((digest, job)) if digest == request.digest => Ok(Some(self.newest(job))),
            Some(_) => Err(JobsError::RequestIdReused),
            None => Ok(None),
        }
    }

    /// The job as it is now.
    pub async fn get(&self, id: &str) -> Result<Arc<Job>, JobsError> {
        let job = self
            .shared
            .store
            .job(id)
            .await?
            .ok_or_else(|| JobsError::NotFound(id.to_owned()))?;
        Ok(self.newest(job))
    }

    /// A page of jobs, newest first, and where the next page begins.
    pub async fn list(
        &self,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<(Vec<Arc<Job>>, Option<(i64, String)>), JobsError> {
        let (jobs, next) = self.shared.store.jobs(filter, page).await?;
        Ok((jobs.into_iter().map(|job| self.newest(job)).collect(), next))
    }

    /// Asks a job to stop.
    pub async fn cancel(&self, id: &str) -> Result<Arc<Job>, JobsError> {
        let shared = &self.shared;
        let seen = shared.hub.revision(id);
        match shared
            .store
            .cancel_job(id, seen, self.keep_until(), clock::now())
            .await?
        {
            CancelledJob::Marked(job) => {
                shared.hub.stop_running(id);
                let job = self.newest(job);
                shared.hub.publish(Arc::clone(&job));
                shared.wires.announce(Hint::Changed);
                Ok(job)
            }
            CancelledJob::Ended(job) => Err(JobsError::WrongState {
                id: job.id,
                state: job.state,
            }),
            CancelledJob::NotFound => Err(JobsError::NotFound(id.to_owned())),
        }
    }

    /// A new job with the work of one that failed or was cancelled.
    pub async fn retry(
        &self,
        id: &str,
        request: Option<RequestKey>,
    ) -> Result<Arc<Job>, JobsError> {
        if let Some(request) = &request
            && let Some(earlier) = self.of_request(request).await?
        {
            return Ok(earlier);
        }
        let old = self.get(id).await?;
        if !matches!(old.state, JobState::Failed | JobState::Cancelled) {
            return Err(JobsError::WrongState {
                id: old.id.clone(),
                state: old.state,
            });
        }
        self.submit(Submission {
            job_id: None,
            spec: old.spec.clone(),
            priority: PRIORITY_INTERACTIVE,
            created_by: old.created_by.clone(),
            labels: old.labels.clone(),
            retry_of: old.id.clone(),
            request,
        })
        .await
    }

    /// The job when it has ended, or as it is when `patience` is over, or when the process begins to shut down.
    pub async fn wait(&self, job: Arc<Job>, patience: Duration) -> Result<Arc<Job>, JobsError> {
        if patience.is_zero() || job.state.is_terminal() {
            return Ok(job);
        }
        let id = job.id.clone();
        let mut changes = self.shared.hub.subscribe(job);
        self.shared.watch_begun.notify_one();
        // The job is written, and this must not seem to say otherwise. An end that is missed here is found while it is waited for.
        if let Err(error) = self.catch_up(&id).await {
            warn!(job_id = id, %error, "reading a job that is waited for failed");
        }
        let ended = async {
            while !changes.borrow_and_update().state.is_terminal() {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(patience) => {}
            () = self.shared.draining.cancelled() => {}
        }
        let newest = Arc::clone(&changes.borrow());
        Ok(newest)
    }

    /// Tells the hub what the database has of a job: something may have happened between reading a job and
    /// subscribing to it.
    async fn catch_up(&self, id: &str) -> Result<(), JobsError> {
        if let Some(job) = self.shared.store.job(id).await? {
            self.shared.hub.publish(Arc::new(job));
        }
        Ok(())
    }

    fn newest(&self, job: Job) -> Arc<Job> {
        match self.shared.hub.live(&job.id) {
            Some(live) if live.revision > job.revision => live,
            _ => Arc::new(job),
        }
    }

    fn keep_until(&self) -> DateTime<Utc> {
        self.shared.keep_until()
    }

    fn watch_place(&self) -> Result<OwnedSemaphorePermit, JobsError> {
        Arc::clone(&self.shared.watches)
            .try_acquire_owned()
            .map_err(|_| JobsError::TooManyWatchers(self.shared.settings.watch_limit))
    }
}

/// A new id for a job that does this work.
pub fn job_id(spec: &JobSpec) -> String {
    id::new(match spec {
        JobSpec::Archive(_) | JobSpec::Backup(_) => id::EXPORT,
        JobSpec::Clip(_)
        | JobSpec::MaterializeClip(_)
        | JobSpec::VerifyArchive(_)
        | JobSpec::VerifyBackup(_)
        | JobSpec::Restore(_)
        | JobSpec::Import(_) => id::JOB,
    })
}

impl Shared {
    /// Tells whoever may claim it of a job that waits.
    fn announce(&self, job: &Job) {
        self.hub.publish(Arc::new(job.clone()));
        self.work_to_do.notify_one();
        self.wires.announce(Hint::Queued);
    }

    fn keep_until(&self) -> DateTime<Utc> {
        clock::now() + self.settings.keep_ended
    }
}

/// What can be done, and how much of it at once.
#[derive(Default)]
pub struct Registry {
    kinds: Vec<(JobKind, Registered)>,
}

struct Registered {
    work: Arc<dyn Work>,
    places: Arc<Semaphore>,
    deadline: Option<Duration>,
}

/// What bounds a kind of job.
#[derive(Clone, Copy, Debug)]
pub struct KindLimits {
    /// How many of it run at the same time.
    pub at_once: usize,
    /// How long an attempt may take, before it is stopped and its job has failed; `None`: its work sees to that.
    pub deadline: Option<Duration>,
}

impl Registry {
    /// Adds a kind of job.
    #[must_use]
    pub fn with(mut self, kind: JobKind, limits: KindLimits, work: impl Work) -> Self {
        self.kinds.push((
            kind,
            Registered {
                work: Arc::new(work),
                places: Arc::new(Semaphore::new(limits.at_once)),
                deadline: limits.deadline,
            },
        ));
        self
    }
}
