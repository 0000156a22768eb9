//! Policies: what is sent where, when, and for how long it is kept there.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;

use super::object::BackupCheck;
use super::run::BackupSelection;
use crate::domain::camera::CameraId;

/// Time between runs unless the policy says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(86_400);

/// When a policy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// So long after the beginning of the run before.
    Interval(Duration),
    /// By the calendar of a zone; five fields, checked.
    Cron {
        /// Minute, hour, day of the month, month, day of the week.
        expression: String,
        /// Where the clock hangs.
        zone: Tz,
    },
}

/// Hours of the day in which files may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferHours {
    /// First minute of the hours, counted from midnight.
    pub start_minute: u16,
    /// First minute after them; not after the first: on the next day.
    pub end_minute: u16,
    /// Where the clock hangs.
    pub zone: Tz,
    /// Days on which the hours begin; empty for every day.
    pub days: Vec<Weekday>,
}

/// When objects are removed from a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Footage older than this goes; `None`: age does not matter.
    pub max_age: Option<Duration>,
    /// Objects go until no more than this many bytes are left; 0: the sum does not matter.
    pub max_bytes: u64,
}

/// A policy as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "backup_policy.proto documents every field, and the names are the same"
)]
pub struct Policy {
    pub id: String,
    pub display_name: String,
    pub destination_id: String,
    pub enabled: bool,
    pub schedule: Schedule,
    /// `None`: everything in the catalog.
    pub lookback: Option<Duration>,
    pub camera_ids: Vec<CameraId>,
    pub evidence_only: bool,
    pub transfer_hours: Option<TransferHours>,
    pub bandwidth_limit_bytes_per_second: u64,
    pub check: BackupCheck,
    pub retention: Option<Retention>,
    /// `None`: as the server is set.
    pub run_timeout: Option<Duration>,
    pub labels: BTreeMap<String, String>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// Grows with each change of what callers can set; the etag is made of it.
    pub revision: u64,
    pub status: PolicyStatus,
}

/// How a policy fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "backup_policy.proto documents every field, and the names are the same"
)]
pub struct PolicyStatus {
    pub next_run_time: Option<DateTime<Utc>>,
    pub last_run_time: Option<DateTime<Utc>>,
    pub last_success_time: Option<DateTime<Utc>>,
    pub last_job_id: String,
    pub overdue_since_time: Option<DateTime<Utc>>,
    pub files_unsent: u64,
    pub bytes_unsent: u64,
    pub files_at_risk: u64,
}

impl Policy {
    /// The footage that a run which begins at `now` looks at.
    ///
    /// What retention would remove for its age, and what is as old as what it removed for its bytes, is not looked at:
    /// it would be sent and removed again with each run.
    pub fn selection(&self, now: DateTime<Utc>) -> BackupSelection {
        let lookback_start = self
            .lookback
            .and_then(|lookback| TimeDelta::from_std(lookback).ok())
            .and_then(|lookback| now.checked_sub_signed(lookback));
        let oldest_kept = self
            .retention
            // Evidence is never removed, however old it is.
            .filter(|_| !self.evidence_only)
            .and_then(|retention| retention.oldest_kept(now));
        BackupSelection {
            // `None` is less than any moment, so the later bound holds.
            start: lookback_start.max(oldest_kept),
            end: None,
            camera_ids: self.camera_ids.clone(),
            evidence_only: self.evidence_only,
            without_removed_by: match self.retention {
                Some(retention) if retention.max_bytes > 0 => self.id.clone(),
                _ => String::new(),
            },
        }
    }
}
