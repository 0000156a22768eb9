//! Reading archives again: a job of its own, because it takes as long as reading the disk.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::making::work_error;
use super::{ArchiveError, ArchiveWork, blocking};
use crate::clock;
use crate::domain::archive::ArchiveVerification;
use crate::domain::export_record::{ExportAction, ExportRecord};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::packing::{self, Stop, VerifyError};
use crate::work::{Attempt, Done, Work, WorkError};

/// Verifies archives.
pub struct ArchiveVerificationWork {
    archives: Arc<ArchiveWork>,
}

impl ArchiveVerificationWork {
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
        let store = &self.archives.store;
        let store_failed = |error| work_error(ArchiveError::Store(error));
        let archive = store
            .archive(&spec.archive_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| {
                WorkError::Failed(Notice::new(
                    Reason::ArchiveNotFound,
                    format!("archive {} not found", spec.archive_id),
                ))
            })?;
        let file = self
            .archives
            .open_as_it_is(&archive)
            .await
            .map_err(work_error)?;
        let (archives, here) = (Arc::clone(&self.archives), attempt.clone());
        let findings = blocking(move || {
            let on_bytes = |done: u64, total: u64| {
                if here.cancel.is_cancelled() {
                    return Err(Stop);
                }
                here.report(Progress {
                    phase: "verifying".to_owned(),
                    bytes_done: done,
                    bytes_total: total,
                    fraction: Some(done as f64 / total.max(1) as f64),
                    ..Progress::default()
                });
                Ok(())
            };
            packing::verify(&file, &archives.signer.known, on_bytes).map_err(|error| match error {
                VerifyError::Stopped => ArchiveError::Cancelled,
                VerifyError::Read(error) => ArchiveError::Folder(error),
                VerifyError::NotAZip => ArchiveError::Corrupted("is no zip any more"),
            })
        })
        .await
        .map_err(work_error)?;
        let verification = ArchiveVerification {
            archive_id: archive.id.clone(),
            signature: findings.signature,
            signing_key_fingerprint: findings.signing_key_fingerprint,
            entries_checked: findings.entries_checked,
            bytes_checked: findings.bytes_checked,
            defects: findings.defects,
            defect_count: findings.defect_count,
            verify_time: clock::now(),
        };
        let verdict = if verification.is_intact() {
            "intact"
        } else {
            "damaged"
        };
        let record = ExportRecord::of(&archive, ExportAction::Verified, verification.verify_time);
        store
            .record_export(&record.by("", verdict))
            .await
            .map_err(store_failed)?;
        Ok(Done {
            result: JobResult::ArchiveVerification(Box::new(verification)),
            warnings: Vec::new(),
        })
    }
}

impl Work for ArchiveVerificationWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move { self.verify(&attempt).await }.boxed()
    }
}
