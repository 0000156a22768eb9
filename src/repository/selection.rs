//! The selection of a run: which segments a destination does not have as they are now.
//!
//! Segments and the ledger are compared as two sorted lists, each read once from an index that holds all that is
//! compared; no row is looked up, so that a run over millions of segments which finds nothing new costs about a second.

use chrono::{DateTime, TimeDelta, Utc};

use super::database::Connection;
use super::error::{count, inconsistent, time, us};
use super::objects::{push_window, window};
use super::statement::{Statement, sql};
use super::{Store, StoreError};
use crate::domain::backup::risk::Frontier;
use crate::domain::backup::run::BackupSelection;
use crate::domain::camera::CameraId;
use crate::domain::time::TimeRange;

const TABLE: &str = "segments";

/// A segment whose source changed has to be read again first: its time, and with it its place, may be others.
const AVAILABLE: &str = " FROM segments WHERE state = 'AVAILABLE' AND modified_us <> -1";
const NOT_REMOVED: &str = "
    AND (end_us > COALESCE((SELECT removed_until_us FROM removed_footage
        WHERE removed_footage.camera_id = segments.camera_id AND policy_id = ";
const OR_EVIDENCE: &str = "), start_us) OR id IN (SELECT segment_id FROM evidence_locks))";
const TOTALS: &str =
    "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT), MIN(start_us), MAX(end_us)";
const COMPARED: &str = "SELECT start_us, id, size_bytes, modified_us";
const EXCEPT_PRESENT: &str = "
    EXCEPT SELECT start_us, segment_id, size_bytes, source_modified_us FROM backup_objects
    WHERE state = 'PRESENT' AND destination_id = ";
const LONGEST: &str = "SELECT COALESCE(MAX(longest_segment_us), 0) FROM cameras";
/// Of a month of deleted footage only the newest is read: what began longer before the last start than any segment lasts
/// has ended by then.
const FRONTIER: &str = "
    SELECT camera_id, end_us FROM (
        SELECT cameras.id AS camera_id, (
            SELECT MAX(end_us) FROM segments
            WHERE camera_id = cameras.id AND state = 'MISSING' AND start_us >= (
                SELECT MAX(start_us) FROM segments WHERE camera_id = cameras.id AND state = 'MISSING'
            ) - cameras.longest_segment_us
        ) AS end_us
        FROM cameras
    ) AS frontier WHERE end_us IS NOT NULL";
const UNSENT_TOTALS: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM (";
const UNSENT: &str = "
    SELECT segments.id, camera_id, source_id, path, segments.start_us, end_us, segments.size_bytes, segments.modified_us,
        start_accuracy_us,
        EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = segments.id) AS evidence,
        (SELECT remote_path FROM backup_objects WHERE segment_id = segments.id AND destination_id = ";

/// A segment that a destination does not have, or not as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsentSegment {
    /// The segment.
    pub segment_id: String,
    /// Its camera.
    pub camera_id: CameraId,
    /// The source that has its file.
    pub source_id: String,
    /// Path of the file below the source's root.
    pub path: String,
    /// Time of its footage.
    pub window: TimeRange,
    /// How far after its start the footage may really begin.
    pub start_accuracy: TimeDelta,
    /// Size of the file when it was taken in.
    pub size_bytes: u64,
    /// Modification time of the file when it was taken in.
    pub modified_time: DateTime<Utc>,
    /// Whether it is held as evidence.
    pub evidence: bool,
    /// Path of the object that it has at the destination already, and that is not it any more: sent again under this
    /// path, it leaves nothing behind.
    pub earlier_path: Option<String>,
}

/// Sums over what a run selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectionTotals {
    /// Segments selected.
    pub files_selected: u64,
    /// Their bytes.
    pub bytes_selected: u64,
    /// From the first start to the last end; `None` without segments.
    pub window: Option<TimeRange>,
    /// Of these, segments that the destination does not have as they are now.
    pub files_unsent: u64,
    /// Their bytes.
    pub bytes_unsent: u64,
}

impl SelectionTotals {
    /// Segments selected that the destination has as they are now.
    pub fn files_present(&self) -> u64 {
        self.files_selected.saturating_sub(self.files_unsent)
    }
}

#[derive(sqlx::FromRow)]
struct UnsentRow {
    id: String,
    camera_id: String,
    source_id: String,
    path: String,
    start_us: i64,
    end_us: i64,
    size_bytes: i64,
    modified_us: i64,
    start_accuracy_us: i64,
    evidence: bool,
    earlier_path: Option<String>,
}

impl TryFrom<UnsentRow> for UnsentSegment {
    type Error = StoreError;

    fn try_from(row: UnsentRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        Ok(Self {
            camera_id: CameraId::parse(&row.camera_id)
                .map_err(|error| inconsistent(TABLE, id, error.to_string()))?,
            window: window(TABLE, id, Some(row.start_us), Some(row.end_us))?
                .ok_or_else(|| inconsistent(TABLE, id, "ends before it starts"))?,
            start_accuracy: TimeDelta::microseconds(row.start_accuracy_us),
            size_bytes: count(TABLE, id, row.size_bytes)?,
            modified_time: time(TABLE, id, row.modified_us)?,
            source_id: row.source_id,
            path: row.path,
            evidence: row.evidence,
            earlier_path: row.earlier_path,
            segment_id: row.id,
        })
    }
}

impl Store {
    /// Sums over what a run with this selection finds, of one moment. A run that is told of no unsent file has nothing
    /// more to ask.
    pub async fn selection_totals(
        &self,
        destination_id: &str,
        selection: &BackupSelection,
    ) -> Result<SelectionTotals, StoreError> {
        let mut moment = self.database.moment().await?;
        let longest = longest_us(&mut moment).await?;
        let mut totals = sql(TOTALS);
        push_available(&mut totals, selection, longest);
        let (selected, bytes, first, last): (i64, i64, Option<i64>, Option<i64>) =
            totals.fetch_one(&mut moment).await?;
        let mut unsent = sql(UNSENT_TOTALS);
        push_unsent(&mut unsent, destination_id, selection, None, longest);
        unsent.push(") AS unsent");
        let (files_unsent, bytes_unsent): (i64, i64) = unsent.fetch_one(&mut moment).await?;
        moment.commit().await?;
        Ok(SelectionTotals {
            files_selected: count(TABLE, destination_id, selected)?,
            bytes_selected: count(TABLE, destination_id, bytes)?,
            window: window(TABLE, destination_id, first, last)?,
            files_unsent: count(TABLE, destination_id, files_unsent)?,
            bytes_unsent: count(TABLE, destination_id, bytes_unsent)?,
        })
    }

    /// Segments of a selection that a destination does not have, or has with another size or modification time, or that
    /// its last verification found missing or changed. In order of start; those after `after` (start and id of the last
    /// one seen), at most `limit`.
    pub async fn unsent_segments(
        &self,
        destination_id: &str,
        selection: &BackupSelection,
        after: Option<(DateTime<Utc>, &str)>,
        limit: u32,
    ) -> Result<Vec<UnsentSegment>, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_us(&mut connection).await?;
        let mut query = sql(UNSENT);
        query
            .push_bind(destination_id)
            .push(") AS earlier_path FROM (");
        push_unsent(&mut query, destination_id, selection, after, longest);
        // A cross join is made in the order that it is written in: each of the few unsent segments is looked up.
        query
            .push(" LIMIT ")
            .push_bind(i64::from(limit))
            .push(") AS unsent CROSS JOIN segments WHERE segments.id = unsent.id ORDER BY segments.start_us, segments.id");
        let rows: Vec<UnsentRow> = query.fetch_all(&mut connection).await?;
        rows.into_iter().map(UnsentSegment::try_from).collect()
    }
}

impl Store {
    /// How far recorders have deleted what they recorded: the end of the newest segment whose file is gone, by camera.
    pub async fn deletion_frontier(&self) -> Result<Frontier, StoreError> {
        let rows: Vec<(String, i64)> = sql(FRONTIER).fetch_all(&mut self.read().await?).await?;
        rows.into_iter()
            .map(|(camera_id, end_us)| {
                let id = CameraId::parse(&camera_id)
                    .map_err(|error| inconsistent(TABLE, &camera_id, error.to_string()))?;
                Ok((id, time(TABLE, &camera_id, end_us)?))
            })
            .collect()
    }
}

/// Adds what of a selection is there to be sent, after the columns of a query.
fn push_available(query: &mut Statement, selection: &BackupSelection, longest_us: i64) {
    query.push(AVAILABLE);
    push_window(query, selection, longest_us);
    if selection.evidence_only {
        query.push(" AND id IN (SELECT segment_id FROM evidence_locks)");
    }
    if !selection.without_removed_by.is_empty() {
        query
            .push(NOT_REMOVED)
            .push_bind(selection.without_removed_by.clone())
            .push(OR_EVIDENCE);
    }
}

/// Adds a query of what of a selection is there to be sent, without what the destination has as it is, in order.
pub(super) fn push_unsent(
    query: &mut Statement,
    destination_id: &str,
    selection: &BackupSelection,
    after: Option<(DateTime<Utc>, &str)>,
    longest_us: i64,
) {
    query.push(COMPARED);
    push_available(query, selection, longest_us);
    if let Some((start, id)) = after {
        query
            .push(" AND (start_us, id) > (")
            .push_bind(us(start))
            .push(", ")
            .push_bind(id.to_owned())
            .push(")");
    }
    query
        .push(EXCEPT_PRESENT)
        .push_bind(destination_id.to_owned());
    // Bounds that only spare reading: what is not among the segments takes nothing away from them.
    if let Some(start) = selection.start {
        query
            .push(" AND start_us > ")
            .push_bind(us(start).saturating_sub(longest_us));
    }
    if let Some(end) = selection.end {
        query.push(" AND start_us < ").push_bind(us(end));
    }
    if let Some((start, _)) = after {
        query.push(" AND start_us >= ").push_bind(us(start));
    }
    if selection.evidence_only {
        query.push(" AND segment_id IN (SELECT segment_id FROM evidence_locks)");
    }
    // Without an order SQLite would gather one of the two lists before it compares them.
    query.push(" ORDER BY start_us, id, size_bytes, modified_us");
}

async fn longest_us(connection: &mut Connection) -> Result<i64, StoreError> {
    sql(LONGEST).fetch_value(connection).await
}
