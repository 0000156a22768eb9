//! Taking files into the catalog: rows of segments, written many at a time, and what has to be kept in step with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::database::{Area, Connection};
use super::error::{duration_us, stored, us};
use super::segment_rows::{PRESENT, PresentRow, key_frame_bytes};
use super::segments::{COUNT_IN, uncount};
use super::statement::{Value, sql};
use super::{Store, StoreError, cameras, indexes, ledger, spans};
use crate::domain::camera::CameraId;
use crate::domain::catalog::{NewSegment, SegmentState, Taken};
use crate::domain::id;

const INSERT: &str = "
    INSERT INTO segments (id, camera_id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes, modified_us,
        container, video_codec, width, height, frame_count, video_fingerprint, audio_codec, sample_rate_hz, channels,
        audio_fingerprint, key_frame_count, key_frames, truncated, create_time_us, state)
    VALUES ";
/// What stays of a segment whose file changed is its id and when it was made.
const IN_PLACE: &str = "
    ON CONFLICT (source_id, path) DO UPDATE SET camera_id = excluded.camera_id, start_us = excluded.start_us,
        end_us = excluded.end_us, start_accuracy_us = excluded.start_accuracy_us, size_bytes = excluded.size_bytes,
        modified_us = excluded.modified_us, container = excluded.container, video_codec = excluded.video_codec,
        width = excluded.width, height = excluded.height, frame_count = excluded.frame_count,
        video_fingerprint = excluded.video_fingerprint, audio_codec = excluded.audio_codec,
        sample_rate_hz = excluded.sample_rate_hz, channels = excluded.channels,
        audio_fingerprint = excluded.audio_fingerprint, key_frame_count = excluded.key_frame_count,
        key_frames = excluded.key_frames, truncated = excluded.truncated, state = excluded.state,
        missing_since_us = NULL";
const MOVE: &str = "
    UPDATE segments SET source_id = $2, path = $3 WHERE id = $1 AND state = 'MISSING'
        AND NOT EXISTS (SELECT 1 FROM segments WHERE source_id = $2 AND path = $3 AND id <> $1)";
const IS_KNOWN: &str =
    "SELECT EXISTS (SELECT 1 FROM segments WHERE id = $1 OR (source_id = $2 AND path = $3))";
const MOVE_LOCKS: &str =
    "UPDATE evidence_locks SET camera_id = $2, start_us = $3, end_us = $4 WHERE segment_id = $1";

/// How many rows one statement writes: two lengths and single rows, so that a connection keeps few statements ready.
const GROUPS: [usize; 3] = [32, 8, 1];

