//! Attempts at jobs: claimed, kept alive, ended. Each write of a worker is fenced: it holds only while the row still has
//! the worker's epoch and owner and has not ended.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use tracing::error;

use super::database::Connection;
use super::error::{inconsistent, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use super::{Store, StoreError, archives, clips, policies};
use crate::domain::job::{
    Job, JobEvent, JobKind, JobResult, JobSpec, JobState, Life, Notice, Progress, Reason,
};

/// The claim of one job; `$lock` keeps two nodes from taking the same one without waiting for each other.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE jobs SET state = 'RUNNING', epoch = epoch + 1, attempt = attempt + 1, owner = $2, ",
            "lease_until_us = $3, start_time_us = $4, update_time_us = $4, next_attempt_time_us = NULL, ",
            "progress = NULL, revision = revision + 1 ",
            "WHERE id = (SELECT id FROM jobs WHERE state = 'QUEUED' AND kind = $1 ",
            "AND COALESCE(next_attempt_time_us, 0) <= $4 ",
            // One run at a time sends to a destination.
            "AND (kind <> 'BACKUP' OR NOT EXISTS (SELECT 1 FROM jobs AS other ",
            "WHERE other.destination_id = jobs.destination_id AND other.kind = 'BACKUP' ",
            "AND other.destination_id <> '' AND other.state IN ('RUNNING', 'CANCELLING'))) ",
            "ORDER BY priority, turn, create_time_us, id LIMIT 1",
            $lock,
            ") RETURNING ",
            columns!()
        )
    };
}
pub(super) const CLAIM: &str = claim!("");
const CLAIM_POSTGRES: &str = claim!(" FOR UPDATE SKIP LOCKED");
const RENEW: &str = "
    UPDATE jobs SET lease_until_us = $4
    WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING') RETURNING state";
const SAVE_PROGRESS: &str = "
    UPDATE jobs SET progress = $4, revision = CASE WHEN revision < $5 THEN $5 ELSE revision + 1 END, update_time_us = $6
    WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING') RETURNING revision";
macro_rules! fenced_row {
    ($lock:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING')",
            $lock
        )
    };
}
const FENCED_ROW: &str = fenced_row!("");
const FENCED_ROW_POSTGRES: &str = fenced_row!(" FOR UPDATE");
const END: &str = concat!(
    "UPDATE jobs SET state = $2, progress = COALESCE($3, progress), result = $4, error = $5, warnings = $6, ",
    "end_time_us = $7, update_time_us = $7, expire_time_us = $8, owner = '', lease_until_us = 0, ",
    // What nobody claimed took no turn from its caller.
    "turn = CASE WHEN epoch = 0 THEN 0 ELSE turn END, ",
    "revision = CASE WHEN revision < $9 THEN $9 ELSE revision + 1 END WHERE id = $1 RETURNING ",
    columns!()
);
const REQUEUE: &str = concat!(
    "UPDATE jobs SET state = 'QUEUED', owner = '', lease_until_us = 0, next_attempt_time_us = $2, ",
    "attempt = $3, update_time_us = $4, revision = CASE WHEN revision < $5 THEN $5 ELSE revision + 1 END ",
    "WHERE id = $1 RETURNING ",
    columns!()
);
macro_rules! orphans {
    ($lock:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE state IN ('RUNNING', 'CANCELLING') AND (lease_until_us < $1 OR owner = $2)",
            $lock
        )
    };
}
const ORPHANS: &str = orphans!("");
/// What is locked is just being ended by its worker, or rescued by another node.
const ORPHANS_POSTGRES: &str = orphans!(" FOR UPDATE SKIP LOCKED");

/// Ends a job whose row holds what this program cannot read.
const GIVE_UP: &str = "
    UPDATE jobs SET state = 'FAILED', error = $4, end_time_us = $5, update_time_us = $5, expire_time_us = $6, owner = '',
        lease_until_us = 0, revision = revision + 1
    WHERE id = $1 AND epoch = $2 AND owner = $3";

