//! Local folders, which we write ourselves: rclone never makes sure that a copy is on the disk.

mod crew;
mod folder;
mod pace;
mod read;
mod together;
mod write;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, fstatvfs, unlinkat};
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::folder::Root;
use super::paths::{is_plain, random_name, shown};
use super::{FileFault, Listed, Outgoing, SendOptions, Space, TransferError, Trial};
use crate::domain::backup::destination::{LocalSettings, PauseReason};
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};

/// How long nothing may move where the caller sets no limit of its own.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// Longer than any check takes that moves at all.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// Names of a list that wait for the caller.
const WAITING_MAX: usize = 1024;

/// A folder of this machine.
pub(super) struct LocalPlace {
    settings: LocalSettings,
}

impl LocalPlace {
    pub(super) fn open(settings: &LocalSettings) -> Result<Self, TransferError> {
        let path = &settings.path;
        if path.is_empty() {
            return Err(TransferError::Settings(
                "local destination has no `path` configured".to_owned(),
            ));
        }
        if !path.starts_with('/') || path.chars().any(char::is_control) {
            return Err(TransferError::Settings(
                "`path` must be absolute and have no control characters".to_owned(),
            ));
        }
        Ok(Self {
            settings: settings.clone(),
        })
    }

    /// Runs what waits for the disk on a thread that may; at most for two seconds longer than the caller wants.
    async fn blocking<R: Send + 'static>(
        &self,
        cancel: &CancellationToken,
        work: impl FnOnce(&Root) -> Result<R, TransferError> + Send + 'static,
    ) -> Result<R, TransferError> {
        let settings = self.settings.clone();
        let working = tokio::task::spawn_blocking(move || work(&Root::open(&settings)?));
        tokio::select! {
            done = working => done.map_err(io::Error::other)?,
            () = cancel.cancelled() => Err(TransferError::Cancelled),
            () = tokio::time::sleep(STALL_LIMIT) => Err(TransferError::Stalled(STALL_LIMIT.as_secs())),
        }
    }

    async fn root(&self, cancel: &CancellationToken) -> Result<Arc<Root>, TransferError> {
        let settings = self.settings.clone();
        let opening = tokio::task::spawn_blocking(move || Root::open(&settings));
        tokio::select! {
            opened = opening => Ok(Arc::new(opened.map_err(io::Error::other)??)),
            () = cancel.cancelled() => Err(TransferError::Cancelled),
            () = tokio::time::sleep(STALL_LIMIT) => Err(TransferError::Stalled(STALL_LIMIT.as_secs())),
        }
    }

    /// Lists all files; see [`super::Place::list`].
    pub(super) async fn list(
        &self,
        below: &str,
        cancel: &CancellationToken,
        mut each: impl FnMut(Listed) -> Result<(), TransferError> + Send,
    ) -> Result<(), TransferError> {
        let (names, mut listed) = mpsc::channel(WAITING_MAX);
        // The folder itself is checked as for all else; then it is walked by its path.
        self.root(cancel).await?;
        let path = std::path::PathBuf::from(&self.settings.path);
        let below = path.join(below);
        let walking = tokio::task::spawn_blocking(move || walk(&path, &below, &names));
        loop {
            let next = tokio::select! {
                next = listed.recv() => next,
                () = cancel.cancelled() => return Err(TransferError::Cancelled),
                () = tokio::time::sleep(STALL_LIMIT) => return Err(TransferError::Stalled(STALL_LIMIT.as_secs())),
            };
            match next {
                Some(file) => each(file)?,
                None => break,
            }
        }
        walking.await.map_err(io::Error::other)?
    }

    /// Removes files; see [`super::Place::remove`].
    pub(super) async fn remove(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        let paths = paths.to_vec();
        let stop = cancel.child_token();
        // Nothing goes any more when nobody waits for it: the caller may tell that it stays.
        let _stopped_with_this = stop.clone().drop_guard();
        self.blocking(cancel, move |root| {
            let mut outcomes = Vec::with_capacity(paths.len());
            for path in &paths {
                if stop.is_cancelled() {
                    return Err(TransferError::Cancelled);
                }
                outcomes.push(remove_one(root, path)?);
            }
            root.sync()
                .map_err(|error| destination_error(&error, "cannot be synced"))?;
            Ok(outcomes)
        })
        .await
    }

    /// Writes a small file; see [`super::Place::put`].
    pub(super) async fn put(
        &self,
        path: &str,
        bytes: &[u8],
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        let memory = rustix::fs::memfd_create("put", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)?;
        let mut file = std::fs::File::from(memory);
        io::Write::write_all(&mut file, bytes)?;
        let outgoing = Outgoing {
            file: Arc::new(file),
            path: path.to_owned(),
            size_bytes: bytes.len() as u64,
            is_evidence: false,
            replaces: false,
        };
        let options = SendOptions {
            transfers: 1,
            bandwidth: watch::channel(0).1,
            check: BackupCheck::ReadBack,
            deadline: DEADLINE,
            stall_limit: STALL_LIMIT,
        };
        let sent = self
            .send(vec![outgoing], &options, cancel, |_| {})
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

    /// Reads a small file; see [`super::Place::get`].
    pub(super) async fn get(
        &self,
        path: &str,
        max_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, TransferError> {
        if !is_plain(path) {
            return Err(TransferError::Settings(
                "the path of the file is not a plain one".to_owned(),
            ));
        }
        let path = path.to_owned();
        self.blocking(cancel, move |root| {
            let file = match root.read(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(destination_error(&error, "cannot be read")),
            };
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, max_bytes as u64 + 1), &mut bytes)
                .map_err(|error| destination_error(&error, "cannot be read"))?;
            if bytes.len() > max_bytes {
                return Err(TransferError::Failed {
                    status: "refused".to_owned(),
                    message: "the file is larger than it may be".to_owned(),
                });
            }
            Ok(Some(bytes))
        })
        .await
    }

    /// Asks how much room there is; see [`super::Place::space`].
    pub(super) async fn space(&self, cancel: &CancellationToken) -> Result<Space, TransferError> {
        self.blocking(cancel, |root| {
            let room = fstatvfs(root.as_fd())
                .map_err(|error| destination_error(&error.into(), "cannot be looked at"))?;
            Ok(Space {
                free_bytes: Some(room.f_bavail.saturating_mul(room.f_frsize)),
                total_bytes: Some(room.f_blocks.saturating_mul(room.f_frsize)),
            })
        })
        .await
    }

    /// Tries the place, step by step; see [`super::Place::trial`].
    pub(super) async fn trial(
        &self,
        trial: &mut Trial,
        cancel: &CancellationToken,
    ) -> Result<(), TransferError> {
        let path = self.settings.path.clone();
        self.blocking(cancel, move |_| {
            std::fs::read_dir(&path)
                .and_then(|mut names| names.next().transpose())
                .map_err(|error| destination_error(&error, "cannot be listed"))
        })
        .await?;
        trial.is_listed = true;
        trial.space = self.space(cancel).await?;
        let random = random_name()?;
        let path = format!(".heldar-footage-trial-{random}");
        self.put(&path, random.as_bytes(), cancel).await?;
        trial.is_written = true;
        let read = self.get(&path, random.len(), cancel).await;
        trial.is_read_back = matches!(&read, Ok(Some(bytes)) if bytes == random.as_bytes());
        let removed = self.remove(&[path], cancel).await?;
        read?;
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

/// Tells every regular file below `path`; ends when nobody listens any more.
fn walk(
    path: &std::path::Path,
    below: &std::path::Path,
    names: &mpsc::Sender<Listed>,
) -> Result<(), TransferError> {
    for entry in walkdir::WalkDir::new(below).follow_links(false) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => match error.io_error().map(io::Error::kind) {
                // It went while the folder was read.
                Some(io::ErrorKind::NotFound) => continue,
                // Nothing of ours can be in there, such as in the `lost+found` of a disk.
                Some(io::ErrorKind::PermissionDenied) if error.depth() > 0 => continue,
                _ => return Err(destination_error(&error.into(), "cannot be listed")),
            },
        };
        if !entry.file_type().is_file() {
            continue;
        }
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let below = entry.path().strip_prefix(path).unwrap_or(entry.path());
        let listed = Listed {
            path: shown(&below.to_string_lossy()),
            size_bytes: metadata.len(),
        };
        if names.blocking_send(listed).is_err() {
            break;
        }
    }
    Ok(())
}

