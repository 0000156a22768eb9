//! New jobs: whether there is room for one, whether its request came before and its names are free, and the row.

use chrono::{DateTime, Utc};

use super::claims::{self, Claim};
use super::database::{Area, Connection};
use super::error::{count, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use super::{Store, StoreError, policies};
use crate::domain::camera::CameraId;
use crate::domain::job::{Job, JobKind, NewJob, Waiting, turn};

const INSERT: &str = concat!(
    "INSERT INTO jobs (id, kind, state, priority, camera_id, created_by, labels, retry_of, output_id, request_id, ",
    "request_digest, spec, max_attempts, create_time_us, update_time_us, policy_id, destination_id, turn, due_time_us, ",
    "materialized_clip_id) ",
    "VALUES ($1, $2, 'QUEUED', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, $16, $17, $18) RETURNING ",
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
/// Whether this is the id of something that is there or is being made. Archives and the jobs of backups take their ids from
/// the same names. That the id is not empty has to be said: an index without those that are is only used then.
macro_rules! is_output_taken {
    ($id:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM clips WHERE id = ",
            $id,
            ") ",
            "OR EXISTS (SELECT 1 FROM archives WHERE id = ",
            $id,
            ") ",
            "OR EXISTS (SELECT 1 FROM jobs WHERE id = ",
            $id,
            " AND kind = 'BACKUP') ",
            "OR EXISTS (SELECT 1 FROM jobs WHERE output_id = ",
            $id,
            " AND output_id <> '' ",
            "AND state IN ('QUEUED', 'RUNNING', 'CANCELLING')) ",
            // The clip may be gone, and its file is still on its way to its name.
            "OR EXISTS (SELECT 1 FROM jobs WHERE materialized_clip_id = ",
            $id,
            " AND materialized_clip_id <> '' ",
            "AND state IN ('QUEUED', 'RUNNING', 'CANCELLING')))"
        )
    };
}
const OUTPUT_TAKEN: &str = concat!("SELECT ", is_output_taken!("$1"));
/// How things stand for a new job: whether the id of its output is taken, or its own; the live run of its policy; the
/// turns that its own follows. In one statement, because each costs a way to the database and back, on which others wait.
const STANDING: &str = concat!(
    "SELECT $1 <> '' AND ",
    is_output_taken!("$1"),
    " AS output_taken, ",
    "EXISTS (SELECT 1 FROM jobs WHERE id = $2) OR ($3 = 'BACKUP' AND ",
    is_output_taken!("$2"),
    ") AS id_taken, ",
    "(SELECT id FROM jobs WHERE policy_id = $4 AND policy_id <> '' ",
    "AND state IN ('QUEUED', 'RUNNING', 'CANCELLING')) AS live_run, ",
    "(SELECT MAX(turn) FROM jobs WHERE kind = $3 AND priority = $5 AND epoch > 0) AS last_claimed, ",
    "(SELECT MAX(turn) FROM jobs WHERE created_by = $6 AND kind = $3 AND priority = $5) AS last_of_caller"
);
const BEING_MADE: &str = "
    SELECT EXISTS (SELECT 1 FROM jobs
        WHERE output_id = $1 AND output_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))
    OR EXISTS (SELECT 1 FROM jobs
        WHERE materialized_clip_id = $1 AND materialized_clip_id <> ''
            AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))";
const MADE_BEFORE: &str = "
    SELECT EXISTS (SELECT 1 FROM jobs
        WHERE output_id = $1 AND output_id <> '' AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))
    OR EXISTS (SELECT 1 FROM jobs
        WHERE materialized_clip_id = $1 AND materialized_clip_id <> ''
            AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))";

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

/// How writing several new jobs ended.
#[derive(Clone, Debug)]
pub struct AdmittedJobs<P> {
    /// What came of each.
    pub inserted: Vec<InsertedJob>,
    /// Jobs that were claimed, perhaps others than the new ones, each with its place.
    pub claimed: Vec<(Job, P)>,
}

