//! Archives: what is asked for, what a zip holds, and what a verification found.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::camera::CameraId;
use super::coverage::Gap;
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

/// What happened to an archive, for the record of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportAction {
    /// It was made.
    Created,
    /// It was made for a caller without a file of it.
    Streamed,
    /// A caller took it, or part of it.
    Downloaded,
    /// It was read again and compared with its hashes.
    Verified,
    /// A caller deleted it.
    Deleted,
    /// Its time was over.
    Expired,
}

impl ExportAction {
    /// Every action.
    pub const ALL: [Self; 6] = [
        Self::Created,
        Self::Streamed,
        Self::Downloaded,
        Self::Verified,
        Self::Deleted,
        Self::Expired,
    ];

    /// The action with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    /// The action's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Streamed => "STREAMED",
            Self::Downloaded => "DOWNLOADED",
            Self::Verified => "VERIFIED",
            Self::Deleted => "DELETED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// One line of the record of exports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the migration documents every column")]
pub struct ExportRecord {
    pub time: DateTime<Utc>,
    pub action: ExportAction,
    pub archive_id: String,
    pub sha256: String,
    pub size_bytes: u64,
    pub created_by: String,
    pub operator: String,
    pub case_id: String,
    pub reason: String,
    pub peer: String,
    pub note: String,
}

impl ExportRecord {
    /// A line about `archive`.
    pub fn of(archive: &Archive, action: ExportAction, time: DateTime<Utc>) -> Self {
        Self {
            time,
            action,
            archive_id: archive.id.clone(),
            sha256: archive.sha256.clone(),
            size_bytes: archive.size_bytes,
            created_by: archive.created_by.clone(),
            operator: archive.content.operator.clone(),
            case_id: archive.content.case_id.clone(),
            reason: archive.content.reason.clone(),
            peer: String::new(),
            note: String::new(),
        }
    }

    /// The same line with who called, and what else there is to say.
    #[must_use]
    pub fn by(self, peer: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            peer: peer.into(),
            note: note.into(),
            ..self
        }
    }
}