fn remove_one(root: &Root, path: &str) -> Result<Result<(), FileFault>, TransferError> {
    if !is_plain(path) {
        return Ok(Err(FileFault::new(
            BackupFaultKind::NameUnsafe,
            "its path is not a plain one",
        )));
    }
    let removed = root.find(path).and_then(|found| match found {
        Some((folder, name)) => match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => Ok(rustix::fs::fsync(&folder)?),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        },
        None => Ok(()),
    });
    match removed {
        Ok(()) => {
            remove_empty_folders(root, path);
            Ok(Ok(()))
        }
        Err(error) => match destination_error(&error, "cannot be removed") {
            TransferError::Failed { message, .. } => Ok(Err(FileFault::new(
                BackupFaultKind::TransferFailed,
                &message,
            ))),
            error => Err(error),
        },
    }
}

/// Removes the folders above a file that went, as far as nothing else is in them.
fn remove_empty_folders(root: &Root, path: &str) {
    let mut below = path;
    while let Some((parent, _)) = below.rsplit_once('/') {
        let removed = match root.find(parent) {
            Ok(Some((folder, name))) => unlinkat(&folder, name, AtFlags::REMOVEDIR).is_ok(),
            _ => false,
        };
        if !removed {
            break;
        }
        below = parent;
    }
}

/// What a failure of the destination's file system means. `what`: the rest of a sentence about the destination.
fn destination_error(error: &io::Error, what: &str) -> TransferError {
    let message = format!("the destination {what}: {error}");
    let paused = |reason, message| TransferError::Paused { reason, message };
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => paused(PauseReason::Full, message),
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => paused(PauseReason::ReadOnly, message),
        Some(Errno::NODEV | Errno::NXIO | Errno::STALE | Errno::NOTCONN | Errno::HOSTDOWN) => {
            TransferError::Unreachable(message)
        }
        _ => TransferError::Failed {
            status: "disk".to_owned(),
            message,
        },
    }
}
