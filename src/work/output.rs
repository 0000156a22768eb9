//! Output files: unfinished ones have a name that nobody looks for, and finished ones survive a loss of power.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Free bytes on the disk of a folder, for those who are not root.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A file that is being written; removed when it is dropped before it is published.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    is_published: bool,
}

impl Draft {
    /// Makes the file `name` of `folder`, in place of one that an attempt before may have left.
    pub(super) fn create(folder: &Path, name: &str) -> io::Result<(Self, File)> {
        let path = folder.join(name);
        remove_if_there(&path)?;
        let file = File::create_new(&path)?;
        let draft = Self {
            path,
            is_published: false,
        };
        Ok((draft, file))
    }

    /// Gives the file its name. Its content must be on the disk already.
    pub(super) fn publish(mut self, name: &str) -> io::Result<()> {
        let named = self.path.with_file_name(name);
        publish(&self.path, &named)?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(error) = remove_if_there(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays behind");
        }
    }
}

/// Renames a finished file, so that the new name survives a loss of power.
pub(super) fn publish(part: &Path, named: &Path) -> io::Result<()> {
    std::fs::rename(part, named)?;
    match named.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
