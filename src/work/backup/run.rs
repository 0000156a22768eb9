//! One run: sends what is not at the destination yet, and nothing else.

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
use crate::domain::backup::destination::{DEFAULT_TRANSFERS, Destination};
use crate::domain::backup::object::{BackupFault, BackupObject, ObjectState};
use crate::domain::backup::policy::Policy;
use crate::domain::backup::run::{BackupRun, BackupSelection, BackupSpec};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::domain::time::TimeRange;
use crate::packing::hex;
use crate::repository::{SelectionTotals, StoreError, UnsentSegment};
use crate::transfer::{BatchProgress, FileFault, Place, SendOptions, Stored, TransferError};
use crate::work::roots::Roots;
use crate::work::{Attempt, Done, Work, WorkError};

/// Segments that are read from the catalog at a time.
const PAGE: u32 = 2 * FILES_MAX as u32;

/// How often a run looks whether a limit was changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Longest wait before a run looks again whether its hours have begun, so that a changed policy is noticed.
const HOURS_LOOK: Duration = Duration::from_secs(30);

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
            revision: 0,
            deadline: Instant::now() + Duration::from_secs(spec.run_timeout_s),
        }
    }

    async fn whole(&mut self) -> Result<(), BackupError> {
        let (store, cancel) = (&self.backups.store, &self.attempt.cancel);
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
        }
        if self.totals.files_unsent > 0 {
            let place = self.backups.place(&destination, cancel).await?;
            self.send_all(destination, place).await?;
        }
        self.wrap_up().await
    }

    /// Sends batch after batch, each with the settings that hold when it begins.
    async fn send_all(
        &mut self,
        mut destination: Destination,
        mut place: Place,
    ) -> Result<(), BackupError> {
        let (store, cancel) = (&self.backups.store, &self.attempt.cancel);
        let roots = Arc::new(Roots::read(store).await?);
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
            if now_set.revision != destination.revision {
                destination = now_set;
                self.revision = destination.revision;
                place = self.backups.place(&destination, cancel).await?;
            }
            let batch = Batch::open(store, &self.spec.destination_id, &roots, &page).await?;
            page.drain(..batch.taken);
            self.send(&destination, &place, batch).await?;
        }
    }

    async fn send(
        &mut self,
        destination: &Destination,
        place: &Place,
        batch: Batch,
    ) -> Result<(), BackupError> {
        for fault in batch.faults {
            self.note_fault(fault);
        }
        if batch.outgoing.is_empty() {
            return Ok(());
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
        let sent = sent?;
        let mut objects = Vec::new();
        for ((segment, path), outcome) in batch.segments.into_iter().zip(paths).zip(sent) {
            match outcome {
                Ok(stored) => objects.push(self.object(segment, path, &stored, destination)),
                Err(fault) => {
                    let fault = named(fault_of(&segment, &path), fault, &segment.path);
                    self.note_fault(fault);
                }
            }
        }
        // Only now are they stored: their bytes were checked where they lie.
        self.backups
            .store
            .add_objects(&objects, &self.spec.policy_id)
            .await?;
        self.result.files_sent += objects.len() as u64;
        self.result.bytes_sent += objects.iter().map(|object| object.size_bytes).sum::<u64>();
        self.backups
            .store
            .note_success(&self.spec.destination_id, clock::now(), None)
            .await?;
        Ok(())
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
        let policy = match self.spec.policy_id.as_str() {
            "" => None,
            id => store.policy(id).await?,
        };
        let retention = policy.as_ref().and_then(|policy| policy.retention);
        let is_ledger_whole = store
            .unwritten_objects(&self.spec.destination_id, 1)
            .await?
            .is_empty();
        if is_ledger_whole && retention.is_none() {
            return Ok(());
        }
        let destination = self.backups.ready(&self.spec.destination_id).await?;
        let place = self.backups.place(&destination, cancel).await?;
        self.report("writing the ledger", &BatchProgress::default());
        self.result.ledger_path = ledger_copy::write(
            store,
            &place,
            &self.spec.destination_id,
            &self.attempt.job_id,
            cancel,
        )
        .await?;
        if let (Some(policy), Some(retention)) = (&policy, retention) {
            self.report("removing what is kept no longer", &BatchProgress::default());
            let removed = removal::remove(store, &place, policy, &retention, self.attempt).await?;
            self.result.files_removed = removed.objects;
            self.result.bytes_removed = removed.bytes;
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
        let files_done = result.files_sent + result.files_failed + batch.files_done;
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
