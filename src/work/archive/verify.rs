//! Reading archives again: a job of its own, because it takes as long as reading the disk.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::making::work_error;
use super::{ArchiveError, ArchiveWork};
use crate::domain::job::{JobSpec, Notice, Reason};
use crate::work::{Attempt, Done, Work, WorkError};

/// Verifies archives.
pub struct VerifyWork {
    archives: Arc<ArchiveWork>,
}

impl VerifyWork {
    /// Verifies what `archives` made.
    pub fn new(archives: Arc<ArchiveWork>) -> Self {
        Self { archives }
    }

    async fn verify(&self, attempt: &Attempt) -> Result<Done, WorkError> {
        let JobSpec::VerifyArchive(spec) = &attempt.spec else {
            return Err(WorkError::Failed(Notice::new(
                Reason::Internal,
                "not a verification",
            )));
        };
        let store_failed = |error| work_error(ArchiveError::Store(error));
        let archive = self
            .archives
            .store
            .archive(&spec.archive_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| {
                WorkError::Failed(Notice::new(
                    Reason::ArchiveNotFound,
                    format!("archive {} not found", spec.archive_id),
                ))
            })?;
        let _file = self.archives.open(&archive).await.map_err(work_error)?;
        todo!()
    }
}

impl Work for VerifyWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move { self.verify(&attempt).await }.boxed()
    }
}
