//! Segments: taking them in, finding them by time, and noticing that they are gone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::database::{Area, Connection};
use super::error::{count, duration_us, stored, time, us};
use super::segment_rows::{SELECT, SegmentRow, key_frame_bytes};
use super::statement::sql;
use super::{Page, Store, StoreError, cameras, ledger, spans};
use crate::domain::camera::CameraId;
use crate::domain::catalog::{NewSegment, Segment, SegmentState, Taken};
use crate::domain::id;
use crate::domain::time::TimeRange;

const PRESENT: &str = "
    SELECT id, camera_id, start_us, end_us, size_bytes, modified_us, state
    FROM segments WHERE source_id = $1 AND path = $2";
const INSERT: &str = "
    INSERT INTO segments (id, camera_id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes, modified_us,
        container, video_codec, width, height, frame_count, video_fingerprint, audio_codec, sample_rate_hz, channels,
        audio_fingerprint, key_frame_count, key_frames, truncated, state, create_time_us)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        'AVAILABLE', $23)
    ON CONFLICT (source_id, path) DO UPDATE SET camera_id = $2, start_us = $5, end_us = $6, start_accuracy_us = $7,
        size_bytes = $8, modified_us = $9, container = $10, video_codec = $11, width = $12, height = $13,
        frame_count = $14, video_fingerprint = $15, audio_codec = $16, sample_rate_hz = $17, channels = $18,
        audio_fingerprint = $19, key_frame_count = $20, key_frames = $21, truncated = $22, state = 'AVAILABLE',
        missing_since_us = NULL";
const MOVE: &str = "
    UPDATE segments SET source_id = $2, path = $3 WHERE id = $1 AND state = 'MISSING'
        AND NOT EXISTS (SELECT 1 FROM segments WHERE source_id = $2 AND path = $3 AND id <> $1)";
const IS_KNOWN: &str =
    "SELECT EXISTS (SELECT 1 FROM segments WHERE id = $1 OR (source_id = $2 AND path = $3))";
const MOVE_LOCKS: &str =
    "UPDATE evidence_locks SET camera_id = $2, start_us = $3, end_us = $4 WHERE segment_id = $1";
const COUNT_IN: &str = "
    UPDATE cameras SET segment_count = segment_count + $2, size_bytes = size_bytes + $3,
        longest_segment_us = CASE WHEN longest_segment_us < $4 THEN $4 ELSE longest_segment_us END WHERE id = $1";
const LONGEST: &str = "SELECT longest_segment_us FROM cameras WHERE id = $1";
const SET_MISSING: &str =
    "UPDATE segments SET state = 'MISSING', missing_since_us = $2 WHERE id = $1";
const LONG_MISSING: &str = "
    SELECT id, camera_id, start_us, end_us, size_bytes, modified_us, state FROM segments
    WHERE missing_since_us < $1 AND NOT EXISTS (SELECT 1 FROM evidence_locks WHERE segment_id = segments.id)
    ORDER BY missing_since_us LIMIT $2";
const DELETE: &str = "DELETE FROM segments WHERE id = $1";
const HAS_LATER: &str =
    "SELECT EXISTS (SELECT 1 FROM segments WHERE camera_id = $1 AND start_us > $2)";
const KNOWN: &str = "
    SELECT path, size_bytes, modified_us, state FROM segments
    WHERE source_id = $1 AND path > $2 ORDER BY path LIMIT $3";

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

#[derive(sqlx::FromRow)]
struct PresentRow {
    id: String,
    camera_id: String,
    start_us: i64,
    end_us: i64,
    size_bytes: i64,
    modified_us: i64,
    state: String,
}

impl PresentRow {
    fn is_available(&self) -> bool {
        self.state == SegmentState::Available.as_str()
    }

    fn holds(&self, file: &NewSegment) -> bool {
        self.is_available()
            && self.camera_id == file.camera_id.as_str()
            && self.start_us == us(file.start_time)
            && self.size_bytes == stored(file.size_bytes)
            && self.modified_us == us(file.modified_time)
    }
}

