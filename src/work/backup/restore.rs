//! Bringing footage back: into a folder, and into the catalog when there is one.

mod fetching;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::fetching::Fetching;
use super::run::window;
use super::{BackupError, BackupWork, accept_first, ledger_copy, reading_error};
use crate::domain::backup::destination::{DEFAULT_TRANSFERS, Destination, DestinationSettings};
use crate::domain::backup::ledger::{LedgerCopy, LedgerLine};
use crate::domain::backup::network::AllowedNetworks;
use crate::domain::backup::run::{BackupSelection, LedgerSource, RestoreSpec, RestoreSummary};
use crate::domain::camera::CameraId;
use crate::domain::job::{JobResult, JobSpec, Notice, Progress, Reason};
use crate::domain::time::TimeRange;
use crate::transfer::{Engine, Place, TransferError, check_host};
use crate::work::intake::{Intake, IntakeError, RESTORES};
use crate::work::{Attempt, Done, Work, WorkError};

/// Restores from destinations.
pub struct RestoreWork {
    backups: Arc<BackupWork>,
    intake: Arc<Intake>,
}

impl RestoreWork {
    /// Restores from the destinations of `backups`; `intake` takes the segments into the catalog again.
    pub fn new(backups: Arc<BackupWork>, intake: Arc<Intake>) -> Self {
        Self { backups, intake }
    }
}

impl Work for RestoreWork {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<Done, WorkError>> {
        async move {
            let JobSpec::Restore(spec) = &attempt.spec else {
                return Err(WorkError::Failed(Notice::new(
                    Reason::Internal,
                    "not a restore",
                )));
            };
            let backups = &self.backups;
            let destination = backups
                .readable(&spec.destination_id)
                .await
                .map_err(reading_error)?;
            let (summary, left_out) = match self.restore(&attempt, spec, &destination).await {
                Ok(done) => done,
                Err(error) => return Err(backups.reading_failed(&destination, error).await),
            };
            Ok(Done {
                warnings: warnings(summary.files_failed, left_out),
                result: JobResult::Restore(Box::new(summary)),
            })
        }
        .boxed()
    }
}

impl RestoreWork {
    /// What came back, and how many files of it could not enter the catalog.
    async fn restore(
        &self,
        attempt: &Attempt,
        spec: &RestoreSpec,
        destination: &Destination,
    ) -> Result<(RestoreSummary, u64), BackupError> {
        let backups = &self.backups;
        let place = backups.place(destination, &attempt.cancel).await?;
        attempt.report(phase("reading the ledger"));
        let lines = self.lines(&place, spec, &attempt.cancel).await?;
        let folder = backups.settings.restore_folder.join(&spec.folder);
        let (_limit, bandwidth) = watch::channel(destination.bandwidth_limit_bytes_per_second);
        let fetching = Fetching {
            place: &place,
            folder: &folder,
            transfers: destination.transfers.unwrap_or(DEFAULT_TRANSFERS),
            bandwidth,
            cancel: &attempt.cancel,
        };
        let mut summary = summary_of(&lines, &spec.selection);
        summary.destination_id.clone_from(&spec.destination_id);
        summary.folder.clone_from(&spec.folder);
        let there = fetching
            .all(lines, &mut summary, &mut |progress| {
                attempt.report(progress)
            })
            .await?;
        let mut left_out = 0;
        if spec.register_segments {
            for (number, line) in there.iter().enumerate() {
                if attempt.cancel.is_cancelled() {
                    return Err(TransferError::Cancelled.into());
                }
                attempt.report(Progress {
                    files_done: number as u64,
                    files_total: there.len() as u64,
                    ..phase("taking into the catalog")
                });
                if !self.register(line, &spec.folder, &mut summary).await? {
                    left_out += 1;
                }
            }
        }
        Ok((summary, left_out))
    }

