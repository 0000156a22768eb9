//! Single small files, removal, and the trial of a place.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::paths::{is_plain, random_name};
use super::super::{FileFault, Outgoing, SendOptions, TransferError, Trial};
use super::Remote;
use super::check::Comparing;
use super::command::{Limit, Patience, Run};
use super::running::Event;
use super::send::{EarlySend, Locks};
use super::settings::settings_error;
use super::workspace::Workspace;
use crate::domain::backup::destination::DEFAULT_TRANSFERS;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};
use crate::process::Heard;

const SMALL_DEADLINE: Duration = Duration::from_secs(600);
const SMALL_STALL_LIMIT: Duration = Duration::from_secs(60);
/// Paths of one run of a removal.
const PATHS_MAX: usize = 1000;

/// How long what was started for a small file may wait for it: it takes memory, and is started again in a moment.
const FRESH: Duration = Duration::from_secs(10);

/// What writes a small file, started before the file is known. Dropped, it ends.
pub struct EarlyPut {
    send: EarlySend,
    at: Instant,
}

impl EarlyPut {
    fn if_fresh(self) -> Option<EarlySend> {
        (self.at.elapsed() < FRESH).then_some(self.send)
    }
}

impl Remote {
    /// See [`super::super::Place::start_put`].
    pub(in super::super) async fn start_put(
        &self,
        cancel: &CancellationToken,
    ) -> Result<EarlyPut, TransferError> {
        let version = self.ready(true, cancel).await?;
        Ok(EarlyPut {
            send: self.start_early(&small_options(), version)?,
            at: Instant::now(),
        })
    }

    /// Writes a small file; see [`super::super::Place::put`].
    pub(in super::super) async fn put(
        &self,
        path: &str,
        bytes: &[u8],
        early: Option<EarlyPut>,
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        let early = early.and_then(EarlyPut::if_fresh).unwrap_or_default();
        self.put_locked(path, bytes, Locks::AsSet, early, cancel)
            .await
    }

    async fn put_locked(
        &self,
        path: &str,
        bytes: &[u8],
        locks: Locks,
        early: EarlySend,
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        let workspace = Workspace::new(&self.engine.scratch)?;
        let file = File::open(workspace.write("small", bytes)?)?;
        // Nobody can change the bytes by the file's name any more.
        drop(workspace);
        let outgoing = Outgoing {
            file: Arc::new(file),
            path: path.to_owned(),
            size_bytes: bytes.len() as u64,
            is_evidence: false,
            // Its name is made for it alone: nothing can stand there but an earlier try of the same bytes.
            replaces: true,
        };
        let sent = self
            .send_with(
                vec![outgoing],
                &small_options(),
                locks,
                early,
                cancel,
                &mut |_| {},
            )
            .await
            .map_err(|broken| broken.cause)?;
        match sent.into_iter().next() {
            Some(Err(fault)) => Err(TransferError::Failed {
                status: "refused".to_owned(),
                message: fault.message,
            }),
            _ => Ok(()),
        }
    }

    /// Reads a small file; see [`super::super::Place::get`].
    pub(in super::super) async fn get(
        &self,
        path: &str,
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        require_plain(path)?;
        self.ready(false, cancel).await?;
        let patience = Patience::new(SMALL_DEADLINE, SMALL_STALL_LIMIT);
        let mut limit = Limit::none();
        let mut comparing = Comparing {
            check: BackupCheck::Size,
            transfers: 1,
            limit: &mut limit,
            patience,
            cancel,
            early: None,
        };
        let found = self.stat(&[path], false, &mut comparing).await?;
        let Some(stat) = found.get(path) else {
            return Ok(None);
        };
        let refused = |message: &str| TransferError::Failed {
            status: "refused".to_owned(),
            message: message.to_owned(),
        };
        if stat.size_bytes.is_none_or(|size| size > max_bytes as u64) {
            return Err(refused("the file is larger than it may be"));
        }
        let bytes = Run::new(self, "cat", patience)?
            .arguments(["--log-level=NOTICE"])
            .files([path])
            .arguments([&self.prepared.root])
            .output(max_bytes, cancel)
            .await?;
        if stat.size_bytes != Some(bytes.len() as u64) {
            return Err(refused("the file is not as long as the destination says"));
        }
        Ok(Some(bytes))
    }

