//! The archive as a file of fixed size, read at offsets that nobody has checked yet.

use std::fs::File;
use std::io;

use rawzip::ReaderAt;

use super::super::pool::read_some;

/// Reads of a file. Beyond its end there is nothing, however far; the system would take such an offset for an error.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    file: &'a File,
    size_bytes: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len();
        Ok(Self { file, size_bytes })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills the buffer as far as the file goes, up to `limit`; returns how far.
    pub(super) fn fill(&self, buffer: &mut [u8], offset: u64, limit: u64) -> io::Result<usize> {
        let left = limit.min(self.size_bytes).saturating_sub(offset);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < wanted {
            let read = read_some(
                self.file,
                &mut buffer[filled..wanted],
                offset + filled as u64,
            )?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }
}

impl ReaderAt for Source<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fill(buffer, offset, self.size_bytes)
    }
}
