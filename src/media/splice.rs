//! A clip without ffmpeg: the header that shows the window, and behind it the planned samples, copied from the sources.
//!
//! The order and the tables are those of the plan, so the header is known before the first sample is read and stands in
//! front of the media from the start. The bytes are read once, written, and handed to the thread that hashes them; where
//! files may share what they have in common (`sharing`), the kernel copies what lies together in a source, and the hash reads
//! the new file behind it. What a source's tables say was checked when they were read; here they only decide what is copied
//! from where.

mod sharing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::copy_file_range;

use super::feed::{BrokenSource, data_header, placed};
use super::ffmpeg::Format;
use super::finish::{FinishError, check};
use super::hashed::{BlockFile, hashed_beside};
use super::interleave::{Places, Stretch, in_runs, media_bytes};
use super::movie::{self, Label, MovieError, Times, boxed};
use super::plan::Plan;
use super::suitable::format_of;
use crate::disk::take_room;
use crate::hashing::Sha256;

pub(super) use sharing::may_share;

/// From this length on a call of the kernel for a stretch alone is the faster way.
const KERNEL_BYTES: u64 = 64 << 10;
/// Bytes between two looks at whether to stop.
const STEP_BYTES: u64 = 1 << 20;

/// A clip complete in its file.
pub(super) struct Spliced {
    pub(super) size_bytes: u64,
    /// If it was asked for.
    pub(super) sha256: Option<Sha256>,
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
    /// Whether the clip is hashed.
    pub(super) hashes: bool,
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
        hashes,
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
    let write = |file: BlockFile<'_>| -> Result<u64, SpliceError> {
        let mut output = Output {
            out,
            file,
            must_stop,
            on_copied,
            copied: Copied::default(),
            told_bytes: 0,
            by_kernel,
        };
        output.put(&head)?;
        for stretch in &stretches {
            output.copy(stretch, files)?;
        }
        // The hash ends when nothing more can be written.
        let size_bytes = output.finish()?;
        on_written().map_err(SpliceError::Write)?;
        places.move_back(head.len() as u64);
        check(out, plan, with_sound, &places).map_err(SpliceError::NotAsPlanned)?;
        Ok(size_bytes)
    };
    if !hashes {
        return Ok(Spliced {
            size_bytes: write(BlockFile::unhashed(out))?,
            sha256: None,
        });
    }
    let (written, hashed) = hashed_beside(out, write);
    Ok(Spliced {
        size_bytes: written?,
        sha256: Some(hashed.map_err(SpliceError::Write)?),
    })
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
    file: BlockFile<'a>,
    must_stop: Stop,
    on_copied: Hear,
    copied: Copied,
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
        let (mut from, mut to) = (offset, self.file.written_bytes());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let copied = copy_file_range(source, Some(&mut from), self.out, Some(&mut to), length);
        match copied {
            Ok(count) if count > 0 => {
                self.file.was_written(count as u64);
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

    /// Where the next bytes belong, at most `wanted` of them and at least one, which the caller fills.
    fn room(&mut self, wanted: u64) -> Result<&mut [u8], SpliceError> {
        if self.file.is_full() {
            self.flush()?;
        }
        self.file.room(wanted).map_err(SpliceError::Write)
    }

    fn flush(&mut self) -> Result<(), SpliceError> {
        self.file.flush().map_err(SpliceError::Write)?;
        self.tell()
    }

    /// Tells how far the copy is, and looks whether to stop.
    fn tell(&mut self) -> Result<(), SpliceError> {
        let written_bytes = self.file.written_bytes();
        if written_bytes - self.told_bytes < STEP_BYTES {
            return Ok(());
        }
        self.told_bytes = written_bytes;
        if (self.must_stop)() {
            return Err(SpliceError::Stopped);
        }
        self.copied.written_bytes = written_bytes;
        (self.on_copied)(self.copied);
        Ok(())
    }

    /// Writes what is left; the size of the file.
    fn finish(mut self) -> Result<u64, SpliceError> {
        self.flush()?;
        Ok(self.file.written_bytes())
    }
}
