//! Attempts at jobs: claimed, kept alive, ended. Each write of a worker is fenced: it holds only while the row still has
//! the worker's epoch and owner and has not ended.

use std::time::Duration;

use chrono::{DateTime, Utc};

use tracing::error;

use super::attempt_ends::{End, Finish, end_attempt};
use super::claims::{Claim, claim_next};
use super::error::{inconsistent, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::job::{Job, JobKind, JobSpec, JobState, Notice, Progress, Reason};

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
const CLAIMS_OF: &str =
    "SELECT id, epoch FROM jobs WHERE state IN ('RUNNING', 'CANCELLING') AND owner = $1";
const ORPHANS: &str = orphans!("");
/// What is locked is just being ended by its worker, or rescued by another node.
const ORPHANS_POSTGRES: &str = orphans!(" FOR UPDATE SKIP LOCKED");

/// The longest that a worker waits for an answer about its job, so that it can try again before it has to stop.
const MOST_PATIENCE: Duration = Duration::from_secs(8);
/// The same where leases are short.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// States that a worker tells watchers beside it each second, at most; not each of them is written.
const TOLD_A_SECOND: u64 = 4;
/// How often to claim again when another node just took the destination of the job that was to be claimed, or when what was
/// claimed cannot be read.
const CLAIMS: u32 = 3;

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
        let row: Option<JobRow> = sql(FENCED_ROW)
            .on_postgres(FENCED_ROW_POSTGRES)
            .bind(&fence.job_id)
            .bind(fence.epoch)
            .bind(&fence.owner)
            .fetch_optional(&mut transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let job: Job = row.try_into()?;
        let finish = match finish {
            Finish::Retry(error, at) => Finish::Retry(error, at - ahead),
            // The clip that is given a file has its times from the database.
            Finish::Succeeded(result, warnings)
                if !matches!(job.spec, JobSpec::MaterializeClip(_)) =>
            {
                Finish::Succeeded(result.earlier_by(ahead), warnings)
            }
            other => other,
        };
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

    /// What is given to `owner`, to be ended or given back by it alone.
    pub async fn claims_of(&self, owner: &str) -> Result<Vec<Fence>, StoreError> {
        let rows: Vec<(String, i64)> = sql(CLAIMS_OF)
            .bind(owner)
            .fetch_all(&mut self.read().await?)
            .await?;
        let fences = rows.into_iter().map(|(job_id, epoch)| Fence {
            job_id,
            epoch,
            owner: owner.to_owned(),
        });
        Ok(fences.collect())
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
