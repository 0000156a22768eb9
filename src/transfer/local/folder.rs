//! The folder of a local place. Every step beneath it is taken from the open folder before, and none through a link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags, mkdirat, openat,
    openat2, statx,
};
use rustix::io::Errno;

use super::super::TransferError;
use super::super::sweep::sweep_unfinished;
use super::together::Together;
use crate::domain::backup::destination::LocalSettings;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// How often a race with a rename is tried again.
const RENAME_RACE_TRIES: usize = 3;

/// An open folder of a local place.
pub(super) struct Root {
    folder: Arc<OwnedFd>,
    /// Folders that were opened to write into, by their path beneath the root.
    opened: Mutex<BTreeMap<String, Arc<OwnedFd>>>,
    /// What syncs small files, where it can.
    pub(super) together: Option<Together>,
}

impl Root {
    /// Opens the folder of the settings. It is never made: a folder that is missing is most likely a disk that is.
    pub(super) fn open(settings: &LocalSettings) -> Result<Self, TransferError> {
        let path = Path::new(&settings.path);
        let folder = openat(CWD, path, FOLDER, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => TransferError::Unreachable(format!(
                "the folder `{}` does not exist; make it, or mount the disk that it is on",
                path.display()
            )),
            error => super::destination_error(&error.into(), "cannot be opened"),
        })?;
        if settings.require_mount && !is_mount_point(&folder)? {
            return Err(TransferError::Unreachable(format!(
                "nothing is mounted at `{}`",
                path.display()
            )));
        }
        let folder = Arc::new(folder);
        Ok(Self {
            together: Together::of(&folder),
            folder,
            opened: Mutex::default(),
        })
    }

    pub(super) fn as_fd(&self) -> &OwnedFd {
        &self.folder
    }

    /// Opens the regular file at `path` for reading.
    pub(super) fn read(&self, path: &str) -> io::Result<File> {
        // A pipe opened for reading waits for a writer, before it shows that it is no regular file.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(beneath(&self.folder, path, flags)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ))
        }
    }

    /// The folder in which `path` is, and its name there. `None` when the folder is not there.
    pub(super) fn find<'a>(&self, path: &'a str) -> io::Result<Option<(Arc<OwnedFd>, &'a str)>> {
        let Some((parent, name)) = path.rsplit_once('/') else {
            return Ok(Some((Arc::clone(&self.folder), path)));
        };
        match beneath(&self.folder, parent, FOLDER) {
            Ok(folder) => Ok(Some((Arc::new(folder), name))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Root::find`]; folders that are missing are made.
    pub(super) fn make<'a>(&self, path: &'a str) -> io::Result<(Arc<OwnedFd>, &'a str)> {
        let Some((parent, name)) = path.rsplit_once('/') else {
            return Ok((Arc::clone(&self.folder), path));
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = opened.get(parent) {
            return Ok((Arc::clone(folder), name));
        }
        let mut at = Arc::clone(&self.folder);
        for (end, _) in parent.match_indices('/').chain([(parent.len(), "")]) {
            let step = &parent[..end];
            if let Some(folder) = opened.get(step) {
                at = Arc::clone(folder);
                continue;
            }
            let last = step.rsplit('/').next().unwrap_or(step);
            match mkdirat(&at, last, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let folder = openat(&at, last, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
            at = Arc::new(folder);
            opened.insert(step.to_owned(), Arc::clone(&at));
        }
        // Before the first file of this run is written there. What is left in folders to which nothing is sent any more
        // is left for good, but a run that was killed is followed by one that sends the same files.
        sweep_unfinished(&at);
        Ok((at, name))
    }

    /// Makes new names in all folders that were written to outlast a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in opened.values().chain([&self.folder]) {
            rustix::fs::fsync(folder)?;
        }
        Ok(())
    }
}

/// Opens what is at `path` beneath `folder`, in one operation of the kernel, so that no link put in place meanwhile leads
/// elsewhere.
fn beneath(folder: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..RENAME_RACE_TRIES {
        result = openat2(folder, path, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    match result {
        // Kernels before 5.6 lack the call, and some sandboxes refuse calls they do not know.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => step_by_step(folder, path, flags),
        other => other,
    }
}

fn step_by_step(folder: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let Some((parents, name)) = path.rsplit_once('/') else {
        return openat(folder, path, flags | OFlags::NOFOLLOW, Mode::empty());
    };
    let mut at = None;
    for step in parents.split('/') {
        let from = at.as_ref().unwrap_or(folder);
        at = Some(openat(
            from,
            step,
            FOLDER | OFlags::NOFOLLOW,
            Mode::empty(),
        )?);
    }
    let at = at.as_ref().unwrap_or(folder);
    openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Whether a file system is mounted at the folder.
fn is_mount_point(folder: &OwnedFd) -> io::Result<bool> {
    let look = |name: &str, flags| -> io::Result<Statx> {
        Ok(statx(folder.as_fd(), name, flags, StatxFlags::BASIC_STATS)?)
    };
    let own = look("", AtFlags::EMPTY_PATH)?;
    let parent = look("..", AtFlags::empty())?;
    let device = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor);
    // The device differs except where a folder of the same file system was mounted, which newer kernels tell.
    Ok(device(&own) != device(&parent) || own.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root(path: &Path, require_mount: bool) -> Result<Root, TransferError> {
        Root::open(&LocalSettings {
            path: path.to_str().unwrap().to_owned(),
            require_mount,
        })
    }

    #[test]
    fn no_step_goes_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("backup");
        std::fs::create_dir_all(inside.join("cam")).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("../secret", inside.join("link")).unwrap();
        std::fs::write(inside.join("cam/a"), "x").unwrap();
        let root = root(&inside, false).unwrap();
        assert!(root.read("cam/a").is_ok());
        assert!(root.read("up/secret").is_err());
        assert!(root.read("link").is_err());
        assert!(root.make("up/new").is_err());
        assert!(root.find("up/secret").is_err());
        assert!(root.find("none/secret").unwrap().is_none());
        let flags = OFlags::RDONLY;
        assert!(step_by_step(root.as_fd(), "cam/a", flags).is_ok());
        assert!(step_by_step(root.as_fd(), "up/secret", flags).is_err());
        assert!(step_by_step(root.as_fd(), "link", flags).is_err());
    }

    #[test]
    fn a_folder_that_is_no_mount_point_is_refused_where_one_is_required() {
        let folder = tempfile::tempdir().unwrap();
        let refused = root(folder.path(), true);
        assert!(matches!(refused, Err(TransferError::Unreachable(_))));
        assert!(root(Path::new("/proc"), true).is_ok());
        let missing = root(&folder.path().join("none"), false);
        assert!(matches!(missing, Err(TransferError::Unreachable(_))));
    }
}
