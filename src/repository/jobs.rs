//! Jobs: written, found, cancelled, forgotten. What their workers write is in `attempts`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::attempts::{End, Outcome, write_end};
use super::database::{Area, Connection};
use super::error::{self, count, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::{Statement, sql};
use super::{Page, Store, StoreError, policies};
use crate::domain::camera::CameraId;
use crate::domain::job::{Job, JobEvent, JobKind, JobState, NewJob, Waiting, turn};

const INSERT: &str = concat!(
    "INSERT INTO jobs (id, kind, state, priority, camera_id, created_by, labels, retry_of, output_id, request_id, ",
    "request_digest, spec, max_attempts, create_time_us, update_time_us, policy_id, destination_id, turn, due_time_us) ",
    "VALUES ($1, $2, 'QUEUED', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, $16, $17) RETURNING ",
    columns!()
);
const BY_REQUEST: &str = concat!(
    "SELECT request_digest, ",
    columns!(),
    " FROM jobs WHERE request_id = $1"
);
const QUEUED: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'QUEUED'";
const QUEUED_OF_CALLER: &str =
    "SELECT COUNT(*) FROM jobs WHERE state = 'QUEUED' AND created_by = $1";
/// The turns that the one of a new job follows.
const TURNS: &str = "
    SELECT (SELECT MAX(turn) FROM jobs WHERE kind = $2 AND priority = $3 AND epoch > 0),
        (SELECT MAX(turn) FROM jobs WHERE created_by = $1 AND kind = $2 AND priority = $3)";
/// Archives and the jobs of backups take their ids from the same names.
const OUTPUT_TAKEN: &str = "
    SELECT EXISTS (SELECT 1 FROM clips WHERE id = $1) OR EXISTS (SELECT 1 FROM archives WHERE id = $1)
        OR EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND kind = 'BACKUP')
        OR EXISTS (SELECT 1 FROM jobs WHERE output_id = $1 AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))";
const BEING_MADE: &str = "
    SELECT EXISTS (SELECT 1 FROM jobs WHERE output_id = $1 AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))";
const MADE_BEFORE: &str = "
    SELECT EXISTS (SELECT 1 FROM jobs WHERE output_id = $1 AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))";
const ID_TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1)";
const LIVE_RUN: &str = "
    SELECT id FROM jobs
    WHERE policy_id = $1 AND policy_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING')";
const GET: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");
const GET_POSTGRES: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1 FOR UPDATE");
const MARK_CANCELLING: &str = concat!(
    "UPDATE jobs SET state = 'CANCELLING', update_time_us = $2, revision = CASE WHEN revision < $3 THEN $3 ELSE revision + 1 END WHERE id = $1 RETURNING ",
    columns!()
);
const CHANGED: &str = "
    SELECT id, revision, update_time_us FROM jobs
    WHERE update_time_us >= $1 AND (update_time_us, id) > ($1, $2) ORDER BY update_time_us, id LIMIT $3";
