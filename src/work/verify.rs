//! Verify jobs: of an archive, or of a destination.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::archive::{ArchiveVerificationWork, ArchiveWork};
use super::backup::{BackupVerificationWork, BackupWork};
use super::{Attempt, Done, Work, WorkError};
use crate::domain::job::JobSpec;

/// Verifies what the spec of the job names.
pub struct VerifyWork {
    archives: ArchiveVerificationWork,
    backups: BackupVerificationWork,
}

impl VerifyWork {
    /// Verifies what `archives` made and where `backups` sent.
    pub fn new(archives: Arc<ArchiveWork>, backups: Arc<BackupWork>) -> Self {
        Self {
            archives: ArchiveVerificationWork::new(archives),
            backups: BackupVerificationWork::new(backups),
        }
    }
}

impl Work for VerifyWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        match attempt.spec {
            JobSpec::VerifyBackup(_) => self.backups.run(attempt),
            _ => self.archives.run(attempt),
        }
    }
}