    /// What the ledger says is there of the selection.
    async fn lines(
        &self,
        place: &Place,
        spec: &RestoreSpec,
        cancel: &CancellationToken,
    ) -> Result<Vec<LedgerLine>, BackupError> {
        let of_server = match spec.ledger_source {
            LedgerSource::Destination => Vec::new(),
            LedgerSource::Server | LedgerSource::Either => self
                .backups
                .store
                .objects_in_order(&spec.destination_id, &spec.selection, None, u32::MAX)
                .await?
                .iter()
                .map(|object| LedgerLine::stored(object, object.create_time))
                .collect(),
        };
        let is_server_empty = of_server.is_empty()
            && self
                .backups
                .store
                .object_totals(&spec.destination_id, &BackupSelection::default())
                .await?
                .objects
                == 0;
        let lines = match spec.ledger_source {
            LedgerSource::Server => of_server,
            LedgerSource::Either if !is_server_empty => of_server,
            LedgerSource::Either | LedgerSource::Destination => {
                let copy = ledger_copy::read(place, cancel).await?;
                selected(copy.objects().cloned(), &spec.selection)
            }
        };
        if lines.is_empty() {
            return Err(BackupError::NothingMatches);
        }
        Ok(lines)
    }

    /// Takes a restored file into the catalog, under the id that its segment had; whether it could enter.
    async fn register(
        &self,
        line: &LedgerLine,
        folder: &str,
        summary: &mut RestoreSummary,
    ) -> Result<bool, BackupError> {
        let path = format!("{folder}/{}", line.path);
        let camera_id = CameraId::parse(&line.camera_id);
        let taken = match camera_id {
            Ok(camera_id) => {
                self.intake
                    .take_back(
                        &line.segment_id,
                        &camera_id,
                        &path,
                        line.start_time,
                        line.start_accuracy(),
                    )
                    .await
            }
            Err(error) => Err(IntakeError::Path(error.to_string())),
        };
        match taken {
            Ok(is_new) => {
                summary.segments_registered += u64::from(is_new);
                Ok(true)
            }
            Err(IntakeError::Store(error)) => Err(error.into()),
            // The file is back and right; that it is no footage to us is worth a warning, not a failure.
            Err(error) => {
                tracing::warn!(path, source = RESTORES, %error, "a restored file is not in the catalog");
                Ok(false)
            }
        }
    }
}

/// What to restore on a machine that has no catalog.
#[derive(Debug)]
pub struct RestoreOrder {
    /// Where from.
    pub settings: DestinationSettings,
    /// What.
    pub selection: BackupSelection,
    /// Into which folder.
    pub folder: PathBuf,
    /// Files at the same time.
    pub transfers: u32,
    /// Bytes a second; 0: no limit.
    pub bandwidth_limit_bytes_per_second: u64,
}

/// What a ledger says is at a destination, for whoever asked for something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerContents {
    /// Cameras, in order of id.
    pub camera_ids: Vec<String>,
    /// From the first instant of all footage to the last.
    pub window: TimeRange,
}

impl LedgerContents {
    /// `None` when everything has been removed.
    fn of(copy: &LedgerCopy) -> Option<Self> {
        let cameras: BTreeSet<&str> = copy.objects().map(|line| line.camera_id.as_str()).collect();
        Some(Self {
            camera_ids: cameras.into_iter().map(str::to_owned).collect(),
            window: span(copy.objects())?,
        })
    }
}

