//! Segments: finding them by time, and noticing that they are gone. `intake` takes them in.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::database::{Area, Connection};
use super::error::{count, time, us};
use super::segment_rows::{PRESENT, PresentRow, SELECT, SegmentRow};
use super::statement::sql;
use super::{Page, Store, StoreError, spans};
use crate::domain::camera::CameraId;
use crate::domain::catalog::{Segment, SegmentState};
use crate::domain::time::TimeRange;

pub(super) const COUNT_IN: &str = "
    UPDATE cameras SET segment_count = segment_count + $2, size_bytes = size_bytes + $3,
        longest_segment_us = CASE WHEN longest_segment_us < $4 THEN $4 ELSE longest_segment_us END WHERE id = $1";
const LONGEST: &str = "SELECT longest_segment_us FROM cameras WHERE id = $1";
const SET_MISSING: &str =
    "UPDATE segments SET state = 'MISSING', missing_since_us = $2 WHERE id = $1";
const LONG_MISSING: &str = "
    SELECT id, path, camera_id, start_us, end_us, size_bytes, modified_us, state FROM segments
    WHERE missing_since_us < $1 AND NOT EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = segments.id)
    ORDER BY missing_since_us LIMIT $2";
const DELETE: &str = "DELETE FROM segments WHERE id = $1";
const HAS_LATER: &str =
    "SELECT EXISTS (SELECT 1 FROM segments WHERE camera_id = $1 AND start_us > $2)";
const PRESENT_PATHS: &str = "
    SELECT path FROM segments
    WHERE source_id = $1 AND path > $2 AND state = 'AVAILABLE' ORDER BY path LIMIT $3";

/// A file the catalog knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Its size when it was read.
    pub size_bytes: u64,
    /// Its modification time when it was read.
    pub modified_time: DateTime<Utc>,
    /// Whether it was there when last looked at.
    pub state: SegmentState,
}

/// Which segments.
#[derive(Clone, Debug, Default)]
pub struct SegmentFilter {
    /// Of this camera.
    pub camera_id: Option<CameraId>,
    /// Ending after this.
    pub ends_after: Option<DateTime<Utc>>,
    /// Starting before this.
    pub starts_before: Option<DateTime<Utc>>,
    /// Held as evidence.
    pub evidence_locked_only: bool,
    /// In this state.
    pub state: Option<SegmentState>,
}

impl Store {
    /// Marks files of a source as vanished; the number that were not marked before.
    pub async fn mark_missing(
        &self,
        source_id: &str,
        paths: &[String],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let mut marked = 0;
        for path in paths {
            let present: Option<PresentRow> = sql(PRESENT)
                .bind(source_id)
                .bind(path)
                .fetch_optional(&mut transaction)
                .await?;
            let Some(present) = present.filter(PresentRow::is_available) else {
                continue;
            };
            sql(SET_MISSING)
                .bind(&present.id)
                .bind(us(now))
                .execute(&mut transaction)
                .await?;
            take_out_of_spans(&mut transaction, &present).await?;
            marked += 1;
        }
        transaction.commit().await?;
        Ok(marked)
    }

    /// Forgets segments whose file is gone since before `time`, at most `limit` of them; how many. What is held as
    /// evidence is never forgotten.
    pub async fn forget_missing(&self, time: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let long_gone: Vec<PresentRow> = sql(LONG_MISSING)
            .bind(us(time))
            .bind(i64::from(limit))
            .fetch_all(&mut transaction)
            .await?;
        for row in &long_gone {
            sql(DELETE).bind(&row.id).execute(&mut transaction).await?;
            uncount(&mut transaction, row).await?;
        }
        transaction.commit().await?;
        Ok(long_gone.len() as u64)
    }

    /// Whether the catalog has footage of the camera that starts later.
    pub async fn has_later_segment(
        &self,
        camera_id: &CameraId,
        time: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        sql(HAS_LATER)
            .bind(camera_id.as_str())
            .bind(us(time))
            .fetch_value(&mut self.read().await?)
            .await
    }

    /// Files of a source that the catalog takes for present, in order of path, beginning after `after`.
    pub async fn present_paths(
        &self,
        source_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        sql(PRESENT_PATHS)
            .bind(source_id)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_values(&mut self.read().await?)
            .await
    }

    /// What the catalog knows of these files of a source, by path.
    pub async fn known_files_among(
        &self,
        source_id: &str,
        paths: &[&str],
    ) -> Result<HashMap<String, KnownFile>, StoreError> {
        PresentRow::among(&mut self.read().await?, source_id, paths)
            .await?
            .into_iter()
            .map(|row| {
                let known = known_file(&row.path, row.size_bytes, row.modified_us, &row.state)?;
                Ok((row.path, known))
            })
            .collect()
    }

