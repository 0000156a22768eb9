//! The step that makes sure: what stands under the paths of a batch, compared with its sources.

use std::sync::Arc;

use super::super::super::source::Digests;
use super::super::super::{FileFault, OTHERS_FILE, Sha256, Stored, TransferError};
use super::super::check::{Claim, Comparing};
use super::super::ended::{Complaint, Ended};
use super::super::look::Look;
use super::super::settings::SINGLE_PART_MAX_BYTES;
use super::Sending;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};

impl Sending<'_> {
    /// Settles the files whose sources were not what they should be.
    fn take_sources(&mut self) {
        for (index, found) in self.digests.iter().enumerate() {
            let fault = match found {
                Some(Ok(found)) if found.size_bytes != self.batch[index].size_bytes => FileFault {
                    found_size_bytes: Some(found.size_bytes),
                    ..FileFault::new(
                        BackupFaultKind::SourceUnreadable,
                        "its size changed while it was sent",
                    )
                },
                Some(Err(message)) => FileFault::new(BackupFaultKind::SourceUnreadable, message),
                _ => continue,
            };
            self.outcomes[index].get_or_insert(Err(fault));
        }
    }

    /// Looks at what stands under the paths of files, and settles those of which it is the right thing.
    pub(super) async fn look(
        &mut self,
        files: &[usize],
        ended: &Ended,
    ) -> Result<(), TransferError> {
        self.progress.current.clear();
        let (sent, found): (Vec<usize>, Vec<usize>) =
            files.iter().partition(|index| self.is_ours(**index));
        // Whatever check is wanted of what is sent: what stood there before is this file only if its bytes are.
        let check = self.options.check;
        let of_found = check.max(BackupCheck::Hash);
        let groups = if check == of_found {
            vec![(files.to_vec(), check)]
        } else {
            vec![(sent, check), (found, of_found)]
        };
        for (group, check) in groups {
            for (index, sha256, outcome) in self.compare(&group, check).await? {
                self.settle(index, sha256, outcome, ended);
            }
        }
        self.progress.files_done = self.arrived.len() as u64;
        (self.on_progress)(self.progress.clone());
        Ok(())
    }

    /// Whether what stands under the path of a file may be there because of this batch or one before it. Otherwise rclone
    /// left it alone: a run sent it that ended before it could write that down, or it is somebody else's.
    fn is_ours(&self, index: usize) -> bool {
        let file = &self.batch[index];
        file.replaces || self.begun.contains(&file.path)
    }

    fn settle(
        &mut self,
        index: usize,
        sha256: Sha256,
        outcome: Result<BackupCheck, FileFault>,
        ended: &Ended,
    ) {
        let path = &self.batch[index].path;
        match outcome {
            Ok(check) => {
                self.arrived.insert(path.clone());
                self.outcomes[index] = Some(Ok(Stored { sha256, check }));
            }
            Err(fault) if fault.kind == BackupFaultKind::ObjectChanged && !self.is_ours(index) => {
                self.outcomes[index] = Some(Err(FileFault {
                    kind: BackupFaultKind::NameTaken,
                    message: OTHERS_FILE.to_owned(),
                    ..fault
                }));
            }
            Err(fault) => {
                self.arrived.remove(path);
                self.last[index] = Some(as_sent(&fault, ended.of(path)));
            }
        }
    }

    fn comparing(&mut self, check: BackupCheck) -> Comparing<'_> {
        Comparing {
            check,
            transfers: self.options.transfers,
            limit: &mut self.limit,
            patience: self.patience,
            cancel: self.cancel,
            early: self.early.take(),
        }
    }

    /// The look with which a comparison of these files begins.
    pub(super) fn first_look(&self, files: &[usize], check: BackupCheck) -> Look {
        let files = || files.iter().map(|index| &self.batch[*index]);
        let paths: Vec<&str> = files().map(|file| file.path.as_str()).collect();
        let has_md5 = self.remote.prepared.reports_md5
            && files().any(|file| file.size_bytes <= SINGLE_PART_MAX_BYTES);
        Look::first(&paths, check, has_md5)
    }

    /// Compares what stands under the paths of files with the files, as far as these could be read.
    async fn compare(
        &mut self,
        files: &[usize],
        check: BackupCheck,
    ) -> Result<Vec<(usize, Sha256, Result<BackupCheck, FileFault>)>, TransferError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let batch = Arc::clone(&self.batch);
        let paths: Vec<&str> = files
            .iter()
            .map(|index| batch[*index].path.as_str())
            .collect();
        let (remote, patience, cancel) = (self.remote, self.patience, self.cancel);
        // What is there can be asked for while the last sources are hashed.
        let hashing = self.hashing.take();
        let hashed = async {
            match hashing {
                Some(hashing) => Ok(Some(hashing.finish(patience, cancel).await?)),
                None => Ok(None),
            }
        };
        let first_look = self.first_look(files, check);
        let mut comparing = self.comparing(check);
        let asked = remote.reported(&paths, first_look, &mut comparing);
        let (digests, reported) = tokio::try_join!(hashed, asked)?;
        self.early = comparing.early.take();
        if let Some(digests) = digests {
            self.digests = digests;
            self.take_sources();
        }
        let hashed: Vec<(usize, Digests)> = files
            .iter()
            .filter(|index| self.outcomes[**index].is_none())
            .filter_map(|index| match self.digests.get(*index) {
                Some(Some(Ok(found))) => Some((*index, *found)),
                _ => None,
            })
            .collect();
        let claims: Vec<Claim<'_>> = hashed
            .iter()
            .map(|(index, found)| Claim {
                path: &batch[*index].path,
                size_bytes: batch[*index].size_bytes,
                sha256: found.sha256,
                md5: found
                    .md5
                    .filter(|_| batch[*index].size_bytes <= SINGLE_PART_MAX_BYTES),
            })
            .collect();
        let outcomes = remote
            .compare_reported(
                &claims,
                reported.as_ref(),
                self.comparing(check),
                &mut |_| {},
            )
            .await?;
        Ok(hashed
            .into_iter()
            .zip(outcomes)
            .map(|((index, found), outcome)| (index, found.sha256, outcome))
            .collect())
    }
}

/// A fault of a comparison, in the words of sending.
fn as_sent(fault: &FileFault, said: Option<&Complaint>) -> FileFault {
    let (kind, message) = match (fault.kind, said) {
        (BackupFaultKind::ObjectChanged, _) => {
            (BackupFaultKind::CheckFailed, fault.message.clone())
        }
        (_, Some(said)) => (BackupFaultKind::TransferFailed, said.message.clone()),
        (_, None) => (BackupFaultKind::TransferFailed, fault.message.clone()),
    };
    FileFault {
        kind,
        message,
        ..fault.clone()
    }
}
