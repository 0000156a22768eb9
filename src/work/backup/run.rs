//! One run: sends what is not at the destination yet, and nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{Batch, FILES_MAX, fault_of};
use super::{BackupError, BackupWork, FAULTS_LISTED, ledger_copy, removal, work_error};
use crate::clock;
use crate::domain::backup::destination::{DEFAULT_TRANSFERS, Destination, PauseReason};
use crate::domain::backup::ledger::LINES_MAX;
use crate::domain::backup::object::{BackupFault, BackupFaultKind, BackupObject, ObjectState};
use crate::domain::backup::policy::Policy;
use crate::domain::backup::run::{BackupRun, BackupSelection, BackupSpec};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::domain::time::TimeRange;
use crate::packing::hex;
use crate::repository::{SelectionTotals, StoreError, UnsentSegment};
use crate::transfer::{
    BatchProgress, BrokenOff, FileFault, Place, SendOptions, Stored, TransferError,
};
use crate::work::roots::Roots;
use crate::work::{Attempt, Done, Work, WorkError};

/// Segments that are read from the catalog at a time.
const PAGE: u32 = 2 * FILES_MAX as u32;

/// How often a run looks whether a limit was changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Longest wait before a run looks again whether its hours have begun, so that a changed policy is noticed.
const HOURS_LOOK: Duration = Duration::from_secs(30);

/// How often a run tries another name for a segment when a file stands under it that nobody knows.
const OTHER_NAMES: usize = 3;

/// Longest time between two writings of the ledger's copy while a run sends: what a run that is killed has sent since
/// then is found only by the database.
const COPY_EVERY: Duration = Duration::from_secs(120);

/// Batches after which the ledger's copy is written in any case: they fill a file of it.
const COPY_AFTER_BATCHES: usize = LINES_MAX / FILES_MAX;

/// How long a run that failed may take to write the ledger's copy.
const LAST_COPY: Duration = Duration::from_secs(30);

/// Sends backups.
pub struct RunWork {
    backups: Arc<BackupWork>,
}

impl RunWork {
    /// Sends to the destinations of `backups`.
    pub fn new(backups: Arc<BackupWork>) -> Self {
        Self { backups }
    }
}

impl Work for RunWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move {
            let JobSpec::Backup(spec) = &attempt.spec else {
                return Err(WorkError::Failed(Notice::new(
                    Reason::Internal,
                    "not a backup",
                )));
            };
            let mut run = Run::new(&self.backups, &attempt, spec);
            let ended = run.whole().await;
            match &ended {
                Ok(()) => {}
                Err(BackupError::Transfer(TransferError::Cancelled)) => {
                    return Err(WorkError::Stopped);
                }
                Err(error) => self
                    .backups
                    .note_failure(&spec.destination_id, run.revision, error)
                    .await
                    .map_err(store_failed)?,
            }
            let is_complete = ended.is_ok() && run.result.files_failed == 0;
            self.backups
                .note_end(&attempt.job_id, spec, is_complete)
                .await
                .map_err(work_error)?;
            ended.map_err(work_error)?;
            Ok(run.done())
        }
        .boxed()
    }
}

fn store_failed(error: StoreError) -> WorkError {
    work_error(BackupError::Store(error))
}

/// A run on its way.
struct Run<'a> {
    backups: &'a Arc<BackupWork>,
    attempt: &'a Attempt,
    spec: &'a BackupSpec,
    result: BackupRun,
    /// What was selected, and what of it was to be sent.
    totals: SelectionTotals,
    /// Files that attempts before this one sent.
    earlier: u64,
    /// Of the destination, as this run last read it.
    revision: u64,
    /// Moves on while the run waits for its hours.
    deadline: Instant,
}

impl<'a> Run<'a> {
    fn new(backups: &'a Arc<BackupWork>, attempt: &'a Attempt, spec: &'a BackupSpec) -> Self {
        Self {
            backups,
            attempt,
            spec,
            result: BackupRun {
                job_id: attempt.job_id.clone(),
                policy_id: spec.policy_id.clone(),
                destination_id: spec.destination_id.clone(),
                ..BackupRun::default()
            },
            totals: SelectionTotals::default(),
            earlier: 0,
            revision: 0,
            deadline: Instant::now() + Duration::from_secs(spec.run_timeout_s),
        }
    }

