//! Objects: reading the ledger of what is at a destination. What changes it is in `ledger`.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::database::Connection;
use super::error::{count, inconsistent, time, to_json, us};
use super::statement::{Statement, sql};
use super::{Page, Store, StoreError};
use crate::domain::backup::object::{BackupCheck, BackupObject, ObjectState};
use crate::domain::backup::policy::Policy;
use crate::domain::backup::run::BackupSelection;
use crate::domain::camera::CameraId;
use crate::domain::time::TimeRange;

pub(super) const TABLE: &str = "backup_objects";

const SELECT: &str = "
    SELECT destination_id, segment_id, camera_id, start_us, end_us, remote_path, size_bytes, sha256, state, check_kind,
        check_time_us, create_time_us, job_id, source_modified_us, locked_until_us, start_accuracy_us,
        EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = backup_objects.segment_id) AS evidence
    FROM backup_objects WHERE destination_id = ";
const TOTALS: &str = "
    SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT), MIN(start_us), MAX(end_us)
    FROM backup_objects WHERE destination_id = ";
const LONGEST: &str = "SELECT longest_object_us FROM destinations WHERE id = $1";
const PATHS: &str = "
    SELECT remote_path, segment_id FROM backup_objects
    WHERE destination_id = $1 AND remote_path IN (SELECT value FROM json_each($2))";
/// The end of what started last; a camera records one thing at a time, so nothing ends much later.
const NEWEST: &str = "
    SELECT end_us FROM backup_objects WHERE destination_id = $1 AND camera_id = $2 AND state = 'PRESENT'
    ORDER BY start_us DESC LIMIT 1";
/// A policy that was deleted may have left objects to one with the same id, which has no claim to them.
const POLICY_BYTES: &str = "
    SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM backup_objects
    WHERE destination_id = $1 AND policy_id = $2 AND create_time_us >= $3";
const SENT_BY_JOB: &str = "
    SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM backup_objects WHERE destination_id = $1 AND job_id = $2";
const UNWRITTEN: &str = " AND ledger_path = '' ORDER BY segment_id LIMIT ";

#[derive(sqlx::FromRow)]
struct ObjectRow {
    destination_id: String,
    segment_id: String,
    camera_id: String,
    start_us: i64,
    end_us: i64,
    remote_path: String,
    size_bytes: i64,
    sha256: String,
    state: String,
    check_kind: String,
    check_time_us: i64,
    create_time_us: i64,
    job_id: String,
    source_modified_us: i64,
    locked_until_us: Option<i64>,
    start_accuracy_us: i64,
    evidence: bool,
}

impl TryFrom<ObjectRow> for BackupObject {
    type Error = StoreError;

    fn try_from(row: ObjectRow) -> Result<Self, StoreError> {
        let id = row.segment_id.as_str();
        let bad = |fault: &str| inconsistent(TABLE, id, fault);
        Ok(Self {
            camera_id: CameraId::parse(&row.camera_id).map_err(|error| bad(&error.to_string()))?,
            window: TimeRange::new(time(TABLE, id, row.start_us)?, time(TABLE, id, row.end_us)?)
                .ok_or_else(|| bad("ends before it starts"))?,
            start_accuracy: TimeDelta::microseconds(row.start_accuracy_us),
            size_bytes: count(TABLE, id, row.size_bytes)?,
            state: ObjectState::parse(&row.state).ok_or_else(|| bad("unknown state"))?,
            check: BackupCheck::parse(&row.check_kind).ok_or_else(|| bad("unknown check"))?,
            check_time: time(TABLE, id, row.check_time_us)?,
            create_time: time(TABLE, id, row.create_time_us)?,
            source_modified_time: time(TABLE, id, row.source_modified_us)?,
            locked_until_time: row
                .locked_until_us
                .map(|us| time(TABLE, id, us))
                .transpose()?,
            destination_id: row.destination_id,
            remote_path: row.remote_path,
            sha256: row.sha256,
            job_id: row.job_id,
            evidence: row.evidence,
            segment_id: row.segment_id,
        })
    }
}

/// Which objects of a destination.
#[derive(Clone, Debug, Default)]
pub struct ObjectFilter {
    /// Whose footage is in this selection.
    pub selection: BackupSelection,
    /// Of this segment.
    pub segment_id: Option<String>,
    /// Sent by this job.
    pub job_id: Option<String>,
    /// In this state.
    pub state: Option<ObjectState>,
}

/// Sums over objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectTotals {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first start to the last end; `None` without objects.
    pub window: Option<TimeRange>,
}

