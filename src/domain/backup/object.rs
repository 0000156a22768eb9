//! Objects: the files at a destination, as the ledger knows them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::camera::CameraId;
use crate::domain::stored::{duration_us, optional_time_us, range_us, time_us};
use crate::domain::time::TimeRange;

/// How thoroughly the bytes at a destination are compared with what was sent, weakest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackupCheck {
    /// The size, and the hash where the destination reports one at no extra cost.
    Size,
    /// Size and hash; the bytes are read back where the destination reports no hash.
    #[default]
    Hash,
    /// The bytes are read back.
    ReadBack,
}

impl BackupCheck {
    /// Every check, weakest first.
    pub const ALL: [Self; 3] = [Self::Size, Self::Hash, Self::ReadBack];

    /// The check's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "SIZE",
            Self::Hash => "HASH",
            Self::ReadBack => "READ_BACK",
        }
    }

    /// The check with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == name)
    }
}

/// Whether an object is still at the destination, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ObjectState {
    /// It passed its last check.
    Present,
    /// The last verification did not find it.
    Missing,
    /// The last verification found other bytes.
    Changed,
}

impl ObjectState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Present, Self::Missing, Self::Changed];

    /// The state's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::Missing => "MISSING",
            Self::Changed => "CHANGED",
        }
    }

    /// The state with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One file at a destination: a row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every field, and the names are the same"
)]
pub struct BackupObject {
    pub destination_id: String,
    pub segment_id: String,
    pub camera_id: CameraId,
    #[serde(with = "range_us")]
    pub window: TimeRange,
    /// How far after the window's start the footage may really begin, as the segment has it.
    #[serde(with = "duration_us")]
    pub start_accuracy: TimeDelta,
    pub remote_path: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub state: ObjectState,
    pub check: BackupCheck,
    #[serde(with = "time_us")]
    pub check_time: DateTime<Utc>,
    #[serde(with = "time_us")]
    pub create_time: DateTime<Utc>,
    pub job_id: String,
    /// The modification time that the segment's file had when it was sent; another one later is another content.
    #[serde(with = "time_us")]
    pub source_modified_time: DateTime<Utc>,
    /// Whether the segment is held as evidence, as of now; not stored with the object.
    #[serde(skip)]
    pub evidence: bool,
    #[serde(with = "optional_time_us")]
    pub locked_until_time: Option<DateTime<Utc>>,
}

/// What is wrong with a file in a backup, a verification or a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every kind, and the names are the same"
)]
pub enum BackupFaultKind {
    SourceMissing,
    SourceUnreadable,
    TransferFailed,
    CheckFailed,
    ObjectMissing,
    ObjectChanged,
    ObjectUnknown,
    NameUnsafe,
    NameTaken,
}

/// One file that could not be sent, is not as it should be, or could not be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every field, and the names are the same"
)]
pub struct BackupFault {
    pub kind: BackupFaultKind,
    pub segment_id: String,
    /// Empty for an unknown object.
    pub camera_id: String,
    pub remote_path: String,
    pub expected_size_bytes: Option<u64>,
    pub found_size_bytes: Option<u64>,
    pub expected_sha256: String,
    pub found_sha256: String,
    pub message: String,
}
