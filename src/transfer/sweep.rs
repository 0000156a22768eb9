//! What transfers of a process that is gone left unfinished on this machine.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;
use walkdir::WalkDir;

use super::paths::is_unfinished;

/// Removes what restores left unfinished below `folder`; how many files and folders. Only before anything is restored:
/// what is being written has such a name too.
///
/// # Errors
/// A folder that cannot be read, or something that cannot be removed.
pub fn sweep_restored(folder: &Path) -> io::Result<u64> {
    let mut swept = 0;
    let mut entries = WalkDir::new(folder).into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.depth() == 0 || !entry.file_name().to_str().is_some_and(is_unfinished) {
            continue;
        }
        if entry.file_type().is_dir() {
            std::fs::remove_dir_all(entry.path())?;
            entries.skip_current_dir();
        } else {
            std::fs::remove_file(entry.path())?;
        }
        swept += 1;
    }
    Ok(swept)
}

/// Removes from a folder what fetches into it that were killed left there: folders that nobody holds locked.
pub(super) fn sweep_fetches(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        // The fetch that it belongs to may end at any moment.
        let is_staging = entry.file_name().to_str().is_some_and(is_unfinished)
            && unless_gone(entry.file_type())?.is_some_and(|found| found.is_dir());
        if is_staging && let Some(_lock) = lock_folder(&entry.path())? {
            unless_gone(std::fs::remove_dir_all(entry.path()))?;
        }
    }
    Ok(())
}

/// `None` for what is gone.
fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks a folder; `None` when somebody else has it, or it is gone.
pub(super) fn lock_folder(folder: &Path) -> io::Result<Option<File>> {
    let open = match File::open(folder) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&open, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(open)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes from a folder of a destination, or of what is brought back, the unfinished files that no living transfer holds
/// locked. They are of no use to anybody, so that one which cannot be removed is left.
pub(super) fn sweep_unfinished(folder: &Arc<OwnedFd>) {
    let Ok(entries) = Dir::read_from(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_str().is_ok_and(is_unfinished) {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(folder, name, flags, Mode::empty()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && unlinkat(folder, name, AtFlags::empty()).is_ok()
        {
            tracing::info!(name = %name.to_string_lossy(), "removed an unfinished file of a transfer that was killed");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;

    const LEFT: &str = ".a.mp4.0123456789abcdef.part";
    const HELD: &str = ".b.mp4.0123456789abcdef.part";

    #[test]
    fn only_unfinished_files_that_nobody_holds_go() {
        let folder = tempfile::tempdir().unwrap();
        for name in [LEFT, HELD, "a.mp4", ".notes.part"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let held = File::open(folder.path().join(HELD)).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let open = Arc::new(openat(CWD, folder.path(), flags, Mode::empty()).unwrap());
        sweep_unfinished(&open);
        assert!(!folder.path().join(LEFT).exists());
        for name in [HELD, "a.mp4", ".notes.part"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        drop(held);
        sweep_unfinished(&open);
        assert!(!folder.path().join(HELD).exists());
    }

    #[test]
    fn unfinished_files_and_folders_go_from_what_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("gate/2026-11-22");
        let staging = day.join(".fetch.0123456789abcdef.part");
        std::fs::create_dir_all(&staging).unwrap();
        for path in [day.join(LEFT), day.join("a.mp4"), staging.join("b.mp4")] {
            std::fs::write(path, "footage").unwrap();
        }
        assert_eq!(sweep_restored(folder.path()).unwrap(), 2);
        assert!(day.join("a.mp4").exists() && !day.join(LEFT).exists() && !staging.exists());
    }
}
