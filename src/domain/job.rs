//! Jobs: what they do, how far they are, what became of them. How they live is in `life`, who comes first in `queue`.

mod life;
mod queue;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::archive::{Archive, ArchiveSpec, ArchiveVerification, ArchiveVerificationSpec};
use super::backup::run::{
    BackupRun, BackupSpec, BackupVerification, BackupVerificationSpec, RestoreSpec, RestoreSummary,
};
use super::camera::CameraId;
use super::catalog::ImportSummary;
use super::clip::{Clip, ClipSpec, MaterializeSpec};
use super::source::ImportSpec;

pub use life::{Actor, JobEvent, JobState, Life};
pub use queue::{PRIORITY_BACKGROUND, PRIORITY_INTERACTIVE, Waiting, backoff, turn};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobKind {
    /// Cuts a clip.
    Clip,
    /// Makes an archive.
    Archive,
    /// Sends footage to a destination.
    Backup,
    /// Checks an archive or a destination.
    Verify,
    /// Brings footage back from a destination.
    Restore,
    /// Takes footage into the catalog.
    Import,
}

impl JobKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 6] = [
        Self::Clip,
        Self::Archive,
        Self::Backup,
        Self::Verify,
        Self::Restore,
        Self::Import,
    ];

    /// The kind's name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "CLIP",
            Self::Archive => "ARCHIVE",
            Self::Backup => "BACKUP",
            Self::Verify => "VERIFY",
            Self::Restore => "RESTORE",
            Self::Import => "IMPORT",
        }
    }

    /// The kind with this name in the database.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What is being done, for people.
    pub phase: String,
    /// Files finished.
    pub files_done: u64,
    /// Files in all; 0 while unknown.
    pub files_total: u64,
    /// Bytes moved so far.
    pub bytes_done: u64,
    /// Bytes in all, as expected; 0 while unknown.
    pub bytes_total: u64,
    /// Media time finished, microseconds.
    pub media_done_us: i64,
    /// Media time in all, microseconds; 0 while unknown.
    pub media_total_us: i64,
    /// Part of the job that is done, 0 to 1; `None` while unknown.
    pub fraction: Option<f64>,
    /// Bytes per second at present.
    pub bytes_per_second: u64,
    /// Time left at this speed, milliseconds; `None` while unknown.
    pub time_left_ms: Option<u64>,
    /// What is being worked on, for people.
    pub current_item: String,
    /// Transfers of single files that had to be repeated.
    pub retries: u64,
}

impl Progress {
    /// This progress after `newer` came in: counters never go back, the rest is taken over.
    pub fn advanced_to(&self, newer: Self) -> Self {
        Self {
            files_done: newer.files_done.max(self.files_done),
            bytes_done: newer.bytes_done.max(self.bytes_done),
            media_done_us: newer.media_done_us.max(self.media_done_us),
            fraction: match (self.fraction, newer.fraction) {
                (Some(old), Some(new)) => Some(new.clamp(0.0, 1.0).max(old)),
                (old, new) => new.map(|new| new.clamp(0.0, 1.0)).or(old),
            },
            ..newer
        }
    }
}

/// Why a job failed, or what its result lacks: a reason of the contract, words for people, and data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened, in the contract's terms.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// For programs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Notice {
    /// A notice without data.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
        }
    }

    /// The same notice with one more piece of data.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }
}

/// Reasons that a job's error or warning can have; `error.proto` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(
    missing_docs,
    reason = "error.proto documents every reason, and the names are the same"
)]
pub enum Reason {
    NoFootage,
    ClipNotFound,
    ArchiveNotFound,
    ArchiveTooLarge,
    IdTaken,
    FfmpegUnavailable,
    EngineUnsuitable,
    HoldUnsupported,
    SourcesGone,
    FfmpegFailed,
    TimedOut,
    AttemptsUsedUp,
    DiskFull,
    SourceNotFound,
    FileMissing,
    FileDamaged,
    CodecChange,
    AudioIncomplete,
    FilesLeftOut,
    NoKeyFrame,
    FileCorrupted,
    DestinationNotFound,
    DestinationDisabled,
    RcloneUnavailable,
    RcloneFailed,
    DestinationUnreachable,
    DestinationUnusable,
    FilesNotSent,
    FilesNotRestored,
    ObjectsUnreadable,
    /// Also one that a later version wrote: servers that share a database are not all updated in the same moment.
    #[serde(other)]
    Internal,
}

