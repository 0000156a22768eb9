//! The part of a run that sends: batch after batch, each with the settings and the limits that hold when it begins.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::BackupError;
use super::super::batch::{Batch, FILES_MAX, fault_of};
use super::{Run, named};
use crate::clock;
use crate::domain::backup::destination::{DEFAULT_TRANSFERS, Destination};
use crate::domain::backup::ledger::LINES_MAX;
use crate::domain::backup::object::{BackupFault, BackupFaultKind, BackupObject, ObjectState};
use crate::packing::hex;
use crate::repository::{StoreError, UnsentSegment};
use crate::transfer::{
    BatchProgress, BrokenOff, EarlyPut, Place, SendOptions, Stored, TransferError,
};
use crate::work::roots::Roots;

/// Segments that are read from the catalog at a time.
const PAGE: u32 = 2 * FILES_MAX as u32;

/// How often a run looks whether a limit was changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When a run looks again whether its hours have begun, should they have no beginning.
const HOURS_LOOK: TimeDelta = TimeDelta::hours(1);

/// How often a run tries another name for a segment when a file stands under it that nobody knows.
const OTHER_NAMES: usize = 3;

/// Longest time between two writings of the ledger's copy while a run sends: what a run that is killed has sent since
/// then is found only by the database.
const COPY_EVERY: Duration = Duration::from_secs(120);

/// Batches after which the ledger's copy is written in any case: they fill a file of it.
const COPY_AFTER_BATCHES: usize = LINES_MAX / FILES_MAX;

/// Where a run sends to at present.
pub(super) struct Sending {
    pub(super) destination: Destination,
    pub(super) place: Place,
    /// What writes the ledger's copy, started while the last file before it is looked at.
    pub(super) early_copy: Option<EarlyPut>,
}