    async fn whole(&mut self) -> Result<(), BackupError> {
        let store = &self.backups.store;
        self.report("planning", &BatchProgress::default());
        let destination = self.backups.ready(&self.spec.destination_id).await?;
        self.revision = destination.revision;
        self.totals = store
            .selection_totals(&self.spec.destination_id, &self.spec.selection)
            .await?;
        self.result.files_selected = self.totals.files_selected;
        self.result.window = window(&self.spec.selection, self.totals.window);
        self.result.files_present = self.totals.files_present();
        // An attempt before this one may have sent some of what this job was to send.
        if self.attempt.epoch > 1 {
            let earlier = store
                .sent_by_job(&self.spec.destination_id, &self.attempt.job_id)
                .await?;
            self.result.files_sent = earlier.objects;
            self.result.bytes_sent = earlier.bytes;
            self.result.files_present -= earlier.objects.min(self.result.files_present);
            self.earlier = earlier.objects;
        }
        loop {
            let Err(error) = self.send_and_wrap_up(&destination).await else {
                return Ok(());
            };
            if is_full(&error) && self.makes_room().await? {
                // All is looked at again, so that what failed before is counted again, too.
                self.result.files_failed = 0;
                self.result.faults.clear();
                continue;
            }
            self.write_last_copy(&error).await;
            return Err(error);
        }
    }

    async fn send_and_wrap_up(&mut self, destination: &Destination) -> Result<(), BackupError> {
        if self.totals.files_unsent > 0 {
            let cancel = &self.attempt.cancel;
            let place = self.backups.place(destination, cancel).await?;
            let mut sending = Sending {
                destination: destination.clone(),
                place,
            };
            self.send_all(&mut sending).await?;
        }
        self.wrap_up().await
    }

    /// Opens the destination as it is set at present.
    async fn place_now(&self) -> Result<Place, BackupError> {
        let destination = self.backups.ready(&self.spec.destination_id).await?;
        self.backups.place(&destination, &self.attempt.cancel).await
    }

    /// Removes what the policy no longer keeps, because the destination is full; whether something went.
    ///
    /// # Errors
    /// Only that of a cancellation: a person has to look at a destination that stays full, whatever the reason.
    async fn makes_room(&mut self) -> Result<bool, BackupError> {
        self.report("making room", &BatchProgress::default());
        match self.remove(removal::FEW_AT_ONCE).await {
            Ok(objects) => Ok(objects > 0),
            Err(error @ BackupError::Transfer(TransferError::Cancelled)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a full destination could not be given room");
                Ok(false)
            }
        }
    }

    /// Removes what the policy no longer keeps, so many objects at once; how many went.
    async fn remove(&mut self, at_once: u32) -> Result<u64, BackupError> {
        let Some(policy) = self.policy().await? else {
            return Ok(0);
        };
        let Some(retention) = policy.retention else {
            return Ok(0);
        };
        let place = self.place_now().await?;
        let store = &self.backups.store;
        let removed =
            removal::remove(store, &place, &policy, &retention, at_once, self.attempt).await?;
        self.result.files_removed += removed.objects;
        self.result.bytes_removed += removed.bytes;
        Ok(removed.objects)
    }

