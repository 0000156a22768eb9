//! Policies: kept, due, claimed for a run, overdue.

use chrono::{DateTime, Utc};

use super::admission::{InsertedJob, Queue, write_job};
use super::database::{Area, Connection};
use super::error::{inconsistent, stored, to_json, us};
use super::policy_rows::{PolicyRow, SELECT, TABLE, details};
use super::statement::sql;
use super::{Page, Store, StoreError};
use crate::domain::backup::policy::Policy;
use crate::domain::job::{NewJob, RequestKey};

const INSERT: &str = "
    INSERT INTO policies (id, destination_id, display_name, enabled, details, labels, next_run_us, create_time_us,
        update_time_us, request_id, request_digest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10)";
const HAS_DESTINATION: &str = "SELECT EXISTS (SELECT 1 FROM destinations WHERE id = $1)";
const UPDATE: &str = "
    UPDATE policies SET display_name = $2, enabled = $3, details = $4, labels = $5, update_time_us = $6,
        revision = revision + 1 WHERE id = $1";
/// A run that waits for the hours of its policy looks at them again when they may have changed.
const LOOK_AGAIN: &str = "
    UPDATE jobs SET next_attempt_time_us = NULL WHERE policy_id = $1 AND policy_id <> '' AND state = 'QUEUED'";
const SET_NEXT_RUN: &str = "UPDATE policies SET next_run_us = $2 WHERE id = $1";
/// A policy that does not run by itself owes no run.
const STOP_RUNS: &str =
    "UPDATE policies SET next_run_us = NULL, overdue_since_us = NULL WHERE id = $1";
const DELETE: &str = "DELETE FROM policies WHERE id = $1";
const FORGET_REMOVED: &str = "DELETE FROM removed_footage WHERE policy_id = $1";
const DUE_BEFORE: &str = "WHERE next_run_us <= ";
/// A destination that cannot be used would only make failed jobs; the policy stays due, and overdue shows it.
const TO_BE_STARTED: &str = "
    AND EXISTS (
        SELECT 1 FROM destinations
        WHERE id = policies.destination_id AND enabled = TRUE AND pause_reason IS NULL)
    AND NOT EXISTS (
        SELECT 1 FROM jobs WHERE policy_id = policies.id AND policy_id <> ''
            AND state IN ('QUEUED', 'RUNNING', 'CANCELLING'))
    ORDER BY next_run_us, id LIMIT ";
const DUE_AFTER: &str = "WHERE next_run_us > ";
const MOVE_NEXT_RUN: &str =
    "UPDATE policies SET next_run_us = $3 WHERE id = $1 AND next_run_us = $2";
const IS_DUE: &str =
    "SELECT EXISTS (SELECT 1 FROM policies WHERE id = $1 AND enabled = TRUE AND next_run_us = $2)";
const HAS_RUN: &str =
    "SELECT EXISTS (SELECT 1 FROM jobs WHERE policy_id = $1 AND due_time_us = $2)";
/// What only a clock that was ahead let run before its time is not the run of that moment.
const FORGET_RUNS_TO_COME: &str =
    "UPDATE jobs SET due_time_us = NULL WHERE policy_id = $1 AND due_time_us >= $2";
const NOTE_RUN: &str = "UPDATE policies SET last_run_us = $2, last_job_id = $3 WHERE id = $1";
const NOTE_COMPLETE: &str = "
    UPDATE policies SET last_success_us = $3, overdue_since_us = NULL, files_unsent = $4, bytes_unsent = $5,
        files_at_risk = $6
    WHERE id = $1 AND last_job_id = $2";
const NOTE_INCOMPLETE: &str = "
    UPDATE policies SET overdue_since_us = COALESCE(overdue_since_us, $3), files_unsent = $4, bytes_unsent = $5,
        files_at_risk = $6
    WHERE id = $1 AND last_job_id = $2";
const NOTE_OVERDUE: &str = "
    UPDATE policies SET overdue_since_us = COALESCE(overdue_since_us, $2) WHERE id = $1 AND enabled = TRUE";