    /// The segments of a camera that overlap `window`, vanished ones included, in order of start.
    pub async fn segments_in(
        &self,
        camera_id: &CameraId,
        window: TimeRange,
    ) -> Result<Vec<Segment>, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_segment_us(&mut connection, camera_id.as_str()).await?;
        let rows: Vec<SegmentRow> = sql(SELECT)
            .push("WHERE camera_id = ")
            .push_bind(camera_id.as_str())
            .push(" AND start_us < ")
            .push_bind(us(window.end()))
            .push(" AND start_us > ")
            .push_bind(us(window.start()).saturating_sub(longest))
            .push(" AND end_us > ")
            .push_bind(us(window.start()))
            .push(" ORDER BY start_us, id")
            .fetch_all(&mut connection)
            .await?;
        rows.into_iter().map(Segment::try_from).collect()
    }

    /// The segments with these ids; unknown ids are left out.
    pub async fn segments_by_id(&self, ids: &[String]) -> Result<Vec<Segment>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = sql(SELECT);
        // One bound value whatever the number of ids: databases limit how many there may be.
        query
            .push("WHERE id IN (SELECT value FROM json_each(")
            .push_bind(super::error::to_json(&ids))
            .push("))");
        let rows: Vec<SegmentRow> = query.fetch_all(&mut self.read().await?).await?;
        rows.into_iter().map(Segment::try_from).collect()
    }

    /// A page of segments, newest first, and where the next page begins.
    pub async fn segments(
        &self,
        filter: &SegmentFilter,
        page: &Page,
    ) -> Result<(Vec<Segment>, Option<(i64, String)>), StoreError> {
        let mut connection = self.read().await?;
        let mut query = sql(SELECT);
        query.push("WHERE 1 = 1");
        if let Some(camera_id) = &filter.camera_id {
            query
                .push(" AND camera_id = ")
                .push_bind(camera_id.as_str().to_owned());
            if let Some(after) = filter.ends_after {
                let longest = longest_segment_us(&mut connection, camera_id.as_str()).await?;
                query
                    .push(" AND start_us > ")
                    .push_bind(us(after).saturating_sub(longest));
            }
        }
        if let Some(after) = filter.ends_after {
            query.push(" AND end_us > ").push_bind(us(after));
        }
        if let Some(before) = filter.starts_before {
            query.push(" AND start_us < ").push_bind(us(before));
        }
        if filter.evidence_locked_only {
            query.push(" AND EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = segments.id)");
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        page.end(&mut query, "start_us");
        let mut rows: Vec<SegmentRow> = query.fetch_all(&mut connection).await?;
        let next = page.cut(&mut rows, |row| (row.start_us, row.id.clone()));
        Ok((
            rows.into_iter()
                .map(Segment::try_from)
                .collect::<Result<_, _>>()?,
            next,
        ))
    }
}

fn known_file(path: &str, size: i64, modified: i64, state: &str) -> Result<KnownFile, StoreError> {
    Ok(KnownFile {
        size_bytes: count("segments", path, size)?,
        modified_time: time("segments", path, modified)?,
        state: SegmentState::parse(state)
            .ok_or_else(|| super::error::inconsistent("segments", path, "unknown state"))?,
    })
}

/// Takes a row that was replaced out of its camera's sums and spans.
pub(super) async fn uncount(
    connection: &mut Connection,
    present: &PresentRow,
) -> Result<(), StoreError> {
    sql(COUNT_IN)
        .bind(&present.camera_id)
        .bind(-1)
        .bind(-present.size_bytes)
        .bind(0)
        .execute(connection)
        .await?;
    if present.is_available() {
        take_out_of_spans(connection, present).await?;
    }
    Ok(())
}

async fn take_out_of_spans(
    connection: &mut Connection,
    present: &PresentRow,
) -> Result<(), StoreError> {
    let longest = longest_segment_us(connection, &present.camera_id).await?;
    spans::remove(
        connection,
        &present.camera_id,
        (present.start_us, present.end_us),
        longest,
    )
    .await
}

pub(super) async fn longest_segment_us(
    connection: &mut Connection,
    camera_id: &str,
) -> Result<i64, StoreError> {
    Ok(sql(LONGEST)
        .bind(camera_id)
        .fetch_optional_value(connection)
        .await?
        .unwrap_or_default())
}
