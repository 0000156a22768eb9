//! The last step of a file that is brought back: it gets its name when its bytes are proved and on the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::source::{Digests, digests};
use super::{Expected, FileFault};
use crate::domain::backup::object::BackupFaultKind;

/// Proves the file at `part`, writes it to the disk, and gives it the name `target`; the caller syncs its folder. The file
/// stays where it is when it is not what it should be.
///
/// # Errors
/// When this machine's disk fails, or something stands at `target`.
pub(super) fn settle(
    part: &Path,
    expected: &Expected,
    target: &Path,
    goes_on: impl FnMut() -> bool,
) -> io::Result<Result<(), FileFault>> {
    let file = File::open(part)?;
    let found = digests(&file, expected.size_bytes, goes_on)?;
    if let Some(fault) = difference(&found, expected) {
        return Ok(Err(fault));
    }
    file.sync_all()?;
    name(part, target)?;
    Ok(Ok(()))
}

/// What is wrong with bytes that were brought back.
pub(super) fn difference(found: &Digests, expected: &Expected) -> Option<FileFault> {
    if found.size_bytes == expected.size_bytes && found.sha256 == expected.sha256 {
        return None;
    }
    // Of a longer file only the beginning was read, so that its hash says nothing.
    let is_longer = found.size_bytes > expected.size_bytes;
    Some(FileFault {
        found_size_bytes: (!is_longer).then_some(found.size_bytes),
        found_sha256: (!is_longer).then_some(found.sha256),
        ..FileFault::new(
            BackupFaultKind::ObjectChanged,
            if is_longer {
                "it is longer at the destination"
            } else {
                "it has other bytes at the destination"
            },
        )
    })
}

/// Gives a file the name `target`, at which nothing may stand.
pub(super) fn name(part: &Path, target: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, part, CWD, target, RenameFlags::NOREPLACE) {
        // Some file systems lack the flag; a hard link does not replace either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(part, target)?;
            std::fs::remove_file(part)
        }
        renamed => Ok(renamed?),
    }
}

/// Makes new names in a folder outlast a loss of power.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
