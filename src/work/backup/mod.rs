//! Backups: whether a destination can be worked with, runs, verifications, restores, and the scheduler.
//!
//! A run goes through these steps: `selection` pages through what is not at the destination yet, `batch` opens the files
//! and names them, `transfer` sends and checks them, and only then does the ledger have them. `ledger_copy` writes what
//! is new in the ledger to the destination, `removal` takes away what the policy no longer keeps.

mod alerts;
mod batch;
mod ledger_copy;
mod outlook;
mod removal;
mod restore;
mod run;
mod verification;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::backup::destination::{
    Destination, DestinationSettings, HostKeyCheck, Pause, PauseReason,
};
use crate::domain::backup::network::AllowedNetworks;
use crate::domain::job::{Notice, Reason};
use crate::repository::{Store, StoreError};
use crate::transfer::{self, Place, TransferError, Trial};
use crate::work::WorkError;

pub use alerts::AlertWatch;
pub use restore::{LedgerContents, RestoreIntoError, RestoreOrder, RestoreWork, restore_into};
pub use run::RunWork;
pub use verification::BackupVerificationWork;
pub use webhook::{Webhook, WebhookError};

/// How long a trial of a destination may take.
const TRIAL_PATIENCE: Duration = Duration::from_secs(30);

/// How long an SSH server may take to show its key.
const HOST_KEY_PATIENCE: Duration = Duration::from_secs(10);

/// Faults that a result lists by name; what is beyond is counted.
const FAULTS_LISTED: usize = 1000;

/// What the operator decides about backups.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// How long a run may take unless its policy says otherwise.
    pub run_timeout: Duration,
    /// How long a transfer may stand still.
    pub stall_limit: Duration,
    /// Folders that local destinations may lie in.
    pub local_roots: Vec<PathBuf>,
    /// Networks that destinations may be in.
    pub networks: AllowedNetworks,
    /// Folder that restored footage goes into.
    pub restore_folder: PathBuf,
}

