//! Small files that are there whole or not at all, whatever ends the process or the power.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{CWD, RenameFlags};

/// Writes a file that must not be there yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when something is there; nothing is changed then.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let part = Part::write(path, bytes, mode)?;
    match rustix::fs::renameat_with(CWD, &part.path, CWD, path, RenameFlags::NOREPLACE) {
        // Some file systems lack the flag; a hard link does not replace either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(&part.path, path)?;
        }
        renamed => renamed?,
    }
    sync_folder(path)
}

/// Writes a file in the place of the one that may be there.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let part = Part::write(path, bytes, mode)?;
    std::fs::rename(&part.path, path)?;
    sync_folder(path)
}

/// The new name must outlast a loss of power too.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that has not got its name yet.
struct Part {
    path: PathBuf,
}

impl Part {
    fn write(target: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| io::Error::other("the system has no random numbers"))?;
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{:016x}.part", u64::from_ne_bytes(random)));
        let part = Self {
            path: folder_of(target).join(name),
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&part.path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Under its new name the file is no longer here; what failed was told already.
        let _ = std::fs::remove_file(&self.path);
    }
}
