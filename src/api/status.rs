//! Errors as callers see them: the only place that builds a `tonic::Status`. What each error of the rooms below becomes
//! is in `errors`.
//!
//! Every error has a reason of `error.proto`; internal causes are logged here, once, under the id that the caller gets.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use tracing::error;
use uuid::Uuid;

use crate::domain::job::{Notice, Reason};
use crate::proto::ErrorReason;

/// The domain of every reason.
pub(super) const DOMAIN: &str = "footage.heldar";

/// How soon a call that was refused for load or shutdown may be repeated.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// A field that is wrong: its path in the request, and what would be right.
pub(super) type Violation = (String, String);

/// Why a call fails.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Fields are wrong; all of them are named.
    Invalid {
        reason: ErrorReason,
        violations: Vec<Violation>,
    },
    /// A thing that was named does not exist.
    NotFound {
        reason: ErrorReason,
        kind: &'static str,
        name: String,
        message: String,
    },
    /// The id that was chosen is taken.
    Taken { kind: &'static str, name: String },
    /// Something has to be put right first.
    Precondition {
        reason: ErrorReason,
        subject: String,
        message: String,
    },
    /// A run of the policy is under way.
    PolicyRunning {
        policy_id: String,
        job_id: String,
        message: String,
    },
    /// Somebody else changed it first.
    Stale { kind: &'static str, name: String },
    /// There is too much of something just now.
    Exhausted {
        reason: ErrorReason,
        subject: &'static str,
        message: String,
    },
    /// An offset past the end.
    PastEnd { message: String },
    /// Call again soon.
    Unavailable {
        reason: ErrorReason,
        message: &'static str,
    },
    /// A stored file is not what it was, or never was what it should be.
    Corrupted {
        reason: ErrorReason,
        kind: &'static str,
        name: String,
        message: String,
    },
    /// A fault of the service.
    Internal { cause: String },
}

/// The name of a reason on the wire: without the prefix that proto style asks for.
pub(super) fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

impl ApiError {
    /// A fault of one field.
    pub(super) fn field(field: &str, description: impl Into<String>) -> Self {
        Self::Invalid {
            reason: ErrorReason::InvalidField,
            violations: vec![(field.to_owned(), description.into())],
        }
    }

    pub(super) fn camera_not_found(id: &str) -> Self {
        Self::NotFound {
            reason: ErrorReason::CameraNotFound,
            kind: "camera",
            name: id.to_owned(),
            message: format!("camera {id} not found"),
        }
    }

    pub(super) fn clip_not_found(id: &str) -> Self {
        Self::NotFound {
            reason: ErrorReason::ClipNotFound,
            kind: "clip",
            name: id.to_owned(),
            message: format!("clip {id} not found"),
        }
    }

    pub(super) fn archive_not_found(id: &str) -> Self {
        Self::NotFound {
            reason: ErrorReason::ArchiveNotFound,
            kind: "archive",
            name: id.to_owned(),
            message: format!("archive {id} not found"),
        }
    }

    pub(super) fn destination_not_found(id: &str) -> Self {
        Self::NotFound {
            reason: ErrorReason::DestinationNotFound,
            kind: "destination",
            name: id.to_owned(),
            message: "backup destination not found or removed".to_owned(),
        }
    }

    pub(super) fn policy_not_found(id: &str) -> Self {
        Self::NotFound {
            reason: ErrorReason::PolicyNotFound,
            kind: "policy",
            name: id.to_owned(),
            message: format!("policy {id} not found"),
        }
    }

    pub(super) fn no_footage(message: impl Into<String>) -> Self {
        Self::NotFound {
            reason: ErrorReason::NoFootage,
            kind: "footage",
            name: String::new(),
            message: message.into(),
        }
    }

    /// A destination that policies name or jobs work on.
    pub(super) fn destination_in_use(id: &str, policy_ids: &[String], job_ids: &[String]) -> Self {
        let users: Vec<&str> = policy_ids
            .iter()
            .chain(job_ids)
            .map(String::as_str)
            .collect();
        Self::Precondition {
            reason: ErrorReason::DestinationInUse,
            subject: id.to_owned(),
            message: format!("destination {id} is in use by {}", users.join(", ")),
        }
    }

    pub(super) fn draining() -> Self {
        Self::Unavailable {
            reason: ErrorReason::Draining,
            message: "the server is shutting down; call again",
        }
    }

    /// The same error, when it is one of a stored file, with the name of what is stored.
    #[must_use]
    pub(super) fn about(mut self, id: &str) -> Self {
        if let Self::Corrupted { name, .. } = &mut self {
            id.clone_into(name);
        }
        self
    }

    fn code_and_message(&self) -> (Code, String) {
        match self {
            Self::Invalid { violations, .. } => {
                (Code::InvalidArgument, invalid_message(violations))
            }
            Self::NotFound { message, .. } => (Code::NotFound, message.clone()),
            Self::Taken { kind, name } => {
                (Code::AlreadyExists, format!("{kind} {name} already exists"))
            }
            Self::Precondition { message, .. } | Self::PolicyRunning { message, .. } => {
                (Code::FailedPrecondition, message.clone())
            }
            Self::Stale { kind, name } => (
                Code::Aborted,
                format!("{kind} {name} was changed since it was read; read it again"),
            ),
            Self::Exhausted { message, .. } => (Code::ResourceExhausted, message.clone()),
            Self::PastEnd { message } => (Code::OutOfRange, message.clone()),
            Self::Unavailable { message, .. } => (Code::Unavailable, (*message).to_owned()),
            Self::Corrupted { message, .. } => (Code::DataLoss, message.clone()),
            Self::Internal { .. } => (
                Code::Internal,
                "internal error; the server's log has the cause".to_owned(),
            ),
        }
    }

    fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid { reason, .. }
            | Self::NotFound { reason, .. }
            | Self::Precondition { reason, .. }
            | Self::Exhausted { reason, .. }
            | Self::Unavailable { reason, .. }
            | Self::Corrupted { reason, .. } => *reason,
            Self::Taken { .. } => ErrorReason::IdTaken,
            Self::PolicyRunning { .. } => ErrorReason::PolicyRunning,
            Self::Stale { .. } => ErrorReason::EtagStale,
            Self::PastEnd { .. } => ErrorReason::OffsetPastEnd,
            Self::Internal { .. } => ErrorReason::Internal,
        }
    }
}

