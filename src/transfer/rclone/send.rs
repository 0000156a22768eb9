//! Sends a batch: one rclone for all of it, then a look at what arrived, then once more for what did not.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::source::Digests;
use super::super::{
    BatchProgress, BrokenOff, FileFault, OTHERS_FILE, Outgoing, SendOptions, Sha256, Stored,
    TransferError, paths::is_plain,
};
use super::Remote;
use super::check::{Claim, Comparing};
use super::classify::Cause;
use super::command::{Complaint, Ended, Event, Limit, Patience, Run, error_of};
use super::hashing::{Hashing, SourceDigests};
use super::settings::SINGLE_PART_MAX_BYTES;
use crate::domain::backup::destination::{DestinationKind, PauseReason};
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};
use crate::process::Heard;

/// How often a file is sent before it counts as failed.
const ROUNDS: usize = 3;
/// Pause before another round, times the number of those before.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// A destination with less room than a file and this is full.
const HEADROOM_BYTES: u64 = 1 << 20;
/// rclone sets times of folders unless it is told not to, which it understands since this version.
const FOLDER_TIMES_SINCE: (u32, u32) = (1, 66);

type Outcome = Result<Stored, FileFault>;

/// Which locks new objects get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locks {
    /// Those of the settings.
    AsSet,
    /// None: the object goes again at once.
    Never,
}

impl Remote {
    /// Sends files; see [`super::super::Place::send`].
    pub(in super::super) async fn send(
        &self,
        batch: Vec<Outgoing>,
        options: &SendOptions,
        cancel: &CancellationToken,
        mut on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Outcome>, BrokenOff> {
        self.send_locked(batch, options, Locks::AsSet, cancel, &mut on_progress)
            .await
    }

    pub(super) async fn send_locked(
        &self,
        batch: Vec<Outgoing>,
        options: &SendOptions,
        locks: Locks,
        cancel: &CancellationToken,
        on_progress: &mut (dyn FnMut(BatchProgress) + Send),
    ) -> Result<Vec<Outcome>, BrokenOff> {
        let version = self.ready(true, cancel).await?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut sending = Sending {
            remote: self,
            options,
            locks,
            version,
            cancel,
            limit: Limit::watching(options.bandwidth.clone()),
            patience: Patience::new(options.deadline, options.stall_limit),
            outcomes: first_look(&batch),
            last: vec![None; batch.len()],
            hashing: None,
            digests: SourceDigests::new(),
            batch: Arc::new(batch),
            progress: BatchProgress::default(),
            arrived: HashSet::new(),
            on_progress,
        };
        match sending.run().await {
            Ok(outcomes) => Ok(outcomes),
            Err(cause) => {
                sending.keep_what_arrived(&cause).await;
                Err(BrokenOff {
                    cause,
                    outcomes: sending.outcomes,
                })
            }
        }
    }
}

/// Finds what is wrong before anything is sent.
fn first_look(batch: &[Outgoing]) -> Vec<Option<Outcome>> {
    let mut taken = HashSet::new();
    batch
        .iter()
        .map(|file| {
            let fault = |kind, message: &str| Some(Err(FileFault::new(kind, message)));
            if !is_plain(&file.path) {
                return fault(BackupFaultKind::NameUnsafe, "its path is not a plain one");
            }
            if !taken.insert(file.path.as_str()) {
                return fault(
                    BackupFaultKind::NameTaken,
                    "another file of this batch goes to the same path",
                );
            }
            match file.file.metadata() {
                Ok(metadata) if metadata.len() == file.size_bytes => None,
                Ok(metadata) => Some(Err(FileFault {
                    found_size_bytes: Some(metadata.len()),
                    ..FileFault::new(
                        BackupFaultKind::SourceUnreadable,
                        "its size changed since it was opened",
                    )
                })),
                Err(error) => fault(BackupFaultKind::SourceUnreadable, &error.to_string()),
            }
        })
        .collect()
}

struct Sending<'a> {
    remote: &'a Remote,
    options: &'a SendOptions,
    locks: Locks,
    version: (u32, u32),
    cancel: &'a CancellationToken,
    limit: Limit,
    patience: Patience,
    batch: Arc<Vec<Outgoing>>,
    outcomes: Vec<Option<Outcome>>,
    /// What was wrong when a file was last tried.
    last: Vec<Option<FileFault>>,
    hashing: Option<Hashing>,
    /// Of the sources, once all are known.
    digests: SourceDigests,
    progress: BatchProgress,
    /// Paths of which rclone says that they are whole at the other side.
    arrived: HashSet<String>,
    on_progress: &'a mut (dyn FnMut(BatchProgress) + Send),
}

