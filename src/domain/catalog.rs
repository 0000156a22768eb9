//! The catalog's entities: cameras, segments, evidence locks.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::camera::CameraId;
use super::time::TimeRange;

/// A camera and what the catalog holds of it.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "catalog_resources.proto documents every field, and the names are the same"
)]
pub struct Camera {
    pub id: CameraId,
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub segment_count: u64,
    pub size_bytes: u64,
    pub recorded: Option<TimeRange>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// Grows with each change by a caller; the etag is made of it.
    pub revision: u64,
}

/// How a recorded file is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// MP4 or QuickTime with one sample table for the whole file.
    Mp4,
    /// MP4 in movie fragments (ISO/IEC 14496-12, 8.8).
    FragmentedMp4,
    /// MPEG-2 transport stream.
    MpegTs,
    /// Matroska or WebM.
    Matroska,
}

impl Container {
    /// Every container.
    pub const ALL: [Self; 4] = [Self::Mp4, Self::FragmentedMp4, Self::MpegTs, Self::Matroska];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "MP4",
            Self::FragmentedMp4 => "fragmented MP4",
            Self::MpegTs => "an MPEG transport stream",
            Self::Matroska => "Matroska",
        }
    }

    /// The container's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mp4 => "MP4",
            Self::FragmentedMp4 => "FRAGMENTED_MP4",
            Self::MpegTs => "MPEG_TS",
            Self::Matroska => "MATROSKA",
        }
    }

    /// The container with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|container| container.as_str() == name)
    }
}

/// The picture's coding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFormat {
    /// Codec as ffmpeg names it.
    pub codec: String,
    /// Width of the coded picture, pixels.
    pub width: u32,
    /// Height of the coded picture, pixels.
    pub height: u32,
    /// Number of frames.
    pub frame_count: u64,
}

/// The sound's coding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFormat {
    /// Codec as ffmpeg names it.
    pub codec: String,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Number of channels.
    pub channels: u32,
}

/// What a recorded file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFacts {
    /// How the file is built.
    pub container: Container,
    /// Time for which the pictures are shown.
    pub duration: TimeDelta,
    /// The picture.
    pub video: VideoFormat,
    /// Digest of everything a decoder must know before the first picture: two segments with the same one can stand
    /// in one clip.
    pub video_fingerprint: String,
    /// The sound, if any, with its fingerprint.
    pub audio: Option<(AudioFormat, String)>,
    /// Offsets of the key frames from the first shown frame, in order.
    pub key_frames: Vec<TimeDelta>,
    /// Where each sample lies in an MP4, in the form of `media::mp4`; `None` for other containers, for more samples than
    /// are worth keeping, and in lists of segments.
    pub sample_index: Option<Vec<u8>>,
    /// Whether sample data ends before the file's own tables say.
    pub truncated: bool,
}

/// Whether a segment's file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentState {
    /// The file was there when last looked at.
    Available,
    /// The file has vanished.
    Missing,
}

impl SegmentState {
    /// The state's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "AVAILABLE",
            Self::Missing => "MISSING",
        }
    }

    /// The state with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Available, Self::Missing]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One recorded file, as an import hands it to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSegment {
    /// The camera that recorded it.
    pub camera_id: CameraId,
    /// The source that holds the file.
    pub source_id: String,
    /// Path below the source: the segment's key.
    pub path: String,
    /// Wall-clock time of the first frame.
    pub start_time: DateTime<Utc>,
    /// The true start lies in `[start_time, start_time + start_accuracy)`.
    pub start_accuracy: TimeDelta,
    /// Size of the file.
    pub size_bytes: u64,
    /// The file's modification time; with the size it tells whether the file has changed.
    pub modified_time: DateTime<Utc>,
    /// What the file says of itself.
    pub facts: MediaFacts,
}

impl NewSegment {
    /// Wall-clock time at which the last frame ends.
    pub fn end_time(&self) -> DateTime<Utc> {
        self.start_time + self.facts.duration
    }
}

/// One recorded file in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `seg_` and a UUID.
    pub id: String,
    /// What the import found.
    pub file: NewSegment,
    /// Number of key frames; `file.facts.key_frames` is empty in lists.
    pub key_frame_count: u64,
    /// Whether the file is there.
    pub state: SegmentState,
    /// Incidents for which it is held; `""` stands for a lock without one.
    pub locks: Vec<String>,
    /// When the catalog took it in.
    pub create_time: DateTime<Utc>,
}

/// What became of a segment that was handed to the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    Added,
    /// Its file had changed.
    Updated,
    /// It was known, and its file is the same.
    Unchanged,
}

/// What a camera has recorded in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The camera.
    pub camera_id: CameraId,
    /// The window that was asked for.
    pub window: TimeRange,
    /// Stretches with footage, in order, cut to the window.
    pub spans: Vec<TimeRange>,
    /// Stretches whose recorded file is gone, in order and apart, cut to the window; footage may overlap them.
    pub missing: Vec<TimeRange>,
    /// Stretches held by evidence locks, in order, cut to the window, with the incident.
    pub locks: Vec<(TimeRange, String)>,
    /// Jumps up to this long were closed.
    pub resolution: TimeDelta,
}

/// A file that an import did not take in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutFile {
    /// Path below the source.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "catalog_resources.proto documents every field, and the names are the same"
)]
pub struct ImportSummary {
    pub source_id: String,
    pub files_seen: u64,
    pub segments_added: u64,
    pub segments_updated: u64,
    pub segments_unchanged: u64,
    pub segments_missing: u64,
    pub files_left_out: u64,
    pub left_out: Vec<LeftOutFile>,
}

impl ImportSummary {
    /// How many left-out files are named; the rest is only counted.
    pub const LEFT_OUT_NAMED: usize = 1000;

    /// Long paths are named only up to this much, so that the summary fits into one message of any client.
    const LEFT_OUT_NAMED_BYTES: usize = 1 << 20;

    /// Counts a segment.
    pub fn count(&mut self, taken: Taken) {
        match taken {
            Taken::Added => self.segments_added += 1,
            Taken::Updated => self.segments_updated += 1,
            Taken::Unchanged => self.segments_unchanged += 1,
        }
    }

    /// Counts a file that was left out, and names it while there is room.
    pub fn leave_out(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.files_left_out += 1;
        let named_bytes: usize = self
            .left_out
            .iter()
            .map(|file| file.path.len() + file.reason.len())
            .sum();
        if self.left_out.len() < Self::LEFT_OUT_NAMED && named_bytes < Self::LEFT_OUT_NAMED_BYTES {
            self.left_out.push(LeftOutFile {
                path: path.into(),
                reason: reason.into(),
            });
        }
    }
}