/// The work of a job, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSpec {
    /// Cut this clip.
    Clip(ClipSpec),
    /// Give this virtual clip a file.
    MaterializeClip(MaterializeSpec),
    /// Make this archive.
    Archive(ArchiveSpec),
    /// Verify this archive.
    VerifyArchive(ArchiveVerificationSpec),
    /// Send this.
    Backup(BackupSpec),
    /// Verify this destination.
    VerifyBackup(BackupVerificationSpec),
    /// Bring this back.
    Restore(RestoreSpec),
    /// Import this source.
    Import(ImportSpec),
}

impl JobSpec {
    /// The kind of job that does this work.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Clip(_) | Self::MaterializeClip(_) => JobKind::Clip,
            Self::Archive(_) => JobKind::Archive,
            Self::Backup(_) => JobKind::Backup,
            Self::VerifyArchive(_) | Self::VerifyBackup(_) => JobKind::Verify,
            Self::Restore(_) => JobKind::Restore,
            Self::Import(_) => JobKind::Import,
        }
    }

    /// The camera, of work that concerns a single one.
    pub fn camera(&self) -> Option<&CameraId> {
        let cameras = match self {
            Self::Clip(spec) => return Some(&spec.camera_id),
            Self::MaterializeClip(spec) => return Some(&spec.camera_id),
            Self::Archive(spec) => &spec.content.camera_ids,
            Self::Backup(spec) => &spec.selection.camera_ids,
            Self::VerifyBackup(spec) => &spec.selection.camera_ids,
            Self::Restore(spec) => &spec.selection.camera_ids,
            Self::VerifyArchive(_) | Self::Import(_) => return None,
        };
        match cameras.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The backup destination that it works on; empty for none.
    pub fn destination_id(&self) -> &str {
        match self {
            Self::Backup(spec) => &spec.destination_id,
            Self::VerifyBackup(spec) => &spec.destination_id,
            Self::Restore(spec) => &spec.destination_id,
            Self::Clip(_)
            | Self::MaterializeClip(_)
            | Self::Archive(_)
            | Self::VerifyArchive(_)
            | Self::Import(_) => "",
        }
    }

    /// The backup policy that it is a run of; empty for none.
    pub fn policy_id(&self) -> &str {
        match self {
            Self::Backup(spec) => &spec.policy_id,
            _ => "",
        }
    }

    /// The moment of the policy's schedule at which it was due; `None` for what no schedule asked for.
    pub fn due_time(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Backup(spec) => spec.due_time,
            _ => None,
        }
    }

    /// The id that the job's output will have; empty for none.
    pub fn output_id(&self) -> &str {
        match self {
            Self::Clip(spec) => &spec.clip_id,
            Self::Archive(spec) => &spec.archive_id,
            _ => "",
        }
    }

    /// The virtual clip that the job gives a file; empty for none.
    pub fn materialized_clip_id(&self) -> &str {
        match self {
            Self::MaterializeClip(spec) => &spec.clip_id,
            _ => "",
        }
    }
}

/// What a job made, as its row remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// The clip as it was when it was finished.
    Clip(Box<Clip>),
    /// The archive as it was when it was finished.
    Archive(Box<Archive>),
    /// What the verification found.
    ArchiveVerification(Box<ArchiveVerification>),
    /// What the run did.
    Backup(Box<BackupRun>),
    /// What the verification of a destination found.
    BackupVerification(Box<BackupVerification>),
    /// What came back.
    Restore(Box<RestoreSummary>),
    /// What the import did.
    Import(ImportSummary),
}

