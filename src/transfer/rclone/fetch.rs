//! Brings files back: into a hidden folder beside their targets first, then under their names once they are proved.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::arrival::{settle, sync_folder};
use super::super::paths::{is_plain, random_name};
use super::super::sweep::{lock_folder, sweep_fetches};
use super::super::{BatchProgress, FileFault, TransferError, Wanted};
use super::Remote;
use super::classify::Cause;
use super::command::{Limit, Run};
use super::ended::{Ended, error_of};
use super::running::Event;
use crate::domain::backup::destination::PauseReason;
use crate::domain::backup::object::BackupFaultKind;
use crate::process::Heard;

/// How often a file is asked for before it counts as failed.
const ROUNDS: usize = 3;

type Outcome = Result<(), FileFault>;

impl Remote {
    /// Brings files back; see [`super::super::Place::fetch`].
    pub(in super::super) async fn fetch(
        &self,
        wanted: &[Wanted],
        transfers: u32,
        bandwidth: watch::Receiver<u64>,
        cancel: &CancellationToken,
        mut on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Outcome>, TransferError> {
        self.ready(false, cancel).await?;
        let mut outcomes: Vec<Option<Outcome>> = wanted
            .iter()
            .map(|file| {
                (!is_plain(&file.expected.path)).then(|| {
                    Err(FileFault::new(
                        BackupFaultKind::NameUnsafe,
                        "its path is not a plain one",
                    ))
                })
            })
            .collect();
        let mut limit = Limit::watching(bandwidth);
        let mut progress = BatchProgress::default();
        for round in 0..ROUNDS {
            let outstanding: Vec<usize> = (0..wanted.len())
                .filter(|index| may_change(&outcomes[*index]))
                .collect();
            let Some(first) = outstanding.first() else {
                break;
            };
            if round > 0 {
                progress.retries += outstanding.len() as u64;
            }
            let staging = Staging::beside(&wanted[*first].target)?;
            let files: Vec<&Wanted> = outstanding.iter().map(|index| &wanted[*index]).collect();
            let before = progress.clone();
            let ended = self
                .fetch_round(
                    &files,
                    &staging,
                    transfers,
                    &mut limit,
                    cancel,
                    &mut progress,
                    &mut on_progress,
                )
                .await?;
            let settled = settle_all(&files, &staging.folder, cancel).await?;
            let mut any = false;
            for (index, outcome) in outstanding.iter().zip(settled) {
                any |= matches!(outcome, Some(Ok(())));
                outcomes[*index] =
                    Some(outcome.unwrap_or_else(|| Err(absent(&ended, &wanted[*index]))));
            }
            progress.files_done = outcomes
                .iter()
                .filter(|outcome| matches!(outcome, Some(Ok(()))))
                .count() as u64;
            progress.bytes_moved = progress.bytes_moved.max(before.bytes_moved);
            progress.current.clear();
            on_progress(progress.clone());
            if let Some(error) = ended.error(false) {
                return Err(of_this_disk(error));
            }
            let unreachable = ended
                .complaints
                .iter()
                .find(|said| said.cause == Cause::Unreachable);
            if ended.failure.is_some()
                && let Some(said) = unreachable
                && (!any || round + 1 == ROUNDS)
                && outcomes.iter().any(may_change)
            {
                return Err(error_of(said, false));
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one step of a loop, which lends it all that it keeps"
    )]
    async fn fetch_round(
        &self,
        files: &[&Wanted],
        staging: &Staging,
        transfers: u32,
        limit: &mut Limit,
        cancel: &CancellationToken,
        progress: &mut BatchProgress,
        on_progress: &mut (dyn FnMut(BatchProgress) + Send),
    ) -> Result<Ended, TransferError> {
        let largest = files.iter().map(|file| file.expected.size_bytes).max();
        let transfers = transfers.max(1);
        let mut arrived = BTreeSet::new();
        let done_before = progress.files_done;
        loop {
            let paths = files
                .iter()
                .map(|file| file.expected.path.as_str())
                .filter(|path| !arrived.contains(*path));
            let before = progress.bytes_moved;
            let mut now = Vec::new();
            let ended = Run::new(self, "copy", Self::patience())?
                .arguments(["--no-traverse", "--no-check-dest", "--log-level=INFO"])
                // Several streams into one file would leave holes that look like its end.
                .arguments(["--multi-thread-streams=0"])
                .arguments([
                    format!("--transfers={transfers}"),
                    format!("--checkers={transfers}"),
                ])
                .files(paths)
                .arguments([self.prepared.root.as_ref(), staging.folder.as_os_str()])
                // What a destination says of a size is not believed.
                .file_max_bytes(largest.unwrap_or(0) + (1 << 20))
                .run_within(limit, cancel, |event| {
                    match event {
                        Event::Copied(path) => {
                            now.push(path.to_owned());
                            progress.files_done += 1;
                        }
                        Event::Stats { bytes, current } => {
                            progress.bytes_moved = before + bytes;
                            progress.current = current.to_vec();
                        }
                        Event::Line(_) => return Heard::Nothing,
                    }
                    on_progress(progress.clone());
                    Heard::Nothing
                })
                .await?;
            arrived.extend(now);
            if !ended.limit_changed || arrived.len() == files.len() {
                progress.files_done = done_before;
                return Ok(ended);
            }
        }
    }
}

/// What is full when files are brought back is this machine's disk.
fn of_this_disk(error: TransferError) -> TransferError {
    match error {
        TransferError::Paused {
            reason: PauseReason::Full,
            message,
        } => io::Error::new(io::ErrorKind::StorageFull, message).into(),
        error => error,
    }
}

/// Whether another round may bring a file.
fn may_change(outcome: &Option<Outcome>) -> bool {
    match outcome {
        None => true,
        Some(Err(fault)) => fault.kind == BackupFaultKind::TransferFailed,
        Some(Ok(())) => false,
    }
}

/// Why a file did not come.
fn absent(ended: &Ended, wanted: &Wanted) -> FileFault {
    let path = wanted.expected.path.as_str();
    match ended.of(path) {
        Some(said) if said.cause != Cause::Missing => {
            FileFault::new(BackupFaultKind::TransferFailed, &said.message)
        }
        // rclone says nothing of a file that it was asked for and did not find.
        _ if ended.failure.is_none() || ended.has(Cause::Missing) => FileFault::new(
            BackupFaultKind::ObjectMissing,
            "it is not at the destination",
        ),
        _ => FileFault::new(
            BackupFaultKind::TransferFailed,
            ended.failure.as_deref().unwrap_or("rclone ended early"),
        ),
    }
}

/// Proves the files that came and gives them their names; `None` for those that did not come.
async fn settle_all(
    files: &[&Wanted],
    staging: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<Option<Outcome>>, TransferError> {
    let files: Vec<Wanted> = files.iter().map(|file| (*file).clone()).collect();
    let staging = staging.to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut settling = tokio::task::spawn_blocking(move || -> Result<_, TransferError> {
        let mut folders = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(files.len());
        for file in &files {
            let part = staging.join(&file.expected.path);
            // A link would be one that the destination made.
            if !std::fs::symlink_metadata(&part).is_ok_and(|found| found.is_file()) {
                outcomes.push(None);
                continue;
            }
            let goes_on = || !stopped.load(Ordering::Relaxed);
            match settle(&part, &file.expected, &file.target, goes_on) {
                Ok(outcome) => {
                    if outcome.is_ok() {
                        folders.extend(file.target.parent().map(Path::to_owned));
                    }
                    outcomes.push(Some(outcome));
                }
                Err(_) if stopped.load(Ordering::Relaxed) => return Err(TransferError::Cancelled),
                Err(error) => return Err(error.into()),
            }
        }
        for folder in folders {
            sync_folder(&folder)?;
        }
        Ok(outcomes)
    });
    tokio::select! {
        settled = &mut settling => settled.map_err(io::Error::other)?,
        () = cancel.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            // It stops within a chunk; the folder that it works in must not go before.
            let _ = settling.await;
            Err(TransferError::Cancelled)
        }
    }
}

/// A hidden folder on the file system of the targets, locked for as long as it is used: so one that a killed process left
/// behind is told from one that is in use.
struct Staging {
    folder: PathBuf,
    _lock: File,
}

impl Staging {
    fn beside(target: &Path) -> io::Result<Self> {
        let target = std::path::absolute(target)?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        sweep_fetches(parent)?;
        loop {
            let folder = parent.join(format!(".fetch.{}.part", random_name()?));
            std::fs::create_dir(&folder)?;
            // Another process may take it for one that was left in the moment before it is locked.
            if let Some(lock) = lock_folder(&folder)?
                && folder.try_exists()?
            {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "a folder of a transfer could not be removed");
        }
    }
}
