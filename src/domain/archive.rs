//! Archives: what is asked for, what a zip holds, and what a verification found.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::camera::CameraId;
use super::coverage::Gap;
use super::id;
use super::series::{Differs, Reading, Writing};
use super::stored::{gaps_us, optional_range_us, optional_time_us, range_us, time_us};
use super::time::TimeRange;

/// Items that a record lists by name; what is beyond is counted, and the manifest has it.
pub const LISTED_MAX: usize = 1000;

/// How the footage is divided into entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveLayout {
    /// One entry per segment.
    Segments,
    /// One clip per camera.
    Clips,
    /// Untouched segments, and one clip per camera to look at.
    SegmentsAndClips,
}

impl ArchiveLayout {
    /// Whether segments are entries of their own.
    pub fn has_segments(self) -> bool {
        self != Self::Clips
    }

    /// Whether there is a clip per camera.
    pub fn has_clips(self) -> bool {
        self != Self::Segments
    }
}

/// What an archive is to contain, and on whose behalf it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveContent {
    /// First instant wanted; `None`: from the oldest segment on.
    #[serde(with = "optional_time_us")]
    pub start: Option<DateTime<Utc>>,
    /// First instant no longer wanted; `None`: up to the newest segment at [`Self::as_of`].
    #[serde(with = "optional_time_us")]
    pub end: Option<DateTime<Utc>>,
    /// Cameras in order of id, each once; empty for all.
    pub camera_ids: Vec<CameraId>,
    /// Only segments held as evidence.
    pub evidence_only: bool,
    /// Whether what lies outside of the window is cut away.
    pub trim: bool,
    /// How the footage is divided.
    pub layout: ArchiveLayout,
    /// Whether a source that is missing or damaged fails the archive.
    pub all_or_nothing: bool,
    /// Case or incident.
    pub case_id: String,
    /// Person who asks for the export.
    pub operator: String,
    /// Why the export is made.
    pub reason: String,
    /// Segments that the catalog took in after this moment do not belong to the archive.
    #[serde(with = "time_us")]
    pub as_of: DateTime<Utc>,
}

impl ArchiveContent {
    /// The window, when both bounds are given.
    pub fn window(&self) -> Option<TimeRange> {
        TimeRange::new(self.start?, self.end?)
    }

    /// Whether segments are cut to the window. Beside clips they are the evidence, and stay as they are.
    pub fn trims_segments(&self) -> bool {
        self.trim && self.layout == ArchiveLayout::Segments
    }
}

/// The work of an archive job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveSpec {
    /// Id the archive will have.
    pub archive_id: String,
    /// What to put into it.
    pub content: ArchiveContent,
    /// How long to keep it, seconds; 0 is until it is deleted.
    pub keep_for_s: u64,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller.
    pub labels: BTreeMap<String, String>,
}

/// The work of a job that verifies an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveVerificationSpec {
    /// The archive.
    pub archive_id: String,
}

/// Why a source is absent from an archive or not whole in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFaultKind {
    /// Its file was gone before it could be opened.
    Missing,
    /// Its file could not be read, or not to its end.
    Unreadable,
    /// Its file is truncated or its video cannot be parsed.
    Damaged,
    /// Its file is not the one that the catalog recorded.
    Changed,
}

/// One source that is absent from the archive or not whole in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct ArchiveFault {
    pub kind: ArchiveFaultKind,
    pub segment_id: String,
    pub camera_id: CameraId,
    #[serde(with = "range_us")]
    pub window: TimeRange,
    pub entry_name: String,
    pub message: String,
}

/// What an archive holds of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct ArchiveCamera {
    pub camera_id: CameraId,
    pub display_name: String,
    #[serde(with = "optional_range_us")]
    pub delivered_window: Option<TimeRange>,
    pub covered_us: i64,
    #[serde(with = "gaps_us")]
    pub gaps: Vec<Gap>,
    pub gap_count: u64,
    pub segment_count: u64,
    pub size_bytes: u64,
}

