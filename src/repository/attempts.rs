//! Attempts at jobs: claimed, kept alive, ended. Each write of a worker is fenced: it holds only while the row still has
//! the worker's epoch and owner and has not ended.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::error::{inconsistent, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::{Store, StoreError, archives, clips, policies};
use crate::domain::job::{
    Job, JobEvent, JobKind, JobResult, JobSpec, JobState, LEASE, Notice, Progress, Reason,
    next_state,
};

const CLAIM: &str = concat!(
    "UPDATE jobs SET state = 'RUNNING', epoch = epoch + 1, attempt = attempt + 1, owner = $2, lease_until_us = $3, ",
    "start_time_us = $4, update_time_us = $4, next_attempt_time_us = NULL, progress = NULL, revision = revision + 1 ",
    "WHERE id = (SELECT id FROM jobs WHERE state = 'QUEUED' AND kind = $1 AND COALESCE(next_attempt_time_us, 0) <= $4 ",
    // One run at a time sends to a destination.
    "AND (kind <> 'BACKUP' OR NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.destination_id = jobs.destination_id ",
    "AND other.kind = 'BACKUP' AND other.destination_id <> '' AND other.state IN ('RUNNING', 'CANCELLING'))) ",
    "ORDER BY priority, create_time_us, id LIMIT 1) RETURNING ",
    columns!()
);
const RENEW: &str = "
    UPDATE jobs SET lease_until_us = $4
    WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING') RETURNING state";
const SAVE_PROGRESS: &str = "
    UPDATE jobs SET progress = $4, revision = MAX(revision + 1, $5), update_time_us = $6
    WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING') RETURNING revision";
const LOCK_ROW: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE id = $1 AND epoch = $2 AND owner = $3 AND state IN ('RUNNING', 'CANCELLING')"
);
const END: &str = concat!(
    "UPDATE jobs SET state = $2, progress = COALESCE($3, progress), result = $4, error = $5, warnings = $6, ",
    "end_time_us = $7, update_time_us = $7, expire_time_us = $8, owner = '', lease_until_us = 0, ",
    "revision = MAX(revision + 1, $9) WHERE id = $1 RETURNING ",
    columns!()
);
const REQUEUE: &str = concat!(
    "UPDATE jobs SET state = 'QUEUED', owner = '', lease_until_us = 0, next_attempt_time_us = $2, ",
    "attempt = attempt - $3, update_time_us = $4, revision = MAX(revision + 1, $5) WHERE id = $1 RETURNING ",
    columns!()
);
const ORPHANS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE state IN ('RUNNING', 'CANCELLING') AND (lease_until_us < $1 OR owner = $2)"
);

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
}

impl Store {
    /// Gives the next waiting job of this kind to `owner`, if there is one.
    pub async fn claim_job(
        &self,
        kind: JobKind,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = sqlx::query_as(CLAIM)
            .bind(kind.as_str())
            .bind(owner)
            .bind(us(now + LEASE))
            .bind(us(now))
            .fetch_optional(&self.writer)
            .await?;
        row.map(Job::try_from).transpose()
    }

    /// Extends the lease; the job's state, or `None` when the job is no longer this worker's.
    pub async fn renew_lease(
        &self,
        fence: &Fence,
        now: DateTime<Utc>,
    ) -> Result<Option<JobState>, StoreError> {
        let state: Option<String> = sqlx::query_scalar(RENEW)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .bind(us(now + LEASE))
            .fetch_optional(&self.writer)
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
        let saved: Option<i64> = sqlx::query_scalar(SAVE_PROGRESS)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .bind(to_json(progress))
            .bind(stored(revision))
            .bind(us(now))
            .fetch_optional(&self.writer)
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
        let mut transaction = self.write().await?;
        let row: Option<JobRow> = sqlx::query_as(LOCK_ROW)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .fetch_optional(&mut *transaction)
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
        let ended = end_attempt(&mut transaction, &job, finish, &end).await?;
        transaction.commit().await?;
        Ok(Some(ended))
    }

    /// Takes jobs from workers that are gone: those whose lease ran out, and those of `dead_owner`. An attempt is
    /// used up; a job without one left fails.
    pub async fn rescue_jobs(
        &self,
        dead_owner: &str,
        keep_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Job>, StoreError> {
        let mut transaction = self.write().await?;
        let rows: Vec<JobRow> = sqlx::query_as(ORPHANS)
            .bind(us(now))
            .bind(dead_owner)
            .fetch_all(&mut *transaction)
            .await?;
        let mut rescued = Vec::with_capacity(rows.len());
        for row in rows {
            let job: Job = row.try_into()?;
            let lost = Notice::new(
                Reason::AttemptsUsedUp,
                format!(
                    "the server stopped while the job ran, {} of {} times",
                    job.attempt, job.max_attempts
                ),
            );
            let end = End {
                progress: None,
                revision: job.revision + 1,
                keep_until,
                now,
            };
            rescued
                .push(end_attempt(&mut transaction, &job, Finish::Retry(lost, now), &end).await?);
        }
        transaction.commit().await?;
        Ok(rescued)
    }
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

async fn end_attempt(
    connection: &mut SqliteConnection,
    job: &Job,
    finish: Finish,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    let (event, outcome) = match finish {
        Finish::Succeeded(result, warnings) => (
            JobEvent::Succeed,
            Outcome {
                result: Some(result),
                error: None,
                warnings,
            },
        ),
        Finish::Failed(error, warnings) => (
            JobEvent::Fail,
            Outcome {
                result: None,
                error: Some(error),
                warnings,
            },
        ),
        Finish::Stopped => (JobEvent::Stopped, Outcome::default()),
        Finish::Retry(error, _) if job.attempt >= job.max_attempts => (
            JobEvent::Fail,
            Outcome {
                result: None,
                error: Some(error),
                warnings: Vec::new(),
            },
        ),
        Finish::Retry(_, at) => return requeue(connection, job, 0, Some(at), end).await,
        Finish::Interrupted => return requeue(connection, job, 1, None, end).await,
    };
    let state = next_state(job.state, event).ok_or_else(|| {
        inconsistent(
            "jobs",
            &job.id,
            format!("{event:?} cannot happen in state {}", job.state.as_str()),
        )
    })?;
    let outcome = if state == JobState::Cancelled {
        Outcome::default()
    } else {
        outcome
    };
    match &outcome.result {
        Some(JobResult::Clip(clip)) => clips::insert(connection, clip).await?,
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
    write_end(connection, job, state, outcome, end).await
}

/// Puts a job back into the queue, or ends it when it was told to stop meanwhile.
async fn requeue(
    connection: &mut SqliteConnection,
    job: &Job,
    refund: i64,
    at: Option<DateTime<Utc>>,
    end: &End<'_>,
) -> Result<Job, StoreError> {
    if next_state(job.state, JobEvent::Requeue) == Some(JobState::Cancelled) {
        return write_end(
            connection,
            job,
            JobState::Cancelled,
            Outcome::default(),
            end,
        )
        .await;
    }
    let row: JobRow = sqlx::query_as(REQUEUE)
        .bind(&job.id)
        .bind(at.map(us))
        .bind(refund)
        .bind(us(end.now))
        .bind(stored(end.revision))
        .fetch_one(connection)
        .await?;
    row.try_into()
}

pub(super) async fn write_end(
    connection: &mut SqliteConnection,
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
    let row: JobRow = sqlx::query_as(END)
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
