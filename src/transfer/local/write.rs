//! Writes files into a local folder.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{
    Advice, AtFlags, FlockOperation, Mode, OFlags, RenameFlags, fadvise, flock, ioctl_ficlone,
    openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::super::paths::{is_plain, unfinished_name};
use super::super::source::{Digests, Hasher, digests, read_all};
use super::super::{
    BatchProgress, BrokenOff, FileFault, OTHERS_FILE, Outgoing, SendOptions, Stored, TransferError,
};
use super::crew::{self, Shared, Step, Terms};
use super::folder::Root;
use super::together::WrittenAfter;
use super::{LocalPlace, destination_error};
use crate::disk::Writeback;
use crate::domain::backup::object::{BackupCheck, BackupFaultKind};

/// What the last sync of a batch gets at least, however late it is.
const LAST_SYNC: Duration = Duration::from_secs(10);
/// The same when the caller cancels, who waits for two seconds at most.
const LAST_SYNC_OF_CANCELLED: Duration = Duration::from_millis(400);

type Outcome = Result<Stored, FileFault>;

impl LocalPlace {
    /// Sends files; see [`super::super::Place::send`].
    pub(in super::super) async fn send(
        &self,
        batch: Vec<Outgoing>,
        options: &SendOptions,
        cancel: &CancellationToken,
        mut on_progress: impl FnMut(BatchProgress) + Send,
    ) -> Result<Vec<Outcome>, BrokenOff> {
        let ends_at = Instant::now() + options.deadline;
        let root = self.root(cancel).await?;
        let mut taken = HashSet::new();
        let items = batch
            .into_iter()
            .map(|file| {
                let is_first = taken.insert(file.path.clone());
                (file.path.clone(), (file, is_first))
            })
            .collect();
        let terms = Terms {
            threads: options.transfers,
            bandwidth: options.bandwidth.clone(),
            deadline: options.deadline,
            stall_limit: options.stall_limit,
            cancel,
        };
        let (check, folders, syncing) = (options.check, Arc::clone(&root), Arc::clone(&root));
        let first = move |shared: &Shared, (file, is_first): &(Outgoing, bool)| {
            if *is_first {
                write(shared, &folders, file)
            } else {
                fault(
                    BackupFaultKind::NameTaken,
                    "another file of this batch goes to the same path",
                )
            }
        };
        let second = move |shared: &Shared, (file, _): &(Outgoing, bool), written| {
            publish(shared, &syncing, file, written, check)
        };
        let ended = crew::run_in_steps(items, terms, &mut on_progress, first, second).await?;
        // The names count only once they outlast a loss of power. What took too long gets a moment for it.
        let synced = if let Some(TransferError::Cancelled) = ended.error {
            sync(root, LAST_SYNC_OF_CANCELLED, &CancellationToken::new()).await
        } else {
            let left = ends_at
                .saturating_duration_since(Instant::now())
                .max(LAST_SYNC)
                .min(options.stall_limit);
            sync(root, left, cancel).await
        };
        match (ended.error, synced) {
            (None, Ok(())) => Ok(ended.results.into_iter().flatten().collect()),
            (Some(cause), Ok(())) => Err(BrokenOff {
                cause,
                outcomes: ended.results,
            }),
            (Some(error), Err(_)) | (None, Err(error)) => Err(error.into()),
        }
    }
}

