//! Reads files of a local folder: to compare them, and to bring them back.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, CWD, FlockOperation, Mode, OFlags, fadvise, flock, openat};
use rustix::io::Errno;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::arrival::{difference, name, sync_folder};
use super::super::paths::{is_plain, unfinished_name};
use super::super::source::{Hasher, read_all};
use super::super::sweep::sweep_unfinished;
use super::super::{BatchProgress, Expected, FileFault, TransferError, Wanted};
use super::crew::{self, Shared, Terms};
use super::folder::Root;
use super::write::{CopyError, copy};
use super::{DEADLINE, LocalPlace, STALL_LIMIT, destination_error};
use crate::domain::backup::destination::DEFAULT_TRANSFERS;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};

impl LocalPlace {
    /// Compares objects; see [`super::super::Place::check`].
    pub(in super::super) async fn check(
        &self,
        objects: &[Expected],
        check: BackupCheck,
        cancel: &CancellationToken,
        mut on_bytes: impl FnMut(u64) + Send,
    ) -> Result<Vec<Result<BackupCheck, FileFault>>, TransferError> {
        let root = self.root(cancel).await?;
        let items = objects
            .iter()
            .map(|object| (object.path.clone(), object.clone()))
            .collect();
        let mut tell = |progress: BatchProgress| on_bytes(progress.bytes_moved);
        let terms = terms(DEFAULT_TRANSFERS, watch::channel(0).1, cancel);
        crew::run(items, terms, &mut tell, move |shared, object| {
            check_one(shared, &root, object, check)
        })
        .await
    }

    /// Brings files back; see [`super::super::Place::fetch`].
    pub(in super::super) async fn fetch(
        &self,
        wanted: &[Wanted],
        transfers: u32,
        bandwidth: watch::Receiver<u64>,
        cancel: &CancellationToken,
        mut on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Result<(), FileFault>>, TransferError> {
        let root = self.root(cancel).await?;
        let folders: BTreeSet<PathBuf> = wanted
            .iter()
            .filter_map(|file| file.target.parent().map(Path::to_owned))
            .collect();
        tokio::task::spawn_blocking(move || folders.iter().for_each(|folder| sweep(folder)))
            .await
            .map_err(io::Error::other)?;
        let items = wanted
            .iter()
            .map(|file| (file.expected.path.clone(), file.clone()))
            .collect();
        let terms = terms(transfers, bandwidth, cancel);
        let outcomes = crew::run(items, terms, &mut on_progress, move |shared, file| {
            fetch_one(shared, &root, file)
        })
        .await?;
        let folders: BTreeSet<PathBuf> = wanted
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .filter_map(|(file, _)| file.target.parent().map(Path::to_owned))
            .collect();
        tokio::task::spawn_blocking(move || {
            folders.iter().try_for_each(|folder| sync_folder(folder))
        })
        .await
        .map_err(io::Error::other)??;
        Ok(outcomes)
    }
}

fn terms(threads: u32, bandwidth: watch::Receiver<u64>, cancel: &CancellationToken) -> Terms<'_> {
    Terms {
        threads,
        bandwidth,
        deadline: DEADLINE,
        stall_limit: STALL_LIMIT,
        cancel,
    }
}

/// Opens a file of the place.
fn open(root: &Root, path: &str) -> Result<Result<File, FileFault>, TransferError> {
    let fault = |kind, message: &str| Ok(Err(FileFault::new(kind, message)));
    if !is_plain(path) {
        return fault(BackupFaultKind::NameUnsafe, "its path is not a plain one");
    }
    match root.read(path) {
        Ok(file) => Ok(Ok(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fault(
            BackupFaultKind::ObjectMissing,
            "it is not at the destination",
        ),
        Err(error) => match Errno::from_io_error(&error) {
            // It says nothing of the file that this machine can open no more.
            Some(Errno::MFILE | Errno::NFILE) => Err(error.into()),
            // A link or a folder stands in its place.
            Some(Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::ISDIR) | None => fault(
                BackupFaultKind::ObjectChanged,
                &format!("the destination cannot read the file: {error}"),
            ),
            Some(_) => unreadable(&error).map(Err),
        },
    }
}

/// What it means that a file of the place cannot be read: nothing is known of its bytes, unless more than the file is at
/// fault.
fn unreadable(error: &io::Error) -> Result<FileFault, TransferError> {
    match destination_error(error, "cannot read the file") {
        TransferError::Failed { message, .. } => {
            Ok(FileFault::new(BackupFaultKind::TransferFailed, &message))
        }
        error => Err(error),
    }
}

fn check_one(
    shared: &Shared,
    root: &Root,
    expected: &Expected,
    check: BackupCheck,
) -> Result<Result<BackupCheck, FileFault>, TransferError> {
    let file = match open(root, &expected.path)? {
        Ok(file) => file,
        Err(fault) => return Ok(Err(fault)),
    };
    let size_bytes = match file.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) => return unreadable(&error).map(Err),
    };
    if size_bytes != expected.size_bytes {
        return Ok(Err(FileFault {
            found_size_bytes: Some(size_bytes),
            ..FileFault::new(
                BackupFaultKind::ObjectChanged,
                "it has another size at the destination",
            )
        }));
    }
    if check == BackupCheck::Size {
        shared.file_done();
        return Ok(Ok(BackupCheck::Size));
    }
    // What comes from memory would prove nothing of the disk.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let mut hasher = Hasher::new();
    let read = read_all(&file, size_bytes, |bytes| {
        if !shared.copies_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        hasher.add(bytes);
        shared.moved(bytes.len());
        Ok(())
    });
    match read {
        Ok(()) => {}
        Err(_) if !shared.copies_on() => return Err(TransferError::Cancelled),
        Err(error) => return unreadable(&error).map(Err),
    }
    Ok(match difference(&hasher.finish(), expected) {
        Some(fault) => Err(fault),
        None => {
            shared.file_done();
            Ok(BackupCheck::ReadBack)
        }
    })
}

fn fetch_one(
    shared: &Shared,
    root: &Root,
    wanted: &Wanted,
) -> Result<Result<(), FileFault>, TransferError> {
    let file = match open(root, &wanted.expected.path)? {
        Ok(file) => file,
        Err(fault) => return Ok(Err(fault)),
    };
    let part = Part::beside(&wanted.target)?;
    let found = match copy(shared, &file, wanted.expected.size_bytes, &part.file) {
        Ok(found) => found,
        Err(CopyError::Stopped) => return Err(TransferError::Cancelled),
        Err(CopyError::Target(error)) => return Err(error.into()),
        Err(CopyError::Source(error)) => return unreadable(&error).map(Err),
    };
    if let Some(fault) = difference(&found, &wanted.expected) {
        return Ok(Err(fault));
    }
    part.file.sync_all()?;
    name(&part.path, &wanted.target)?;
    shared.file_done();
    Ok(Ok(()))
}

/// Removes what a fetch into a folder that was killed left there.
fn sweep(folder: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(folder) = openat(CWD, folder, flags, Mode::empty()) {
        sweep_unfinished(&Arc::new(folder));
    }
}

/// A file that has not got its name yet.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = target.with_file_name(unfinished_name(&name.to_string_lossy())?);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        // The lock says that the file is being written. Where locks are not to be had, nobody sweeps either.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { path, file })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Under its new name the file is no longer here; what failed was told already.
        let _ = std::fs::remove_file(&self.path);
    }
}
