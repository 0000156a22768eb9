//! Jobs: written, claimed, kept alive, ended. Each write of a worker is fenced: it holds only while the row still has
//! the worker's epoch and owner and has not ended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Sqlite, SqliteConnection};

use super::error::{inconsistent, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::{Page, Store, StoreError, clips};
use crate::domain::camera::CameraId;
use crate::domain::job::{
    Job, JobEvent, JobKind, JobResult, JobSpec, JobState, LEASE, NewJob, Notice, Progress, Reason,
    next_state,
};

const INSERT: &str = concat!(
    "INSERT INTO jobs (id, kind, state, priority, camera_id, created_by, labels, retry_of, output_id, request_id, ",
    "request_digest, spec, max_attempts, create_time_us, update_time_us) ",
    "VALUES ($1, $2, 'QUEUED', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) RETURNING ",
    columns!()
);
const BY_REQUEST: &str = concat!(
    "SELECT request_digest, ",
    columns!(),
    " FROM jobs WHERE request_id = $1"
);
const QUEUED: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'QUEUED'";
const OUTPUT_TAKEN: &str = "
    SELECT EXISTS (SELECT 1 FROM clips WHERE id = $1)
        OR EXISTS (SELECT 1 FROM jobs WHERE output_id = $1 AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))";
const GET: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");
const CLAIM: &str = concat!(
    "UPDATE jobs SET state = 'RUNNING', epoch = epoch + 1, attempt = attempt + 1, owner = $2, lease_until_us = $3, ",
    "start_time_us = $4, update_time_us = $4, next_attempt_time_us = NULL, progress = NULL, revision = revision + 1 ",
    "WHERE id = (SELECT id FROM jobs WHERE state = 'QUEUED' AND kind = $1 AND COALESCE(next_attempt_time_us, 0) <= $4 ",
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
const MARK_CANCELLING: &str = concat!(
    "UPDATE jobs SET state = 'CANCELLING', update_time_us = $2, revision = MAX(revision + 1, $3) WHERE id = $1 RETURNING ",
    columns!()
);
const ORPHANS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE state IN ('RUNNING', 'CANCELLING') AND (lease_until_us < $1 OR owner = $2)"
);
const CHANGED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE update_time_us > $1 ORDER BY update_time_us LIMIT 1000"
);
const DELETE_EXPIRED: &str =
    "DELETE FROM jobs WHERE expire_time_us <= $1 AND end_time_us IS NOT NULL";

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

/// How writing a new job ended.
#[derive(Clone, Debug)]
pub enum InsertedJob {
    /// Written.
    New(Job),
    /// The same request made this job before.
    Existing(Job),
    /// The request id came with another request before.
    RequestIdReused,
    /// The id that the output shall have is taken.
    OutputTaken,
    /// This many jobs wait already.
    QueueFull(u64),
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

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of these kinds; empty for all.
    pub kinds: Vec<JobKind>,
    /// Any of these states; empty for all.
    pub states: Vec<JobState>,
    /// Of this camera.
    pub camera_id: Option<String>,
    /// Asked for by.
    pub created_by: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl JobFilter {
    /// Whether `job` passes; the same rule that the database applies.
    pub fn matches(&self, job: &Job) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&job.spec.kind()))
            && (self.states.is_empty() || self.states.contains(&job.state))
            && self
                .camera_id
                .as_deref()
                .is_none_or(|id| job.spec.camera().map(CameraId::as_str) == Some(id))
            && self
                .created_by
                .as_deref()
                .is_none_or(|who| job.created_by == who)
            && self
                .labels
                .iter()
                .all(|(key, value)| job.labels.get(key) == Some(value))
    }
}

#[derive(sqlx::FromRow)]
struct RequestRow {
    request_digest: String,
    #[sqlx(flatten)]
    job: JobRow,
}

impl Store {
    /// Writes a job, unless its request made one before, its output's id is taken, or `queue_limit` jobs wait.
    pub async fn insert_job(
        &self,
        new: &NewJob,
        queue_limit: u64,
        now: DateTime<Utc>,
    ) -> Result<InsertedJob, StoreError> {
        let mut transaction = self.write().await?;
        if let Some(request) = &new.request {
            let earlier: Option<RequestRow> = sqlx::query_as(BY_REQUEST)
                .bind(&request.request_id)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(earlier) = earlier {
                let same = earlier.request_digest == request.digest;
                return Ok(if same {
                    InsertedJob::Existing(earlier.job.try_into()?)
                } else {
                    InsertedJob::RequestIdReused
                });
            }
        }
        let output_id = output_id(&new.spec);
        if !output_id.is_empty()
            && sqlx::query_scalar::<_, bool>(OUTPUT_TAKEN)
                .bind(output_id)
                .fetch_one(&mut *transaction)
                .await?
        {
            return Ok(InsertedJob::OutputTaken);
        }
        let waiting: i64 = sqlx::query_scalar(QUEUED)
            .fetch_one(&mut *transaction)
            .await?;
        if waiting >= stored(queue_limit) {
            return Ok(InsertedJob::QueueFull(queue_limit));
        }
        let row: JobRow = sqlx::query_as(INSERT)
            .bind(&new.id)
            .bind(new.spec.kind().as_str())
            .bind(new.priority)
            .bind(new.spec.camera().map_or("", CameraId::as_str))
            .bind(&new.created_by)
            .bind(to_json(&new.labels))
            .bind(&new.retry_of)
            .bind(output_id)
            .bind(
                new.request
                    .as_ref()
                    .map(|request| request.request_id.clone()),
            )
            .bind(
                new.request
                    .as_ref()
                    .map_or("", |request| request.digest.as_str()),
            )
            .bind(to_json(&new.spec))
            .bind(i64::from(new.max_attempts))
            .bind(us(now))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(InsertedJob::New(row.try_into()?))
    }

