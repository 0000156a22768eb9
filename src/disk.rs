//! What a file that is written asks of its disk before the sync: room for all of it, and to begin with what is there.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, statfs};
use rustix::io::{Errno, retry_on_intr};

/// Takes the room of a whole file, which has that length from now on: a disk that is too full shows before anything is
/// written, the file lies together, and the writes need not look for room. Not every file system can; those that cannot show
/// it while they are written to.
///
/// # Errors
/// When the disk is too full, or may not have a file of this size.
pub fn take_room(file: &File, size_bytes: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size_bytes)) {
        // What is no regular file has no room to take.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// File systems that take room for what is written when it is written, on a disk of the machine (linux/magic.h and the sources
/// of ZFS and bcachefs). A server of files may find later that it has none.
const OF_THE_MACHINE: [u32; 7] = [
    0xef53,      // ext4, ext3, ext2
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x0102_1994, // tmpfs
];

/// Whether a file of this folder that was written is there, but for a loss of power or a disk that fails.
pub fn takes_what_is_written(folder: &Path) -> bool {
    // The field is as wide as a word of the machine, the numbers never are wider than this.
    statfs(folder).is_ok_and(|found| OF_THE_MACHINE.contains(&(found.f_type as u32)))
}

/// How much must be written before the disk is told again. Measured with clips of 30 MB on a solid-state disk: with 8 MiB
/// they take a tenth longer, with 256 KiB no less.
const STEP_BYTES: u64 = 1 << 20;

/// How much of a file that is written from its beginning on the disk was told to write.
///
/// By itself the system keeps what is written in memory and leaves nearly all of it to the sync at the end: the disk
/// idles first, and everything else waits then.
#[derive(Debug, Default)]
pub struct Writeback {
    begun_bytes: u64,
}

impl Writeback {
    /// The file is written up to here. What is new is handed to the disk when it is enough to be worth it; nothing is waited
    /// for, and only a sync says that it arrived.
    pub fn written_to(&mut self, file: impl AsFd, written_bytes: u64) {
        if written_bytes.saturating_sub(self.begun_bytes) >= STEP_BYTES {
            self.begin(file, written_bytes);
        }
    }

    /// Hands over the rest of a file that is complete, however little it is.
    pub fn complete(&mut self, file: impl AsFd, size_bytes: u64) {
        if size_bytes > self.begun_bytes {
            self.begin(file, size_bytes);
        }
    }

    fn begin(&mut self, file: impl AsFd, written_bytes: u64) {
        let new = NonZeroU64::new(written_bytes - self.begun_bytes);
        // Linux takes this advice as a reason to write the pages that are not on the disk yet, and does not wait for it
        // (mm/fadvise.c); those on their way stay in memory. A system that does not is only slower at the end.
        let _ = fadvise(file, self.begun_bytes, new, Advice::DontNeed);
        self.begun_bytes = written_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_file_is_taken_whole_and_one_that_may_not_be_so_large_is_refused() {
        let file = tempfile::tempfile().unwrap();
        take_room(&file, 3 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3 << 20);
        assert!(take_room(&file, i64::MAX as u64).is_err());
        assert_eq!(file.metadata().unwrap().len(), 3 << 20);
    }
}
