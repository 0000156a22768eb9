//! What backup jobs do, and what they leave in their rows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::object::{BackupCheck, BackupFault};
use crate::domain::camera::CameraId;
use crate::domain::stored::{optional_range_us, optional_time_us, time_us};
use crate::domain::time::TimeRange;

/// Which footage is meant: what overlaps the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSelection {
    /// First instant wanted; `None`: from the oldest on.
    #[serde(with = "optional_time_us")]
    pub start: Option<DateTime<Utc>>,
    /// First instant no longer wanted; `None`: up to the newest.
    #[serde(with = "optional_time_us")]
    pub end: Option<DateTime<Utc>>,
    /// Cameras in order of id, each once; empty for all.
    pub camera_ids: Vec<CameraId>,
    /// Only segments held as evidence.
    pub evidence_only: bool,
    /// A policy: footage that is as old as what its retention removed already is not meant, unless it is evidence.
    /// Empty: all is meant.
    #[serde(default)]
    pub without_removed_by: String,
}

/// The work of a backup job: one run to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// Where to.
    pub destination_id: String,
    /// The policy that is run; empty for a run without one.
    pub policy_id: String,
    /// The moment that made the run due; `None` for one that was asked for by hand.
    #[serde(with = "optional_time_us")]
    pub due_time: Option<DateTime<Utc>>,
    /// What to send.
    pub selection: BackupSelection,
    /// Weakest check after which a file counts as stored.
    pub check: BackupCheck,
    /// Bytes per second; 0: no limit but those of destination and policy.
    pub bandwidth_limit_bytes_per_second: u64,
    /// How long the run may take, seconds; hours in which it waits do not count.
    pub run_timeout_s: u64,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller or the policy.
    pub labels: BTreeMap<String, String>,
}

/// The work of a job that verifies a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupVerificationSpec {
    /// The destination.
    pub destination_id: String,
    /// What to check.
    pub selection: BackupSelection,
    /// How to check it.
    pub check: BackupCheck,
    /// Whether to look for files that the ledger does not know.
    pub find_unknown: bool,
}

/// Which copy of a destination's ledger a restore goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LedgerSource {
    /// The server's, or the destination's when the server has nothing for it.
    #[default]
    Either,
    /// The one in the database.
    Server,
    /// The copy at the destination.
    Destination,
}

/// The work of a restore job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSpec {
    /// Where from.
    pub destination_id: String,
    /// What to bring back.
    pub selection: BackupSelection,
    /// Folder below the server's folder for restores.
    pub folder: String,
    /// Whether the segments enter the catalog.
    pub register_segments: bool,
    /// Which ledger to go by.
    pub ledger_source: LedgerSource,
}

/// Result of a backup job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every field, and the names are the same"
)]
pub struct BackupRun {
    pub job_id: String,
    pub policy_id: String,
    pub destination_id: String,
    #[serde(with = "optional_range_us")]
    pub window: Option<TimeRange>,
    pub files_selected: u64,
    pub files_present: u64,
    pub files_sent: u64,
    pub files_failed: u64,
    pub bytes_sent: u64,
    pub bytes_moved: u64,
    pub retries: u64,
    pub files_removed: u64,
    pub bytes_removed: u64,
    pub faults: Vec<BackupFault>,
    pub ledger_path: String,
}

impl BackupRun {
    /// Whether everything selected was at the destination already.
    pub fn is_nothing_to_do(&self) -> bool {
        self.files_present == self.files_selected
    }
}

/// Result of a verify job on a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every field, and the names are the same"
)]
pub struct BackupVerification {
    pub destination_id: String,
    #[serde(with = "optional_range_us")]
    pub window: Option<TimeRange>,
    pub check: BackupCheck,
    pub objects_checked: u64,
    pub bytes_read: u64,
    pub objects_missing: u64,
    pub objects_changed: u64,
    pub objects_unknown: u64,
    #[serde(default)]
    pub objects_unreadable: u64,
    pub faults: Vec<BackupFault>,
    #[serde(with = "time_us")]
    pub verify_time: DateTime<Utc>,
}

impl BackupVerification {
    /// Whether nothing is missing or changed, and everything could be looked at.
    pub fn is_intact(&self) -> bool {
        self.objects_missing == 0 && self.objects_changed == 0 && self.objects_unreadable == 0
    }
}

/// Result of a restore job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "backup_resources.proto documents every field, and the names are the same"
)]
pub struct RestoreSummary {
    pub destination_id: String,
    #[serde(with = "optional_range_us")]
    pub window: Option<TimeRange>,
    pub folder: String,
    pub files_selected: u64,
    pub files_restored: u64,
    pub files_present: u64,
    pub files_failed: u64,
    pub bytes_restored: u64,
    pub segments_registered: u64,
    pub faults: Vec<BackupFault>,
}
