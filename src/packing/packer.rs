//! Packing: each source is read once, and on the way its CRC-32, its SHA-256, the zip and the zip's SHA-256 are made.
//!
//! The calling thread reads, sums and writes; two [`Lane`]s hash. Chunks are shared between them, and come from a
//! [`Pool`] whose size bounds the memory of a pass, whatever is packed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use bytes::Bytes;

use super::lane::Lane;
use super::pool::{Buffer, CHUNK_BYTES, Pool, read_some};
use super::zip::{EntryHead, ZipWriter};
use crate::hashing::{Hasher, Sha256};

/// Told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// Why packing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The caller wanted it to.
    #[error("stopped")]
    Stopped,
    /// The zip cannot be written.
    #[error("the zip cannot be written")]
    Write(#[from] io::Error),
}

impl From<Stop> for PackError {
    fn from(Stop: Stop) -> Self {
        Self::Stopped
    }
}

/// Where a zip goes.
pub trait Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be taken; packing ends then.
    fn put(&mut self, bytes: &Bytes) -> io::Result<()>;
}

/// What became of a source.
#[derive(Debug)]
pub struct Added {
    /// Bytes that are in the zip.
    pub size_bytes: u64,
    /// Why the source ended before the size it was said to have, if it did.
    pub cut_short: Option<io::Error>,
}

/// A finished zip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// Writes one archive.
pub struct Packer<S: Sink> {
    zip: ZipWriter<Tee<S>>,
    /// The chunk that the zip's records are about to pass on, so that it need not be copied.
    passing: Rc<RefCell<Option<Bytes>>>,
    entries: Lane,
    /// Digests of entries that came and were not yet asked for, in order.
    digests: VecDeque<Sha256>,
    /// Digests that are still to come.
    awaited: usize,
    pool: Pool,
}

impl<S: Sink> Packer<S> {
    /// Packs into `sink`. Not to be moved to another thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(sink: S) -> io::Result<Self> {
        Self::with_capacity(sink, 0)
    }

    /// The same with room for the digests of so many entries: a list that grows is there twice whenever it moves.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn with_capacity(sink: S, entry_count: usize) -> io::Result<Self> {
        let passing = Rc::new(RefCell::new(None));
        let tee = Tee {
            sink,
            lane: Lane::start()?,
            passing: Rc::clone(&passing),
            size_bytes: 0,
        };
        Ok(Self {
            zip: ZipWriter::new(tee),
            passing,
            entries: Lane::start()?,
            digests: VecDeque::with_capacity(entry_count),
            awaited: 0,
            pool: Pool::new(),
        })
    }

    /// Adds the first `head.size_bytes` of a file. `on_bytes` is called with the number of bytes of each chunk.
    ///
    /// # Errors
    /// [`PackError`]. A source that cannot be read to its end is no error: what could be read is in the zip.
    pub fn add_file(
        &mut self,
        head: &EntryHead<'_>,
        source: &File,
        mut on_bytes: impl FnMut(u64) -> Result<(), Stop>,
    ) -> Result<Added, PackError> {
        let (pool, lane, passing) = (&mut self.pool, &self.entries, &self.passing);
        let mut added = Added {
            size_bytes: 0,
            cut_short: None,
        };
        self.zip.entry(head, |out| {
            let mut crc = crc32fast::Hasher::new();
            while added.size_bytes < head.size_bytes {
                let left = head.size_bytes - added.size_bytes;
                let wanted = left.min(CHUNK_BYTES as u64) as usize;
                let mut buffer = pool.take();
                let read = read_some(source, &mut buffer.bytes[..wanted], added.size_bytes);
                let count = match read {
                    Ok(0) => {
                        added.cut_short = Some(io::ErrorKind::UnexpectedEof.into());
                        break;
                    }
                    Ok(count) => count,
                    Err(error) => {
                        added.cut_short = Some(error);
                        break;
                    }
                };
                buffer.length = count;
                let chunk = Bytes::from_owner(buffer);
                crc.update(&chunk);
                lane.add(chunk.clone());
                pass(passing, out, chunk)?;
                added.size_bytes += count as u64;
                on_bytes(count as u64)?;
            }
            Ok::<_, PackError>((crc.finalize(), added.size_bytes))
        })?;
        self.end_entry();
        Ok(added)
    }

    /// Adds an entry that `write` writes.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn add_written(
        &mut self,
        head: &EntryHead<'_>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let (pool, lane, passing) = (&mut self.pool, &self.entries, &self.passing);
        self.zip.entry(head, |out| {
            let mut chunked = Chunked {
                pool,
                lane,
                passing,
                out,
                buffer: None,
                crc: crc32fast::Hasher::new(),
                size_bytes: 0,
            };
            write(&mut chunked)?;
            chunked.flush()?;
            Ok::<_, PackError>((chunked.crc.finalize(), chunked.size_bytes))
        })?;
        self.end_entry();
        Ok(())
    }

    /// Ends the stream of an entry, and fetches the digests that are there: what waits in a channel takes more room.
    fn end_entry(&mut self) {
        self.entries.end();
        self.awaited += 1;
        while let Some(digest) = self.entries.digest_if_there() {
            self.digests.push_back(digest);
            self.awaited -= 1;
        }
    }

    /// The SHA-256 of the earliest entry that was not yet asked for.
    ///
    /// # Errors
    /// When the hashing thread is gone.
    pub fn next_digest(&mut self) -> io::Result<Sha256> {
        if let Some(digest) = self.digests.pop_front() {
            return Ok(digest);
        }
        self.awaited = self.awaited.saturating_sub(1);
        self.entries
            .digest()
            .ok_or_else(|| io::Error::other("a hashing thread ended"))
    }

    /// The SHA-256 of every entry that was not yet asked for, in order.
    ///
    /// # Errors
    /// When the hashing thread is gone.
    pub fn digests(&mut self) -> io::Result<Vec<Sha256>> {
        while self.awaited > 0 {
            let digest = self
                .entries
                .digest()
                .ok_or_else(|| io::Error::other("a hashing thread ended"))?;
            self.digests.push_back(digest);
            self.awaited -= 1;
        }
        Ok(std::mem::take(&mut self.digests).into())
    }

    /// Ends the zip.
    ///
    /// # Errors
    /// [`PackError::Write`].
    pub fn finish(self) -> Result<(S, Packed), PackError> {
        let Tee {
            sink,
            lane,
            size_bytes,
            ..
        } = self.zip.finish()?;
        lane.end();
        let sha256 = lane
            .digest()
            .ok_or_else(|| io::Error::other("a hashing thread ended"))?;
        Ok((sink, Packed { size_bytes, sha256 }))
    }
}

