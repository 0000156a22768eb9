//! What the errors of the rooms below become for a caller.

use tracing::error;

use super::status::ApiError;
use crate::domain::archive::ArchiveFaultKind;
use crate::domain::job::JobKind;
use crate::jobs::JobsError;
use crate::media::CutError;
use crate::proto::ErrorReason;
use crate::repository::{SealError, StoreError};
use crate::work::archive::ArchiveError;
use crate::work::clip::ClipError;
use crate::work::intake::IntakeError;

impl ApiError {
    /// Why the delivery of an archive ended: a source that breaks on the way is a loss of data, because the size was
    /// promised.
    pub(super) fn from_delivery(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Incomplete { message, .. } => Self::Corrupted {
                reason: ErrorReason::FileCorrupted,
                kind: "segment",
                name: String::new(),
                message,
            },
            error => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full(_) => Self::Exhausted {
                reason: ErrorReason::DiskFull,
                subject: "disk",
                message: "the disk that holds the database is full".to_owned(),
            },
            StoreError::Unavailable(cause) => {
                error!(cause = %cause, "the database does not answer");
                Self::Unavailable {
                    reason: ErrorReason::DatabaseUnavailable,
                    message: "the database does not answer; call again",
                }
            }
            StoreError::Secrets {
                destination_id,
                source: SealError::SecretKeyMissing,
            } => Self::Precondition {
                reason: ErrorReason::SecretKeyMissing,
                subject: destination_id.clone(),
                message: SealError::SecretKeyMissing.to_string(),
            },
            StoreError::Secrets { source, .. } => Self::Internal {
                cause: format!("{error}: {source}"),
            },
            StoreError::Inconsistent { .. } => Self::Internal {
                cause: error.to_string(),
            },
        }
    }
}

impl From<JobsError> for ApiError {
    fn from(error: JobsError) -> Self {
        let message = error.to_string();
        match error {
            JobsError::NotFound(id) => Self::NotFound {
                reason: ErrorReason::JobNotFound,
                kind: "job",
                name: id,
                message,
            },
            JobsError::WrongState { id, .. } => Self::Precondition {
                reason: ErrorReason::JobState,
                subject: id,
                message,
            },
            JobsError::RequestIdReused => Self::Invalid {
                reason: ErrorReason::RequestIdReused,
                violations: vec![("request_id".to_owned(), message)],
            },
            JobsError::OutputTaken { kind, id } => Self::Taken {
                kind: match kind {
                    JobKind::Archive => "archive",
                    _ => "clip",
                },
                name: id,
            },
            JobsError::IdTaken(id) => Self::Taken {
                kind: "job",
                name: id,
            },
            JobsError::PolicyRunning { policy_id, .. } => Self::Precondition {
                reason: ErrorReason::PolicyRunning,
                subject: policy_id,
                message,
            },
            JobsError::QueueFull(_) => Self::Exhausted {
                reason: ErrorReason::QueueFull,
                subject: "jobs",
                message,
            },
            JobsError::TooManyWatchers(_) => Self::Exhausted {
                reason: ErrorReason::TooManyWatchers,
                subject: "watches",
                message,
            },
            JobsError::Draining => Self::draining(),
            JobsError::Store(error) => error.into(),
        }
    }
}

impl From<ClipError> for ApiError {
    fn from(error: ClipError) -> Self {
        let message = error.to_string();
        match error {
            ClipError::CameraNotFound(id) => Self::camera_not_found(id.as_str()),
            ClipError::NoFootage | ClipError::Cut(CutError::NoFootage(_)) => Self::NotFound {
                reason: ErrorReason::NoFootage,
                kind: "footage",
                name: String::new(),
                message,
            },
            ClipError::Ffmpeg(_) | ClipError::Cut(CutError::FfmpegMissing { .. }) => {
                Self::Precondition {
                    reason: ErrorReason::FfmpegUnavailable,
                    subject: "ffmpeg".to_owned(),
                    message,
                }
            }
            ClipError::DiskFull { .. } | ClipError::Cut(CutError::DiskFull) => Self::Exhausted {
                reason: ErrorReason::DiskFull,
                subject: "disk",
                message,
            },
            ClipError::Corrupted(_) => Self::Corrupted {
                reason: ErrorReason::FileCorrupted,
                kind: "clip",
                name: String::new(),
                message,
            },
            ClipError::Cut(_) | ClipError::Folder(_) => Self::Internal {
                cause: format!("{message}: {error:?}"),
            },
            ClipError::Store(error) => error.into(),
        }
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        let message = error.to_string();
        match error {
            ArchiveError::CameraNotFound(id) => Self::camera_not_found(id.as_str()),
            ArchiveError::NothingMatches => Self::NotFound {
                reason: ErrorReason::NoFootage,
                kind: "footage",
                name: String::new(),
                message,
            },
            ArchiveError::TooLarge { .. } => Self::Invalid {
                reason: ErrorReason::ArchiveTooLarge,
                violations: vec![("spec".to_owned(), message)],
            },
            ArchiveError::Incomplete { kind, .. } => Self::Precondition {
                reason: match kind {
                    ArchiveFaultKind::Missing => ErrorReason::FileMissing,
                    _ => ErrorReason::FileDamaged,
                },
                subject: "spec.all_or_nothing".to_owned(),
                message,
            },
            ArchiveError::Ffmpeg(_) => Self::Precondition {
                reason: ErrorReason::FfmpegUnavailable,
                subject: "ffmpeg".to_owned(),
                message,
            },
            ArchiveError::DiskFull { .. }
            | ArchiveError::FolderFull { .. }
            | ArchiveError::NoSpace => Self::Exhausted {
                reason: ErrorReason::DiskFull,
                subject: "disk",
                message,
            },
            ArchiveError::TooManyStreams(_) => Self::Exhausted {
                reason: ErrorReason::TooManyWatchers,
                subject: "streams",
                message,
            },
            ArchiveError::Corrupted(_) => Self::Corrupted {
                reason: ErrorReason::FileCorrupted,
                kind: "archive",
                name: String::new(),
                message,
            },
            ArchiveError::Cut(error) => ClipError::Cut(error).into(),
            ArchiveError::TimedOut
            | ArchiveError::Cancelled
            | ArchiveError::Sign(_)
            | ArchiveError::Folder(_) => Self::Internal {
                cause: format!("{message}: {error:?}"),
            },
            ArchiveError::Store(error) => error.into(),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let message = error.to_string();
        match error {
            IntakeError::SourceNotFound(name) => Self::NotFound {
                reason: ErrorReason::SourceNotFound,
                kind: "source",
                name,
                message,
            },
            IntakeError::Missing => Self::NotFound {
                reason: ErrorReason::FileMissing,
                kind: "file",
                name: String::new(),
                message,
            },
            IntakeError::Path(_) => Self::field("path", message),
            IntakeError::Unreadable(_) => Self::Corrupted {
                reason: ErrorReason::FileDamaged,
                kind: "file",
                name: String::new(),
                message,
            },
            IntakeError::Source(_) => Self::Internal { cause: message },
            IntakeError::Store(error) => error.into(),
        }
    }
}
