//! A file that is written in blocks, and hashed by another thread meanwhile where that is wanted: what waits for both waits
//! for the longer of the two.

mod blocks;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

pub(super) use self::blocks::BLOCK_BYTES;
use self::blocks::Block;
use crate::hashing::{FarHasher, Sha256};

/// How many parts the hash may be behind. Blocks are held in memory for so long.
const PARTS_BEHIND: usize = 8;

/// The file, from its beginning on. The hash ends when this is dropped.
pub struct BlockFile<'a> {
    file: &'a File,
    hash: Option<Hash>,
    block: Block,
    written_bytes: u64,
}

/// The way to the thread that hashes, and back.
struct Hash {
    written: SyncSender<Part>,
    /// Blocks that were hashed.
    used: Receiver<Block>,
}

impl<'a> BlockFile<'a> {
    /// Writes `file`, which is empty, and hashes nothing.
    pub(super) fn unhashed(file: &'a File) -> Self {
        Self::new(file, None)
    }

    fn new(file: &'a File, hash: Option<Hash>) -> Self {
        Self {
            file,
            hash,
            block: Block::take(),
            written_bytes: 0,
        }
    }
}

/// Has `write` write `file`, which is empty, and hashes it meanwhile: what `write` gives, and the SHA-256 of what it wrote.
/// Blocks.
pub fn hashed_beside<T>(
    file: &File,
    write: impl FnOnce(BlockFile<'_>) -> T,
) -> (T, io::Result<Sha256>) {
    let (written, parts) = sync_channel(PARTS_BEHIND);
    let (give_back, used) = channel();
    std::thread::scope(|threads| {
        let hashing = threads.spawn(move || hash_behind(file, &parts, &give_back));
        let done = write(BlockFile::new(file, Some(Hash { written, used })));
        let hashed = hashing.join();
        let died = |_| Err(io::Error::other("the hashing thread died"));
        (done, hashed.unwrap_or_else(died))
    })
}

impl BlockFile<'_> {
    /// How much is in the file.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether there is no room before something is written.
    pub(super) fn is_full(&self) -> bool {
        self.block.filled == BLOCK_BYTES
    }

    /// Where the next bytes belong, at most `wanted` of them and at least one. The caller fills all of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn room(&mut self, wanted: u64) -> io::Result<&mut [u8]> {
        if self.is_full() {
            self.flush()?;
        }
        let Block { bytes, filled } = &mut self.block;
        let begin = *filled;
        let free = BLOCK_BYTES - begin;
        *filled += usize::try_from(wanted).map_or(free, |wanted| wanted.min(free));
        Ok(&mut bytes[begin..*filled])
    }

    /// Writes what [`BlockFile::room`] was filled with.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        let Block { bytes, filled } = &self.block;
        if *filled == 0 {
            return Ok(());
        }
        self.file
            .write_all_at(&bytes[..*filled], self.written_bytes)?;
        self.written_bytes += *filled as u64;
        let Some(hash) = &self.hash else {
            self.block.filled = 0;
            return Ok(());
        };
        let mut next = hash.used.try_recv().unwrap_or_else(|_| Block::take());
        next.filled = 0;
        let full = std::mem::replace(&mut self.block, next);
        // A hash that failed is heard of in the end; until then nobody listens.
        let _ = hash.written.send(Part::Bytes(full));
        Ok(())
    }

    /// Somebody else wrote the next bytes, after a flush.
    pub(super) fn was_written(&mut self, count: u64) {
        self.written_bytes += count;
        if let Some(hash) = &self.hash {
            // As above.
            let _ = hash.written.send(Part::UpTo(self.written_bytes));
        }
    }
}

/// What was written next.
enum Part {
    Bytes(Block),
    /// What somebody else wrote; the file is written up to there.
    UpTo(u64),
}

/// Hashes the file as it is written. Blocks that were hashed are given back, to be filled anew.
fn hash_behind(
    file: &File,
    parts: &Receiver<Part>,
    give_back: &Sender<Block>,
) -> io::Result<Sha256> {
    let mut hasher = FarHasher::default();
    let mut at = 0;
    let mut buffer = Block::take();
    for part in parts {
        match part {
            Part::Bytes(block) => {
                hasher.update(&block.bytes[..block.filled]);
                at += block.filled as u64;
                // The writer may have reached the end and need no more of them.
                let _ = give_back.send(block);
            }
            Part::UpTo(end) => {
                while at < end {
                    let part = &mut buffer.bytes[..(end - at).min(BLOCK_BYTES as u64) as usize];
                    file.read_exact_at(part, at)?;
                    hasher.update_near(part);
                    at += part.len() as u64;
                }
            }
        }
    }
    Ok(hasher.digest())
}