/// How writing a new policy ended.
#[derive(Clone, Debug)]
pub enum InsertedPolicy {
    /// Written.
    New(Box<Policy>),
    /// The same request made this policy before.
    Existing(Box<Policy>),
    /// The request id came with another request before.
    RequestIdReused,
    /// The id is taken.
    IdTaken,
    /// There is no such destination.
    NoDestination,
}

/// How a change of a policy ended.
#[derive(Clone, Debug)]
pub enum UpdatedPolicy {
    /// The policy as it is now.
    Updated(Box<Policy>),
    /// No such policy.
    NotFound,
    /// Somebody else was first.
    Stale,
}

/// How the deletion of a policy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedPolicy {
    /// Gone.
    Deleted,
    /// No such policy.
    NotFound,
    /// Somebody else was first.
    Stale,
}

/// What a change of a policy does to the moment of its next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRun {
    /// It stays as the row has it: a scheduler may move it at any time.
    Keep,
    /// The schedule is another one now.
    At(DateTime<Utc>),
    /// The policy runs only by hand from now on.
    Never,
}

/// Which policies.
#[derive(Clone, Debug, Default)]
pub struct PolicyFilter {
    /// Of this destination.
    pub destination_id: Option<String>,
    /// Overdue: with a run that did not send everything, or whose next run was due before this moment (now less a
    /// grace) and has not begun.
    pub overdue_at: Option<DateTime<Utc>>,
}

/// How a run of a policy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// The run's job.
    pub job_id: String,
    /// The moment that made the run due; `None` for one that was asked for by hand.
    pub due_time: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_time: DateTime<Utc>,
    /// Whether everything selected is at the destination.
    pub is_complete: bool,
    /// Selected segments that are not.
    pub files_unsent: u64,
    /// Their bytes.
    pub bytes_unsent: u64,
    /// Of these, the ones that their recorder is expected to delete before the next run.
    pub files_at_risk: u64,
}