/// The longest that a worker waits for an answer about its job, so that it can try again before it has to stop.
const MOST_PATIENCE: Duration = Duration::from_secs(8);
/// The same where leases are short.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// States that a worker tells watchers beside it each second, at most; not each of them is written.
const TOLD_A_SECOND: u64 = 4;
/// How often to claim again when another node just took the destination of the job that was to be claimed, or when what was
/// claimed cannot be read.
const CLAIMS: u32 = 3;
/// How long the record is kept of a job whose row cannot be read.
const KEEP_UNREADABLE: TimeDelta = TimeDelta::days(30);

/// What entitles a worker to write about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job_id: String,
    /// The epoch of the worker's claim.
    pub epoch: i64,
    /// The worker's process.
    pub owner: String,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Finish {
    /// With a result; its records are written together with the job's end.
    Succeeded(JobResult, Vec<Notice>),
    /// For good.
    Failed(Notice, Vec<Notice>),
    /// Because it was told to.
    Stopped,
    /// Another attempt may mend it, if there is one left.
    Retry(Notice, DateTime<Utc>),
    /// The process shuts down: this costs no attempt.
    Interrupted,
    /// Its worker is gone; said by whoever found that out.
    Abandoned(Notice),
}

impl Store {
    /// Gives the next waiting job of this kind to `owner`, if there is one.
    pub async fn claim_job(
        &self,
        kind: JobKind,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let mut connection = self.database.writer_within(self.worker_patience()).await?;
        let now = connection.present(now).await?;
        for _ in 0..CLAIMS {
            match claim_next(&mut connection, kind, owner, self.lease, now).await {
                Ok(Claim::Nothing) => return Ok(None),
                Ok(Claim::Job(job)) => return Ok(Some(*job)),
                Ok(Claim::Unreadable) => {}
                // Two nodes saw the destination free; the index let one of them have it.
                Err(error) if error.is_unique_violation() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Extends the lease; the job's state, or `None` when the job is no longer this worker's.
    pub async fn renew_lease(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
    ) -> Result<Option<JobState>, StoreError> {
        let mut connection = self.database.writer_within(self.worker_patience()).await?;
        let now = connection.present(now).await?;
        let state: Option<String> = sql(RENEW)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .bind(us(now + self.lease))
            .fetch_optional_value(&mut connection)
            .await?;
        state
            .map(|name| {
                JobState::parse(&name)
                    .ok_or_else(|| inconsistent("jobs", &fence.job_id, "unknown state"))
            })
            .transpose()
    }

    /// Writes how far a job is; its new revision, at least `revision`, or `None` when it is no longer this worker's.
    pub async fn save_progress(
        &self,
        fence: &Fence,
        progress: &Progress,
        revision: u64,
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, StoreError> {
        let mut connection = self.database.writer_within(self.worker_patience()).await?;
        let now = connection.present(now).await?;
        let saved: Option<i64> = sql(SAVE_PROGRESS)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .bind(to_json(progress))
            .bind(stored(revision))
            .bind(us(now))
            .fetch_optional_value(&mut connection)
            .await?;
        saved
            .map(|revision| super::error::count("jobs", &fence.job_id, revision))
            .transpose()
    }

    /// Ends an attempt; the job as it is then, or `None` when it is no longer this worker's and nothing was written.
    pub async fn finish_job(
        &self,
        fence: &Fence,
        finish: Finish,
        progress: Option<&Progress>,
        revision: u64,
        keep_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let mut transaction = self.database.begin_within(self.worker_patience()).await?;
        let present = transaction.present(now).await?;
        // What the caller reckoned from its own clock is meant from this one.
        let ahead = now - present;
        let (now, keep_until) = (present, keep_until - ahead);
        let finish = match finish {
            Finish::Retry(error, at) => Finish::Retry(error, at - ahead),
            Finish::Succeeded(result, warnings) => {
                Finish::Succeeded(result.earlier_by(ahead), warnings)
            }
            other => other,
        };
        let row: Option<JobRow> = sql(FENCED_ROW)
            .on_postgres(FENCED_ROW_POSTGRES)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .fetch_optional(&mut transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let job: Job = row.try_into()?;
        let revision = revision.max(job.revision + 1);
        let end = End {
            progress,
            revision,
            keep_until,
            now,
        };
        match end_attempt(&mut transaction, &job, finish, &end).await {
            Ok(ended) => {
                transaction.commit().await?;
                Ok(Some(ended))
            }
            Err(error) => {
                // The row must be free again when the caller hears of it: a rescue passes over rows that are locked.
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// Takes jobs from workers that are gone: those whose lease ran out, and those of `dead_owner`, but none that
    /// `is_alive`: after the machine slept, or its clock was set, a lease has run out while its worker goes on. An
    /// attempt is used up; a job without one left fails.
    pub async fn rescue_jobs(
        &self,
        dead_owner: &str,
        is_alive: impl Fn(&Job) -> bool + Send,
        keep_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Job>, StoreError> {
        let mut transaction = self.database.begin().await?;
        let present = transaction.present(now).await?;
        let (now, keep_until) = (present, keep_until - (now - present));
        let rows: Vec<JobRow> = sql(ORPHANS)
            .on_postgres(ORPHANS_POSTGRES)
            .bind(us(now))
            .bind(dead_owner)
            .fetch_all(&mut transaction)
            .await?;
        let mut rescued = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.id.clone();
            let job = match Job::try_from(row) {
                Ok(job) => job,
                // It stays as it is, perhaps for a node of a newer version; the others must not wait for that.
                Err(fault) => {
                    error!(job_id = id, error = %fault, "an abandoned job cannot be read");
                    continue;
                }
            };
            if is_alive(&job) {
                continue;
            }
            let lost = Notice::new(
                Reason::AttemptsUsedUp,
                format!(
                    "the server stopped while the job ran, {} of {} times",
                    job.attempt, job.max_attempts
                ),
            );
            let end = End {
                progress: None,
                revision: job.revision + self.told_unwritten_at_most(),
                keep_until,
                now,
            };
            rescued.push(end_attempt(&mut transaction, &job, Finish::Abandoned(lost), &end).await?);
        }
        transaction.commit().await?;
        Ok(rescued)
    }

    /// How long a worker waits for the answer to one statement.
    fn worker_patience(&self) -> Duration {
        let quarter = self.lease.to_std().unwrap_or_default() / 4;
        quarter.clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// A worker that was cut off has told its watchers revisions that nobody else knows of. What follows must be newer.
    fn told_unwritten_at_most(&self) -> u64 {
        (self.lease.num_seconds().unsigned_abs() + 1) * TOLD_A_SECOND
    }
}

/// What came of a claim.
pub(super) enum Claim {
    /// Nothing waits.
    Nothing,
    /// A job.
    Job(Box<Job>),
    /// Its row holds what this program cannot read; it has failed.
    Unreadable,
}

/// Gives the next waiting job of a kind to `owner`, for the length of a lease.
pub(super) async fn claim_next(
    connection: &mut Connection,
    kind: JobKind,
    owner: &str,
    lease: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    let claimed: Option<JobRow> = sql(CLAIM)
        .on_postgres(CLAIM_POSTGRES)
        .bind(kind.as_str())
        .bind(owner)
        .bind(us(now + lease))
        .bind(us(now))
        .fetch_optional(connection)
        .await?;
    let Some(row) = claimed else {
        return Ok(Claim::Nothing);
    };
    let (id, epoch) = (row.id.clone(), row.epoch);
    match Job::try_from(row) {
        Ok(job) => Ok(Claim::Job(Box::new(job))),
        Err(fault) => {
            error!(job_id = id, error = %fault, "a job cannot be read; it has failed");
            give_up(connection, &id, epoch, owner, now).await?;
            Ok(Claim::Unreadable)
        }
    }
}

/// Ends a job that was just claimed and cannot be read.
async fn give_up(
    connection: &mut Connection,
    id: &str,
    epoch: i64,
    owner: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let unreadable = Notice::new(
        Reason::Internal,
        "what the database holds of the job cannot be read",
    );
    sql(GIVE_UP)
        .bind(id)
        .bind(epoch)
        .bind(owner)
        .bind(to_json(&unreadable))
        .bind(us(now))
        .bind(us(now + KEEP_UNREADABLE))
        .execute(connection)
        .await?;
    Ok(())
}

/// What every end of an attempt writes.
pub(super) struct End<'a> {
    pub(super) progress: Option<&'a Progress>,
    pub(super) revision: u64,
    pub(super) keep_until: DateTime<Utc>,
    pub(super) now: DateTime<Utc>,
}

#[derive(Default)]
pub(super) struct Outcome {
    result: Option<JobResult>,
    error: Option<Notice>,
    warnings: Vec<Notice>,
}

impl Outcome {
    fn failed(error: Notice) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

async fn end_attempt(
    connection: &mut Connection,
    job: &Job,
    finish: Finish,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    let (event, outcome, next_attempt) = match finish {
        Finish::Succeeded(result, warnings) => (
            JobEvent::Succeed,
            Outcome {
                result: Some(result),
                error: None,
                warnings,
            },
            None,
        ),
        Finish::Failed(error, warnings) => (
            JobEvent::Fail,
            Outcome {
                result: None,
                error: Some(error),
                warnings,
            },
            None,
        ),
        Finish::Stopped => (JobEvent::Stop, Outcome::default(), None),
        Finish::Retry(error, at) => (JobEvent::Retry, Outcome::failed(error), Some(at)),
        Finish::Abandoned(error) => (JobEvent::Abandon, Outcome::failed(error), None),
        Finish::Interrupted => (JobEvent::Interrupt, Outcome::default(), None),
    };
    let next = after(job, event)?;
    let outcome = match next.state {
        JobState::Queued => return requeue(connection, job, next, next_attempt, end).await,
        JobState::Cancelled => Outcome::default(),
        _ => outcome,
    };
    match &outcome.result {
        Some(JobResult::Clip(clip)) => match &job.spec {
            JobSpec::MaterializeClip(_) => {
                if !clips::materialize(connection, clip).await? {
                    let deleted = Notice::new(
                        Reason::ClipNotFound,
                        format!("clip {} was deleted while its file was written", clip.id),
                    );
                    return abort(connection, job, deleted, end).await;
                }
            }
            _ => clips::insert(connection, clip).await?,
        },
        Some(JobResult::Archive(archive)) => archives::insert(connection, archive).await?,
        Some(
            JobResult::ArchiveVerification(_)
            | JobResult::Backup(_)
            | JobResult::BackupVerification(_)
            | JobResult::Restore(_)
            | JobResult::Import(_),
        )
        | None => {}
    }
    write_end(connection, job, next.state, outcome, end).await
}

/// Ends an attempt as failed that its worker takes for a success.
async fn abort(
    connection: &mut Connection,
    job: &Job,
    error: Notice,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    let next = after(job, JobEvent::Fail)?;
    let outcome = match next.state {
        JobState::Cancelled => Outcome::default(),
        _ => Outcome::failed(error),
    };
    write_end(connection, job, next.state, outcome, end).await
}

/// How the job stands after an event that a worker or a rescuer of it reports.
fn after(job: &Job, event: JobEvent) -> Result<Life, StoreError> {
    job.life().after(event).ok_or_else(|| {
        inconsistent(
            "jobs",
            &job.id,
            format!("{event:?} cannot happen in state {}", job.state.as_str()),
        )
    })
}

/// Puts a job back into the queue.
async fn requeue(
    connection: &mut Connection,
    job: &Job,
    next: Life,
    at: Option<DateTime<Utc>>,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    let row: JobRow = sql(REQUEUE)
        .bind(&job.id)
        .bind(at.map(us))
        .bind(i64::from(next.attempt))
        .bind(us(end.now))
        .bind(stored(end.revision))
        .fetch_one(connection)
        .await?;
    row.try_into()
}

pub(super) async fn write_end(
    connection: &mut Connection,
    job: &Job,
    state: JobState,
    outcome: Outcome,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    if let JobSpec::Backup(spec) = &job.spec
        && let Some(due) = spec.due_time
        && state != JobState::Succeeded
    {
        policies::note_overdue(connection, &spec.policy_id, due).await?;
    }
    let row: JobRow = sql(END)
        .bind(&job.id)
        .bind(state.as_str())
        .bind(end.progress.map(to_json))
        .bind(outcome.result.as_ref().map(to_json))
        .bind(outcome.error.as_ref().map(to_json))
        .bind(to_json(&outcome.warnings))
        .bind(us(end.now))
        .bind(us(end.keep_until))
        .bind(stored(end.revision))
        .fetch_one(connection)
        .await?;
    row.try_into()
}