impl Run<'_> {
    /// Sends batch after batch, each with the settings that hold when it begins.
    pub(super) async fn send_all(&mut self, sending: &mut Sending) -> Result<(), BackupError> {
        let (store, cancel) = (&self.backups.store, &self.attempt.cancel);
        let roots = Arc::new(Roots::read(store).await?);
        let mut strangers = HashSet::new();
        // What the first batch sent is in the copy at once: most runs have no other.
        let (mut batches, mut copied_at) = (COPY_AFTER_BATCHES, Instant::now());
        let mut after = None;
        let mut page: Vec<UnsentSegment> = Vec::new();
        loop {
            if page.is_empty() {
                page = store
                    .unsent_segments(
                        &self.spec.destination_id,
                        &self.spec.selection,
                        after
                            .as_ref()
                            .map(|(start, id): &(DateTime<Utc>, String)| (*start, id.as_str())),
                        PAGE,
                    )
                    .await?;
                if page.is_empty() {
                    return Ok(());
                }
                after = page
                    .last()
                    .map(|segment| (segment.window.start(), segment.segment_id.clone()));
            }
            self.check_hours().await?;
            let now_set = self.backups.ready(&self.spec.destination_id).await?;
            if now_set.revision != sending.destination.revision {
                self.revision = now_set.revision;
                sending.place = self.backups.place(&now_set, cancel).await?;
                sending.destination = now_set;
            }
            let batch = self.open(&roots, &page, &strangers).await?;
            page.drain(..batch.taken);
            batches += 1;
            let is_copied_next = batches >= COPY_AFTER_BATCHES;
            let mut taken = self.send(sending, batch, is_copied_next).await?;
            for _ in 0..OTHER_NAMES {
                if taken.is_empty() {
                    break;
                }
                let (again, faults): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
                strangers.extend(faults.into_iter().map(|fault| fault.remote_path));
                // Some files fewer than a batch has at most: all of them are in this one.
                let batch = self.open(&roots, &again, &strangers).await?;
                taken = self.send(sending, batch, false).await?;
            }
            for (_, fault) in taken {
                self.note_fault(fault);
            }
            if is_copied_next || copied_at.elapsed() >= COPY_EVERY {
                self.write_copy(&sending.place, sending.early_copy.take())
                    .await?;
                (batches, copied_at) = (0, Instant::now());
            }
        }
    }

    async fn open(
        &self,
        roots: &Arc<Roots>,
        page: &[UnsentSegment],
        strangers: &HashSet<String>,
    ) -> Result<Batch, BackupError> {
        let (store, destination_id) = (&self.backups.store, &self.spec.destination_id);
        let most = self.batch_bytes_max;
        Batch::open(store, destination_id, roots, page, strangers, most).await
    }

    /// Sends a batch and writes down in the ledger what arrived. `is_copied_next`: the ledger's copy is written after it.
    /// Answers the segments whose paths strangers have, each with the fault that it is if there is no other path.
    async fn send(
        &mut self,
        sending: &mut Sending,
        batch: Batch,
        is_copied_next: bool,
    ) -> Result<Vec<(UnsentSegment, BackupFault)>, BackupError> {
        for fault in batch.faults {
            self.note_fault(fault);
        }
        if batch.outgoing.is_empty() {
            return Ok(Vec::new());
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TransferError::TimedOut.into());
        }
        let Sending {
            destination,
            place,
            early_copy,
        } = sending;
        let (limit, bandwidth) = watch::channel(self.limit(destination).await?);
        let options = SendOptions {
            transfers: destination.transfers.unwrap_or(DEFAULT_TRANSFERS),
            bandwidth,
            check: self.spec.check,
            deadline: left,
            stall_limit: self.backups.settings.stall_limit,
        };
        let paths: Vec<String> = batch
            .outgoing
            .iter()
            .map(|outgoing| outgoing.path.clone())
            .collect();
        let before = (self.result.bytes_moved, self.result.retries);
        let mut reached = BatchProgress::default();
        let files = paths.len() as u64;
        let all_arrived = Notify::new();
        let begun = Instant::now();
        let sent = {
            let this = &*self;
            let sending = place.send(batch.outgoing, &options, &self.attempt.cancel, |progress| {
                this.report("sending", &progress);
                if is_copied_next && progress.files_done == files {
                    all_arrived.notify_one();
                }
                reached = progress;
            });
            tokio::pin!(sending);
            loop {
                tokio::select! {
                    sent = &mut sending => break sent,
                    () = all_arrived.notified(), if early_copy.is_none() => {
                        *early_copy = place.start_put(&this.attempt.cancel).await;
                    }
                    () = tokio::time::sleep(LOOK_AGAIN) => {
                        // The limit stays as it was while the database does not answer.
                        if let Ok(now) = this.limit_now().await {
                            limit.send_if_modified(|limit| std::mem::replace(limit, now) != now);
                        }
                    }
                }
            }
        };
        self.batch_bytes_max = (self.batch_bytes_max).after(reached.bytes_moved, begun.elapsed());
        self.result.bytes_moved = before.0 + reached.bytes_moved;
        self.result.retries = before.1 + reached.retries;
        let (outcomes, cause) = match sent {
            Ok(outcomes) => (outcomes.into_iter().map(Some).collect(), None),
            Err(BrokenOff { cause, outcomes }) => (outcomes, Some(cause)),
        };
        let (mut objects, mut taken) = (Vec::new(), Vec::new());
        for ((segment, path), outcome) in batch.segments.into_iter().zip(paths).zip(outcomes) {
            match outcome {
                Some(Ok(stored)) => objects.push(self.object(segment, path, &stored, destination)),
                Some(Err(fault)) => {
                    let is_taken = fault.kind == BackupFaultKind::NameTaken;
                    let fault = named(fault_of(&segment, &path), fault, &segment.path);
                    if is_taken {
                        taken.push((segment, fault));
                    } else {
                        self.note_fault(fault);
                    }
                }
                None => {}
            }
        }
        if !objects.is_empty() {
            // Only now are they stored: their bytes were checked where they lie.
            self.backups
                .store
                .add_objects(&objects, &self.spec.policy_id)
                .await?;
        }
        self.result.files_sent += objects.len() as u64;
        self.result.bytes_sent += objects.iter().map(|object| object.size_bytes).sum::<u64>();
        if let Some(cause) = cause {
            return Err(cause.into());
        }
        self.backups
            .store
            .note_success(&self.spec.destination_id, clock::now(), None)
            .await?;
        Ok(taken)
    }

    fn object(
        &self,
        segment: UnsentSegment,
        remote_path: String,
        stored: &Stored,
        destination: &Destination,
    ) -> BackupObject {
        let now = clock::now();
        BackupObject {
            destination_id: self.spec.destination_id.clone(),
            segment_id: segment.segment_id,
            camera_id: segment.camera_id,
            window: segment.window,
            start_accuracy: segment.start_accuracy,
            remote_path,
            size_bytes: segment.size_bytes,
            sha256: hex(&stored.sha256),
            state: ObjectState::Present,
            check: stored.check,
            check_time: now,
            create_time: now,
            job_id: self.attempt.job_id.clone(),
            source_modified_time: segment.modified_time,
            evidence: segment.evidence,
            locked_until_time: destination
                .settings
                .lock_duration()
                .and_then(|duration| chrono::TimeDelta::from_std(duration).ok())
                .and_then(|duration| now.checked_add_signed(duration)),
        }
    }

    /// Ends the run outside of the hours of its policy, to be taken up again when they begin: it would keep others from its
    /// place and its destination meanwhile. What a person asked for by hand does not wait.
    async fn check_hours(&self) -> Result<(), BackupError> {
        if self.spec.due_time.is_none() {
            return Ok(());
        }
        let policy = self.policy().await?;
        let Some(hours) = policy.and_then(|policy| policy.transfer_hours) else {
            return Ok(());
        };
        let now = clock::now();
        if hours.is_open(now) {
            return Ok(());
        }
        self.report("waiting for its hours", &BatchProgress::default());
        Err(BackupError::NotYet(
            hours.next_opening(now).unwrap_or(now + HOURS_LOOK),
        ))
    }

    async fn limit(&self, destination: &Destination) -> Result<u64, StoreError> {
        let of_policy = self
            .policy()
            .await?
            .map_or(0, |policy| policy.bandwidth_limit_bytes_per_second);
        Ok([
            destination.bandwidth_limit_bytes_per_second,
            of_policy,
            self.spec.bandwidth_limit_bytes_per_second,
        ]
        .into_iter()
        .filter(|limit| *limit > 0)
        .min()
        .unwrap_or(0))
    }

    /// The lowest limit as it is set at present.
    async fn limit_now(&self) -> Result<u64, BackupError> {
        let destination = self.backups.known(&self.spec.destination_id).await?;
        Ok(self.limit(&destination).await?)
    }
}