/// Why nothing came back from a destination alone.
#[derive(Debug, thiserror::Error)]
pub enum RestoreIntoError {
    /// There is no file of a ledger: another path, or nothing was ever sent there.
    #[error("the destination has no ledger")]
    NoLedger,
    /// There are files of a ledger, and none of them can be read.
    #[error("the ledger at the destination cannot be read")]
    LedgerUnreadable,
    /// The ledger has other footage than was asked for; `None`: it has none any more.
    #[error("the ledger has nothing of the selection")]
    NothingMatches(Option<LedgerContents>),
    /// It cannot be done.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

impl From<TransferError> for RestoreIntoError {
    fn from(error: TransferError) -> Self {
        Self::Backup(error.into())
    }
}

/// Restores from a destination alone, by the copy of the ledger that lies there.
///
/// # Errors
/// [`RestoreIntoError`]; faults of single files are in the summary.
pub async fn restore_into(
    mut order: RestoreOrder,
    engine: &Engine,
    cancel: &CancellationToken,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<RestoreSummary, RestoreIntoError> {
    if let Some((host, port)) = crate::transfer::host_of(&order.settings)? {
        check_host(&AllowedNetworks::default(), &host, port).await?;
    }
    accept_first(&mut order.settings, cancel).await?;
    let place = Place::open(&order.settings, engine)?;
    on_progress(phase("reading the ledger"));
    let copy = ledger_copy::read(&place, cancel).await?;
    if copy.is_empty() {
        return Err(if copy.files_left_out > 0 {
            RestoreIntoError::LedgerUnreadable
        } else {
            RestoreIntoError::NoLedger
        });
    }
    let lines = selected(copy.objects().cloned(), &order.selection);
    if lines.is_empty() {
        let contents = LedgerContents::of(&copy);
        return Err(RestoreIntoError::NothingMatches(contents));
    }
    let (_limit, bandwidth) = watch::channel(order.bandwidth_limit_bytes_per_second);
    let fetching = Fetching {
        place: &place,
        folder: &order.folder,
        transfers: order.transfers,
        bandwidth,
        cancel,
    };
    let mut summary = summary_of(&lines, &order.selection);
    fetching.all(lines, &mut summary, on_progress).await?;
    Ok(summary)
}

/// Those of `lines` that a selection means.
fn selected(
    lines: impl Iterator<Item = LedgerLine>,
    selection: &BackupSelection,
) -> Vec<LedgerLine> {
    lines
        .filter(|line| {
            line.window().is_some()
                && selection.start.is_none_or(|start| line.end_time > start)
                && selection.end.is_none_or(|end| line.start_time < end)
                && (selection.camera_ids.is_empty()
                    || selection
                        .camera_ids
                        .iter()
                        .any(|id| id.as_str() == line.camera_id))
        })
        .collect()
}

fn summary_of(lines: &[LedgerLine], selection: &BackupSelection) -> RestoreSummary {
    RestoreSummary {
        window: window(selection, span(lines.iter())),
        files_selected: lines.len() as u64,
        ..RestoreSummary::default()
    }
}

/// From the first instant of the footage of `lines` to the last.
fn span<'a>(lines: impl Iterator<Item = &'a LedgerLine> + Clone) -> Option<TimeRange> {
    let first = lines.clone().map(|line| line.start_time).min();
    let last = lines.map(|line| line.end_time).max();
    first
        .zip(last)
        .and_then(|(first, last)| TimeRange::new(first, last))
}

fn phase(name: &str) -> Progress {
    Progress {
        phase: name.to_owned(),
        ..Progress::default()
    }
}

fn warnings(files_failed: u64, files_left_out: u64) -> Vec<Notice> {
    let mut warnings = Vec::new();
    if files_failed > 0 {
        let words = match files_failed {
            1 => "1 file was not brought back".to_owned(),
            count => format!("{count} files were not brought back"),
        };
        let words = format!("{words}; `faults` says which");
        warnings.push(
            Notice::new(Reason::FilesNotRestored, words)
                .with("fault_count", files_failed.to_string()),
        );
    }
    if files_left_out > 0 {
        let words = match files_left_out {
            1 => "1 file was brought back and could not enter the catalog".to_owned(),
            count => format!("{count} files were brought back and could not enter the catalog"),
        };
        warnings.push(
            Notice::new(Reason::FilesLeftOut, words).with("file_count", files_left_out.to_string()),
        );
    }
    warnings
}