    /// Writes the ledger's copy after a failure, if that may still be done: nobody knows whether the database outlasts
    /// the time to the next run. What a cancelled run sent waits for that one, because cancelling is to be quick.
    async fn write_last_copy(&mut self, error: &BackupError) {
        let may_answer = match error {
            BackupError::Transfer(error) => matches!(
                error,
                TransferError::TimedOut
                    | TransferError::Failed { .. }
                    | TransferError::Paused {
                        reason: PauseReason::Full,
                        ..
                    }
            ),
            _ => true,
        };
        if !may_answer {
            return;
        }
        let writing = async {
            let place = self.place_now().await?;
            self.write_copy(&place).await
        };
        match tokio::time::timeout(LAST_COPY, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the ledger's copy was not written after a run that failed");
            }
            Err(_) => {
                tracing::warn!("writing the ledger's copy after a run that failed took too long");
            }
        }
    }

    /// Writes what the ledger's copy at the destination lacks.
    async fn write_copy(&mut self, place: &Place) -> Result<(), BackupError> {
        let path = ledger_copy::write(
            &self.backups.store,
            place,
            &self.spec.destination_id,
            &self.attempt.job_id,
            &self.attempt.cancel,
        )
        .await?;
        if !path.is_empty() {
            self.result.ledger_path = path;
        }
        Ok(())
    }

    /// Sends batch after batch, each with the settings that hold when it begins.
    async fn send_all(&mut self, sending: &mut Sending) -> Result<(), BackupError> {
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
            self.wait_for_hours().await?;
            let now_set = self.backups.ready(&self.spec.destination_id).await?;
            if now_set.revision != sending.destination.revision {
                self.revision = now_set.revision;
                sending.place = self.backups.place(&now_set, cancel).await?;
                sending.destination = now_set;
            }
            let batch = self.open(&roots, &page, &strangers).await?;
            page.drain(..batch.taken);
            let mut taken = self.send(sending, batch).await?;
            for _ in 0..OTHER_NAMES {
                if taken.is_empty() {
                    break;
                }
                let (again, faults): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
                strangers.extend(faults.into_iter().map(|fault| fault.remote_path));
                // Some files fewer than a batch has at most: all of them are in this one.
                let batch = self.open(&roots, &again, &strangers).await?;
                taken = self.send(sending, batch).await?;
            }
            for (_, fault) in taken {
                self.note_fault(fault);
            }
            batches += 1;
            if batches >= COPY_AFTER_BATCHES || copied_at.elapsed() >= COPY_EVERY {
                self.write_copy(&sending.place).await?;
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
        Batch::open(store, destination_id, roots, page, strangers).await
    }

    /// Sends a batch and writes down in the ledger what arrived. Answers the segments whose paths strangers have, each
    /// with the fault that it is if there is no other path.
    async fn send(
        &mut self,
        Sending { destination, place }: &Sending,
        batch: Batch,
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
        let sent = {
            let this = &*self;
            let sending = place.send(batch.outgoing, &options, &self.attempt.cancel, |progress| {
                this.report("sending", &progress);
                reached = progress;
            });
            tokio::pin!(sending);
            loop {
                tokio::select! {
                    sent = &mut sending => break sent,
                    () = tokio::time::sleep(LOOK_AGAIN) => {
                        // The limit stays as it was while the database does not answer.
                        if let Ok(now) = this.limit_now().await {
                            limit.send_if_modified(|limit| std::mem::replace(limit, now) != now);
                        }
                    }
                }
            }
        };
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
        // Only now are they stored: their bytes were checked where they lie.
        self.backups
            .store
            .add_objects(&objects, &self.spec.policy_id)
            .await?;
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

    /// Writes the ledger's copy, removes what the policy no longer keeps, and notes how the destination fares.
    async fn wrap_up(&mut self) -> Result<(), BackupError> {
        let (store, cancel) = (&self.backups.store, &self.attempt.cancel);
        let retention = self.policy().await?.and_then(|policy| policy.retention);
        let is_ledger_whole = store
            .unwritten_objects(&self.spec.destination_id, 1)
            .await?
            .is_empty();
        // What this run sent may be in the copy already; how much room is left then is still to be asked.
        if is_ledger_whole && retention.is_none() && self.result.ledger_path.is_empty() {
            return Ok(());
        }
        let place = self.place_now().await?;
        self.report("writing the ledger", &BatchProgress::default());
        self.write_copy(&place).await?;
        if retention.is_some() {
            self.report("removing what is kept no longer", &BatchProgress::default());
            self.remove(removal::MANY_AT_ONCE).await?;
        }
        let space = place.space(cancel).await.unwrap_or_default();
        store
            .note_success(&self.spec.destination_id, clock::now(), space.free_bytes)
            .await?;
        Ok(())
    }

    /// Waits until files may be sent. What a person asked for by hand does not wait.
    async fn wait_for_hours(&mut self) -> Result<(), BackupError> {
        if self.spec.due_time.is_none() {
            return Ok(());
        }
        loop {
            let policy = self.policy().await?;
            let Some(hours) = policy.and_then(|policy| policy.transfer_hours) else {
                return Ok(());
            };
            let now = clock::now();
            if hours.is_open(now) {
                return Ok(());
            }
            self.report("waiting for its hours", &BatchProgress::default());
            let wait = hours
                .next_opening(now)
                .and_then(|opening| (opening - now).to_std().ok())
                .map_or(HOURS_LOOK, |wait| wait.min(HOURS_LOOK));
            let begun = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.attempt.cancel.cancelled() => {
                    return Err(TransferError::Cancelled.into());
                }
            }
            self.deadline += begun.elapsed();
        }
    }

    async fn policy(&self) -> Result<Option<Policy>, StoreError> {
        match self.spec.policy_id.as_str() {
            "" => Ok(None),
            id => self.backups.store.policy(id).await,
        }
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

    fn note_fault(&mut self, fault: BackupFault) {
        self.result.files_failed += 1;
        if self.result.faults.len() < FAULTS_LISTED {
            self.result.faults.push(fault);
        }
    }

    fn report(&self, phase: &str, batch: &BatchProgress) {
        let result = &self.result;
        // What this attempt has to do, as the totals are: what others before it sent is no part of them.
        let files_done = result.files_sent - self.earlier + result.files_failed + batch.files_done;
        let bytes_done = result.bytes_moved + batch.bytes_moved;
        let bytes_total = self.totals.bytes_unsent;
        self.attempt.report(Progress {
            phase: phase.to_owned(),
            files_done,
            files_total: self.totals.files_unsent,
            bytes_done,
            bytes_total,
            fraction: (bytes_total > 0).then(|| (bytes_done as f64 / bytes_total as f64).min(1.0)),
            retries: result.retries + batch.retries,
            current_item: current(&batch.current),
            ..Progress::default()
        });
    }

    fn done(self) -> Done {
        let mut result = self.result;
        let warnings = match result.files_failed {
            0 => Vec::new(),
            count => {
                let words = if count == 1 {
                    "1 file was not sent".to_owned()
                } else {
                    format!("{count} files were not sent")
                };
                vec![
                    Notice::new(
                        Reason::FilesNotSent,
                        format!("{words}; `faults` says which"),
                    )
                    .with("fault_count", count.to_string()),
                ]
            }
        };
        result.faults.truncate(FAULTS_LISTED);
        Done {
            result: JobResult::Backup(Box::new(result)),
            warnings,
        }
    }
}

/// Where a run sends to at present.
struct Sending {
    destination: Destination,
    place: Place,
}

fn is_full(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::Transfer(TransferError::Paused {
            reason: PauseReason::Full,
            ..
        })
    )
}

/// What the transfer says of a file, with what the catalog says of it.
pub(super) fn named(about: BackupFault, found: FileFault, name: &str) -> BackupFault {
    BackupFault {
        kind: found.kind,
        found_size_bytes: found.found_size_bytes,
        found_sha256: found
            .found_sha256
            .map(|sha256| hex(&sha256))
            .unwrap_or_default(),
        message: format!("{name}: {}", found.message),
        ..about
    }
}

/// Up to three of the paths that are on their way.
pub(super) fn current(paths: &[String]) -> String {
    let mut text = paths.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > 3 {
        text.push_str(&format!(" and {} more", paths.len() - 3));
    }
    text
}

/// The window of a selection; bounds that are open are those of what was found.
pub(super) fn window(selection: &BackupSelection, found: Option<TimeRange>) -> Option<TimeRange> {
    let start = selection.start.or(found.map(|found| found.start()))?;
    let end = selection.end.or(found.map(|found| found.end()))?;
    TimeRange::new(start, end)
}
