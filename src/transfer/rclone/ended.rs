//! How a run of rclone ended, and what that says of the destination.

use super::super::TransferError;
use super::Remote;
use super::classify::{Cause, cause};
use crate::domain::backup::destination::PauseReason;
use crate::process::ProcessError;

/// Something that failed, in rclone's words without secrets.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) path: Option<String>,
    pub(super) cause: Cause,
    pub(super) message: String,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code or signal; `None` for success.
    pub(super) failure: Option<String>,
    pub(super) complaints: Vec<Complaint>,
    /// The caller's limit of bytes per second changed, and the run was stopped for it.
    pub(super) limit_changed: bool,
}

impl Ended {
    /// The end of a run in which nothing failed.
    pub(super) fn success() -> Self {
        Self {
            failure: None,
            complaints: Vec::new(),
            limit_changed: false,
        }
    }

    /// Adds the end of another run for other files.
    pub(super) fn add(&mut self, other: Self) {
        self.failure = self.failure.take().or(other.failure);
        self.complaints.extend(other.complaints);
    }

    /// Whether rclone said this of the destination or of any file.
    pub(super) fn has(&self, wanted: Cause) -> bool {
        self.complaints
            .iter()
            .any(|complaint| complaint.cause == wanted)
    }

    /// Whether a bucket refused an object that came without its MD5 (`PutObject` of Amazon S3, `Content-MD5`).
    pub(super) fn wants_checksums(&self) -> bool {
        self.complaints
            .iter()
            .any(|said| said.message.contains("Content-MD5"))
    }

    /// Paths of files that it began to copy and could not.
    pub(super) fn broken_off(&self) -> impl Iterator<Item = &str> {
        self.complaints
            .iter()
            .filter(|said| said.message.starts_with("Failed to copy"))
            .filter_map(|said| said.path.as_deref())
    }

    /// What it said of one file, else of all.
    pub(super) fn of(&self, path: &str) -> Option<&Complaint> {
        let named = self
            .complaints
            .iter()
            .find(|complaint| complaint.path.as_deref() == Some(path));
        named.or_else(|| {
            self.complaints
                .iter()
                .find(|complaint| complaint.path.is_none())
        })
    }

    /// The error that concerns the destination as a whole, if there is one. `is_write`: whether a refusal for want of
    /// permission means that the destination is read-only, rather than that the login is not allowed to see it.
    pub(super) fn error(&self, is_write: bool) -> Option<TransferError> {
        self.failure.as_ref()?;
        for wanted in [
            Cause::HostChanged,
            Cause::LoginRefused,
            Cause::Full,
            Cause::Settings,
        ] {
            if let Some(found) = self.complaints.iter().find(|said| said.cause == wanted) {
                return Some(error_of(found, is_write));
            }
        }
        None
    }

    /// The error of a run that could not do the one thing that it was for.
    pub(super) fn into_error(self, is_write: bool) -> TransferError {
        if let Some(error) = self.error(is_write) {
            return error;
        }
        match self.complaints.first() {
            Some(first) if first.cause != Cause::Other => error_of(first, is_write),
            first => TransferError::Failed {
                status: self
                    .failure
                    .unwrap_or_else(|| "no failure reported".to_owned()),
                message: first.map_or_else(String::new, |first| first.message.clone()),
            },
        }
    }
}

/// The error that a complaint about the destination is.
pub(super) fn error_of(complaint: &Complaint, is_write: bool) -> TransferError {
    let message = complaint.message.clone();
    let paused = |reason, message| TransferError::Paused { reason, message };
    match complaint.cause {
        Cause::LoginRefused => paused(PauseReason::LoginRefused, message),
        Cause::HostChanged => paused(PauseReason::HostChanged, message),
        Cause::Full => paused(PauseReason::Full, message),
        Cause::ReadOnly if is_write => paused(PauseReason::ReadOnly, message),
        Cause::ReadOnly => paused(PauseReason::LoginRefused, message),
        Cause::Settings => TransferError::Settings(message),
        Cause::Unreachable => TransferError::unreachable_by_rclone(&message),
        Cause::WriteRefused | Cause::Missing | Cause::Other => TransferError::Failed {
            status: "refused".to_owned(),
            message,
        },
    }
}

impl Remote {
    pub(super) fn complaint(&self, path: Option<String>, message: &str) -> Complaint {
        let prepared = &self.prepared;
        let mut ours = vec![prepared.path.as_str(), prepared.host.as_str()];
        ours.extend(path.as_deref());
        // The longest first, for one may be part of another.
        ours.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Complaint {
            cause: cause(message, &ours),
            message: prepared.scrubber.clean(message),
            path,
        }
    }

    pub(super) fn error(&self, error: ProcessError) -> TransferError {
        match error {
            ProcessError::NotFound { program } => TransferError::RcloneMissing { program },
            ProcessError::TimedOut { .. } => TransferError::TimedOut,
            ProcessError::Stalled { idle_s, .. } => TransferError::Stalled(idle_s),
            ProcessError::Cancelled => TransferError::Cancelled,
            ProcessError::Spawn { source, .. } => TransferError::Io(source),
            error @ (ProcessError::Failed { .. } | ProcessError::Output { .. }) => {
                TransferError::Failed {
                    status: "broken".to_owned(),
                    message: self.prepared.scrubber.clean(&error.to_string()),
                }
            }
        }
    }
}
