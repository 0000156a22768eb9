//! Writing a zip to a disk in step with making it.

use std::fs::File;
use std::io::{self, Write};

use bytes::Bytes;

use super::packer::Sink;
use crate::disk::Writeback;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    written_bytes: u64,
    writeback: Writeback,
}

impl DiskFile {
    /// Writes to `file`, which is empty and at its beginning.
    pub fn new(file: File) -> Self {
        Self {
            file,
            written_bytes: 0,
            writeback: Writeback::default(),
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
        self.writeback.written_to(&self.file, self.written_bytes);
        Ok(())
    }
}
