//! What the errors of the rooms below become for a caller.

use tracing::error;

use super::status::{ApiError, notice_status};
use crate::domain::archive::ArchiveFaultKind;
use crate::domain::job::{JobKind, Notice, Reason};
use crate::jobs::JobsError;
use crate::media::CutError;
use crate::proto::ErrorReason;
use crate::repository::{SealError, StoreError};
use crate::transfer::TransferError;
use crate::work::archive::ArchiveError;
use crate::work::backup::BackupError;
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

    /// Why a destination must not be where its settings lead. `None`: whether it may be there is not known at present,
    /// because its host is not.
    pub(super) fn from_settings_check(error: BackupError) -> Option<Self> {
        match error {
            BackupError::Transfer(TransferError::Unreachable(_)) => None,
            BackupError::Transfer(TransferError::Settings(message)) => {
                Some(Self::field("destination.settings", message))
            }
            error => Some(error.into()),
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
                source: source @ (SealError::SecretKeyMissing | SealError::WrongSecretKey),
            } => Self::Precondition {
                reason: ErrorReason::SecretKeyMissing,
                subject: destination_id.clone(),
                message: source.to_string(),
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
            JobsError::PolicyRunning { policy_id, job_id } => Self::PolicyRunning {
                policy_id,
                job_id,
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
            ClipError::Cut(CutError::Unsuitable { .. }) => Self::Precondition {
                reason: ErrorReason::EngineUnsuitable,
                subject: "engine".to_owned(),
                message,
            },
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
            ClipError::SourcesGone(_) => Self::Corrupted {
                reason: ErrorReason::SourcesGone,
                kind: "clip",
                name: String::new(),
                message,
            },
            ClipError::HoldUnsupported(_) => Self::Precondition {
                reason: ErrorReason::HoldUnsupported,
                subject: "hold_sources".to_owned(),
                message,
            },
            ClipError::Machine(_) => Self::Exhausted {
                reason: ErrorReason::TooManyWatchers,
                subject: "open files",
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
            ArchiveError::TooLarge { .. } | ArchiveError::TooMany { .. } => Self::Invalid {
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
            ArchiveError::Ffmpeg(_) | ArchiveError::Cut(CutError::FfmpegMissing { .. }) => {
                Self::Precondition {
                    reason: ErrorReason::FfmpegUnavailable,
                    subject: "ffmpeg".to_owned(),
                    message,
                }
            }
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
            ArchiveError::Untaken => Self::Unavailable {
                reason: ErrorReason::TimedOut,
                message: "the caller took nothing of the archive for a minute; call again",
            },
            ArchiveError::Machine(_) => Self::Exhausted {
                reason: ErrorReason::TooManyWatchers,
                subject: "open files",
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

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        match error {
            BackupError::DestinationNotFound => Self::destination_not_found(""),
            BackupError::Disabled | BackupError::Paused(_) => Self::Precondition {
                reason: ErrorReason::DestinationDisabled,
                subject: "destination".to_owned(),
                message,
            },
            BackupError::NothingMatches => Self::no_footage(message),
            BackupError::DiskFull { .. } => Self::Exhausted {
                reason: ErrorReason::DiskFull,
                subject: "disk",
                message,
            },
            BackupError::Transfer(error) => error.into(),
            // Only a run asks for the hours of its policy.
            BackupError::NotYet(_) | BackupError::Folder(_) => Self::Internal {
                cause: format!("{message}: {error:?}"),
            },
            BackupError::Store(error) => error.into(),
        }
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> Self {
        let message = error.to_string();
        match error {
            TransferError::RcloneMissing { .. } | TransferError::RcloneTooOld { .. } => {
                Self::Precondition {
                    reason: ErrorReason::RcloneUnavailable,
                    subject: "rclone".to_owned(),
                    message,
                }
            }
            TransferError::Paused { .. } => Self::Precondition {
                reason: ErrorReason::DestinationDisabled,
                subject: "destination".to_owned(),
                message,
            },
            TransferError::Settings(_) => Self::field("destination.settings", message),
            // A call that is answered at once sends nothing anywhere: no other failure can come of it.
            TransferError::Unreachable(_)
            | TransferError::Failed { .. }
            | TransferError::Stalled(_)
            | TransferError::TimedOut
            | TransferError::Cancelled
            | TransferError::Io(_) => Self::Internal {
                cause: format!("{message}: {error:?}"),
            },
        }
    }
}

/// Why a destination did not pass its trial, as data. `None`: a step did not work without an error of its own.
pub(super) fn trial_status(error: Option<TransferError>) -> tonic_types::pb::Status {
    let Some(error) = error else {
        return notice_status(Notice::new(
            Reason::DestinationUnusable,
            "a step of the trial did not work",
        ));
    };
    if let TransferError::Io(cause) = &error {
        error!(%cause, "a destination could not be tried");
    }
    let notice = Notice::new(error.reason(), error.to_string());
    notice_status(match error {
        TransferError::Paused { reason, .. } => notice.with("pause_reason", reason.as_str()),
        TransferError::Failed { status, .. } => notice.with("status", status),
        _ => notice,
    })
}
