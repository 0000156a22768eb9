//! Clips: what is asked for, and what was made.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::camera::CameraId;
use super::catalog::{AudioFormat, VideoFormat};
use super::clip_recipe::ClipRecipe;
use super::coverage::Gap;
use super::stored::{gaps_us, optional_time_us, range_us, time_us};
use super::time::TimeRange;

/// Longest window of a clip; exactly this long passes.
pub const LONGEST_CLIP: TimeDelta = TimeDelta::seconds(3600);

/// Why a window cannot be cut. The words are part of what callers match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The end is not after the start.
    #[error("`to` must be after `from`")]
    Reversed,
    /// The window is longer than [`LONGEST_CLIP`].
    #[error("clip too long ({0}s); max {max}s", max = LONGEST_CLIP.num_seconds())]
    TooLong(i64),
}

/// The window of a clip, checked.
pub fn clip_window(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<TimeRange, WindowError> {
    let window = TimeRange::new(start, end).ok_or(WindowError::Reversed)?;
    if window.duration() > LONGEST_CLIP {
        // A part of a second counts as a whole one, so that the message never names a length that would have passed.
        let whole = window.duration().num_seconds();
        let part = i64::from(window.duration() > TimeDelta::seconds(whole));
        return Err(WindowError::TooLong(whole + part));
    }
    Ok(window)
}

/// What makes a clip's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(
    missing_docs,
    reason = "clip_resources.proto documents every engine, and the names are the same"
)]
pub enum ClipEngine {
    #[default]
    Auto,
    Native,
    Ffmpeg,
    Render,
}

/// What becomes of stretches without footage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GapMode {
    /// The clip goes on with what comes next.
    #[default]
    Close,
    /// Time goes on: the last picture before a gap stays for as long as the gap.
    Keep,
}

/// How a rendered clip is encoded. The defaults of the contract are filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderOptions {
    /// Width in pixels; `None` as recorded, or from the height in proportion.
    pub width: Option<u32>,
    /// Height in pixels; `None` as recorded, or from the width in proportion.
    pub height: Option<u32>,
    /// How many times faster than it happened, in thousandths.
    pub speed_milli: u32,
    /// Write the camera's name into the picture.
    pub burn_in_camera_name: bool,
    /// Write the wall-clock time into the picture.
    pub burn_in_time: bool,
    /// IANA name of the zone of the burnt-in time.
    pub time_zone: String,
    /// Leave the sound out.
    pub audio_off: bool,
    /// Constant rate factor of x264.
    pub crf: u32,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            width: None,
            height: None,
            speed_milli: 1000,
            burn_in_camera_name: false,
            burn_in_time: false,
            time_zone: "UTC".to_owned(),
            audio_off: false,
            crf: 23,
        }
    }
}

impl RenderOptions {
    /// How long footage of that length plays.
    pub fn plays(&self, footage: TimeDelta) -> TimeDelta {
        let us = i128::from(footage.num_microseconds().unwrap_or(i64::MAX)) * 1000
            / i128::from(self.speed_milli.max(1));
        TimeDelta::microseconds(i64::try_from(us).unwrap_or(i64::MAX))
    }

    /// Whether sound that the footage has is wanted.
    pub fn has_sound(&self) -> bool {
        !self.audio_off && self.speed_milli == 1000
    }
}

/// The work of a clip job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipSpec {
    /// Id the clip will have.
    pub clip_id: String,
    /// The camera.
    pub camera_id: CameraId,
    /// Start of the window, microseconds since the epoch.
    pub start_us: i64,
    /// End of the window, microseconds since the epoch.
    pub end_us: i64,
    /// How long to keep the clip, seconds; 0 is until it is deleted.
    pub keep_for_s: u64,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller.
    pub labels: BTreeMap<String, String>,
    /// What shall make the file. Rows of before there was a choice have none.
    #[serde(default)]
    pub engine: ClipEngine,
    /// What becomes of gaps.
    #[serde(default)]
    pub gap_mode: GapMode,
    /// How to encode, with [`ClipEngine::Render`].
    #[serde(default)]
    pub render: Option<RenderOptions>,
    /// Make no file.
    #[serde(default)]
    pub is_virtual: bool,
    /// Keep the recordings of a virtual clip as long as the clip.
    #[serde(default)]
    pub hold_sources: bool,
    /// Leave out what it can be looked at without: its SHA-256, and the wait for the disk.
    #[serde(default)]
    pub quick: bool,
}