/// Why a destination cannot be worked with, or a job on it not be done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No such destination, or it went while a job waited for it.
    #[error("backup destination not found or removed")]
    DestinationNotFound,
    /// The operator or a caller switched it off.
    #[error("backup destination is disabled")]
    Disabled,
    /// It waits for somebody to look at it.
    #[error("backup destination is paused: {0}")]
    Paused(String),
    /// It is outside of the hours in which the policy sends; they begin then.
    #[error("the policy sends nothing before {}", .0.to_rfc3339())]
    NotYet(DateTime<Utc>),
    /// Nothing at the destination is selected.
    #[error("the ledger has nothing of the selection")]
    NothingMatches,
    /// This machine's disk has too little room for what is to be restored.
    #[error("not enough free disk for this restore: need ~{need_bytes} bytes, {free_bytes} free")]
    DiskFull {
        /// What is needed, with headroom.
        need_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The transfer room could not do it.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The database failed, or its secrets cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder of this machine cannot be used.
    #[error("a folder of this machine cannot be used")]
    Folder(#[from] std::io::Error),
}

/// What a trial of a destination showed.
#[derive(Debug)]
pub struct Tried {
    /// Step by step.
    pub trial: Trial,
    /// From the beginning to the end.
    pub latency: Duration,
}

/// Everything about backups but their queue.
pub struct BackupWork {
    store: Store,
    settings: BackupSettings,
    engine: transfer::Engine,
}

impl BackupWork {
    /// Works on the destinations of `store`.
    pub fn new(store: Store, settings: BackupSettings, engine: transfer::Engine) -> Self {
        Self {
            store,
            settings,
            engine,
        }
    }

    /// How long a run may take unless its policy says otherwise.
    pub fn run_timeout(&self) -> Duration {
        self.settings.run_timeout
    }

    /// Folders that local destinations may lie in.
    pub fn local_roots(&self) -> &[PathBuf] {
        &self.settings.local_roots
    }

    /// A destination that something can be sent to: it is there, enabled and not paused, and what it needs is installed.
    pub async fn ready(&self, destination_id: &str) -> Result<Destination, BackupError> {
        let destination = self.known(destination_id).await?;
        if !destination.enabled {
            return Err(BackupError::Disabled);
        }
        if let Some(pause) = destination.status.pause {
            return Err(BackupError::Paused(pause.message));
        }
        self.check_program(&destination.settings).await?;
        Ok(destination)
    }

    /// A destination that something can be read from, enabled or not.
    pub async fn readable(&self, destination_id: &str) -> Result<Destination, BackupError> {
        let destination = self.known(destination_id).await?;
        self.check_program(&destination.settings).await?;
        Ok(destination)
    }

    async fn known(&self, destination_id: &str) -> Result<Destination, BackupError> {
        self.store
            .destination_with_secrets(destination_id)
            .await?
            .ok_or(BackupError::DestinationNotFound)
    }

    async fn check_program(&self, settings: &DestinationSettings) -> Result<(), BackupError> {
        if !matches!(settings, DestinationSettings::Local(_)) {
            transfer::rclone_version(&self.engine.rclone, &CancellationToken::new()).await?;
        }
        Ok(())
    }

    /// Checks that settings lead to where the operator allows.
    pub async fn check_settings(&self, settings: &DestinationSettings) -> Result<(), BackupError> {
        if let DestinationSettings::Local(local) = settings {
            check_beneath(Path::new(&local.path), &self.settings.local_roots)?;
        }
        if let Some((host, port)) = transfer::host_of(settings)? {
            transfer::check_host(&self.settings.networks, &host, port).await?;
        }
        Ok(())
    }

    /// Tries settings that need not be stored.
    pub async fn trial(&self, settings: &DestinationSettings) -> Result<Tried, BackupError> {
        let begun = Instant::now();
        self.check_program(settings).await?;
        let cancel = CancellationToken::new();
        let mut trial =
            match tokio::time::timeout(TRIAL_PATIENCE, self.try_out(settings, &cancel)).await {
                Ok(Ok(trial)) => trial,
                Ok(Err(error)) => Trial {
                    error: Some(error),
                    ..Trial::default()
                },
                Err(_) => Trial {
                    error: Some(TransferError::TimedOut),
                    ..Trial::default()
                },
            };
        let left = HOST_KEY_PATIENCE.min(TRIAL_PATIENCE.saturating_sub(begun.elapsed()));
        if let DestinationSettings::Sftp(sftp) = settings
            && trial.host_keys.is_empty()
            && !left.is_zero()
        {
            // A key that changed is the most useful to see when the trial fails for it.
            trial.host_keys = transfer::host_keys(&sftp.host, sftp.port, left, &cancel)
                .await
                .unwrap_or_default();
        }
        Ok(Tried {
            trial,
            latency: begun.elapsed(),
        })
    }

    async fn try_out(
        &self,
        settings: &DestinationSettings,
        cancel: &CancellationToken,
    ) -> Result<Trial, TransferError> {
        self.check_settings(settings)
            .await
            .map_err(|error| match error {
                BackupError::Transfer(error) => error,
                error => TransferError::Settings(error.to_string()),
            })?;
        let mut settings = settings.clone();
        let seen = accept_first(&mut settings, cancel).await?;
        let mut trial = Place::open(&settings, &self.engine)?.trial(cancel).await;
        if trial.host_keys.is_empty() {
            trial.host_keys = seen;
        }
        Ok(trial)
    }

    /// Opens a stored destination. The key that an SSH server shows at the first connection is kept.
    async fn place(
        &self,
        destination: &Destination,
        cancel: &CancellationToken,
    ) -> Result<Place, BackupError> {
        self.check_settings(&destination.settings).await?;
        let mut settings = destination.settings.clone();
        let seen = accept_first(&mut settings, cancel).await?;
        if !seen.is_empty() {
            self.store
                .fill_in_host_keys(destination, &seen, clock::now())
                .await?;
        }
        Ok(Place::open(&settings, &self.engine)?)
    }

    /// What a failure means for a job that only reads at a destination, which is paused when a run would meet the same.
    async fn reading_failed(&self, destination: &Destination, error: BackupError) -> WorkError {
        if let BackupError::Transfer(TransferError::Paused { reason, .. }) = &error
            && stops_all(*reason)
            && let Err(error) = self
                .note_failure(&destination.id, destination.revision, &error)
                .await
        {
            return work_error(BackupError::Store(error));
        }
        reading_error(error)
    }

    /// Notes what a failure says of a destination: some need a person to look at it.
    async fn note_failure(
        &self,
        destination_id: &str,
        revision: u64,
        error: &BackupError,
    ) -> Result<(), StoreError> {
        let BackupError::Transfer(TransferError::Paused { reason, .. }) = error else {
            return Ok(());
        };
        tracing::warn!(destination_id, ?reason, %error, "a destination is paused");
        let pause = Pause {
            reason: *reason,
            message: error.to_string(),
            start_time: clock::now(),
        };
        // Settings that were changed meanwhile deserve a trial of their own.
        self.store
            .set_pause(destination_id, revision, &pause)
            .await?;
        Ok(())
    }
}

/// Fills in the host keys of an SSH server whose first key is to be accepted; answers those that it filled in.
async fn accept_first(
    settings: &mut DestinationSettings,
    cancel: &CancellationToken,
) -> Result<Vec<String>, TransferError> {
    let DestinationSettings::Sftp(sftp) = settings else {
        return Ok(Vec::new());
    };
    if sftp.host_key_check != HostKeyCheck::AcceptFirst || !sftp.host_keys.is_empty() {
        return Ok(Vec::new());
    }
    sftp.host_keys = transfer::host_keys(&sftp.host, sftp.port, HOST_KEY_PATIENCE, cancel).await?;
    Ok(sftp.host_keys.clone())
}

/// Checks that a folder lies beneath one of the operator's, also after every link in it is followed.
fn check_beneath(path: &Path, roots: &[PathBuf]) -> Result<(), TransferError> {
    let is_beneath = |path: &Path| {
        roots.iter().any(|root| {
            let real = root.canonicalize();
            path.starts_with(root) || real.is_ok_and(|real| path.starts_with(real))
        })
    };
    let refused = || {
        TransferError::Settings(
            "the folder of a local destination must lie beneath one that the operator allows (HELDAR_BACKUP_LOCAL_ROOTS)"
                .to_owned(),
        )
    };
    if !is_beneath(path) {
        return Err(refused());
    }
    // What is not there yet has no links; what is there may lead anywhere.
    let there = path.ancestors().find_map(|part| part.canonicalize().ok());
    match there {
        Some(real) if is_beneath(&real) || roots.iter().any(|root| root.starts_with(&real)) => {
            Ok(())
        }
        _ => Err(refused()),
    }
}

/// What a failure means for a job that only reads at the destination: nothing is paused there, unless a run would meet the
/// same.
fn reading_error(error: BackupError) -> WorkError {
    match error {
        BackupError::Transfer(TransferError::Paused { reason, message }) if !stops_all(reason) => {
            WorkError::Failed(Notice::new(
                Reason::DestinationUnreachable,
                format!("the destination cannot be read: {message}"),
            ))
        }
        error => work_error(error),
    }
}

/// Whether a cause of a pause stands in the way of whatever is done at the destination, reading as well as writing.
fn stops_all(reason: PauseReason) -> bool {
    match reason {
        PauseReason::LoginRefused | PauseReason::HostChanged => true,
        PauseReason::Full | PauseReason::ReadOnly => false,
    }
}

/// What a failure means for the job.
fn work_error(error: BackupError) -> WorkError {
    let message = error.to_string();
    let failed = |reason| WorkError::Failed(Notice::new(reason, message.clone()));
    match &error {
        BackupError::DestinationNotFound => failed(Reason::DestinationNotFound),
        BackupError::Disabled | BackupError::Paused(_) => failed(Reason::DestinationDisabled),
        BackupError::NotYet(at) => WorkError::Later(*at),
        BackupError::NothingMatches => failed(Reason::NoFootage),
        BackupError::DiskFull { .. } => failed(Reason::DiskFull),
        BackupError::Transfer(error) => match error {
            TransferError::RcloneMissing { .. }
            | TransferError::RcloneTooOld { .. }
            | TransferError::Settings(_)
            | TransferError::TimedOut => failed(error.reason()),
            TransferError::Paused { reason, .. } => WorkError::Failed(
                Notice::new(
                    error.reason(),
                    format!("backup destination is paused: {message}"),
                )
                .with("pause_reason", reason.as_str()),
            ),
            TransferError::Unreachable(_)
            | TransferError::Stalled(_)
            | TransferError::Failed { .. } => {
                WorkError::Retry(Notice::new(error.reason(), message).with("retryable", "true"))
            }
            TransferError::Cancelled => WorkError::Stopped,
            TransferError::Io(error) => of_this_machine(error),
        },
        BackupError::Store(_) => WorkError::Retry(Notice::new(Reason::Internal, message)),
        BackupError::Folder(error) => of_this_machine(error),
    }
}

/// What a failure of this machine's own disk means for the job.
fn of_this_machine(error: &std::io::Error) -> WorkError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => WorkError::Failed(
            Notice::new(Reason::DiskFull, "the disk of this machine is full"),
        ),
        _ => internal(error),
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> WorkError {
    tracing::error!(%error, cause = ?error, "a backup job cannot be done");
    WorkError::Failed(Notice::new(Reason::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: WorkError) -> Notice {
        match error {
            WorkError::Failed(notice) => notice,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_disk_of_this_machine_that_is_full_is_not_the_destinations() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        for error in [
            BackupError::Transfer(TransferError::Io(full())),
            BackupError::Folder(full()),
        ] {
            assert_eq!(failed(reading_error(error)).reason, Reason::DiskFull);
        }
    }

    #[test]
    fn who_only_reads_says_paused_only_of_what_is_paused() {
        let read = |reason| {
            let message = "no".to_owned();
            let error = TransferError::Paused { reason, message };
            failed(reading_error(error.into()))
        };
        for reason in [PauseReason::LoginRefused, PauseReason::HostChanged] {
            assert_eq!(read(reason).reason, Reason::DestinationDisabled);
        }
        for reason in [PauseReason::Full, PauseReason::ReadOnly] {
            let notice = read(reason);
            assert_eq!(notice.reason, Reason::DestinationUnreachable);
            assert!(!notice.message.contains("paused"), "{}", notice.message);
        }
    }

    #[test]
    fn a_local_folder_must_lie_beneath_an_allowed_one_also_behind_its_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("allowed");
        std::fs::create_dir(&root).expect("a folder");
        std::os::unix::fs::symlink("/etc", root.join("link")).expect("a link");
        let roots = [root.clone()];
        assert!(check_beneath(&root.join("new/deep"), &roots).is_ok());
        assert!(check_beneath(&root, &roots).is_ok());
        assert!(check_beneath(&root.join("link/x"), &roots).is_err());
        assert!(check_beneath(Path::new("/etc"), &roots).is_err());
        assert!(check_beneath(&folder.path().join("allowed-not"), &roots).is_err());
        assert!(check_beneath(&root, &[]).is_err());
    }
}
