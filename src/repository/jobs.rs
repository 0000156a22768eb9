//! Jobs: found, cancelled, forgotten. New ones are written in `admission`; what their workers write is in `attempts`.

use chrono::{DateTime, Utc};

use super::attempt_ends::{End, Outcome, write_end};
use super::error::{self, count, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use super::{Store, StoreError};
use crate::domain::job::{Job, JobEvent, JobState};

const GET: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");
const GET_POSTGRES: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1 FOR UPDATE");
const MARK_CANCELLING: &str = concat!(
    "UPDATE jobs SET state = 'CANCELLING', update_time_us = $2, revision = CASE WHEN revision < $3 THEN $3 ELSE revision + 1 END WHERE id = $1 RETURNING ",
    columns!()
);
const CHANGED: &str = "
    SELECT id, revision, update_time_us FROM jobs
    WHERE update_time_us >= $1 AND (update_time_us, id) > ($1, $2) ORDER BY update_time_us, id LIMIT $3";
/// In two halves, each of which has an index of its own.
const LIVE: &str = "
    SELECT id, revision, update_time_us FROM jobs WHERE state = 'QUEUED'
    UNION ALL SELECT id, revision, update_time_us FROM jobs WHERE state IN ('RUNNING', 'CANCELLING')";
const BY_IDS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE id IN (SELECT value FROM json_each($1))"
);
const CANCELLED: &str = "SELECT id FROM jobs WHERE state = 'CANCELLING' AND owner = $1";
const DELETE_EXPIRED: &str = "
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE expire_time_us <= $1 AND end_time_us IS NOT NULL LIMIT $2)";

/// That a job has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMark {
    /// The job.
    pub id: String,
    /// Its revision.
    pub revision: u64,
    /// When it was changed.
    pub time: DateTime<Utc>,
}

impl JobMark {
    fn read((id, revision, time_us): (String, i64, i64)) -> Result<Self, StoreError> {
        Ok(Self {
            revision: count("jobs", &id, revision)?,
            time: error::time("jobs", &id, time_us)?,
            id,
        })
    }
}

/// How a cancellation ended.
#[derive(Clone, Debug)]
pub enum CancelledJob {
    /// The job as it is now.
    Marked(Job),
    /// It had ended before, not by a cancellation.
    Ended(Job),
    /// No such job.
    NotFound,
}

impl Store {
    /// The job with this id.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = sql(GET)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Job::try_from).transpose()
    }

    /// That jobs were changed after `time`, or at that time with a greater id than `after_id`; the earliest change first,
    /// at most `limit`.
    pub async fn job_changes_after(
        &self,
        time: DateTime<Utc>,
        after_id: &str,
        limit: u32,
    ) -> Result<Vec<JobMark>, StoreError> {
        let rows: Vec<(String, i64, i64)> = sql(CHANGED)
            .bind(us(time))
            .bind(after_id)
            .bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(JobMark::read).collect()
    }

    /// How far all jobs are that have not ended.
    pub async fn live_jobs(&self) -> Result<Vec<JobMark>, StoreError> {
        let rows: Vec<(String, i64, i64)> = sql(LIVE).fetch_all(&mut self.read().await?).await?;
        rows.into_iter().map(JobMark::read).collect()
    }

    /// The jobs with these ids; unknown ids are left out.
    pub async fn jobs_by_id(&self, ids: &[String]) -> Result<Vec<Job>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<JobRow> = sql(BY_IDS)
            .bind(to_json(&ids))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Job::try_from).collect()
    }

    /// Jobs of this worker that were told to stop.
    pub async fn jobs_to_stop(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        sql(CANCELLED)
            .bind(owner)
            .fetch_values(&mut self.read().await?)
            .await
    }

    /// Makes a job seem to have changed at another time, to another revision.
    #[cfg(test)]
    pub async fn set_change(
        &self,
        id: &str,
        revision: u64,
        time: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        sql("UPDATE jobs SET revision = $2, update_time_us = $3 WHERE id = $1")
            .bind(id)
            .bind(stored(revision))
            .bind(us(time))
            .execute(&mut self.writer().await?)
            .await
    }

    /// Asks a job to stop. `revision` is the newest one that watchers of the job have seen.
    pub async fn cancel_job(
        &self,
        id: &str,
        revision: u64,
        keep_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<CancelledJob, StoreError> {
        let mut transaction = self.database.begin().await?;
        let present = transaction.present(now).await?;
        let (now, keep_until) = (present, keep_until - (now - present));
        let row: Option<JobRow> = sql(GET)
            .on_postgres(GET_POSTGRES)
            .bind(id)
            .fetch_optional(&mut transaction)
            .await?;
        let Some(row) = row else {
            return Ok(CancelledJob::NotFound);
        };
        let job: Job = row.try_into()?;
        let next = job.life().after(JobEvent::Cancel).map(|life| life.state);
        let marked = match next {
            Some(JobState::Cancelled) => {
                let end = End {
                    progress: None,
                    revision: revision + 1,
                    keep_until,
                    now,
                };
                write_end(
                    &mut transaction,
                    &job,
                    JobState::Cancelled,
                    Outcome::default(),
                    &end,
                )
                .await?
            }
            Some(state) if state != job.state => {
                let row: JobRow = sql(MARK_CANCELLING)
                    .bind(id)
                    .bind(us(now))
                    .bind(stored(revision + 1))
                    .fetch_one(&mut transaction)
                    .await?;
                row.try_into()?
            }
            Some(_) => job,
            None if job.state == JobState::Cancelled => job,
            None => return Ok(CancelledJob::Ended(job)),
        };
        transaction.commit().await?;
        Ok(CancelledJob::Marked(marked))
    }

    /// Forgets ended jobs whose time is over, at most `limit`; how many.
    pub async fn delete_expired_jobs(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut connection = self.writer().await?;
        let now = connection.present(now).await?;
        sql(DELETE_EXPIRED)
            .bind(us(now))
            .bind(i64::from(limit))
            .execute(&mut connection)
            .await
    }
}
