//! Gets files to a destination, checks them there, and brings them back. Knows no catalog row, no ledger and no gRPC.
//!
//! A [`Place`] is a destination that can be worked with: a local folder, which we write ourselves, or anything that
//! rclone speaks to. Paths at a place are relative to the destination's path or prefix and always have `/` between
//! their names.
//!
//! `place` is the door; behind it are `local` and `rclone`. `source` hashes a file and
//! `side_by_side` several at once, with the MD5s of `md5_lanes`; `arrival` is the last step of what is brought
//! back, `paths` knows names, `host_keys` asks SSH servers who they are.

mod arrival;
mod host_keys;
mod local;
mod md5_lanes;
mod network;
mod paths;
mod place;
mod rclone;
mod side_by_side;
mod source;
mod sweep;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use host_keys::host_keys;
pub use network::{check_host, host_of};
pub use paths::{is_plain, is_unfinished};
pub use place::{Engine, Place};
pub use rclone::{DescriptorLinks, EarlyPut, rclone_version, sweep_scratch};
pub use sweep::sweep_restored;

use crate::domain::backup::destination::PauseReason;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};
use crate::domain::job::Reason;
use crate::hashing::Sha256;

/// What is said of a file whose path is taken.
const OTHERS_FILE: &str =
    "another file that the ledger does not know has its name there; it was left as it is";

/// A file to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The open source. It is read from its beginning and may have no name any more.
    pub file: Arc<File>,
    /// Where it goes.
    pub path: String,
    /// Its size when it was opened; a source that has another one when it is read is a fault.
    pub size_bytes: u64,
    /// Whether it is held as evidence, which an object lock may treat differently.
    pub is_evidence: bool,
    /// Whether it may take the place of a file that is there. Otherwise one with other bytes is left as it is.
    pub replaces: bool,
}

/// How files are sent.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// Files at the same time.
    pub transfers: u32,
    /// Most bytes a second over all files; 0 is no limit. A change holds at once.
    pub bandwidth: watch::Receiver<u64>,
    /// Weakest check that a file must pass before it counts as sent.
    pub check: BackupCheck,
    /// How long a batch may take in all.
    pub deadline: Duration,
    /// How long a batch may stand still.
    pub stall_limit: Duration,
}

/// How far a batch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchProgress {
    /// Files that are whole at the other side; their check may be outstanding.
    pub files_done: u64,
    /// Bytes moved, retries included.
    pub bytes_moved: u64,
    /// Transfers of single files that had to be repeated.
    pub retries: u64,
    /// Paths that are on their way.
    pub current: Vec<String>,
}

/// What became of a file that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of the source, as it was read.
    pub sha256: Sha256,
    /// The strongest check that it passed.
    pub check: BackupCheck,
}

/// What is wrong with a single file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// What is wrong.
    pub kind: BackupFaultKind,
    /// The size found, where something was found.
    pub found_size_bytes: Option<u64>,
    /// The hash found, where bytes were read.
    pub found_sha256: Option<Sha256>,
    /// For people, without secrets.
    pub message: String,
}

impl FileFault {
    /// A fault without any finding.
    pub(crate) fn new(kind: BackupFaultKind, message: &str) -> Self {
        Self {
            kind,
            found_size_bytes: None,
            found_sha256: None,
            message: message.to_owned(),
        }
    }
}

/// What a file at a place should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// A file that a place has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
}

/// A file to be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is, and what it should be.
    pub expected: Expected,
    /// The file that it becomes. Its folder exists; nothing is there yet.
    pub target: PathBuf,
}

/// Room at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub free_bytes: Option<u64>,
    /// Bytes in all.
    pub total_bytes: Option<u64>,
}

/// What a trial of a place showed, step by step.
#[derive(Debug, Default)]
pub struct Trial {
    /// It could be listed.
    pub is_listed: bool,
    /// A file could be written.
    pub is_written: bool,
    /// It could be read back with the same bytes.
    pub is_read_back: bool,
    /// It could be deleted.
    pub is_deleted: bool,
    /// Room there.
    pub space: Space,
    /// Host keys that the server showed, as in `SftpSettings.host_keys`.
    pub host_keys: Vec<String>,
    /// What ended the trial early.
    pub error: Option<TransferError>,
}

/// A batch that ended before every file of it was tried.
#[derive(Debug)]
pub struct BrokenOff {
    /// Why.
    pub cause: TransferError,
    /// What is known of its files in their order; `None` where nothing is. What is stored here is as good as in a batch
    /// that went through.
    pub outcomes: Vec<Option<Result<Stored, FileFault>>>,
}

impl From<TransferError> for BrokenOff {
    fn from(cause: TransferError) -> Self {
        Self {
            cause,
            outcomes: Vec::new(),
        }
    }
}

/// Why a place cannot be worked with. Faults of single files are [`FileFault`]s.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// rclone is not installed: install it, or say where it is.
    #[error("rclone binary `{program}` is not available; install rclone or set HELDAR_RCLONE_BIN")]
    RcloneMissing {
        /// The name or path that was configured.
        program: String,
    },
    /// rclone is too old to be trusted: install a newer one.
    #[error(
        "rclone binary `{program}` is version {found}; {needed} or newer is needed, because older ones leave half a file under its final name"
    )]
    RcloneTooOld {
        /// The name or path that was configured.
        program: String,
        /// Its version.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The destination must be looked at by a person: it is paused until then.
    #[error("{message}; {}", reason.advice())]
    Paused {
        /// The cause.
        reason: PauseReason,
        /// For people, without secrets.
        message: String,
    },
    /// The settings cannot be used: change them.
    #[error("{0}")]
    Settings(String),
    /// The destination could not be reached, or broke off: trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// rclone failed in a way that another attempt may mend or not.
    #[error("rclone failed ({status}): {message}")]
    Failed {
        /// Exit code or signal.
        status: String,
        /// The end of what it said, without secrets.
        message: String,
    },
    /// Nothing moved for too long: trying again may help.
    #[error("nothing moved for {0} s")]
    Stalled(u64),
    /// It took longer than it may.
    #[error("backup job timed out")]
    TimedOut,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// This machine's disk failed.
    #[error("a file of this machine cannot be read or written")]
    Io(#[from] std::io::Error),
}

impl TransferError {
    /// The reason that is given to those who wanted it done.
    pub fn reason(&self) -> Reason {
        match self {
            Self::RcloneMissing { .. } | Self::RcloneTooOld { .. } => Reason::RcloneUnavailable,
            Self::Paused { .. } => Reason::DestinationDisabled,
            Self::Settings(_) => Reason::DestinationUnusable,
            Self::Unreachable(_) | Self::Stalled(_) => Reason::DestinationUnreachable,
            Self::Failed { .. } => Reason::RcloneFailed,
            Self::TimedOut | Self::Cancelled => Reason::TimedOut,
            Self::Io(_) => Reason::Internal,
        }
    }

    /// [`TransferError::Unreachable`] in the words of a destination that rclone speaks to.
    fn unreachable_by_rclone(message: &str) -> Self {
        Self::Unreachable(format!("rclone could not reach destination: {message}"))
    }
}
