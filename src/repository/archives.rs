//! Archives: one row per finished zip, and the segments that one would hold.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::database::Connection;
use super::error::{count, inconsistent, json, stored, time, to_json, us};
use super::segments::longest_segment_us;
use super::statement::{Statement, sql};
use super::{Page, Store, StoreError, exports};
use crate::domain::archive::{Archive, ArchiveContent, ArchiveSegment};
use crate::domain::camera::CameraId;
use crate::domain::catalog::SegmentState;
use crate::domain::export_record::{ExportAction, ExportRecord};
use crate::domain::series::Series;

const INSERT: &str = "
    INSERT INTO archives (id, create_time_us, expire_time_us, file_name, size_bytes, sha256, case_id, operator,
        delivered_start_us, delivered_end_us, job_id, labels, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const INSERT_CAMERA: &str = "INSERT INTO archive_cameras (archive_id, camera_id) VALUES ($1, $2)";
const GET: &str = "SELECT id, create_time_us, details FROM archives WHERE id = $1";
const GET_BY_FILE: &str = "SELECT id, create_time_us, details FROM archives WHERE file_name = $1";
/// An id can be used again, so that it alone does not say which archive is meant.
const DELETE: &str = "DELETE FROM archives WHERE id = $1 AND create_time_us = $2";
const EXPIRED: &str = "
    SELECT id, create_time_us, details FROM archives WHERE expire_time_us <= $1 ORDER BY expire_time_us LIMIT $2";
const HELD_BYTES: &str = "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM archives";
const FILES: &str =
    "SELECT file_name FROM archives WHERE file_name IN (SELECT value FROM json_each($1))";
const CAMERA_NAMES: &str = "SELECT id, display_name FROM cameras ORDER BY id";

/// No start is less exact than this: names of files give at least the second.
const INEXACT_US: i64 = 1_000_000;

/// Segments read in one go.
const AT_ONCE: i64 = 1000;

#[derive(sqlx::FromRow)]
struct ArchiveRow {
    id: String,
    create_time_us: i64,
    details: String,
}

impl TryFrom<ArchiveRow> for Archive {
    type Error = StoreError;

    fn try_from(row: ArchiveRow) -> Result<Self, StoreError> {
        let archive: Self = json("archives", &row.id, &row.details)?;
        if archive.id == row.id {
            Ok(archive)
        } else {
            Err(inconsistent(
                "archives",
                &row.id,
                "details of another archive",
            ))
        }
    }
}

#[derive(sqlx::FromRow)]
struct SourceRow {
    id: String,
    source_id: String,
    path: String,
    start_us: i64,
    end_us: i64,
    start_accuracy_us: i64,
    size_bytes: i64,
    modified_us: i64,
    video_codec: String,
    audio_codec: Option<String>,
    truncated: bool,
    state: String,
    locks: String,
}

impl SourceRow {
    fn into_segment(self) -> Result<ArchiveSegment, StoreError> {
        let (table, id) = ("segments", self.id.as_str());
        let codec = match &self.audio_codec {
            Some(sound) => format!("{}+{sound}", self.video_codec),
            None => self.video_codec,
        };
        Ok(ArchiveSegment {
            source_id: self.source_id.into(),
            path: self.path,
            start_time: time(table, id, self.start_us)?,
            end_time: time(table, id, self.end_us.max(self.start_us + 1))?,
            start_accuracy: TimeDelta::microseconds(self.start_accuracy_us),
            size_bytes: count(table, id, self.size_bytes)?,
            modified_time: time(table, id, self.modified_us)?,
            codec: codec.into(),
            truncated: self.truncated,
            is_available: self.state == SegmentState::Available.as_str(),
            incident_ids: json(table, id, &self.locks)?,
            id: self.id,
        })
    }
}

/// What an archive holds of a camera, by the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveTotals {
    /// Segments, vanished ones included.
    pub segments: u64,
    /// Segments whose file is there.
    pub available: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Which archives.
#[derive(Clone, Debug, Default)]
pub struct ArchiveFilter {
    /// With footage of at least one of these cameras; empty for all.
    pub camera_ids: Vec<CameraId>,
    /// Whose delivered window ends after this.
    pub ends_after: Option<DateTime<Utc>>,
    /// Whose delivered window starts before this.
    pub starts_before: Option<DateTime<Utc>>,
    /// Of this case.
    pub case_id: Option<String>,
    /// For this operator.
    pub operator: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// The archive with this id.
    pub async fn archive(&self, id: &str) -> Result<Option<Archive>, StoreError> {
        let row: Option<ArchiveRow> = sql(GET)
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Archive::try_from).transpose()
    }

    /// The archive whose file has this name.
    pub async fn archive_by_file(&self, file_name: &str) -> Result<Option<Archive>, StoreError> {
        let row: Option<ArchiveRow> = sql(GET_BY_FILE)
            .bind(file_name)
            .fetch_optional(&mut self.read().await?)
            .await?;
        row.map(Archive::try_from).transpose()
    }

    /// A page of archives, newest first, and where the next page begins.
    pub async fn archives(
        &self,
        filter: &ArchiveFilter,
        page: &Page,
    ) -> Result<(Vec<Archive>, Option<(i64, String)>), StoreError> {
        let mut query = sql("SELECT id, create_time_us, details FROM archives WHERE 1 = 1");
        if !filter.camera_ids.is_empty() {
            query
                .push(" AND EXISTS (SELECT 1 FROM archive_cameras WHERE archive_id = archives.id AND camera_id IN (SELECT value FROM json_each(")
                .push_bind(to_json(&filter.camera_ids))
                .push(")))");
        }
        if let Some(after) = filter.ends_after {
            query.push(" AND delivered_end_us > ").push_bind(us(after));
        }
        if let Some(before) = filter.starts_before {
            query
                .push(" AND delivered_start_us < ")
                .push_bind(us(before));
        }
        if let Some(case_id) = &filter.case_id {
            query.push(" AND case_id = ").push_bind(case_id);
        }
        if let Some(operator) = &filter.operator {
            query.push(" AND operator = ").push_bind(operator);
        }
        super::job_list::push_labels(&mut query, &filter.labels);
        page.end(&mut query, "create_time_us");
        let mut rows: Vec<ArchiveRow> = query.fetch_all(&mut self.read().await?).await?;
        let next = page.cut(&mut rows, |row| (row.create_time_us, row.id.clone()));
        let archives = rows
            .into_iter()
            .map(Archive::try_from)
            .collect::<Result<_, _>>()?;
        Ok((archives, next))
    }

    /// Forgets an archive and writes down that it went; whether it was there. Its file is the caller's to remove,
    /// afterwards: a row without a file is noticed, a file without a row is only swept.
    pub async fn delete_archive(
        &self,
        archive: &Archive,
        record: &ExportRecord,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        let gone = sql(DELETE)
            .bind(&archive.id)
            .bind(us(archive.create_time))
            .execute(&mut transaction)
            .await?;
        if gone == 0 {
            return Ok(false);
        }
        exports::write(&mut transaction, record).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Archives whose time is over, the longest overdue first.
    pub async fn expired_archives(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Archive>, StoreError> {
        let rows: Vec<ArchiveRow> = sql(EXPIRED)
            .bind(us(now))
            .bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter().map(Archive::try_from).collect()
    }

    /// Bytes of all finished archives.
    pub async fn archived_bytes(&self) -> Result<u64, StoreError> {
        let bytes: i64 = sql(HELD_BYTES).fetch_value(&mut self.read().await?).await?;
        count("archives", "sum of sizes", bytes)
    }

    /// Those of these files of the archive folder that a row knows.
    pub async fn archive_files_among(
        &self,
        file_names: &[String],
    ) -> Result<HashSet<String>, StoreError> {
        self.among(FILES, file_names).await
    }

    /// Id and display name of every camera, in order of id.
    pub async fn camera_names(&self) -> Result<Vec<(CameraId, String)>, StoreError> {
        let rows: Vec<(String, String)> =
            sql(CAMERA_NAMES).fetch_all(&mut self.read().await?).await?;
        rows.into_iter()
            .map(|(id, name)| {
                CameraId::parse(&id)
                    .map(|camera_id| (camera_id, name))
                    .map_err(|error| inconsistent("cameras", &id, error.to_string()))
            })
            .collect()
    }

    /// What an archive of `content` holds of a camera.
    pub async fn archive_totals(
        &self,
        camera_id: &CameraId,
        content: &ArchiveContent,
    ) -> Result<ArchiveTotals, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_segment_us(&mut connection, camera_id.as_str())
            .await?
            .saturating_add(INEXACT_US);
        let mut query = sql(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE state = 'AVAILABLE'), \
             CAST(COALESCE(SUM(size_bytes) FILTER (WHERE state = 'AVAILABLE'), 0) AS BIGINT) \
             FROM segments WHERE camera_id = ",
        );
        push_selection(&mut query, camera_id, content, longest);
        let (segments, available, bytes): (i64, i64, i64) =
            query.fetch_one(&mut connection).await?;
        let count = |value| count("segments", camera_id.as_str(), value);
        Ok(ArchiveTotals {
            segments: count(segments)?,
            available: count(available)?,
            bytes: count(bytes)?,
        })
    }

    /// The segments of a camera that an archive of `content` holds, vanished ones included, in order of start.
    pub async fn archive_segments(
        &self,
        camera_id: &CameraId,
        content: &ArchiveContent,
    ) -> Result<Series<ArchiveSegment>, StoreError> {
        let mut connection = self.read().await?;
        let longest = longest_segment_us(&mut connection, camera_id.as_str())
            .await?
            .saturating_add(INEXACT_US);
        let mut found = Series::default();
        let mut last: Option<(i64, String)> = None;
        loop {
            let mut query = sql(
                "SELECT id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes, modified_us, video_codec, \
                 audio_codec, truncated, state, (SELECT json_group_array(incident_id) FROM evidence_locks \
                 WHERE segment_id = segments.id) AS locks FROM segments WHERE camera_id = ",
            );
            push_selection(&mut query, camera_id, content, longest);
            if let Some((start_us, id)) = last {
                query
                    .push(" AND (start_us, id) > (")
                    .push_bind(start_us)
                    .push(", ")
                    .push_bind(id)
                    .push(")");
            }
            query
                .push(" ORDER BY start_us, id LIMIT ")
                .push_bind(AT_ONCE);
            let rows: Vec<SourceRow> = query.fetch_all(&mut connection).await?;
            let is_last = (rows.len() as i64) < AT_ONCE;
            last = rows.last().map(|row| (row.start_us, row.id.clone()));
            for row in rows {
                found.push(&row.into_segment()?);
            }
            if is_last {
                return Ok(found);
            }
        }
    }
}

