//! A clip without ffmpeg: the header that shows the window, and behind it the planned samples, copied from the sources.
//!
//! The order and the tables are those of the plan, so the header is known before the first sample is read and stands in
//! front of the media from the start. The bytes are read once, written, and handed to the thread that hashes them; where
//! files may share what they have in common (`sharing`), the kernel copies what lies together in a source, and the hash reads
//! the new file behind it. What a source's tables say was checked when they were read; here they only decide what is copied
//! from where.

mod blocks;
mod sharing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use rustix::fs::copy_file_range;

use self::blocks::{BLOCK_BYTES, Block};
use super::feed::{BrokenSource, data_header, placed};
use super::ffmpeg::Format;
use super::finish::{FinishError, check};
use super::interleave::{Places, Stretch, in_runs, media_bytes};
use super::movie::{self, Label, MovieError, Times, boxed};
use super::plan::Plan;
use super::suitable::format_of;
use crate::disk::take_room;
use crate::hashing::{FarHasher, Sha256};

pub(super) use sharing::may_share;

/// From this length on a call of the kernel for a stretch alone is the faster way.
const KERNEL_BYTES: u64 = 64 << 10;
/// Bytes between two looks at whether to stop.
const STEP_BYTES: u64 = 1 << 20;
/// How many parts the hash may be behind. Blocks are held in memory for so long.
const PARTS_BEHIND: usize = 8;

/// A clip complete in its file.
pub(super) struct Spliced {
    pub(super) size_bytes: u64,
    pub(super) sha256: Sha256,
}