impl Store {
    /// Takes files into the catalog, all or none; says for each what it was. Cameras are made where they are missing.
    pub async fn take_in(
        &self,
        files: &[NewSegment],
        now: DateTime<Utc>,
    ) -> Result<Vec<Taken>, StoreError> {
        let mut transaction = self.write(Area::Catalog).await?;
        let mut present = present_among(&mut transaction, files).await?;
        let mut new: Vec<(String, &NewSegment)> = Vec::new();
        let mut taken = Vec::with_capacity(files.len());
        for file in files {
            let key = (file.source_id.as_str(), file.path.as_str());
            let row = match present.get(&key) {
                Some(row) if row.holds(file) => {
                    taken.push(Taken::Unchanged);
                    continue;
                }
                Some(row) => {
                    // The row may be one of the new ones, and what is read to replace it goes by those around it.
                    put_new(&mut transaction, std::mem::take(&mut new), now).await?;
                    put_in_place(&mut transaction, row, file, now).await?;
                    taken.push(Taken::Updated);
                    PresentRow::of(&row.id, file)
                }
                None => {
                    let id = id::new(id::SEGMENT);
                    let row = PresentRow::of(&id, file);
                    new.push((id, file));
                    taken.push(Taken::Added);
                    row
                }
            };
            present.insert(key, row);
        }
        put_new(&mut transaction, new, now).await?;
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
        match present {
            Some(present) => put_in_place(&mut transaction, &present, file, now).await?,
            None => put_new(&mut transaction, vec![(id.to_owned(), file)], now).await?,
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// The rows that there are of these files, by source and path.
async fn present_among<'f>(
    connection: &mut Connection,
    files: &'f [NewSegment],
) -> Result<HashMap<(&'f str, &'f str), PresentRow>, StoreError> {
    let mut by_source: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        by_source
            .entry(&file.source_id)
            .or_default()
            .insert(&file.path);
    }
    let mut present = HashMap::new();
    for (source_id, paths) in by_source {
        let listed: Vec<&str> = paths.iter().copied().collect();
        for row in PresentRow::among(connection, source_id, &listed).await? {
            if let Some(path) = paths.get(row.path.as_str()) {
                present.insert((source_id, *path), row);
            }
        }
    }
    Ok(present)
}

/// Writes the rows of files that had none, and keeps what depends on them right.
async fn put_new(
    connection: &mut Connection,
    rows: Vec<(String, &NewSegment)>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut new_runs: BTreeMap<&CameraId, Vec<spans::Run>> = BTreeMap::new();
    for (_, file) in &rows {
        let runs = new_runs.entry(&file.camera_id).or_default();
        runs.push((us(file.start_time), us(file.end_time())));
    }
    for camera_id in new_runs.keys() {
        cameras::ensure(connection, camera_id, now).await?;
    }
    write(connection, &rows, now).await?;
    for (camera_id, mut runs) in new_runs {
        runs.sort_unstable();
        for run in spans::merge(runs) {
            spans::add(connection, camera_id.as_str(), run).await?;
        }
    }
    Ok(())
}

/// Writes a file's row in place of the one that is `present`, and keeps what depends on it right.
async fn put_in_place(
    connection: &mut Connection,
    present: &PresentRow,
    file: &NewSegment,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    cameras::ensure(connection, &file.camera_id, now).await?;
    write(connection, &[(present.id.clone(), file)], now).await?;
    uncount(connection, present).await?;
    sql(MOVE_LOCKS)
        .bind(&present.id)
        .bind(file.camera_id.as_str())
        .bind(us(file.start_time))
        .bind(us(file.end_time()))
        .execute(connection)
        .await?;
    ledger::move_objects(connection, &present.id, file).await?;
    let run = (us(file.start_time), us(file.end_time()));
    spans::add(connection, file.camera_id.as_str(), run).await
}

/// Writes rows with their indexes, and counts them in.
async fn write(
    connection: &mut Connection,
    rows: &[(String, &NewSegment)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for group in groups(rows) {
        let mut query = sql(INSERT);
        for (number, (id, file)) in group.iter().enumerate() {
            query.push(if number == 0 { "(" } else { ", (" });
            for value in values(id, file, now) {
                query.push_bind(value).push(", ");
            }
            query.push("'AVAILABLE')");
        }
        query.push(IN_PLACE).execute(connection).await?;
    }
    indexes::put(connection, rows).await?;
    let mut sums: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for (_, file) in rows {
        let (count, size_bytes, longest_us) = sums.entry(file.camera_id.as_str()).or_default();
        *count += 1;
        *size_bytes = size_bytes.saturating_add(stored(file.size_bytes));
        *longest_us = (*longest_us).max(duration_us(file.facts.duration.max(TimeDelta::zero())));
    }
    for (camera_id, (count, size_bytes, longest_us)) in sums {
        sql(COUNT_IN)
            .bind(camera_id)
            .bind(count)
            .bind(size_bytes)
            .bind(longest_us)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The values of a row in the order of [`INSERT`].
fn values(id: &str, file: &NewSegment, now: DateTime<Utc>) -> [Value; 23] {
    let facts = &file.facts;
    let audio = facts.audio.as_ref();
    [
        id.into(),
        file.camera_id.as_str().into(),
        (&file.source_id).into(),
        (&file.path).into(),
        us(file.start_time).into(),
        us(file.end_time()).into(),
        duration_us(file.start_accuracy).into(),
        stored(file.size_bytes).into(),
        us(file.modified_time).into(),
        facts.container.as_str().into(),
        (&facts.video.codec).into(),
        i64::from(facts.video.width).into(),
        i64::from(facts.video.height).into(),
        stored(facts.video.frame_count).into(),
        (&facts.video_fingerprint).into(),
        audio.map(|(format, _)| format.codec.clone()).into(),
        audio
            .map(|(format, _)| i64::from(format.sample_rate_hz))
            .into(),
        audio.map(|(format, _)| i64::from(format.channels)).into(),
        audio.map(|(_, fingerprint)| fingerprint.clone()).into(),
        stored(facts.key_frames.len() as u64).into(),
        key_frame_bytes(&facts.key_frames).into(),
        facts.truncated.into(),
        us(now).into(),
    ]
}

/// The rows in groups, each of one of the lengths [`GROUPS`].
pub(super) fn groups<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = GROUPS.into_iter().find(|length| *length <= rest.len())?;
        let (group, others) = rest.split_at(length);
        rest = others;
        Some(group)
    })
}

impl PresentRow {
    fn of(id: &str, file: &NewSegment) -> Self {
        Self {
            id: id.to_owned(),
            path: file.path.clone(),
            camera_id: file.camera_id.to_string(),
            start_us: us(file.start_time),
            end_us: us(file.end_time()),
            size_bytes: stored(file.size_bytes),
            modified_us: us(file.modified_time),
            state: SegmentState::Available.as_str().to_owned(),
        }
    }

    fn holds(&self, file: &NewSegment) -> bool {
        self.is_available()
            && self.camera_id == file.camera_id.as_str()
            && self.start_us == us(file.start_time)
            && self.size_bytes == stored(file.size_bytes)
            && self.modified_us == us(file.modified_time)
    }
}