/// Adds the rest of a condition that begins with `camera_id = `: which segments of the camera belong to an archive of
/// `content`.
fn push_selection(
    query: &mut Statement,
    camera_id: &CameraId,
    content: &ArchiveContent,
    longest_us: i64,
) {
    query
        .push_bind(camera_id.as_str().to_owned())
        .push(" AND create_time_us <= ")
        .push_bind(us(content.as_of));
    if let Some(from) = content.start {
        query
            .push(" AND start_us > ")
            .push_bind(us(from).saturating_sub(longest_us))
            // Who cuts to the frame looks at the frames of every segment that may reach into the window.
            .push(if content.trim {
                " AND end_us + start_accuracy_us > "
            } else {
                " AND end_us > "
            })
            .push_bind(us(from));
    }
    if let Some(to) = content.end {
        query.push(" AND start_us < ").push_bind(us(to));
    }
    if content.evidence_only {
        query.push(" AND EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = segments.id)");
    }
}

/// Writes a finished archive, and that it was made.
pub(super) async fn insert(
    connection: &mut Connection,
    archive: &Archive,
) -> Result<(), StoreError> {
    sql(INSERT)
        .bind(&archive.id)
        .bind(us(archive.create_time))
        .bind(archive.expire_time.map(us))
        .bind(&archive.file_name)
        .bind(stored(archive.size_bytes))
        .bind(&archive.sha256)
        .bind(&archive.content.case_id)
        .bind(&archive.content.operator)
        .bind(archive.delivered_window.map(|range| us(range.start())))
        .bind(archive.delivered_window.map(|range| us(range.end())))
        .bind(&archive.job_id)
        .bind(to_json(&archive.labels))
        .bind(to_json(archive))
        .execute(connection)
        .await?;
    let with_footage = archive
        .cameras
        .iter()
        .filter(|camera| camera.segment_count > 0);
    for camera in with_footage {
        sql(INSERT_CAMERA)
            .bind(&archive.id)
            .bind(camera.camera_id.as_str())
            .execute(connection)
            .await?;
    }
    let record = ExportRecord::of(archive, ExportAction::Created, archive.create_time);
    exports::write(connection, &record).await
}
