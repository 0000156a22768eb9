//! One run: sends what is not at the destination yet, and nothing else. `sending` is the part that moves bytes; here is
//! what comes before and after it.

mod sending;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use self::sending::Sending;
use super::batch::BytesMax;
use super::{BackupError, BackupWork, FAULTS_LISTED, ledger_copy, removal, work_error};
use crate::clock;
use crate::domain::backup::destination::{Destination, PauseReason};
use crate::domain::backup::object::BackupFault;
use crate::domain::backup::policy::Policy;
use crate::domain::backup::run::{BackupRun, BackupSelection, BackupSpec};
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::domain::time::TimeRange;
use crate::packing::hex;
use crate::repository::{SelectionTotals, StoreError};
use crate::transfer::{BatchProgress, EarlyPut, FileFault, Place, TransferError};
use crate::work::{Attempt, Done, Work, WorkError};

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
                Err(BackupError::NotYet(at)) => return Err(WorkError::Later(*at)),
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
    /// By how fast the batches before were sent.
    batch_bytes_max: BytesMax,
    /// When it has taken as long as it may.
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
            batch_bytes_max: BytesMax::FIRST,
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
                early_copy: None,
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
            self.write_copy(&place, None).await
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
    async fn write_copy(
        &mut self,
        place: &Place,
        early: Option<EarlyPut>,
    ) -> Result<(), BackupError> {
        let path = ledger_copy::write(
            &self.backups.store,
            place,
            early,
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
        self.write_copy(&place, None).await?;
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

    async fn policy(&self) -> Result<Option<Policy>, StoreError> {
        match self.spec.policy_id.as_str() {
            "" => Ok(None),
            id => self.backups.store.policy(id).await,
        }
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