impl JobResult {
    /// The same with times that a clock gave which is `ahead` of the one that decides when a file has expired.
    #[must_use]
    pub fn earlier_by(mut self, ahead: TimeDelta) -> Self {
        let (made, expires) = match &mut self {
            Self::Clip(clip) => (&mut clip.create_time, &mut clip.expire_time),
            Self::Archive(archive) => (&mut archive.create_time, &mut archive.expire_time),
            Self::ArchiveVerification(_)
            | Self::Backup(_)
            | Self::BackupVerification(_)
            | Self::Restore(_)
            | Self::Import(_) => return self,
        };
        *made -= ahead;
        if let Some(time) = expires {
            *time -= ahead;
        }
        self
    }
}

/// A job to be written.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job's id.
    pub id: String,
    /// Its work.
    pub spec: JobSpec,
    /// Smaller is sooner: what a person waits for comes before what a schedule asks for.
    pub priority: i64,
    /// Attempts allowed in all.
    pub max_attempts: u32,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller.
    pub labels: BTreeMap<String, String>,
    /// The job that this one retries; empty for none.
    pub retry_of: String,
    /// The caller's id for the request, with the digest of what was asked.
    pub request: Option<RequestKey>,
}

/// Makes a request repeatable: the same id with the same digest is the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The caller's UUID.
    pub request_id: String,
    /// SHA-256 of the request, hexadecimal.
    pub digest: String,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "job.proto documents every field, and the names are the same"
)]
pub struct Job {
    pub id: String,
    pub spec: JobSpec,
    pub state: JobState,
    pub progress: Option<Progress>,
    pub result: Option<JobResult>,
    pub error: Option<Notice>,
    pub warnings: Vec<Notice>,
    pub attempt: u32,
    pub max_attempts: u32,
    pub create_time: DateTime<Utc>,
    pub start_time: Option<DateTime<Utc>>,
    pub end_time: Option<DateTime<Utc>>,
    pub update_time: DateTime<Utc>,
    pub expire_time: Option<DateTime<Utc>>,
    pub next_attempt_time: Option<DateTime<Utc>>,
    pub revision: u64,
    pub created_by: String,
    pub labels: BTreeMap<String, String>,
    pub retry_of: String,
    pub request_id: String,
    /// Grows with every claim; a worker's writes hold only while it is the row's.
    pub epoch: i64,
    /// The process that has the job; empty while nobody has.
    pub owner: String,
}

impl Job {
    /// What decides how it may go on.
    pub fn life(&self) -> Life {
        Life {
            state: self.state,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            epoch: self.epoch,
        }
    }
}

/// How long a worker may be silent before its job is given to another.
pub const LEASE: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_database_read_back() {
        for kind in JobKind::ALL {
            assert_eq!(JobKind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn a_reason_of_a_later_version_is_an_internal_error_with_its_own_words() {
        let read = |reason: &str| {
            let stored = format!(r#"{{"reason":"{reason}","message":"the moon is full"}}"#);
            serde_json::from_str::<Notice>(&stored).unwrap()
        };
        let later = read("MOON_FULL");
        assert_eq!(later, Notice::new(Reason::Internal, "the moon is full"));
        for reason in [Reason::Internal, Reason::DestinationUnusable] {
            let name = serde_json::to_value(reason).unwrap();
            assert_eq!(read(name.as_str().unwrap()).reason, reason);
        }
    }

    #[test]
    fn progress_never_goes_back() {
        let old = Progress {
            bytes_done: 10,
            fraction: Some(0.5),
            media_done_us: 7,
            ..Default::default()
        };
        let new = old.advanced_to(Progress {
            bytes_done: 4,
            fraction: Some(0.2),
            ..Default::default()
        });
        assert_eq!(
            (new.bytes_done, new.fraction, new.media_done_us),
            (10, Some(0.5), 7)
        );
        assert_eq!(
            new.advanced_to(Progress {
                fraction: Some(7.0),
                ..Default::default()
            })
            .fraction,
            Some(1.0)
        );
    }
}
