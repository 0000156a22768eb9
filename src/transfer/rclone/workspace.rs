//! The private folder of one operation: rclone's home, certificates and host keys, and what is sent under the names that
//! it gets at the destination. It goes with the operation.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::super::paths::{is_random_name, random_name};

/// What the name of every such folder begins with.
const PREFIX: &str = "transfer-";

/// The name of another such folder, which is swept as they all are.
pub(super) fn new_folder_name() -> io::Result<String> {
    Ok(format!("{PREFIX}{}", random_name()?))
}

/// Removes the folders that operations of a process which is gone left in `scratch`; how many. Only before anything is
/// transferred: a folder that is in use has such a name too.
///
/// # Errors
/// A folder that cannot be read or removed.
pub fn sweep_scratch(scratch: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(scratch) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .is_some_and(is_random_name);
        if is_ours && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A folder that only this user can look into.
pub(super) struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    /// Makes one below `scratch`, which is made too where it is missing.
    pub(super) fn new(scratch: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(scratch)?;
        // A relative path would lead rclone elsewhere once it looks at its own home.
        let scratch = std::path::absolute(scratch)?;
        let workspace = Self {
            folder: scratch.join(new_folder_name()?),
        };
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.create(&workspace.folder)?;
        private.create(workspace.home())?;
        Ok(workspace)
    }

    /// An empty folder that rclone takes for its home.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Writes a small file for rclone to read.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?
            .write_all(bytes)?;
        Ok(path)
    }

    /// A folder for the names of what is sent.
    pub(super) fn tree(&self) -> io::Result<PathBuf> {
        let tree = self.folder.join("tree");
        std::fs::create_dir(&tree)?;
        Ok(tree)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.folder.display(), %error, "a folder of a transfer could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_operations_are_swept() {
        let scratch = tempfile::tempdir().expect("a folder");
        let at = |name: &str| scratch.path().join(name);
        assert_eq!(sweep_scratch(&at("missing")).expect("none"), 0);
        let left = Workspace::new(scratch.path()).expect("a workspace");
        left.write("known_hosts", b"* ssh-ed25519 AAAA")
            .expect("a file");
        // As when the process is killed.
        std::mem::forget(left);
        for other in ["transfer-notes", "transfer-0123456789abcdeg"] {
            std::fs::create_dir(at(other)).expect("a folder");
        }
        std::fs::write(at("transfer-0123456789abcdef"), "a file").expect("a file");
        assert_eq!(sweep_scratch(scratch.path()).expect("swept"), 1);
        let mut names: Vec<_> = std::fs::read_dir(scratch.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "transfer-0123456789abcdef",
                "transfer-0123456789abcdeg",
                "transfer-notes"
            ]
        );
    }
}