    /// The job that a request made before, with the digest of that request.
    pub async fn job_of_request(
        &self,
        request_id: &str,
    ) -> Result<Option<(String, Job)>, StoreError> {
        let row: Option<RequestRow> = sqlx::query_as(BY_REQUEST)
            .bind(request_id)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok((row.request_digest, row.job.try_into()?)))
            .transpose()
    }

    /// Whether a clip or a live job has this id for its output.
    pub async fn is_output_taken(&self, output_id: &str) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(OUTPUT_TAKEN)
            .bind(output_id)
            .fetch_one(&self.readers)
            .await?)
    }

    /// The job with this id.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = sqlx::query_as(GET)
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.map(Job::try_from).transpose()
    }

    /// A page of jobs, newest first, and where the next page begins.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<(Vec<Job>, Option<(i64, String)>), StoreError> {
        let mut query = sqlx::QueryBuilder::<Sqlite>::new(concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE 1 = 1"
        ));
        if !filter.kinds.is_empty() {
            let names: Vec<_> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
            query
                .push(" AND kind IN (SELECT value FROM json_each(")
                .push_bind(to_json(&names))
                .push("))");
        }
        if !filter.states.is_empty() {
            let names: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
            query
                .push(" AND state IN (SELECT value FROM json_each(")
                .push_bind(to_json(&names))
                .push("))");
        }
        if let Some(camera_id) = &filter.camera_id {
            query.push(" AND camera_id = ").push_bind(camera_id);
        }
        if let Some(created_by) = &filter.created_by {
            query.push(" AND created_by = ").push_bind(created_by);
        }
        for (key, value) in &filter.labels {
            query
                .push(
                    " AND EXISTS (SELECT 1 FROM json_each(jobs.labels) AS label WHERE label.key = ",
                )
                .push_bind(key)
                .push(" AND label.value = ")
                .push_bind(value)
                .push(")");
        }
        if let Some((after_us, after_id)) = &page.after {
            query
                .push(" AND (create_time_us, id) < (")
                .push_bind(*after_us)
                .push(", ")
                .push_bind(after_id)
                .push(")");
        }
        query
            .push(" ORDER BY create_time_us DESC, id DESC LIMIT ")
            .push_bind(page.rows_to_fetch());
        let mut rows: Vec<JobRow> = query.build_query_as().fetch_all(&self.readers).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Job::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }

    /// Jobs changed after `time`, the earliest change first, at most 1000.
    pub async fn jobs_changed_after(&self, time: DateTime<Utc>) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = sqlx::query_as(CHANGED)
            .bind(us(time))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(Job::try_from).collect()
    }

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

    /// Asks a job to stop. `revision` is the newest one that watchers of the job have seen.
    pub async fn cancel_job(
        &self,
        id: &str,
        revision: u64,
        keep_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<CancelledJob, StoreError> {
        let mut transaction = self.write().await?;
        let row: Option<JobRow> = sqlx::query_as(GET)
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else {
            return Ok(CancelledJob::NotFound);
        };
        let job: Job = row.try_into()?;
        let marked = match next_state(job.state, JobEvent::Cancel) {
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
                let row: JobRow = sqlx::query_as(MARK_CANCELLING)
                    .bind(id)
                    .bind(us(now))
                    .bind(stored(revision + 1))
                    .fetch_one(&mut *transaction)
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

    /// Forgets ended jobs whose time is over; how many.
    pub async fn delete_expired_jobs(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        Ok(sqlx::query(DELETE_EXPIRED)
            .bind(us(now))
            .execute(&self.writer)
            .await?
            .rows_affected())
    }
}

/// What every end of an attempt writes.
struct End<'a> {
    progress: Option<&'a Progress>,
    revision: u64,
    keep_until: DateTime<Utc>,
    now: DateTime<Utc>,
}

#[derive(Default)]
struct Outcome {
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
    if let Some(JobResult::Clip(clip)) = &outcome.result {
        clips::insert(connection, clip).await?;
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

async fn write_end(
    connection: &mut SqliteConnection,
    job: &Job,
    state: JobState,
    outcome: Outcome,
    end: &End<'_>,
) -> Result<Job, StoreError> {
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

/// The id that the job's output will have; empty for none.
fn output_id(spec: &JobSpec) -> &str {
    match spec {
        JobSpec::Clip(spec) => &spec.clip_id,
        JobSpec::Import(_) => "",
    }
}