fn invalid_message(violations: &[Violation]) -> String {
    match violations {
        [(_, description)] => description.clone(),
        _ => violations
            .iter()
            .map(|(field, description)| format!("{field}: {description}"))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let (code, message) = error.code_and_message();
        let metadata = match &error {
            ApiError::PolicyRunning { job_id, .. } => {
                HashMap::from([("job_id".to_owned(), job_id.clone())])
            }
            _ => HashMap::new(),
        };
        let mut details =
            ErrorDetails::with_error_info(reason_name(error.reason()), DOMAIN, metadata);
        match &error {
            ApiError::Invalid { violations, .. } => {
                let violations: Vec<_> = violations
                    .iter()
                    .map(|(field, description)| FieldViolation::new(field, description))
                    .collect();
                details.set_bad_request(violations);
            }
            ApiError::NotFound {
                kind,
                name,
                message,
                ..
            }
            | ApiError::Corrupted {
                kind,
                name,
                message,
                ..
            } => {
                details.set_resource_info(*kind, name, "", message);
            }
            ApiError::Taken { kind, name } => {
                details.set_resource_info(*kind, name, "", &message);
            }
            ApiError::Precondition {
                subject, message, ..
            }
            | ApiError::PolicyRunning {
                policy_id: subject,
                message,
                ..
            } => {
                details.add_precondition_failure_violation(
                    reason_name(error.reason()),
                    subject,
                    message,
                );
            }
            ApiError::Exhausted {
                subject, message, ..
            } => {
                details.add_quota_failure_violation(*subject, message);
                details.set_retry_info(Some(RETRY_SOON));
            }
            ApiError::Unavailable { .. } => {
                details.set_retry_info(Some(RETRY_SOON));
            }
            ApiError::Internal { cause } => {
                let request_id = Uuid::now_v7().to_string();
                error!(request_id, cause, "a call failed");
                details.set_request_info(request_id, "");
            }
            ApiError::Stale { .. } | ApiError::PastEnd { .. } => {}
        }
        Self::with_error_details(code, message, details)
    }
}