    /// Removes files; see [`super::super::Place::remove`].
    pub(in super::super) async fn remove(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        self.ready(false, cancel).await?;
        let mut outcomes = Vec::with_capacity(paths.len());
        for some in paths.chunks(PATHS_MAX) {
            outcomes.extend(self.remove_some(some, cancel).await?);
        }
        Ok(outcomes)
    }

    async fn remove_some(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        let plain: Vec<&str> = paths
            .iter()
            .map(String::as_str)
            .filter(|path| is_plain(path))
            .collect();
        let patience = Self::patience();
        let mut stays = HashSet::new();
        let mut why = None;
        if !plain.is_empty() {
            let ended = Run::new(self, "delete", patience)?
                .arguments(["--log-level=INFO"])
                .arguments([
                    format!("--checkers={DEFAULT_TRANSFERS}"),
                    format!("--transfers={DEFAULT_TRANSFERS}"),
                ])
                .files(plain.iter().copied())
                .arguments([&self.prepared.root])
                .run(cancel, |event| match event {
                    Event::Line(_) => Heard::Nothing,
                    _ => Heard::Progress,
                })
                .await?;
            if let Some(error) = ended.error(true) {
                return Err(error);
            }
            let mut comparing = Comparing {
                check: BackupCheck::Size,
                transfers: DEFAULT_TRANSFERS,
                limit: &mut Limit::none(),
                patience,
                cancel,
                early: None,
            };
            stays.extend(self.stat(&plain, false, &mut comparing).await?.into_keys());
            why = Some(ended);
        }
        Ok(paths
            .iter()
            .map(|path| {
                if !is_plain(path) {
                    return Err(FileFault::new(
                        BackupFaultKind::NameUnsafe,
                        "its path is not a plain one",
                    ));
                }
                if !stays.contains(path) {
                    return Ok(());
                }
                let said = why.as_ref().and_then(|ended| ended.of(path));
                Err(FileFault::new(
                    BackupFaultKind::TransferFailed,
                    said.map_or("it is still at the destination", |said| &said.message),
                ))
            })
            .collect())
    }

    /// Tries the place, step by step; see [`super::super::Place::trial`].
    pub(in super::super) async fn trial(
        &self,
        trial: &mut Trial,
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        self.list_one(cancel).await?;
        trial.is_listed = true;
        trial.space = self.space(cancel).await?;
        let random = random_name()?;
        let path = format!(".heldar-footage-trial-{random}");
        // Written to the other side and read back by `put` itself, and once more for the caller to see.
        let written = self
            .put_locked(
                &path,
                random.as_bytes(),
                Locks::Never,
                EarlySend::default(),
                cancel,
            )
            .await;
        if let Err(error) = written {
            let _ = self.remove(&[path], cancel).await;
            return Err(error);
        }
        trial.is_written = true;
        let read = self.get(&path, random.len(), cancel).await;
        trial.is_read_back = matches!(&read, Ok(Some(bytes)) if bytes == random.as_bytes());
        let removed = self.remove(&[path], cancel).await?;
        read?;
        if !trial.is_read_back {
            return Err(TransferError::Failed {
                status: "trial".to_owned(),
                message: "what was written could not be read back".to_owned(),
            });
        }
        match removed.into_iter().next() {
            Some(Err(fault)) => Err(TransferError::Failed {
                status: "trial".to_owned(),
                message: fault.message,
            }),
            _ => {
                trial.is_deleted = true;
                Ok(())
            }
        }
    }
}

/// How small files are sent.
fn small_options() -> SendOptions {
    SendOptions {
        transfers: 1,
        bandwidth: watch::channel(0).1,
        check: BackupCheck::ReadBack,
        deadline: SMALL_DEADLINE,
        stall_limit: SMALL_STALL_LIMIT,
    }
}

fn require_plain(path: &str) -> Result<(), TransferError> {
    if is_plain(path) {
        Ok(())
    } else {
        Err(settings_error("the path of the file is not a plain one"))
    }
}
