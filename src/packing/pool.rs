//! Chunks of what is read, and the buffers that they come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Large enough that a call of the system costs little beside it, small enough to stay in the cache of a core.
pub(super) const CHUNK_BYTES: usize = 512 * 1024;
const CHUNKS: usize = 16;

/// Buffers that come back when nobody needs them any more. When all are out, the reader waits: so nothing runs ahead.
pub(super) struct Pool {
    home: SyncSender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
    made: usize,
}

impl Pool {
    pub(super) fn new() -> Self {
        let (home, free) = sync_channel(CHUNKS);
        Self {
            home,
            free,
            made: 0,
        }
    }

    pub(super) fn take(&mut self) -> Buffer {
        let waiting = self.free.try_recv().ok();
        let bytes = match waiting {
            Some(bytes) => bytes,
            None if self.made < CHUNKS => {
                self.made += 1;
                vec![0; CHUNK_BYTES]
            }
            // The pool holds a sender itself, so the channel cannot be closed.
            None => self.free.recv().unwrap_or_else(|_| vec![0; CHUNK_BYTES]),
        };
        Buffer {
            bytes,
            length: 0,
            home: self.home.clone(),
        }
    }
}

/// A chunk: the first `length` bytes.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
    home: SyncSender<Vec<u8>>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // There is room for every buffer; a pool that is gone needs none back.
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}

/// As much as one call gives, from `offset` on.
pub(super) fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
