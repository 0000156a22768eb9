//! Writing a zip to a disk in step with making it.
//!
//! The system would keep what is written in memory and leave all of it to the sync at the end, so that the disk idles
//! first and everything else waits then. Here it is told after every few megabytes to begin writing them.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};

use super::packer::Sink;

/// How much is handed to the disk at a time.
const STEP_BYTES: u64 = 8 << 20;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    written_bytes: u64,
    handed_bytes: u64,
}

impl DiskFile {
    /// Writes to `file`, which is empty and at its beginning.
    pub fn new(file: File) -> Self {
        Self {
            file,
            written_bytes: 0,
            handed_bytes: 0,
        }
    }

    /// Makes the file end here, whatever room was taken for it, and waits until all of it is on the disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(self) -> io::Result<()> {
        self.file.set_len(self.written_bytes)?;
        self.file.sync_all()
    }
}

impl Sink for DiskFile {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        let waiting = self.written_bytes - self.handed_bytes;
        if waiting >= STEP_BYTES {
            // Of pages that are not on the disk yet, Linux takes this advice as a reason to write them, without waiting
            // for it (mm/fadvise.c). A system that does not is only slower at the end.
            let _ = fadvise(
                &self.file,
                self.handed_bytes,
                NonZeroU64::new(waiting),
                Advice::DontNeed,
            );
            self.handed_bytes = self.written_bytes;
        }
        Ok(())
    }
}