/// How far the copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// How much of the file is written, from its beginning on.
    pub(super) written_bytes: u64,
    /// Bytes of samples.
    pub(super) media_bytes: u64,
    /// Clip time at which the last sample that was read is needed, in ticks of the video.
    pub(super) needed_at: i64,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpliceError {
    #[error("a source cannot be read")]
    Broken(BrokenSource),
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Movie(#[from] MovieError),
    #[error("the clip cannot be written")]
    Write(#[source] io::Error),
    #[error(transparent)]
    NotAsPlanned(FinishError),
}

/// What is asked of the caller of [`splice`], and told to it.
pub(super) struct Caller<Stop, Hear, Written> {
    /// Whether to end soon; asked about once a mebibyte.
    pub(super) must_stop: Stop,
    /// Whether the kernel is to copy where it can; see [`may_share`].
    pub(super) by_kernel: bool,
    /// Hears as often how far the copy is.
    pub(super) on_copied: Hear,
    /// Called when all is written, while the rest of it is hashed.
    pub(super) on_written: Written,
}

/// Writes the clip of `plan` into `out`, which is empty, and compares the tables of the file with the plan. `files` has
/// one entry for each piece. Blocks; ends soon after the caller says so.
pub(super) fn splice(
    out: &File,
    plan: &Plan,
    with_sound: bool,
    label: &Label,
    files: &[Arc<File>],
    caller: Caller<impl Fn() -> bool, impl FnMut(Copied), impl FnOnce() -> io::Result<()>>,
) -> Result<Spliced, SpliceError> {
    let Caller {
        must_stop,
        by_kernel,
        on_copied,
        on_written,
    } = caller;
    let Head {
        bytes: head,
        mut places,
        stretches,
    } = head(plan, with_sound, label)?;
    // What the kernel may share with the sources needs no room of its own.
    if !by_kernel {
        take_room(out, head.len() as u64 + media_bytes(plan, with_sound))
            .map_err(SpliceError::Write)?;
    }
    let (written, parts) = sync_channel(PARTS_BEHIND);
    let (give_back, used) = channel();
    std::thread::scope(|threads| {
        let hashing = threads.spawn(move || hash_behind(out, &parts, &give_back));
        let mut output = Output {
            out,
            written,
            used,
            must_stop,
            on_copied,
            copied: Copied::default(),
            block: Block::take(),
            written_bytes: 0,
            told_bytes: 0,
            by_kernel,
        };
        let copied = output
            .put(&head)
            .and_then(|()| {
                let mut stretches = stretches.iter();
                stretches.try_for_each(|stretch| output.copy(stretch, files))
            })
            .and_then(|()| output.finish());
        // The hash ends when nothing more can be written.
        drop(output);
        let settled = copied.and_then(|size_bytes| {
            on_written().map_err(SpliceError::Write)?;
            places.move_back(head.len() as u64);
            check(out, plan, with_sound, &places).map_err(SpliceError::NotAsPlanned)?;
            Ok(size_bytes)
        });
        let hashed = hashing.join();
        let size_bytes = settled?;
        let sha256 = hashed
            .unwrap_or_else(|_| Err(io::Error::other("the hashing thread died")))
            .map_err(SpliceError::Write)?;
        Ok(Spliced { size_bytes, sha256 })
    })
}

/// What was written next.
enum Part {
    Bytes(Block),
    /// What the kernel copied; the file is written up to there.
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

/// A clip but for its media.
pub(super) struct Head {
    /// Everything in front of the media.
    pub(super) bytes: Vec<u8>,
    /// Where the samples are, from the first byte of the media on.
    pub(super) places: Places,
    /// What the media is, in the order of the file.
    pub(super) stretches: Vec<Stretch>,
}

pub(super) fn head(plan: &Plan, with_sound: bool, label: &Label) -> Result<Head, MovieError> {
    // Brands that say how the file is to be read (ISO/IEC 14496-12 annex E): edit lists are honoured.
    let file_type = match format_of(plan, with_sound) {
        Format::Mp4 => boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41"),
        Format::QuickTime => boxed(b"ftyp", b"qt  \0\0\x02\0qt  "),
    };
    let data_header = data_header(media_bytes(plan, with_sound));
    let (places, stretches) = Places::of(plan, in_runs(plan, with_sound));
    let tracks = placed(plan, with_sound, &places.video, &places.sound);
    let bytes = movie::encode_head(&file_type, &tracks, Times::Shown, Some(label), &data_header)?;
    Ok(Head {
        bytes,
        places,
        stretches,
    })
}

/// The file as it grows.
struct Output<'a, Stop, Hear> {
    out: &'a File,
    written: SyncSender<Part>,
    /// Blocks that were hashed.
    used: Receiver<Block>,
    must_stop: Stop,
    on_copied: Hear,
    copied: Copied,
    block: Block,
    written_bytes: u64,
    told_bytes: u64,
    /// Whether the kernel copies from the sources; it does not between all file systems.
    by_kernel: bool,
}

impl<Stop: Fn() -> bool, Hear: FnMut(Copied)> Output<'_, Stop, Hear> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), SpliceError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len() as u64)?;
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn copy(&mut self, stretch: &Stretch, files: &[Arc<File>]) -> Result<(), SpliceError> {
        let source = files[stretch.piece as usize].as_ref();
        let broken = |error| {
            SpliceError::Broken(BrokenSource {
                piece: stretch.piece as usize,
                error,
            })
        };
        let mut done = 0;
        while done < stretch.length {
            let (left, offset) = (stretch.length - done, stretch.offset + done);
            let wants_kernel = self.by_kernel && left >= KERNEL_BYTES;
            if wants_kernel {
                let count = self.copy_by_kernel(source, offset, left.min(STEP_BYTES))?;
                done += count;
                self.copied.media_bytes += count;
                if count > 0 {
                    continue;
                }
            }
            let part = self.room(left)?;
            source.read_exact_at(part, offset).map_err(broken)?;
            let count = part.len() as u64;
            done += count;
            self.copied.media_bytes += count;
        }
        self.copied.needed_at = self.copied.needed_at.max(stretch.needed_at);
        Ok(())
    }

    /// How many bytes the kernel copied; 0 when that is better left to a read, which also tells what is wrong.
    fn copy_by_kernel(
        &mut self,
        source: &File,
        offset: u64,
        length: u64,
    ) -> Result<u64, SpliceError> {
        self.flush()?;
        let (mut from, mut to) = (offset, self.written_bytes);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let copied = copy_file_range(source, Some(&mut from), self.out, Some(&mut to), length);
        match copied {
            Ok(count) if count > 0 => {
                self.written_bytes += count as u64;
                // A hash that failed is heard of in the end; until then nobody listens.
                let _ = self.written.send(Part::UpTo(self.written_bytes));
                self.tell()?;
                Ok(count as u64)
            }
            Ok(_) => Ok(0),
            Err(_) => {
                self.by_kernel = false;
                Ok(0)
            }
        }
    }

    /// The next part of the block, at most `wanted` bytes and at least one, which the caller fills.
    fn room(&mut self, wanted: u64) -> Result<&mut [u8], SpliceError> {
        if self.block.filled == BLOCK_BYTES {
            self.flush()?;
        }
        let Block { bytes, filled } = &mut self.block;
        let begin = *filled;
        let free = BLOCK_BYTES - begin;
        *filled += usize::try_from(wanted).map_or(free, |wanted| wanted.min(free));
        Ok(&mut bytes[begin..*filled])
    }

    fn flush(&mut self) -> Result<(), SpliceError> {
        let Block { bytes, filled } = &self.block;
        if *filled == 0 {
            return Ok(());
        }
        self.out
            .write_all_at(&bytes[..*filled], self.written_bytes)
            .map_err(SpliceError::Write)?;
        self.written_bytes += *filled as u64;
        let mut next = self.used.try_recv().unwrap_or_else(|_| Block::take());
        next.filled = 0;
        let full = std::mem::replace(&mut self.block, next);
        // As above.
        let _ = self.written.send(Part::Bytes(full));
        self.tell()
    }

    /// Tells how far the copy is, and looks whether to stop.
    fn tell(&mut self) -> Result<(), SpliceError> {
        if self.written_bytes - self.told_bytes < STEP_BYTES {
            return Ok(());
        }
        self.told_bytes = self.written_bytes;
        if (self.must_stop)() {
            return Err(SpliceError::Stopped);
        }
        self.copied.written_bytes = self.written_bytes;
        (self.on_copied)(self.copied);
        Ok(())
    }

    /// Writes what is left.
    fn finish(&mut self) -> Result<u64, SpliceError> {
        self.flush()?;
        Ok(self.written_bytes)
    }
}