impl Sending<'_> {
    async fn run(&mut self) -> Result<Vec<Outcome>, TransferError> {
        self.hashing = Some(Hashing::start(
            Arc::clone(&self.batch),
            self.outcomes.iter().map(Option::is_none).collect(),
            self.with_md5(),
        ));
        let strangers = self.strangers().await?;
        if !strangers.is_empty() {
            self.hash().await?;
            self.settle(&strangers).await?;
        }
        for round in 0..ROUNDS {
            let outstanding = self.outstanding();
            if outstanding.is_empty() {
                break;
            }
            if round > 0 {
                self.progress.retries += outstanding.len() as u64;
                self.pause(round).await?;
            }
            let arrived_before = self.arrived.len();
            let ended = self.copy(&outstanding, round).await?;
            let nothing_arrived = self.arrived.len() == arrived_before;
            if ended.wants_checksums() {
                self.remote.wants_checksums.store(true, Ordering::Relaxed);
            }
            self.fail_as_a_whole(&ended, &outstanding, round, nothing_arrived)
                .await?;
            self.hash().await?;
            self.look(&self.outstanding(), &ended).await?;
        }
        self.take_back().await;
        let last = std::mem::take(&mut self.last);
        let outcomes = std::mem::take(&mut self.outcomes);
        Ok(outcomes
            .into_iter()
            .zip(last)
            .map(|(outcome, last)| {
                outcome.unwrap_or_else(|| {
                    Err(last.unwrap_or_else(|| {
                        FileFault::new(BackupFaultKind::TransferFailed, "it was not sent")
                    }))
                })
            })
            .collect())
    }

    /// Waits until the hashes of all sources are there.
    async fn hash(&mut self) -> Result<(), TransferError> {
        if let Some(hashing) = self.hashing.take() {
            self.digests = hashing.finish(self.patience, self.cancel).await?;
            self.take_sources();
        }
        Ok(())
    }

    /// Looks at what arrived before the batch broke off, where the destination may still answer. This is about sparing the
    /// next run, so that a failure here is none.
    async fn keep_what_arrived(&mut self, cause: &TransferError) {
        let may_answer = matches!(
            cause,
            TransferError::Paused {
                reason: PauseReason::Full | PauseReason::ReadOnly,
                ..
            } | TransferError::Failed { .. }
        );
        let arrived: Vec<usize> = self
            .outstanding()
            .into_iter()
            .filter(|index| self.arrived.contains(&self.batch[*index].path))
            .collect();
        if !may_answer || arrived.is_empty() {
            return;
        }
        let looked = async {
            self.hash().await?;
            self.look(&arrived, &Ended::success()).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, files = arrived.len(), "files that arrived before a batch broke off are sent again");
        }
    }

    /// Files under whose path something stands that the ledger does not know: what a run sent that ended before it could
    /// write it down, or what is somebody else's.
    async fn strangers(&mut self) -> Result<Vec<usize>, TransferError> {
        let new: Vec<usize> = self
            .outstanding()
            .into_iter()
            .filter(|index| !self.batch[*index].replaces)
            .collect();
        if new.is_empty() {
            return Ok(new);
        }
        let batch = Arc::clone(&self.batch);
        let paths: Vec<&str> = new
            .iter()
            .map(|index| batch[*index].path.as_str())
            .collect();
        let comparing = Comparing {
            check: BackupCheck::Size,
            transfers: self.options.transfers,
            limit: &mut self.limit,
            patience: self.patience,
            cancel: self.cancel,
        };
        let found = self.remote.stat(&paths, false, &comparing).await?;
        Ok(new
            .into_iter()
            .filter(|index| found.contains_key(&batch[*index].path))
            .collect())
    }

    /// Takes what stands under the path of a file for it when its bytes are the same, whatever check is wanted of what is
    /// sent, and leaves it alone when they are not.
    async fn settle(&mut self, strangers: &[usize]) -> Result<(), TransferError> {
        let outstanding: Vec<usize> = strangers
            .iter()
            .copied()
            .filter(|index| self.outcomes[*index].is_none())
            .collect();
        let check = match self.options.check {
            BackupCheck::Size => BackupCheck::Hash,
            check => check,
        };
        for (index, sha256, outcome) in self.compare(&outstanding, check).await? {
            self.outcomes[index] = Some(match outcome {
                Ok(check) => {
                    self.arrived.insert(self.batch[index].path.clone());
                    Ok(Stored { sha256, check })
                }
                Err(fault) if fault.kind == BackupFaultKind::ObjectChanged => Err(FileFault {
                    kind: BackupFaultKind::NameTaken,
                    message: OTHERS_FILE.to_owned(),
                    ..fault
                }),
                Err(fault) => Err(fault),
            });
        }
        Ok(())
    }

    /// MD5s are of use only where the place reports them and the caller wants them compared.
    fn with_md5(&self) -> bool {
        self.remote.prepared.reports_md5 && self.options.check == BackupCheck::Hash
    }

    fn outstanding(&self) -> Vec<usize> {
        (0..self.batch.len())
            .filter(|index| self.outcomes[*index].is_none())
            .collect()
    }

    async fn pause(&mut self, round: usize) -> Result<(), TransferError> {
        let pause = ROUND_PAUSE * u32::try_from(round).unwrap_or(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.cancel.cancelled() => Err(TransferError::Cancelled),
        }
    }

    /// One rclone for all that get the same lock.
    async fn copy(&mut self, files: &[usize], round: usize) -> Result<Ended, TransferError> {
        let prepared = &self.remote.prepared;
        let (lock, hold) = match self.locks {
            Locks::AsSet => (prepared.lock.as_slice(), prepared.hold.as_slice()),
            Locks::Never => (&[][..], &[][..]),
        };
        let (held, plain): (Vec<usize>, Vec<usize>) = files
            .iter()
            .copied()
            .partition(|index| !hold.is_empty() && self.batch[*index].is_evidence);
        let mut ended = Ended::success();
        for (group, variables) in [(plain, lock.to_vec()), (held, [lock, hold].concat())] {
            if !group.is_empty() {
                ended.add(self.copy_group(group, &variables, round).await?);
            }
        }
        Ok(ended)
    }

    async fn copy_group(
        &mut self,
        mut group: Vec<usize>,
        variables: &[(&'static str, String)],
        round: usize,
    ) -> Result<Ended, TransferError> {
        loop {
            let workspace = self.remote.workspace()?;
            let files = || group.iter().map(|index| &self.batch[*index]);
            let tree = workspace.link(files().map(|file| (file.path.as_str(), &*file.file)))?;
            let list = workspace.list(files().map(|file| file.path.as_str()))?;
            let transfers = self.options.transfers.max(1);
            let mut run = Run::new(self.remote, &workspace, "copy", self.patience)
                .arguments(["--copy-links", "--no-traverse", "--log-level=INFO"])
                // The ledger says what is there. When a first try failed, something may stand where the file goes.
                .arguments([if round == 0 {
                    "--no-check-dest"
                } else {
                    "--ignore-times"
                }])
                .arguments([
                    format!("--transfers={transfers}"),
                    format!("--checkers={transfers}"),
                ])
                .arguments(["--files-from-raw".as_ref(), list.as_os_str()])
                .arguments([tree.as_os_str(), self.remote.prepared.root.as_ref()])
                .variables(variables);
            if self.options.check > BackupCheck::Size {
                // Every byte is compared below: rclone need not hash what is hashed here already.
                run = run.arguments(["--ignore-checksum"]);
                if !self.remote.wants_checksums.load(Ordering::Relaxed) {
                    run = run.variables(&self.remote.prepared.without_checksums);
                }
            }
            if self.version >= FOLDER_TIMES_SINCE {
                run = run.arguments(["--no-update-dir-modtime"]);
            }
            let before = self.progress.bytes_moved;
            let (progress, arrived) = (&mut self.progress, &mut self.arrived);
            let on_progress = &mut self.on_progress;
            let mut now_arrived = HashSet::new();
            let ended = run
                .run_within(&mut self.limit, self.cancel, |event| {
                    match event {
                        Event::Copied(path) => {
                            now_arrived.insert(path.to_owned());
                            arrived.insert(path.to_owned());
                            progress.files_done = arrived.len() as u64;
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
            if !ended.limit_changed {
                return Ok(ended);
            }
            group.retain(|index| !now_arrived.contains(&self.batch[*index].path));
            if group.is_empty() {
                return Ok(Ended::success());
            }
        }
    }

    /// Ends the batch when what failed is not this file or that one but the destination.
    async fn fail_as_a_whole(
        &mut self,
        ended: &Ended,
        outstanding: &[usize],
        round: usize,
        nothing_arrived: bool,
    ) -> Result<(), TransferError> {
        if let Some(error) = ended.error(true) {
            return Err(error);
        }
        if ended.failure.is_none() {
            return Ok(());
        }
        let said: Vec<&Complaint> = outstanding
            .iter()
            .filter_map(|index| ended.of(&self.batch[*index].path))
            .collect();
        let all = |cause: Cause| {
            nothing_arrived
                && said.len() == outstanding.len()
                && said.iter().all(|said| said.cause == cause)
        };
        let Some(first) = said.first() else {
            return Ok(());
        };
        if all(Cause::Unreachable) {
            return Err(error_of(first, true));
        }
        // Below a folder that could not be made, a server only misses the folder.
        let refused = said.iter().find(|said| said.cause == Cause::ReadOnly);
        if let Some(refused) = refused
            && nothing_arrived
            && said.len() == outstanding.len()
            && said
                .iter()
                .all(|said| matches!(said.cause, Cause::ReadOnly | Cause::Missing))
        {
            return Err(error_of(refused, true));
        }
        if let Some(refused) = said.iter().find(|said| said.cause == Cause::WriteRefused) {
            let largest = outstanding
                .iter()
                .map(|index| self.batch[*index].size_bytes)
                .max();
            let free = self.remote.space(self.cancel).await?.free_bytes;
            let paused = |reason| TransferError::Paused {
                reason,
                message: refused.message.clone(),
            };
            if free.is_some_and(|free| free < largest.unwrap_or(0) + HEADROOM_BYTES) {
                return Err(paused(PauseReason::Full));
            }
            // A server that refuses every file twice and has room is one that cannot be written to.
            if round > 0 && free.is_some() && all(Cause::WriteRefused) {
                return Err(paused(PauseReason::ReadOnly));
            }
        }
        if round + 1 == ROUNDS
            && let Some(said) = said.iter().find(|said| said.cause == Cause::Unreachable)
        {
            return Err(error_of(said, true));
        }
        Ok(())
    }

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

    /// Looks whether these files arrived.
    async fn look(&mut self, files: &[usize], ended: &Ended) -> Result<(), TransferError> {
        self.progress.current.clear();
        for (index, sha256, outcome) in self.compare(files, self.options.check).await? {
            let path = &self.batch[index].path;
            match outcome {
                Ok(check) => {
                    self.arrived.insert(path.clone());
                    self.outcomes[index] = Some(Ok(Stored { sha256, check }));
                }
                Err(fault) => {
                    self.arrived.remove(path);
                    self.last[index] = Some(as_sent(&fault, ended.of(path)));
                }
            }
        }
        self.progress.files_done = self.arrived.len() as u64;
        (self.on_progress)(self.progress.clone());
        Ok(())
    }

    /// Compares what stands under the paths of files with the files, of which the hashes must be known.
    async fn compare(
        &mut self,
        files: &[usize],
        check: BackupCheck,
    ) -> Result<Vec<(usize, Sha256, Result<BackupCheck, FileFault>)>, TransferError> {
        let batch = Arc::clone(&self.batch);
        let hashed: Vec<(usize, &Digests)> = files
            .iter()
            .filter_map(|index| match self.digests.get(*index) {
                Some(Some(Ok(found))) => Some((*index, found)),
                _ => None,
            })
            .collect();
        if hashed.is_empty() {
            return Ok(Vec::new());
        }
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
        let comparing = Comparing {
            check,
            transfers: self.options.transfers,
            limit: &mut self.limit,
            patience: self.patience,
            cancel: self.cancel,
        };
        let outcomes = self.remote.compare(&claims, comparing, &mut |_| {}).await?;
        Ok(hashed
            .into_iter()
            .zip(outcomes)
            .map(|((index, found), outcome)| (index, found.sha256, outcome))
            .collect())
    }

    /// Takes away what stands at the destination and is not what was to be sent. That nothing of it is believed is what
    /// counts; so a failure here is only logged.
    async fn take_back(&mut self) {
        let wrong: Vec<String> = (0..self.batch.len())
            .filter(|index| match (&self.outcomes[*index], &self.last[*index]) {
                (Some(Err(fault)), _) => {
                    fault.kind == BackupFaultKind::SourceUnreadable
                        && self.arrived.contains(&self.batch[*index].path)
                }
                (None, Some(fault)) => fault.kind == BackupFaultKind::CheckFailed,
                _ => false,
            })
            .map(|index| self.batch[index].path.clone())
            .collect();
        if wrong.is_empty() || self.remote.prepared.kind == DestinationKind::Rclone {
            // An unknown backend may hide versions that are the operator's to remove.
            return;
        }
        if let Err(error) = self.remote.remove(&wrong, self.cancel).await {
            tracing::warn!(%error, files = wrong.len(), "files that failed their check could not be removed");
        }
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
