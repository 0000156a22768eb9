//! Ends of attempts: how an attempt ended, how its job stands then, and what is written of that.

use chrono::{DateTime, Utc};

use super::database::Connection;
use super::error::{inconsistent, stored, to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use super::{StoreError, archives, clips, policies};
use crate::domain::job::{
    Job, JobEvent, JobResult, JobSpec, JobState, Life, Notice, Progress, Reason,
};

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
    "attempt = $3, progress = COALESCE($6, progress), update_time_us = $4, ",
    "revision = CASE WHEN revision < $5 THEN $5 ELSE revision + 1 END WHERE id = $1 RETURNING ",
    columns!()
);

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
    /// It is not its time before then; this costs no attempt.
    Postponed(DateTime<Utc>),
    /// The process shuts down, or never heard of its claim: this costs no attempt.
    Interrupted,
    /// Its worker is gone; said by whoever found that out.
    Abandoned(Notice),
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

pub(super) async fn end_attempt(
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
        Finish::Postponed(at) => (JobEvent::Interrupt, Outcome::default(), Some(at)),
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
                        format!("clip {} was deleted meanwhile", clip.id),
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
        .bind(end.progress.map(to_json))
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