/// A call's error as data, for answers that report one error per item.
pub(super) fn intake_status(error: ApiError) -> tonic_types::pb::Status {
    wire_status(&error.into())
}

fn wire_status(status: &Status) -> tonic_types::pb::Status {
    let details = prost::Message::decode(status.details())
        .map(|whole: tonic_types::pb::Status| whole.details)
        .unwrap_or_default();
    tonic_types::pb::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details,
    }
}

/// A job's error or warning as google.rpc.Status, with the code that a failed call would have.
pub(super) fn notice_status(notice: Notice) -> tonic_types::pb::Status {
    let (reason, code) = match notice.reason {
        Reason::NoFootage => (ErrorReason::NoFootage, Code::NotFound),
        Reason::ClipNotFound => (ErrorReason::ClipNotFound, Code::NotFound),
        Reason::ArchiveNotFound => (ErrorReason::ArchiveNotFound, Code::NotFound),
        Reason::ArchiveTooLarge => (ErrorReason::ArchiveTooLarge, Code::InvalidArgument),
        Reason::FileCorrupted => (ErrorReason::FileCorrupted, Code::DataLoss),
        Reason::DestinationNotFound => (ErrorReason::DestinationNotFound, Code::NotFound),
        Reason::DestinationDisabled => (ErrorReason::DestinationDisabled, Code::FailedPrecondition),
        Reason::RcloneUnavailable => (ErrorReason::RcloneUnavailable, Code::FailedPrecondition),
        Reason::RcloneFailed => (ErrorReason::RcloneFailed, Code::Unavailable),
        Reason::DestinationUnreachable => (ErrorReason::DestinationUnreachable, Code::Unavailable),
        Reason::DestinationUnusable => (ErrorReason::DestinationUnusable, Code::FailedPrecondition),
        Reason::FilesNotSent => (ErrorReason::FilesNotSent, Code::DataLoss),
        Reason::FilesNotRestored => (ErrorReason::FilesNotRestored, Code::DataLoss),
        Reason::ObjectsUnreadable => (ErrorReason::ObjectsUnreadable, Code::DataLoss),
        Reason::IdTaken => (ErrorReason::IdTaken, Code::AlreadyExists),
        Reason::EngineUnsuitable => (ErrorReason::EngineUnsuitable, Code::FailedPrecondition),
        Reason::HoldUnsupported => (ErrorReason::HoldUnsupported, Code::FailedPrecondition),
        Reason::SourcesGone => (ErrorReason::SourcesGone, Code::DataLoss),
        Reason::FfmpegUnavailable => (ErrorReason::FfmpegUnavailable, Code::FailedPrecondition),
        Reason::FfmpegFailed => (ErrorReason::FfmpegFailed, Code::Internal),
        Reason::TimedOut => (ErrorReason::TimedOut, Code::DeadlineExceeded),
        Reason::AttemptsUsedUp => (ErrorReason::AttemptsUsedUp, Code::Aborted),
        Reason::DiskFull => (ErrorReason::DiskFull, Code::ResourceExhausted),
        Reason::SourceNotFound => (ErrorReason::SourceNotFound, Code::NotFound),
        Reason::Internal => (ErrorReason::Internal, Code::Internal),
        Reason::FileMissing => (ErrorReason::FileMissing, Code::DataLoss),
        Reason::FileDamaged => (ErrorReason::FileDamaged, Code::DataLoss),
        Reason::CodecChange => (ErrorReason::CodecChange, Code::FailedPrecondition),
        Reason::AudioIncomplete => (ErrorReason::AudioIncomplete, Code::DataLoss),
        Reason::FilesLeftOut => (ErrorReason::FilesLeftOut, Code::InvalidArgument),
        Reason::NoKeyFrame => (ErrorReason::NoKeyFrame, Code::DataLoss),
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(
        reason_name(reason),
        DOMAIN,
        HashMap::from_iter(notice.metadata),
    );
    let status = Status::with_error_details(code, notice.message, details);
    wire_status(&status)
}