/// A finished archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct Archive {
    pub id: String,
    pub job_id: String,
    pub content: ArchiveContent,
    #[serde(with = "optional_range_us")]
    pub delivered_window: Option<TimeRange>,
    pub cameras: Vec<ArchiveCamera>,
    pub faults: Vec<ArchiveFault>,
    pub fault_count: u64,
    pub entry_count: u64,
    pub source_bytes: u64,
    pub size_bytes: u64,
    pub sha256: String,
    pub file_name: String,
    pub signing_key_fingerprint: String,
    #[serde(with = "time_us")]
    pub create_time: DateTime<Utc>,
    #[serde(with = "optional_time_us")]
    pub expire_time: Option<DateTime<Utc>>,
    pub labels: BTreeMap<String, String>,
    pub created_by: String,
}

/// What the signature of SHA256SUMS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveSignature {
    /// It fits, and is by a known key.
    Valid,
    /// It does not fit.
    Invalid,
    /// There is none.
    Missing,
    /// It fits, and is by a key that is not known.
    UnknownKey,
}

/// What is wrong with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveDefectKind {
    /// Its bytes do not have the recorded hash.
    Changed,
    /// It is listed, and not there.
    Missing,
    /// It is there, and not listed.
    Unlisted,
    /// Headers or directory of the zip are damaged there.
    Unreadable,
}

/// One entry that is not as it was when the archive was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct ArchiveDefect {
    pub entry_name: String,
    pub kind: ArchiveDefectKind,
    pub expected_sha256: String,
    pub found_sha256: String,
    pub message: String,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "archive_resources.proto documents every field, and the names are the same"
)]
pub struct ArchiveVerification {
    pub archive_id: String,
    pub signature: ArchiveSignature,
    pub signing_key_fingerprint: String,
    pub entries_checked: u64,
    pub bytes_checked: u64,
    pub defects: Vec<ArchiveDefect>,
    pub defect_count: u64,
    #[serde(with = "time_us")]
    pub verify_time: DateTime<Utc>,
}

impl ArchiveVerification {
    /// Whether every entry is as recorded and the signature is valid.
    pub fn is_intact(&self) -> bool {
        self.defect_count == 0 && self.signature == ArchiveSignature::Valid
    }
}

/// A segment as an archive needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSegment {
    /// `seg_` and a UUID.
    pub id: String,
    /// The source that holds the file.
    pub source_id: Arc<str>,
    /// Path below the source.
    pub path: String,
    /// Wall-clock time of the first frame.
    pub start_time: DateTime<Utc>,
    /// Wall-clock time at which the last frame ends; after the start.
    pub end_time: DateTime<Utc>,
    /// The true start lies in `[start_time, start_time + start_accuracy)`.
    pub start_accuracy: TimeDelta,
    /// Size of the file when the catalog took it in.
    pub size_bytes: u64,
    /// Its modification time then.
    pub modified_time: DateTime<Utc>,
    /// Codec of the picture, and of the sound if there is any.
    pub codec: Arc<str>,
    /// Whether sample data ends before the file's own tables say.
    pub truncated: bool,
    /// Whether the file was there when last looked at.
    pub is_available: bool,
    /// Incidents for which it is held; `""` stands for a lock without one.
    pub incident_ids: Vec<String>,
}

impl ArchiveSegment {
    /// What the catalog says that it covers.
    pub fn range(&self) -> Option<TimeRange> {
        TimeRange::new(self.start_time, self.end_time)
    }

    /// Name of its file, without folders.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What is remembered of a segment in a [`Series`](super::series::Series).
#[derive(Clone, Debug, Default)]
pub struct SegmentBefore {
    source_id: Arc<str>,
    path: Arc<str>,
    codec: Arc<str>,
    incident_id: Arc<str>,
    end: DateTime<Utc>,
    length: TimeDelta,
    /// From its end to its modification time.
    delay: TimeDelta,
    size_bytes: u64,
}

const TRUNCATED: u8 = 1;
const AVAILABLE: u8 = 2;

impl Differs for ArchiveSegment {
    type Before = SegmentBefore;