/// Makes the names of a batch outlast a loss of power, within `limit`.
async fn sync(
    root: Arc<Root>,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<(), TransferError> {
    let syncing = tokio::task::spawn_blocking(move || root.sync());
    tokio::select! {
        synced = syncing => synced
            .map_err(io::Error::other)?
            .map_err(|error| destination_error(&error, "cannot be synced")),
        () = cancel.cancelled() => Err(TransferError::Cancelled),
        () = tokio::time::sleep(limit) => Err(TransferError::Stalled(limit.as_secs())),
    }
}

/// A file that is written whole, on its way to the disk, and has not got its name yet.
struct Written {
    part: Part,
    found: Digests,
    /// If it is synced with others.
    written_after: Option<WrittenAfter>,
}

fn fault(kind: BackupFaultKind, message: &str) -> Result<Step<Written, Outcome>, TransferError> {
    Ok(Step::Done(Err(FileFault::new(kind, message))))
}

fn write(
    shared: &Shared,
    root: &Root,
    outgoing: &Outgoing,
) -> Result<Step<Written, Outcome>, TransferError> {
    if !is_plain(&outgoing.path) {
        return fault(BackupFaultKind::NameUnsafe, "its path is not a plain one");
    }
    let made = root
        .make(&outgoing.path)
        .and_then(|(folder, name)| Part::new(folder, name));
    let part = match made {
        Ok(part) => part,
        Err(error) => return of_one_file(error).map(Step::Done),
    };
    let found = match copy(shared, &outgoing.file, outgoing.size_bytes, &part.file) {
        Ok(found) => found,
        Err(CopyError::Stopped) => return Err(TransferError::Cancelled),
        Err(CopyError::Source(error)) => {
            return fault(BackupFaultKind::SourceUnreadable, &error.to_string());
        }
        Err(CopyError::Target(error)) => return of_one_file(error).map(Step::Done),
    };
    if found.size_bytes != outgoing.size_bytes {
        return Ok(Step::Done(Err(FileFault {
            found_size_bytes: Some(found.size_bytes),
            ..FileFault::new(
                BackupFaultKind::SourceUnreadable,
                "its size changed since it was opened",
            )
        })));
    }
    shared.file_done();
    let together = root.together.as_ref();
    Ok(Step::Later(Written {
        written_after: together.and_then(|together| together.note_written(&part.file)),
        part,
        found,
    }))
}

/// Makes a file outlast a loss of power, looks at it and gives it its name.
fn publish(
    shared: &Shared,
    root: &Root,
    outgoing: &Outgoing,
    written: Written,
    check: BackupCheck,
) -> Result<Outcome, TransferError> {
    let Written {
        mut part,
        found,
        written_after,
    } = written;
    let path = outgoing.path.as_str();
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let together = root.together.as_ref().zip(written_after);
    let lasts = together.is_some_and(|(together, written)| together.makes_last(written));
    if !lasts && let Err(error) = part.file.sync_all() {
        return of_one_file(error);
    }
    let written = match look(shared, &part.file, &found, check) {
        Ok(written) => written,
        Err(_) if !shared.goes_on() => return Err(TransferError::Cancelled),
        Err(error) => return of_one_file(error),
    };
    if let Err(fault) = written {
        return Ok(Err(fault));
    }
    let named = if outgoing.replaces {
        part.take_name(name).map(|()| true)
    } else {
        part.take_free_name(name)
    };
    match named {
        Ok(true) => {}
        // A run that ended before it could write down what it sent leaves the very file; anything else is somebody's.
        Ok(false) => match part.is_at(name, &found, || shared.goes_on()) {
            Ok(true) => {}
            Ok(false) => {
                return Ok(Err(FileFault::new(BackupFaultKind::NameTaken, OTHERS_FILE)));
            }
            Err(_) if !shared.goes_on() => return Err(TransferError::Cancelled),
            Err(error) => return of_one_file(error),
        },
        Err(error) => return of_one_file(error),
    }
    Ok(Ok(Stored {
        sha256: found.sha256,
        check,
    }))
}

/// An error of the destination that concerns one file is a fault of it; others end the batch.
fn of_one_file(error: io::Error) -> Result<Outcome, TransferError> {
    match destination_error(&error, "refuses the file") {
        TransferError::Failed { message, .. } => Ok(Err(FileFault::new(
            BackupFaultKind::TransferFailed,
            &message,
        ))),
        error => Err(error),
    }
}

pub(super) enum CopyError {
    Stopped,
    Source(io::Error),
    Target(io::Error),
}

/// Copies a file and hashes it on the way. Where the file system can share blocks, nothing is copied, and what was shared
/// is only read for its hash. `target` must be readable, too.
pub(super) fn copy(
    shared: &Shared,
    source: &File,
    size_bytes: u64,
    target: &File,
) -> Result<Digests, CopyError> {
    let is_shared = size_bytes > 0 && ioctl_ficlone(target, source).is_ok();
    let mut hasher = Hasher::new();
    let mut target_error = None;
    let mut writeback = Writeback::default();
    let mut written_bytes = 0;
    let mut target_writer = target;
    // The source may change after its blocks were shared.
    let from = if is_shared { target } else { source };
    let read = read_all(from, size_bytes, |bytes| {
        if !shared.copies_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        hasher.add(bytes);
        if !is_shared && let Err(error) = target_writer.write_all(bytes) {
            target_error = Some(error);
            return Err(io::ErrorKind::Interrupted.into());
        }
        written_bytes += bytes.len() as u64;
        if !is_shared {
            writeback.written_to(target, written_bytes);
        }
        shared.moved(bytes.len());
        Ok(())
    });
    match (read, target_error) {
        (_, Some(error)) => Err(CopyError::Target(error)),
        (Err(_), None) if !shared.copies_on() => Err(CopyError::Stopped),
        (Err(error), None) => Err(CopyError::Source(error)),
        (Ok(()), None) => {
            if !is_shared {
                writeback.complete(target, written_bytes);
            }
            Ok(hasher.finish())
        }
    }
}

/// Compares what was written, as thoroughly as `check` wants.
fn look(
    shared: &Shared,
    file: &File,
    wanted: &Digests,
    check: BackupCheck,
) -> io::Result<Result<(), FileFault>> {
    let size_bytes = file.metadata()?.len();
    if size_bytes != wanted.size_bytes {
        return Ok(Err(FileFault {
            found_size_bytes: Some(size_bytes),
            ..FileFault::new(
                BackupFaultKind::CheckFailed,
                "it has another size at the destination",
            )
        }));
    }
    if check == BackupCheck::ReadBack {
        // What comes from memory would prove nothing of the disk.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        let found = digests(file, size_bytes, || shared.goes_on())?;
        if found.sha256 != wanted.sha256 {
            return Ok(Err(FileFault {
                found_size_bytes: Some(found.size_bytes),
                found_sha256: Some(found.sha256),
                ..FileFault::new(
                    BackupFaultKind::CheckFailed,
                    "it has other bytes at the destination",
                )
            }));
        }
    }
    Ok(Ok(()))
}

/// A file that has not got its name yet.
struct Part {
    folder: Arc<OwnedFd>,
    name: String,
    file: File,
    is_named: bool,
}

impl Part {
    fn new(folder: Arc<OwnedFd>, name: &str) -> io::Result<Self> {
        let name = unfinished_name(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&folder, name.as_str(), flags, Mode::from_raw_mode(0o644))?;
        // The lock says that the file is being written. Where locks are not to be had, nobody sweeps either.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self {
            folder,
            name,
            file: file.into(),
            is_named: false,
        })
    }

    /// Gives the file its name, in the place of the one that may have it.
    fn take_name(&mut self, name: &str) -> io::Result<()> {
        renameat(&self.folder, self.name.as_str(), &self.folder, name)?;
        self.is_named = true;
        Ok(())
    }

    /// Gives the file its name if no other file has it; whether it got it.
    fn take_free_name(&mut self, name: &str) -> io::Result<bool> {
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&self.folder, self.name.as_str(), &self.folder, name, flags) {
            Ok(()) => {
                self.is_named = true;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            // Some file systems lack the flag. Nobody else writes to the name in the moment between.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Ok(false),
                    Err(Errno::NOENT) => self.take_name(name).map(|()| true),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the file that has the name holds these bytes.
    fn is_at(&self, name: &str, wanted: &Digests, goes_on: impl Fn() -> bool) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            // A link is somebody's, whatever it leads to.
            Err(Errno::LOOP) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != wanted.size_bytes {
            return Ok(false);
        }
        Ok(digests(&file, metadata.len(), goes_on)?.sha256 == wanted.sha256)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.is_named {
            return;
        }
        // What failed was told already.
        let _ = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
    }
}