impl Store {
    /// A page of the objects of a destination, newest footage first, and where the next page begins.
    pub async fn objects(
        &self,
        destination_id: &str,
        filter: &ObjectFilter,
        page: &Page,
    ) -> Result<(Vec<BackupObject>, Option<(i64, String)>), StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_object_us(&mut connection, destination_id).await?;
        let mut query = sql(SELECT);
        query.push_bind(destination_id);
        push_selection(&mut query, &filter.selection, longest);
        if let Some(segment_id) = &filter.segment_id {
            query.push(" AND segment_id = ").push_bind(segment_id);
        }
        if let Some(job_id) = &filter.job_id {
            query.push(" AND job_id = ").push_bind(job_id);
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        page.end_by(&mut query, "start_us", "segment_id");
        let mut rows: Vec<ObjectRow> = query.fetch_all(&mut connection).await?;
        let next = page.cut(&mut rows, |row| (row.start_us, row.segment_id.clone()));
        Ok((objects(rows)?, next))
    }

    /// The objects of a selection in order of their footage, oldest first, those after `after` (start and segment id of
    /// the last one seen), at most `limit`.
    pub async fn objects_in_order(
        &self,
        destination_id: &str,
        selection: &BackupSelection,
        after: Option<(DateTime<Utc>, &str)>,
        limit: u32,
    ) -> Result<Vec<BackupObject>, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_object_us(&mut connection, destination_id).await?;
        let mut query = sql(SELECT);
        query.push_bind(destination_id);
        push_selection(&mut query, selection, longest);
        push_after(&mut query, after);
        query
            .push(" ORDER BY start_us, segment_id LIMIT ")
            .push_bind(i64::from(limit));
        objects(query.fetch_all(&mut connection).await?)
    }

    /// Sums over the objects of a selection.
    pub async fn object_totals(
        &self,
        destination_id: &str,
        selection: &BackupSelection,
    ) -> Result<ObjectTotals, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_object_us(&mut connection, destination_id).await?;
        let mut query = sql(TOTALS);
        query.push_bind(destination_id);
        push_selection(&mut query, selection, longest);
        let (objects, bytes, first, last): (i64, i64, Option<i64>, Option<i64>) =
            query.fetch_one(&mut connection).await?;
        Ok(ObjectTotals {
            objects: count(TABLE, destination_id, objects)?,
            bytes: count(TABLE, destination_id, bytes)?,
            window: window(TABLE, destination_id, first, last)?,
        })
    }

    /// Which of `paths` the ledger has, and the segment of each.
    pub async fn paths_taken(
        &self,
        destination_id: &str,
        paths: &[String],
    ) -> Result<BTreeMap<String, String>, StoreError> {
        paths_taken(&mut self.read().await?, destination_id, paths).await
    }

    /// Objects that no file of the ledger's copy at the destination has yet, at most `limit`.
    pub async fn unwritten_objects(
        &self,
        destination_id: &str,
        limit: u32,
    ) -> Result<Vec<BackupObject>, StoreError> {
        let rows: Vec<ObjectRow> = sql(SELECT)
            .push_bind(destination_id)
            .push(UNWRITTEN)
            .push_bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        objects(rows)
    }

    /// Objects that a policy sent and that its retention may remove, oldest footage first, those after `after`, at most
    /// `limit`. What is held as evidence or locked at `now` is left out. With `ended_by`, only footage that ended by
    /// then. [`Sweep`](crate::domain::backup::retention::Sweep) decides about each.
    pub async fn retention_candidates(
        &self,
        policy: &Policy,
        ended_by: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        after: Option<(DateTime<Utc>, &str)>,
        limit: u32,
    ) -> Result<Vec<BackupObject>, StoreError> {
        let mut query = sql(SELECT);
        query.push_bind(&policy.destination_id);
        if let Some(ended_by) = ended_by {
            query
                .push(" AND start_us < ")
                .push_bind(us(ended_by))
                .push(" AND end_us <= ")
                .push_bind(us(ended_by));
        }
        push_after(&mut query, after);
        let rows: Vec<ObjectRow> = query
            .push(" AND policy_id = ")
            .push_bind(&policy.id)
            .push(" AND create_time_us >= ")
            .push_bind(us(policy.create_time))
            .push(" AND COALESCE(locked_until_us, 0) <= ")
            .push_bind(us(now))
            .push(" AND NOT EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = backup_objects.segment_id)")
            .push(" ORDER BY start_us, segment_id LIMIT ")
            .push_bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        objects(rows)
    }

    /// Bytes of the objects that a policy sent. It reads the whole ledger of the destination: ask only when the
    /// destination's `stored_bytes`, which are at least as many, are above the policy's limit.
    pub async fn policy_stored_bytes(&self, policy: &Policy) -> Result<u64, StoreError> {
        let bytes: i64 = sql(POLICY_BYTES)
            .bind(&policy.destination_id)
            .bind(&policy.id)
            .bind(us(policy.create_time))
            .fetch_value(&mut self.read().await?)
            .await?;
        count(TABLE, &policy.id, bytes)
    }

    /// What a job sent to a destination and is there still.
    pub async fn sent_by_job(
        &self,
        destination_id: &str,
        job_id: &str,
    ) -> Result<ObjectTotals, StoreError> {
        let (objects, bytes): (i64, i64) = sql(SENT_BY_JOB)
            .bind(destination_id)
            .bind(job_id)
            .fetch_one(&mut self.read().await?)
            .await?;
        Ok(ObjectTotals {
            objects: count(TABLE, destination_id, objects)?,
            bytes: count(TABLE, destination_id, bytes)?,
            window: None,
        })
    }

    /// The end of the newest footage at a destination, by camera; cameras without footage there are left out.
    pub async fn newest_footage(
        &self,
        destination_id: &str,
        camera_ids: impl IntoIterator<Item = &CameraId>,
    ) -> Result<BTreeMap<CameraId, DateTime<Utc>>, StoreError> {
        let mut newest = BTreeMap::new();
        let mut connection = self.read().await?;
        for camera_id in camera_ids {
            let end_us: Option<i64> = sql(NEWEST)
                .bind(destination_id)
                .bind(camera_id.as_str())
                .fetch_optional_value(&mut connection)
                .await?;
            if let Some(end_us) = end_us {
                newest.insert(camera_id.clone(), time(TABLE, destination_id, end_us)?);
            }
        }
        Ok(newest)
    }
}