    fn write(&self, before: &mut SegmentBefore, to: &mut Writing) {
        let is_set = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        to.byte(is_set(self.truncated, TRUNCATED) | is_set(self.is_available, AVAILABLE));
        to.id(&self.id, id::SEGMENT);
        to.text(&self.source_id, &mut before.source_id);
        to.text(&self.path, &mut before.path);
        to.text(&self.codec, &mut before.codec);
        // Most begin where the one before ends, are as long, and are closed as late.
        to.duration(self.start_time - before.end);
        let length = self.end_time - self.start_time;
        to.duration(length - before.length);
        let delay = self.modified_time - self.end_time;
        to.duration(delay - before.delay);
        let larger = self.size_bytes.wrapping_sub(before.size_bytes);
        to.number(larger.cast_signed());
        to.duration(self.start_accuracy);
        to.count(self.incident_ids.len() as u64);
        for incident_id in &self.incident_ids {
            to.text(incident_id, &mut before.incident_id);
        }
        before.end = self.end_time;
        before.length = length;
        before.delay = delay;
        before.size_bytes = self.size_bytes;
    }

    fn read(before: &mut SegmentBefore, from: &mut Reading<'_>) -> Self {
        let flags = from.byte();
        let id = from.id(id::SEGMENT);
        let source_id = from.text(&mut before.source_id);
        let path = from.text(&mut before.path).as_ref().to_owned();
        let codec = from.text(&mut before.codec);
        let start_time = before.end + from.duration();
        before.length += from.duration();
        before.end = start_time + before.length;
        before.delay += from.duration();
        let larger = from.number().cast_unsigned();
        before.size_bytes = before.size_bytes.wrapping_add(larger);
        let start_accuracy = from.duration();
        let incidents = from.count();
        Self {
            id,
            source_id,
            path,
            start_time,
            end_time: before.end,
            start_accuracy,
            size_bytes: before.size_bytes,
            modified_time: before.end + before.delay,
            codec,
            truncated: flags & TRUNCATED != 0,
            is_available: flags & AVAILABLE != 0,
            incident_ids: (0..incidents)
                .map(|_| from.text(&mut before.incident_id).as_ref().to_owned())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::series::Series;

    proptest! {
        #[test]
        fn a_series_of_segments_gives_back_what_the_catalog_has(
            rows in proptest::collection::vec(
                (
                    any::<u128>(),
                    "[a-c]",
                    "(gate|yard)/[0-9]{1,3}.mp4",
                    // The years that a time of the catalog can be in.
                    -1_i64 << 56..1 << 56,
                    1_i64..1 << 40,
                    any::<u64>(),
                    -1_i64 << 56..1 << 56,
                    any::<u8>(),
                    proptest::collection::vec("[x-z]{0,2}", 0..3),
                ),
                0..200,
            )
        ) {
            let at = |us| DateTime::from_timestamp_micros(us).expect("in range");
            let segments: Vec<ArchiveSegment> = rows
                .into_iter()
                .map(|(id, shared, path, start, length, size_bytes, modified, flags, incident_ids)| {
                    ArchiveSegment {
                        id: format!("seg_{id:032x}"),
                        source_id: shared.as_str().into(),
                        path,
                        start_time: at(start),
                        end_time: at(start + length),
                        start_accuracy: TimeDelta::microseconds(i64::from(flags) * 10_000),
                        size_bytes,
                        modified_time: at(modified),
                        codec: shared.into(),
                        truncated: flags & 1 != 0,
                        is_available: flags & 2 != 0,
                        incident_ids,
                    }
                })
                .collect();
            let mut series = Series::default();
            for segment in &segments {
                series.push(segment);
            }
            prop_assert_eq!(series.iter().collect::<Vec<_>>(), segments);
        }
    }
}