/// The SHA-256 of the first `size_bytes` of a file; `None` when `is_over` told to stop.
///
/// # Errors
/// When the file cannot be read, or ends before.
pub fn sha256(
    file: &File,
    size_bytes: u64,
    is_over: impl Fn() -> bool,
) -> io::Result<Option<Sha256>> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done_bytes = 0;
    while done_bytes < size_bytes {
        if is_over() {
            return Ok(None);
        }
        let wanted = (size_bytes - done_bytes).min(CHUNK_BYTES as u64) as usize;
        let count = read_some(file, &mut buffer[..wanted], done_bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..count]);
        done_bytes += count as u64;
    }
    Ok(Some(hasher.finish()))
}

/// Writes a chunk through the zip's records without a copy of it.
fn pass(passing: &RefCell<Option<Bytes>>, out: &mut dyn Write, chunk: Bytes) -> io::Result<()> {
    *passing.borrow_mut() = Some(chunk.clone());
    let written = out.write_all(&chunk);
    *passing.borrow_mut() = None;
    written
}

/// Passes everything that is written on to the sink and to the zip's own hash.
struct Tee<S> {
    sink: S,
    lane: Lane,
    passing: Rc<RefCell<Option<Bytes>>>,
    size_bytes: u64,
}

impl<S: Sink> Write for Tee<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let shared = self
            .passing
            .borrow()
            .as_ref()
            .filter(|chunk| chunk.as_ptr() == data.as_ptr() && chunk.len() == data.len())
            .cloned();
        let bytes = shared.unwrap_or_else(|| Bytes::copy_from_slice(data));
        self.sink.put(&bytes)?;
        self.lane.add(bytes);
        self.size_bytes += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gathers small writes into chunks.
struct Chunked<'a> {
    pool: &'a mut Pool,
    lane: &'a Lane,
    passing: &'a RefCell<Option<Bytes>>,
    out: &'a mut dyn Write,
    buffer: Option<Buffer>,
    crc: crc32fast::Hasher,
    size_bytes: u64,
}

impl Write for Chunked<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(self.pool.take()),
        };
        let count = data.len().min(CHUNK_BYTES - buffer.length);
        buffer.bytes[buffer.length..][..count].copy_from_slice(&data[..count]);
        buffer.length += count;
        if buffer.length == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else {
            return Ok(());
        };
        let chunk = Bytes::from_owner(buffer);
        self.crc.update(&chunk);
        self.size_bytes += chunk.len() as u64;
        self.lane.add(chunk.clone());
        pass(self.passing, self.out, chunk)
    }
}