async fn longest_object_us(
    connection: &mut Connection,
    destination_id: &str,
) -> Result<i64, StoreError> {
    Ok(sql(LONGEST)
        .bind(destination_id)
        .fetch_optional_value(connection)
        .await?
        .unwrap_or_default())
}

/// Adds the condition that an object's footage is in a selection.
fn push_selection(query: &mut Statement, selection: &BackupSelection, longest_us: i64) {
    push_window(query, selection, longest_us);
    if selection.evidence_only {
        query.push(" AND segment_id IN (SELECT segment_id FROM evidence_locks)");
    }
}

/// Adds the conditions of a selection that segments and objects have columns of the same name for.
pub(super) fn push_window(query: &mut Statement, selection: &BackupSelection, longest_us: i64) {
    if let Some(start) = selection.start {
        query
            .push(" AND start_us > ")
            .push_bind(us(start).saturating_sub(longest_us))
            .push(" AND end_us > ")
            .push_bind(us(start));
    }
    if let Some(end) = selection.end {
        query.push(" AND start_us < ").push_bind(us(end));
    }
    if !selection.camera_ids.is_empty() {
        query
            // The empty text keeps an index by camera from being used: it would have to be sorted by time.
            .push(" AND camera_id || '' IN (SELECT value FROM json_each(")
            .push_bind(to_json(&selection.camera_ids))
            .push("))");
    }
}

fn push_after(query: &mut Statement, after: Option<(DateTime<Utc>, &str)>) {
    if let Some((start, segment_id)) = after {
        query
            .push(" AND (start_us, segment_id) > (")
            .push_bind(us(start))
            .push(", ")
            .push_bind(segment_id.to_owned())
            .push(")");
    }
}

/// From the first start to the last end.
pub(super) fn window(
    table: &'static str,
    id: &str,
    first_us: Option<i64>,
    last_us: Option<i64>,
) -> Result<Option<TimeRange>, StoreError> {
    Ok(match (first_us, last_us) {
        (Some(first), Some(last)) => TimeRange::new(
            time(table, id, first)?,
            time(table, id, last.max(first + 1))?,
        ),
        _ => None,
    })
}

fn objects(rows: Vec<ObjectRow>) -> Result<Vec<BackupObject>, StoreError> {
    rows.into_iter().map(BackupObject::try_from).collect()
}

/// Which of `paths` the ledger has, and the segment of each.
pub(super) async fn paths_taken(
    connection: &mut Connection,
    destination_id: &str,
    paths: &[impl Serialize],
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows: Vec<(String, String)> = sql(PATHS)
        .bind(destination_id)
        .bind(to_json(&paths))
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().collect())
}