impl Store {
    /// Takes files into the catalog, all or none; says for each what it was. Cameras are made where they are missing.
    pub async fn take_in(
        &self,
        files: &[NewSegment],
        now: DateTime<Utc>,
    ) -> Result<Vec<Taken>, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let mut taken = Vec::with_capacity(files.len());
        let mut new_runs: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        for file in files {
            let present: Option<PresentRow> = sql(PRESENT)
                .bind(&file.source_id)
                .bind(&file.path)
                .fetch_optional(&mut transaction)
                .await?;
            match present {
                Some(present) if present.holds(file) => taken.push(Taken::Unchanged),
                present => {
                    let id = present
                        .as_ref()
                        .map_or_else(|| id::new(id::SEGMENT), |row| row.id.clone());
                    put(&mut transaction, &id, present.as_ref(), file, now).await?;
                    new_runs
                        .entry(file.camera_id.as_str())
                        .or_default()
                        .push((us(file.start_time), us(file.end_time())));
                    taken.push(if present.is_some() {
                        Taken::Updated
                    } else {
                        Taken::Added
                    });
                }
            }
        }
        for (camera_id, mut runs) in new_runs {
            runs.sort_unstable();
            for run in spans::merge(runs) {
                spans::add(&mut transaction, camera_id, run).await?;
            }
        }
        transaction.commit().await?;
        Ok(taken)
    }

    /// Takes in a file as the segment `id`: the one whose file vanished, or one that the catalog forgot. False when the
    /// segment has a file, or the file is another segment's.
    pub async fn take_back(
        &self,
        id: &str,
        file: &NewSegment,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let moved = sql(MOVE)
            .bind(id)
            .bind(&file.source_id)
            .bind(&file.path)
            .execute(&mut transaction)
            .await?;
        let is_known: bool = sql(IS_KNOWN)
            .bind(id)
            .bind(&file.source_id)
            .bind(&file.path)
            .fetch_value(&mut transaction)
            .await?;
        if moved == 0 && is_known {
            return Ok(false);
        }
        let present: Option<PresentRow> = sql(PRESENT)
            .bind(&file.source_id)
            .bind(&file.path)
            .fetch_optional(&mut transaction)
            .await?;
        put(&mut transaction, id, present.as_ref(), file, now).await?;
        let run = (us(file.start_time), us(file.end_time()));
        spans::add(&mut transaction, file.camera_id.as_str(), run).await?;
        transaction.commit().await?;
        Ok(true)
    }

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

    /// Files of a source that the catalog knows, in order of path, beginning after `after`.
    pub async fn known_files(
        &self,
        source_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, KnownFile)>, StoreError> {
        let rows: Vec<(String, i64, i64, String)> = sql(KNOWN)
            .bind(source_id)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut self.read().await?)
            .await?;
        rows.into_iter()
            .map(|(path, size, modified, state)| {
                let known = known_file(&path, size, modified, &state)?;
                Ok((path, known))
            })
            .collect()
    }

    /// What the catalog knows of one file.
    pub async fn known_file(
        &self,
        source_id: &str,
        path: &str,
    ) -> Result<Option<KnownFile>, StoreError> {
        let present: Option<PresentRow> = sql(PRESENT)
            .bind(source_id)
            .bind(path)
            .fetch_optional(&mut self.read().await?)
            .await?;
        present
            .map(|row| known_file(path, row.size_bytes, row.modified_us, &row.state))
            .transpose()
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

/// Writes a file's row, in place of the one that is `present`, and keeps what depends on it right but for spans.
async fn put(
    connection: &mut Connection,
    id: &str,
    present: Option<&PresentRow>,
    file: &NewSegment,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    cameras::ensure(connection, &file.camera_id, now).await?;
    insert(connection, id, file, now).await?;
    if let Some(present) = present {
        uncount(connection, present).await?;
        sql(MOVE_LOCKS)
            .bind(&present.id)
            .bind(file.camera_id.as_str())
            .bind(us(file.start_time))
            .bind(us(file.end_time()))
            .execute(connection)
            .await?;
        ledger::move_objects(connection, &present.id, file).await?;
    }
    count_in(connection, file).await
}

async fn insert(
    connection: &mut Connection,
    id: &str,
    file: &NewSegment,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let facts = &file.facts;
    let audio = facts.audio.as_ref();
    sql(INSERT)
        .bind(id)
        .bind(file.camera_id.as_str())
        .bind(&file.source_id)
        .bind(&file.path)
        .bind(us(file.start_time))
        .bind(us(file.end_time()))
        .bind(duration_us(file.start_accuracy))
        .bind(stored(file.size_bytes))
        .bind(us(file.modified_time))
        .bind(facts.container.as_str())
        .bind(&facts.video.codec)
        .bind(i64::from(facts.video.width))
        .bind(i64::from(facts.video.height))
        .bind(stored(facts.video.frame_count))
        .bind(&facts.video_fingerprint)
        .bind(audio.map(|(format, _)| format.codec.clone()))
        .bind(audio.map(|(format, _)| i64::from(format.sample_rate_hz)))
        .bind(audio.map(|(format, _)| i64::from(format.channels)))
        .bind(audio.map(|(_, fingerprint)| fingerprint.clone()))
        .bind(stored(facts.key_frames.len() as u64))
        .bind(key_frame_bytes(&facts.key_frames))
        .bind(facts.truncated)
        .bind(us(now))
        .execute(connection)
        .await?;
    Ok(())
}

async fn count_in(connection: &mut Connection, file: &NewSegment) -> Result<(), StoreError> {
    sql(COUNT_IN)
        .bind(file.camera_id.as_str())
        .bind(1)
        .bind(stored(file.size_bytes))
        .bind(duration_us(file.facts.duration.max(TimeDelta::zero())))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a row that was replaced out of its camera's sums and spans.
async fn uncount(connection: &mut Connection, present: &PresentRow) -> Result<(), StoreError> {
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
