//! Sends a batch: one rclone for all of it, then a look at what arrived, then once more for what did not.
//!
//! `copying` moves the bytes and `looking` makes sure of them; here is the order of things, and what ends a batch.

mod copying;
mod looking;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::copying::WaitingCopy;
use super::super::{
    BatchProgress, BrokenOff, FileFault, Outgoing, SendOptions, Stored, TransferError,
    paths::is_plain,
};
use super::Remote;
use super::classify::Cause;
use super::command::{Limit, Patience};
use super::ended::{Complaint, Ended, error_of};
use super::hashing::{Hashing, SourceDigests};
use super::look::EarlyLook;
use crate::domain::backup::destination::{DestinationKind, PauseReason};
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};

/// How often a file is sent before it counts as failed.
const ROUNDS: usize = 3;
/// Pause before another round, times the number of those before.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// A destination with less room than a file and this is full.
const HEADROOM_BYTES: u64 = 1 << 20;

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
        let early = EarlySend::default();
        self.send_with(
            batch,
            options,
            Locks::AsSet,
            early,
            cancel,
            &mut on_progress,
        )
        .await
    }

    /// Sends files, with what was started for them before if anything was.
    pub(super) async fn send_with(
        &self,
        batch: Vec<Outgoing>,
        options: &SendOptions,
        locks: Locks,
        early: EarlySend,
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
            begun: HashSet::new(),
            waiting: early.copy,
            early: early.look,
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

/// What was started before it was known which files are sent; see [`Remote::start_early`].
#[derive(Default)]
pub(super) struct EarlySend {
    pub(super) copy: Option<WaitingCopy>,
    pub(super) look: Option<EarlyLook>,
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
    /// Paths to which rclone began to send, so that what stands there now may be of its making.
    begun: HashSet<String>,
    /// Sends the first files, if it was started for them.
    waiting: Option<WaitingCopy>,
    /// A look at what arrived, begun while the last files are on their way.
    early: Option<EarlyLook>,
    on_progress: &'a mut (dyn FnMut(BatchProgress) + Send),
}

impl Sending<'_> {
    async fn run(&mut self) -> Result<Vec<Outcome>, TransferError> {
        self.hashing = Some(Hashing::start(
            Arc::clone(&self.batch),
            self.outcomes.iter().map(Option::is_none).collect(),
            self.with_md5(),
        ));
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
        if let Err(error) = self.look(&arrived, &Ended::success()).await {
            tracing::warn!(%error, files = arrived.len(), "files that arrived before a batch broke off are sent again");
        }
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
