//! Files that a ledger names, fetched into a folder: what is there already stays, and nothing is written over.

use std::fs::File;
use std::io;
use std::path::Path;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::run::{current, named};
use super::super::{BackupError, FAULTS_LISTED};
use super::phase;
use crate::domain::backup::ledger::LedgerLine;
use crate::domain::backup::naming;
use crate::domain::backup::object::{BackupFault, BackupFaultKind};
use crate::domain::backup::run::RestoreSummary;
use crate::domain::job::Progress;
use crate::packing;
use crate::transfer::{BatchProgress, Expected, Place, TransferError, Wanted};
use crate::work::output::free_bytes;
use crate::work::source_file::open_beneath;

/// Files that are fetched in one go.
const AT_ONCE: usize = 500;

/// Disk that must stay free beside what is restored.
const HEADROOM_BYTES: u64 = 1 << 30;

/// How files are fetched, and where to.
pub(super) struct Fetching<'a> {
    pub(super) place: &'a Place,
    pub(super) folder: &'a Path,
    pub(super) transfers: u32,
    pub(super) bandwidth: watch::Receiver<u64>,
    pub(super) cancel: &'a CancellationToken,
}

impl Fetching<'_> {
    /// Fetches what is not there yet; answers the lines whose files are in the folder now, whole and right.
    pub(super) async fn all(
        &self,
        lines: Vec<LedgerLine>,
        summary: &mut RestoreSummary,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<LedgerLine>, BackupError> {
        let folder = self.folder.to_owned();
        std::fs::create_dir_all(&folder)?;
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        let total = lines.len() as u64;
        for line in lines {
            if self.cancel.is_cancelled() {
                return Err(TransferError::Cancelled.into());
            }
            on_progress(Progress {
                files_done: (there.len() + missing.len()) as u64,
                files_total: total,
                ..phase("looking at what is there")
            });
            let Some(sha256) =
                packing::parse_sha256(&line.sha256).filter(|_| naming::is_safe(&line.path))
            else {
                let what = "the ledger's name or hash of this file cannot be right";
                note(summary, fault(&line, BackupFaultKind::NameUnsafe, what));
                continue;
            };
            let (below, path, cancel) = (folder.clone(), line.path.clone(), self.cancel.clone());
            let found = tokio::task::spawn_blocking(move || look(&below, &path, &cancel))
                .await
                .map_err(io::Error::other)??;
            match found {
                Found::Nothing => missing.push((line, sha256)),
                Found::File(size_bytes, found)
                    if size_bytes == line.size_bytes && found == sha256 =>
                {
                    // An attempt that was cut short may have left it without.
                    set_time(&folder.join(&line.path), &line)?;
                    summary.files_present += 1;
                    there.push(line);
                }
                Found::File(..) | Found::Other => {
                    let what = "another file has its name; it was left as it is";
                    note(summary, fault(&line, BackupFaultKind::NameTaken, what));
                }
            }
        }
        let bytes_total: u64 = missing.iter().map(|(line, _)| line.size_bytes).sum();
        self.check_room(bytes_total)?;
        while !missing.is_empty() {
            let rest = missing.split_off(missing.len().min(AT_ONCE));
            let some = std::mem::replace(&mut missing, rest);
            there.extend(self.some(some, bytes_total, summary, on_progress).await?);
        }
        Ok(there)
    }

    fn check_room(&self, bytes: u64) -> Result<(), BackupError> {
        let need_bytes = bytes.saturating_add(HEADROOM_BYTES);
        let free_bytes = free_bytes(self.folder)?;
        if bytes > 0 && free_bytes < need_bytes {
            return Err(BackupError::DiskFull {
                need_bytes,
                free_bytes,
            });
        }
        Ok(())
    }

    async fn some(
        &self,
        some: Vec<(LedgerLine, [u8; 32])>,
        bytes_total: u64,
        summary: &mut RestoreSummary,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<LedgerLine>, BackupError> {
        let mut wanted = Vec::with_capacity(some.len());
        for (line, sha256) in &some {
            let target = self.folder.join(&line.path);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            wanted.push(Wanted {
                expected: Expected {
                    path: line.path.clone(),
                    size_bytes: line.size_bytes,
                    sha256: *sha256,
                },
                target,
            });
        }
        let (files_before, bytes_before, files_total) = (
            summary.files_restored + summary.files_present + summary.files_failed,
            summary.bytes_restored,
            summary.files_selected,
        );
        let outcomes = self
            .place
            .fetch(
                &wanted,
                self.transfers,
                self.bandwidth.clone(),
                self.cancel,
                |batch: BatchProgress| {
                    let bytes_done = bytes_before + batch.bytes_moved;
                    on_progress(Progress {
                        files_done: files_before + batch.files_done,
                        files_total,
                        bytes_done,
                        bytes_total,
                        fraction: Some((bytes_done as f64 / bytes_total.max(1) as f64).min(1.0)),
                        retries: batch.retries,
                        current_item: current(&batch.current),
                        ..phase("fetching")
                    });
                },
            )
            .await?;
        let mut there = Vec::with_capacity(some.len());
        for (((line, _), wanted), outcome) in some.into_iter().zip(wanted).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    set_time(&wanted.target, &line)?;
                    summary.files_restored += 1;
                    summary.bytes_restored += line.size_bytes;
                    there.push(line);
                }
                Err(found) => {
                    let about = fault(&line, BackupFaultKind::TransferFailed, "");
                    note(summary, named(about, found, &line.path));
                }
            }
        }
        Ok(there)
    }
}

/// Gives a file the time that it had at the recorder, by which the ledger tells a changed file from the one that was sent.
fn set_time(path: &Path, line: &LedgerLine) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_modified(line.modified_time.into())
}

/// What has a name in the folder of a restore.
enum Found {
    Nothing,
    File(u64, [u8; 32]),
    /// A folder, a link, or what cannot be read.
    Other,
}

fn look(folder: &Path, path: &str, cancel: &CancellationToken) -> Result<Found, BackupError> {
    let file = match open_beneath(folder, Path::new(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(_) => return Ok(Found::Other),
    };
    let size_bytes = file.metadata()?.len();
    match packing::sha256(&file, size_bytes, || cancel.is_cancelled()) {
        Ok(Some(sha256)) => Ok(Found::File(size_bytes, sha256)),
        Ok(None) => Err(TransferError::Cancelled.into()),
        Err(_) => Ok(Found::Other),
    }
}

fn fault(line: &LedgerLine, kind: BackupFaultKind, what: &str) -> BackupFault {
    BackupFault {
        kind,
        segment_id: line.segment_id.clone(),
        camera_id: line.camera_id.clone(),
        remote_path: line.path.clone(),
        expected_size_bytes: Some(line.size_bytes),
        found_size_bytes: None,
        expected_sha256: line.sha256.clone(),
        found_sha256: String::new(),
        message: format!("{}: {what}", line.path.escape_debug()),
    }
}

fn note(summary: &mut RestoreSummary, fault: BackupFault) {
    summary.files_failed += 1;
    if summary.faults.len() < FAULTS_LISTED {
        summary.faults.push(fault);
    }
}