#[derive(sqlx::FromRow)]
struct RequestRow {
    request_digest: String,
    #[sqlx(flatten)]
    job: JobRow,
}

/// See [`STANDING`].
#[derive(sqlx::FromRow)]
struct Standing {
    output_taken: bool,
    id_taken: bool,
    live_run: Option<String>,
    last_claimed: Option<i64>,
    last_of_caller: Option<i64>,
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

    /// Writes several jobs in one transaction, each as [`Store::insert_job`] would after those before it, and claims for
    /// `owner`, for each that is new and for which there is a `place`, the job of its kind that is next in turn.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is written then, unless only the answer of the database was lost: the jobs may be there, and
    /// some of them claimed by an owner that does not know it.
    pub async fn admit_jobs<P: Send>(
        &self,
        news: &[NewJob],
        queue_limit: u64,
        owner: &str,
        mut place: impl FnMut(JobKind) -> Option<P> + Send,
        now: DateTime<Utc>,
    ) -> Result<AdmittedJobs<P>, StoreError> {
        let mut transaction = self.write(Area::Admission).await?;
        let mut queue = Queue::of(&mut transaction, queue_limit).await?;
        let mut inserted = Vec::with_capacity(news.len());
        for new in news {
            inserted.push(write_job(&mut transaction, new, &mut queue, now).await?);
        }
        let mut claimed = Vec::with_capacity(news.len());
        let now = transaction.present(now).await?;
        for (new, inserted) in news.iter().zip(&inserted) {
            let kind = new.spec.kind();
            if !matches!(inserted, InsertedJob::New(_)) {
                continue;
            }
            let Some(place) = place(kind) else { continue };
            let next = claims::claim_next(&mut transaction, kind, owner, self.lease, now);
            if let Claim::Job(job) = next.await? {
                claimed.push((*job, place));
            }
        }
        transaction.commit().await?;
        Ok(AdmittedJobs { inserted, claimed })
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

    /// Whether a clip or an archive has this id, or a live job makes one with it or the file of one.
    pub async fn is_output_taken(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(OUTPUT_TAKEN)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// Whether a job that has not ended has this id for its output, or gives the clip with this id its file.
    pub async fn is_output_of_live_job(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(BEING_MADE)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// Whether a job that has ended had this id for its output, or gave the clip with this id its file.
    pub async fn is_output_of_ended_job(&self, output_id: &str) -> Result<bool, StoreError> {
        sql(MADE_BEFORE)
            .bind(output_id)
            .fetch_value(&mut self.read().await?)
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
    let policy_id = new.spec.policy_id();
    let standing: Standing = sql(STANDING)
        .bind(output_id)
        .bind(&new.id)
        .bind(new.spec.kind().as_str())
        .bind(policy_id)
        .bind(new.priority)
        .bind(&new.created_by)
        .fetch_one(connection)
        .await?;
    if standing.output_taken {
        return Ok(InsertedJob::OutputTaken);
    }
    if standing.id_taken {
        return Ok(InsertedJob::IdTaken);
    }
    if let Some(job_id) = standing.live_run {
        return Ok(InsertedJob::PolicyRunning { job_id });
    }
    if !queue.has_room(connection, &new.created_by).await? {
        return Ok(InsertedJob::QueueFull(queue.of_all));
    }
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
        .bind(turn(standing.last_claimed, standing.last_of_caller))
        // A retry is another run of the same moment, and a person's wish.
        .bind(
            new.spec
                .due_time()
                .filter(|_| new.retry_of.is_empty())
                .map(us),
        )
        .bind(new.spec.materialized_clip_id())
        .fetch_one(connection)
        .await?;
    queue.of_all += 1;
    if !policy_id.is_empty() {
        policies::note_run(connection, policy_id, &new.id, now).await?;
    }
    Ok(InsertedJob::New(row.try_into()?))
}
