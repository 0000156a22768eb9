//! Segments as rows.

use chrono::TimeDelta;

use super::StoreError;
use super::database::Connection;
use super::error::{count, inconsistent, time};
use super::statement::sql;
use crate::domain::camera::CameraId;
use crate::domain::catalog::{
    AudioFormat, Container, MediaFacts, NewSegment, Segment, SegmentState, VideoFormat,
};

const TABLE: &str = "segments";

/// Everything but the key frames, which lists do not show.
pub(super) const SELECT: &str = "
    SELECT id, camera_id, source_id, path, start_us, end_us, start_accuracy_us, size_bytes, modified_us, container,
           video_codec, width, height, frame_count, video_fingerprint, audio_codec, sample_rate_hz, channels,
           audio_fingerprint, key_frame_count, truncated, state, create_time_us,
           (SELECT json_group_array(incident_id) FROM evidence_locks WHERE segment_id = segments.id) AS locks
    FROM segments ";

pub(super) const PRESENT: &str = "
    SELECT id, path, camera_id, start_us, end_us, size_bytes, modified_us, state
    FROM segments WHERE source_id = $1 AND path = $2";
const PRESENT_AMONG: &str = "
    SELECT id, path, camera_id, start_us, end_us, size_bytes, modified_us, state
    FROM segments WHERE source_id = $1 AND path IN (SELECT value FROM json_each($2))";

/// What has to be known of a segment before its row changes.
#[derive(sqlx::FromRow)]
pub(super) struct PresentRow {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) camera_id: String,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    pub(super) size_bytes: i64,
    pub(super) modified_us: i64,
    pub(super) state: String,
}

impl PresentRow {
    pub(super) fn is_available(&self) -> bool {
        self.state == SegmentState::Available.as_str()
    }

    /// Those of a source with these paths.
    pub(super) async fn among(
        connection: &mut Connection,
        source_id: &str,
        paths: &[&str],
    ) -> Result<Vec<Self>, StoreError> {
        sql(PRESENT_AMONG)
            .bind(source_id)
            .bind(super::error::to_json(&paths))
            .fetch_all(connection)
            .await
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct SegmentRow {
    pub(super) id: String,
    camera_id: String,
    source_id: String,
    path: String,
    pub(super) start_us: i64,
    end_us: i64,
    start_accuracy_us: i64,
    size_bytes: i64,
    modified_us: i64,
    container: String,
    video_codec: String,
    width: i64,
    height: i64,
    frame_count: i64,
    video_fingerprint: String,
    audio_codec: Option<String>,
    sample_rate_hz: Option<i64>,
    channels: Option<i64>,
    audio_fingerprint: Option<String>,
    key_frame_count: i64,
    truncated: bool,
    state: String,
    create_time_us: i64,
    locks: String,
}

impl TryFrom<SegmentRow> for Segment {
    type Error = StoreError;

    fn try_from(row: SegmentRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        let bad = |fault: &str| inconsistent(TABLE, id, fault);
        let small = |value: i64| u32::try_from(value).map_err(|_| bad("a number is out of range"));
        let audio = match (row.audio_codec, row.audio_fingerprint) {
            (Some(codec), Some(fingerprint)) => Some((
                AudioFormat {
                    codec,
                    sample_rate_hz: small(row.sample_rate_hz.unwrap_or_default())?,
                    channels: small(row.channels.unwrap_or_default())?,
                },
                fingerprint,
            )),
            _ => None,
        };
        let facts = MediaFacts {
            container: Container::parse(&row.container).ok_or_else(|| bad("unknown container"))?,
            duration: TimeDelta::microseconds(row.end_us - row.start_us),
            video: VideoFormat {
                codec: row.video_codec,
                width: small(row.width)?,
                height: small(row.height)?,
                frame_count: count(TABLE, id, row.frame_count)?,
            },
            video_fingerprint: row.video_fingerprint,
            audio,
            key_frames: Vec::new(),
            sample_index: None,
            truncated: row.truncated,
        };
        let file = NewSegment {
            camera_id: CameraId::parse(&row.camera_id).map_err(|error| bad(&error.to_string()))?,
            source_id: row.source_id,
            path: row.path,
            start_time: time(TABLE, id, row.start_us)?,
            start_accuracy: TimeDelta::microseconds(row.start_accuracy_us),
            size_bytes: count(TABLE, id, row.size_bytes)?,
            modified_time: time(TABLE, id, row.modified_us)?,
            facts,
        };
        Ok(Self {
            file,
            key_frame_count: count(TABLE, id, row.key_frame_count)?,
            state: SegmentState::parse(&row.state).ok_or_else(|| bad("unknown state"))?,
            locks: super::error::json(TABLE, id, &row.locks)?,
            create_time: time(TABLE, id, row.create_time_us)?,
            id: row.id,
        })
    }
}

/// Key frames as the row holds them: little-endian 64-bit microseconds.
pub(super) fn key_frame_bytes(key_frames: &[TimeDelta]) -> Vec<u8> {
    key_frames
        .iter()
        .flat_map(|offset| super::error::duration_us(*offset).to_le_bytes())
        .collect()
}