impl Store {
    /// Writes a policy with its next run, unless its request made one before or its id is taken. Revision and the
    /// rest of the status begin anew.
    pub async fn insert_policy(
        &self,
        new: &Policy,
        request: Option<&RequestKey>,
    ) -> Result<InsertedPolicy, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        if let Some(request) = request {
            let earlier: Option<PolicyRow> = sql(SELECT)
                .push("WHERE request_id = ")
                .push_bind(&request.request_id)
                .fetch_optional(&mut transaction)
                .await?;
            if let Some(earlier) = earlier {
                let same = earlier.request_digest == request.digest;
                return Ok(if same {
                    InsertedPolicy::Existing(Box::new(earlier.try_into()?))
                } else {
                    InsertedPolicy::RequestIdReused
                });
            }
        }
        if get(&mut transaction, &new.id).await?.is_some() {
            return Ok(InsertedPolicy::IdTaken);
        }
        let has_destination: bool = sql(HAS_DESTINATION)
            .bind(&new.destination_id)
            .fetch_value(&mut transaction)
            .await?;
        if !has_destination {
            return Ok(InsertedPolicy::NoDestination);
        }
        sql(INSERT)
            .bind(&new.id)
            .bind(&new.destination_id)
            .bind(&new.display_name)
            .bind(new.enabled)
            .bind(details(new))
            .bind(to_json(&new.labels))
            .bind(new.status.next_run_time.map(us))
            .bind(us(new.create_time))
            .bind(request.map(|request| request.request_id.clone()))
            .bind(request.map_or("", |request| request.digest.as_str()))
            .execute(&mut transaction)
            .await?;
        let written = written(&mut transaction, &new.id).await?;
        transaction.commit().await?;
        Ok(InsertedPolicy::New(Box::new(written)))
    }

    /// The policy with this id.
    pub async fn policy(&self, id: &str) -> Result<Option<Policy>, StoreError> {
        get(&mut self.read().await?, id).await
    }

    /// A page of policies, newest first, and where the next page begins.
    pub async fn policies(
        &self,
        filter: &PolicyFilter,
        page: &Page,
    ) -> Result<(Vec<Policy>, Option<(i64, String)>), StoreError> {
        let mut query = sql(SELECT);
        query.push("WHERE 1 = 1");
        if let Some(destination_id) = &filter.destination_id {
            query
                .push(" AND destination_id = ")
                .push_bind(destination_id);
        }
        if let Some(at) = filter.overdue_at {
            query
                .push(" AND (overdue_since_us IS NOT NULL OR next_run_us < ")
                .push_bind(us(at))
                .push(")");
        }
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<PolicyRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Policy::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }

    /// All policies of a destination, the oldest first.
    pub async fn policies_of(&self, destination_id: &str) -> Result<Vec<Policy>, StoreError> {
        let rows: Vec<PolicyRow> = sql(SELECT)
            .push("WHERE destination_id = ")
            .push_bind(destination_id)
            .push(" ORDER BY create_time_us, id")
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Policy::try_from).collect()
    }

    /// Writes what callers can set of `new`, if the row still has its revision. The destination stays.
    pub async fn update_policy(
        &self,
        new: &Policy,
        next_run: NextRun,
        now: DateTime<Utc>,
    ) -> Result<UpdatedPolicy, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let before = match get(&mut transaction, &new.id).await? {
            None => return Ok(UpdatedPolicy::NotFound),
            Some(before) if before.revision != new.revision => return Ok(UpdatedPolicy::Stale),
            Some(before) => before,
        };
        if before.retention != new.retention {
            forget_removed(&mut transaction, &new.id).await?;
        }
        sql(UPDATE)
            .bind(&new.id)
            .bind(&new.display_name)
            .bind(new.enabled)
            .bind(details(new))
            .bind(to_json(&new.labels))
            .bind(us(now))
            .execute(&mut transaction)
            .await?;
        sql(LOOK_AGAIN)
            .bind(&new.id)
            .execute(&mut transaction)
            .await?;
        match next_run {
            NextRun::Keep => {}
            NextRun::At(time) => {
                sql(SET_NEXT_RUN)
                    .bind(&new.id)
                    .bind(us(time))
                    .execute(&mut transaction)
                    .await?;
            }
            NextRun::Never => {
                sql(STOP_RUNS)
                    .bind(&new.id)
                    .execute(&mut transaction)
                    .await?;
            }
        }
        let written = written(&mut transaction, &new.id).await?;
        transaction.commit().await?;
        Ok(UpdatedPolicy::Updated(Box::new(written)))
    }

    /// Forgets a policy; its jobs and what it sent stay. `revision` is the one the caller has seen; `None` deletes
    /// whatever is there.
    pub async fn delete_policy(
        &self,
        id: &str,
        revision: Option<u64>,
    ) -> Result<DeletedPolicy, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let Some(policy) = get(&mut transaction, id).await? else {
            return Ok(DeletedPolicy::NotFound);
        };
        if revision.is_some_and(|revision| revision != policy.revision) {
            return Ok(DeletedPolicy::Stale);
        }
        sql(DELETE).bind(id).execute(&mut transaction).await?;
        forget_removed(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(DeletedPolicy::Deleted)
    }

    /// Policies whose next run is due, that do not run, and whose destination can be used, the longest due first, at most
    /// `limit`.
    pub async fn due_policies(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Policy>, StoreError> {
        let rows: Vec<PolicyRow> = sql(SELECT)
            .push(DUE_BEFORE)
            .push_bind(us(now))
            .push(TO_BE_STARTED)
            .push_bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Policy::try_from).collect()
    }

    /// Policies whose next run is not due yet.
    pub async fn policies_due_after(&self, now: DateTime<Utc>) -> Result<Vec<Policy>, StoreError> {
        let rows: Vec<PolicyRow> = sql(SELECT)
            .push(DUE_AFTER)
            .push_bind(us(now))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Policy::try_from).collect()
    }

    /// Moves the next run of a policy; whether it was still due at `from`.
    pub async fn move_next_run(
        &self,
        policy_id: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        let moved = sql(MOVE_NEXT_RUN)
            .bind(policy_id)
            .bind(us(from))
            .bind(us(to))
            .execute(&mut transaction)
            .await?;
        if moved > 0 {
            sql(FORGET_RUNS_TO_COME)
                .bind(policy_id)
                .bind(us(to))
                .execute(&mut transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(moved > 0)
    }

    /// Writes the job of the run that is due at `due` and moves the policy on to `next_run`, both or neither. `None`
    /// when the policy's next run is not that of `due` any more, because another scheduler has taken it or the schedule
    /// changed, or when that moment has had its run; the policy has moved on then. When no job was written the run stays due, and one run makes up for all that were missed.
    pub async fn claim_run(
        &self,
        policy_id: &str,
        due: DateTime<Utc>,
        next_run: Option<DateTime<Utc>>,
        new_job: &NewJob,
        queue_limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Option<InsertedJob>, StoreError> {
        let mut transaction = self.write(Area::Backups).await?;
        transaction.lock(Area::Admission).await?;
        let is_due: bool = sql(IS_DUE)
            .bind(policy_id)
            .bind(us(due))
            .fetch_value(&mut transaction)
            .await?;
        if !is_due {
            return Ok(None);
        }
        let has_run: bool = sql(HAS_RUN)
            .bind(policy_id)
            .bind(us(due))
            .fetch_value(&mut transaction)
            .await?;
        let mut inserted = None;
        if !has_run {
            let mut queue = Queue::of(&mut transaction, queue_limit).await?;
            let written = write_job(&mut transaction, new_job, &mut queue, now).await?;
            if !matches!(written, InsertedJob::New(_)) {
                return Ok(Some(written));
            }
            inserted = Some(written);
        }
        sql(SET_NEXT_RUN)
            .bind(policy_id)
            .bind(next_run.map(us))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(inserted)
    }

    /// Writes down how a run of a policy ended, unless another run has begun since.
    pub async fn note_run_end(&self, policy_id: &str, end: &RunEnd) -> Result<(), StoreError> {
        let note = if end.is_complete {
            sql(NOTE_COMPLETE)
                .bind(policy_id)
                .bind(&end.job_id)
                .bind(us(end.end_time))
        } else {
            sql(NOTE_INCOMPLETE)
                .bind(policy_id)
                .bind(&end.job_id)
                .bind(end.due_time.map(us))
        };
        note.bind(stored(end.files_unsent))
            .bind(stored(end.bytes_unsent))
            .bind(stored(end.files_at_risk))
            .execute(&mut self.writer().await?)
            .await?;
        Ok(())
    }
}

/// Writes down that the run that was due at `due` did not send everything.
pub(super) async fn note_overdue(
    connection: &mut Connection,
    policy_id: &str,
    due: DateTime<Utc>,
) -> Result<(), StoreError> {
    sql(NOTE_OVERDUE)
        .bind(policy_id)
        .bind(us(due))
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes down that a run has begun.
pub(super) async fn note_run(
    connection: &mut Connection,
    policy_id: &str,
    job_id: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sql(NOTE_RUN)
        .bind(policy_id)
        .bind(us(now))
        .bind(job_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// With another retention there may be room again for what an earlier one removed.
async fn forget_removed(connection: &mut Connection, id: &str) -> Result<(), StoreError> {
    sql(FORGET_REMOVED).bind(id).execute(connection).await?;
    Ok(())
}

async fn get(connection: &mut Connection, id: &str) -> Result<Option<Policy>, StoreError> {
    let row: Option<PolicyRow> = sql(SELECT)
        .push("WHERE id = ")
        .push_bind(id)
        .fetch_optional(connection)
        .await?;
    row.map(Policy::try_from).transpose()
}

async fn written(connection: &mut Connection, id: &str) -> Result<Policy, StoreError> {
    get(connection, id)
        .await?
        .ok_or_else(|| inconsistent(TABLE, id, "gone within the transaction that wrote it"))
}
