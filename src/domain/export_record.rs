//! The record of exports: who made, took, verified and deleted which archive.

use chrono::{DateTime, Utc};

use super::archive::Archive;

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
