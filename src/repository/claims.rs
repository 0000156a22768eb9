//! Claims: the next waiting job of a kind given to a worker.

use chrono::{DateTime, TimeDelta, Utc};
use tracing::error;

use super::StoreError;
use super::database::Connection;
use super::error::{to_json, us};
use super::job_rows::{JobRow, columns};
use super::statement::sql;
use crate::domain::job::{Job, JobKind, Notice, Reason};

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

/// Ends a job whose row holds what this program cannot read.
const GIVE_UP: &str = "
    UPDATE jobs SET state = 'FAILED', error = $4, end_time_us = $5, update_time_us = $5, expire_time_us = $6, owner = '',
        lease_until_us = 0, revision = revision + 1
    WHERE id = $1 AND epoch = $2 AND owner = $3";

/// How long the record is kept of a job whose row cannot be read.
const KEEP_UNREADABLE: TimeDelta = TimeDelta::days(30);

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
