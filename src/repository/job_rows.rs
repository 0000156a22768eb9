//! Jobs as rows.

use super::StoreError;
use super::error::{count, inconsistent, json, time};
use crate::domain::job::{Job, JobState};

const TABLE: &str = "jobs";

/// The columns of [`JobRow`], for SELECT and RETURNING.
macro_rules! columns {
    () => {
        "id, state, labels, created_by, retry_of, request_id, spec, progress, result, error, warnings, attempt, \
         max_attempts, epoch, owner, next_attempt_time_us, revision, create_time_us, start_time_us, end_time_us, \
         update_time_us, expire_time_us"
    };
}
pub(super) use columns;

#[derive(sqlx::FromRow)]
pub(super) struct JobRow {
    pub(super) id: String,
    state: String,
    labels: String,
    created_by: String,
    retry_of: String,
    request_id: Option<String>,
    spec: String,
    progress: Option<String>,
    result: Option<String>,
    error: Option<String>,
    warnings: String,
    attempt: i64,
    max_attempts: i64,
    pub(super) epoch: i64,
    owner: String,
    next_attempt_time_us: Option<i64>,
    revision: i64,
    pub(super) create_time_us: i64,
    start_time_us: Option<i64>,
    end_time_us: Option<i64>,
    update_time_us: i64,
    expire_time_us: Option<i64>,
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        let small = |value: i64| {
            u32::try_from(value).map_err(|_| inconsistent(TABLE, id, "an attempt is out of range"))
        };
        let maybe_time = |us: Option<i64>| us.map(|us| time(TABLE, id, us)).transpose();
        Ok(Self {
            spec: json(TABLE, id, &row.spec)?,
            state: JobState::parse(&row.state)
                .ok_or_else(|| inconsistent(TABLE, id, "unknown state"))?,
            progress: row
                .progress
                .map(|text| json(TABLE, id, &text))
                .transpose()?,
            result: row.result.map(|text| json(TABLE, id, &text)).transpose()?,
            error: row.error.map(|text| json(TABLE, id, &text)).transpose()?,
            warnings: json(TABLE, id, &row.warnings)?,
            attempt: small(row.attempt)?,
            max_attempts: small(row.max_attempts)?,
            create_time: time(TABLE, id, row.create_time_us)?,
            start_time: maybe_time(row.start_time_us)?,
            end_time: maybe_time(row.end_time_us)?,
            update_time: time(TABLE, id, row.update_time_us)?,
            expire_time: maybe_time(row.expire_time_us)?,
            next_attempt_time: maybe_time(row.next_attempt_time_us)?,
            revision: count(TABLE, id, row.revision)?,
            created_by: row.created_by,
            labels: json(TABLE, id, &row.labels)?,
            retry_of: row.retry_of,
            request_id: row.request_id.unwrap_or_default(),
            epoch: row.epoch,
            owner: row.owner,
            id: row.id,
        })
    }
}