impl ClipSpec {
    /// The window, or `None` when the row holds none that could have been accepted.
    pub fn window(&self) -> Option<TimeRange> {
        TimeRange::new(
            DateTime::from_timestamp_micros(self.start_us)?,
            DateTime::from_timestamp_micros(self.end_us)?,
        )
    }
}

/// The work of a job that gives a clip what it lacks of file and SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterializeSpec {
    /// The clip.
    pub clip_id: String,
    /// Its camera.
    pub camera_id: CameraId,
}

/// A finished clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "clip_resources.proto documents every field, and the names are the same"
)]
pub struct Clip {
    pub id: String,
    pub camera_id: CameraId,
    #[serde(with = "range_us")]
    pub requested_window: TimeRange,
    #[serde(with = "range_us")]
    pub delivered_window: TimeRange,
    pub covered_us: i64,
    pub duration_us: i64,
    #[serde(with = "gaps_us")]
    pub gaps: Vec<Gap>,
    pub size_bytes: u64,
    pub sha256: String,
    pub media_type: String,
    pub file_name: String,
    pub segment_count: u32,
    pub video: VideoFormat,
    pub audio: Option<AudioFormat>,
    pub hidden_lead_us: i64,
    pub engine: String,
    /// Rows of before there was a choice were cut by ffmpeg.
    #[serde(default = "by_ffmpeg")]
    pub engine_used: ClipEngine,
    #[serde(default)]
    pub engine_reason: String,
    #[serde(default)]
    pub gap_mode: GapMode,
    #[serde(default)]
    pub render: Option<RenderOptions>,
    #[serde(default)]
    pub is_virtual: bool,
    #[serde(default)]
    pub holds_sources: bool,
    /// Names the bytes of a clip that has no SHA-256, or had none at first; empty for all others, see [`Clip::etag`]. That
    /// of a virtual clip is a digest of its header and of where the rest comes from, and stored rows call it so.
    #[serde(default, rename = "layout_digest")]
    pub bytes_tag: String,
    /// How the bytes of a virtual clip are made, and those of a file that may not be on the disk yet, if it can be made again.
    /// Only on its way into the database, where it has a row of its own.
    #[serde(skip)]
    pub recipe: Option<Box<ClipRecipe>>,
    /// The folder of links to the recordings by which the recipe makes a file again; empty where there is nothing to be made
    /// again. As the recipe, it is only on its way.
    #[serde(skip)]
    pub held_in: String,
    /// The run of the machine in whose memory the file still may be; empty when it is on the disk. It has a column of its own.
    #[serde(skip)]
    pub unsynced_in: String,
    pub job_id: String,
    pub created_by: String,
    pub labels: BTreeMap<String, String>,
    #[serde(with = "time_us")]
    pub create_time: DateTime<Utc>,
    #[serde(with = "optional_time_us")]
    pub expire_time: Option<DateTime<Utc>>,
}

impl Clip {
    /// Names the clip's bytes: the same for as long as they are the same, also when a virtual clip gets a file, and any its
    /// SHA-256.
    pub fn etag(&self) -> &str {
        if self.bytes_tag.is_empty() {
            &self.sha256
        } else {
            &self.bytes_tag
        }
    }
}

fn by_ffmpeg() -> ClipEngine {
    ClipEngine::Ffmpeg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).expect("in range")
    }

    #[test]
    fn exactly_the_longest_window_passes_and_a_microsecond_more_does_not() {
        assert!(clip_window(at(0), at(3_600_000)).is_ok());
        let longer = clip_window(at(0), at(3_600_000) + TimeDelta::microseconds(1));
        assert_eq!(
            longer.unwrap_err().to_string(),
            "clip too long (3601s); max 3600s"
        );
    }

    #[test]
    fn empty_and_reversed_windows_are_refused_with_the_known_words() {
        for end in [0, -5] {
            assert_eq!(
                clip_window(at(0), at(end)).unwrap_err().to_string(),
                "`to` must be after `from`"
            );
        }
    }
}