const LIVE: &str = "SELECT id, revision, update_time_us FROM jobs WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING')";
const BY_IDS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE id IN (SELECT value FROM json_each($1))"
);
const CANCELLED: &str = "SELECT id FROM jobs WHERE state = 'CANCELLING' AND owner = $1";
const DELETE_EXPIRED: &str = "
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE expire_time_us <= $1 AND end_time_us IS NOT NULL LIMIT $2)";

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
    /// The id that the job shall have is taken.
    IdTaken,
    /// A run of the same policy has not ended yet.
    PolicyRunning {
        /// Its job.
        job_id: String,
    },
    /// This many jobs wait already.
    QueueFull(u64),
}

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

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of these kinds; empty for all.
    pub kinds: Vec<JobKind>,
    /// Any of these states; empty for all.
    pub states: Vec<JobState>,
    /// Of this camera.
    pub camera_id: Option<String>,
    /// Runs of this policy.
    pub policy_id: Option<String>,
    /// On this destination.
    pub destination_id: Option<String>,
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
                .policy_id
                .as_deref()
                .is_none_or(|id| job.spec.policy_id() == id)
            && self
                .destination_id
                .as_deref()
                .is_none_or(|id| job.spec.destination_id() == id)
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
    /// Writes a job, unless its request made one before, its id or its output's is taken, its policy runs already, or
    /// the queue has no room for it (`queue_limit`, see [`Waiting::has_room`]). Its policy, if any, remembers it as its last run.
    pub async fn insert_job(
        &self,
        new: &NewJob,
        queue_limit: u64,
        now: DateTime<Utc>,
    ) -> Result<InsertedJob, StoreError> {
        let mut transaction = self.write(Area::Admission).await?;
        let mut queue = Queue::of(&mut transaction, queue_limit).await?;
        let inserted = write_job(&mut transaction, new, &mut queue, now).await?;
        if matches!(inserted, InsertedJob::New(_)) {
            transaction.commit().await?;
        }
        Ok(inserted)
    }

    /// Writes several jobs in one transaction, each as [`Store::insert_job`] would after those before it. When it fails,
    /// none is written.
    pub async fn insert_jobs(
        &self,
        news: &[NewJob],
        queue_limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<InsertedJob>, StoreError> {
        let mut transaction = self.write(Area::Admission).await?;
        let mut queue = Queue::of(&mut transaction, queue_limit).await?;
        let mut inserted = Vec::with_capacity(news.len());
        for new in news {
            inserted.push(write_job(&mut transaction, new, &mut queue, now).await?);
        }
        transaction.commit().await?;
        Ok(inserted)
    }

    /// The job that a request made before, with the digest of that request.
    pub async fn job_of_request(
        &self,
        request_id: &str,
    ) -> Result<Option<(String, Job)>, StoreError> {
        let row: Option<RequestRow> = sql(BY_REQUEST)
            .bind(request_id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(|row| Ok((row.request_digest, row.job.try_into()?)))
            .transpose()
    }

    /// Whether a clip, an archive or a live job has this id for its output.
    pub async fn is_output_taken(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(OUTPUT_TAKEN)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// Whether a job that has not ended has this id for its output.
    pub async fn is_output_of_live_job(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(BEING_MADE)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// Whether a job that has ended had this id for its output.
    pub async fn is_output_of_ended_job(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(MADE_BEFORE)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// The job with this id.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let row: Option<JobRow> = sql(GET)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Job::try_from).transpose()
    }

    /// A page of jobs, newest first, and where the next page begins.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<(Vec<Job>, Option<(i64, String)>), StoreError> {
        let mut query = sql(concat!("SELECT ", columns!(), " FROM jobs WHERE 1 = 1"));
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
        if let Some(policy_id) = &filter.policy_id {
            query.push(" AND policy_id = ").push_bind(policy_id);
        }
        if let Some(destination_id) = &filter.destination_id {
            query
                .push(" AND destination_id = ")
                .push_bind(destination_id);
        }
        if let Some(created_by) = &filter.created_by {
            query.push(" AND created_by = ").push_bind(created_by);
        }
        push_labels(&mut query, &filter.labels);
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<JobRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Job::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
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

/// How full the queue is, within a transaction.
pub(super) struct Queue {
    of_all: u64,
    limit: u64,
}

impl Queue {
    pub(super) async fn of(connection: &mut Connection, limit: u64) -> Result<Self, StoreError> {
        let queued: i64 = sql(QUEUED).fetch_value(connection).await?;
        Ok(Self {
            of_all: count("jobs", "", queued)?,
            limit,
        })
    }

    async fn has_room(
        &self,
        connection: &mut Connection,
        created_by: &str,
    ) -> Result<bool, StoreError> {
        let mut waiting = Waiting {
            of_all: self.of_all,
            of_caller: 0,
        };
        // Only a queue that is nearly full asks whose jobs they are.
        if self.of_all >= self.limit {
            let queued: i64 = sql(QUEUED_OF_CALLER)
                .bind(created_by)
                .fetch_value(connection)
                .await?;
            waiting.of_caller = count("jobs", "", queued)?;
        }
        Ok(waiting.has_room(self.limit))
    }
}

/// Writes a job within a transaction. One without a new job needs no commit.
pub(super) async fn write_job(
    connection: &mut Connection,
    new: &NewJob,
    queue: &mut Queue,
    now: DateTime<Utc>,
) -> Result<InsertedJob, StoreError> {
    if let Some(request) = &new.request {
        let earlier: Option<RequestRow> = sql(BY_REQUEST)
            .bind(&request.request_id)
            .fetch_optional(connection)
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
    let output_id = new.spec.output_id();
    if !output_id.is_empty()
        && sql(OUTPUT_TAKEN)
            .bind(output_id)
            .fetch_value(connection)
            .await?
    {
        return Ok(InsertedJob::OutputTaken);
    }
    if is_id_taken(connection, new).await? {
        return Ok(InsertedJob::IdTaken);
    }
    let policy_id = new.spec.policy_id();
    if !policy_id.is_empty()
        && let Some(job_id) = sql(LIVE_RUN)
            .bind(policy_id)
            .fetch_optional_value(connection)
            .await?
    {
        return Ok(InsertedJob::PolicyRunning { job_id });
    }
    if !queue.has_room(connection, &new.created_by).await? {
        return Ok(InsertedJob::QueueFull(queue.of_all));
    }
    let (last_claimed, last_of_caller): (Option<i64>, Option<i64>) = sql(TURNS)
        .bind(&new.created_by)
        .bind(new.spec.kind().as_str())
        .bind(new.priority)
        .fetch_one(connection)
        .await?;
    let now = connection.present(now).await?;
    let row: JobRow = sql(INSERT)
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
        .bind(policy_id)
        .bind(new.spec.destination_id())
        .bind(turn(last_claimed, last_of_caller))
        // A retry is another run of the same moment, and a person's wish.
        .bind(
            new.spec
                .due_time()
                .filter(|_| new.retry_of.is_empty())
                .map(us),
        )
        .fetch_one(connection)
        .await?;
    queue.of_all += 1;
    if !policy_id.is_empty() {
        policies::note_run(connection, policy_id, &new.id, now).await?;
    }
    Ok(InsertedJob::New(row.try_into()?))
}

async fn is_id_taken(connection: &mut Connection, new: &NewJob) -> Result<bool, StoreError> {
    let taken = if new.spec.kind() == JobKind::Backup {
        [ID_TAKEN, OUTPUT_TAKEN].as_slice()
    } else {
        [ID_TAKEN].as_slice()
    };
    for query in taken {
        if sql(*query).bind(&new.id).fetch_value(connection).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the condition that a row's `labels` hold all of `labels`.
pub(super) fn push_labels(query: &mut Statement, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ")
            .push_bind(key.clone())
            .push(" AND label.value = ")
            .push_bind(value.clone())
            .push(")");
    }
}
