//! A clip without ffmpeg: the header that shows the window, and behind it the planned samples, copied from the sources.
//!
//! The order and the tables are those of the plan, so the header is known before the first sample is read and stands in
//! front of the media from the start. Each byte is read once, hashed and written. What a source's tables say was checked
//! when they were read; here they only decide what is copied from where.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::feed::{BrokenSource, data_header, placed};
use super::finish::{FinishError, check, digest_bytes};
use super::interleave::{in_file_order, media_bytes, positions};
use super::movie::{self, Label, MovieError, Times, boxed};
use super::plan::Plan;

/// Bytes between two writes, and between two looks at whether to stop.
const BUFFER_BYTES: usize = 256 << 10;

/// A clip complete in its file, but for a sync.
pub(super) struct Spliced {
    pub(super) size_bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// How far the copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
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

/// Writes the clip of `plan` into `out`, which is empty, and compares the tables of the file with the plan. `files` has
/// one entry for each piece. Blocks; ends soon after `must_stop` says so.
pub(super) fn splice(
    out: &File,
    plan: &Plan,
    with_sound: bool,
    label: &Label,
    files: &[Arc<File>],
    must_stop: impl Fn() -> bool,
    mut on_copied: impl FnMut(Copied),
) -> Result<Spliced, SpliceError> {
    let (head, places) = head(plan, with_sound, label)?;
    let mut writer = Writer {
        out,
        hash: Context::new(&SHA256),
        buffer: vec![0; BUFFER_BYTES],
        filled: 0,
        written_bytes: 0,
    };
    writer.put(&head)?;
    let mut copied = Copied::default();
    let mut copy = |range: Option<Range>, needed_at: i64| {
        let Some(range) = range else { return Ok(()) };
        let mut done = 0;
        while done < range.length {
            let part = writer.room(range.length - done)?;
            let count = part.len();
            files[range.piece as usize]
                .read_exact_at(part, range.offset + done)
                .map_err(|error| {
                    SpliceError::Broken(BrokenSource {
                        piece: range.piece as usize,
                        error,
                    })
                })?;
            done += count as u64;
            if writer.filled == BUFFER_BYTES {
                if must_stop() {
                    return Err(SpliceError::Stopped);
                }
                on_copied(copied);
            }
        }
        copied.media_bytes += range.length;
        copied.needed_at = copied.needed_at.max(needed_at);
        Ok(())
    };
    // Samples that lie side by side in their source are read together.
    let mut pending: Option<Range> = None;
    let mut needed_at = 0;
    for turn in in_file_order(plan, with_sound) {
        let sample = turn.sample;
        let range = Range {
            piece: sample.piece,
            offset: sample.offset,
            length: u64::from(sample.size),
        };
        match &mut pending {
            Some(before) if before.is_followed_by(&range) => before.length += range.length,
            _ => copy(pending.replace(range), needed_at)?,
        }
        if !turn.is_sound {
            needed_at = sample.needed_at;
        }
    }
    copy(pending, needed_at)?;
    let spliced = writer.finish()?;
    let (video, sound) = &places;
    check(out, plan, with_sound, video, sound).map_err(SpliceError::NotAsPlanned)?;
    Ok(spliced)
}

/// Where the samples of the picture and of the sound are in the file.
pub(super) type Places = (Vec<u64>, Vec<u64>);

/// Everything in front of the media.
pub(super) fn head(
    plan: &Plan,
    with_sound: bool,
    label: &Label,
) -> Result<(Vec<u8>, Places), MovieError> {
    // Brands that say how the file is to be read (ISO/IEC 14496-12 annex E): edit lists are honoured.
    let file_type = boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41");
    let data_header = data_header(media_bytes(plan, with_sound));
    let mut moov_bytes = 0;
    // The header's length depends on the positions, and they on its length: they may need 64 bits. Its length never
    // shrinks as they grow, so this ends.
    loop {
        let media_start = file_type.len() + moov_bytes + data_header.len();
        let places = positions(plan, with_sound, media_start as u64);
        let tracks = placed(plan, with_sound, &places.0, &places.1);
        let moov = movie::encode(&tracks, Times::Shown, Some(label))?;
        if moov.len() == moov_bytes {
            return Ok(([file_type, moov, data_header].concat(), places));
        }
        moov_bytes = moov.len();
    }
}

/// A contiguous stretch of a source.
#[derive(Clone, Copy)]
struct Range {
    piece: u32,
    offset: u64,
    length: u64,
}

impl Range {
    fn is_followed_by(&self, next: &Self) -> bool {
        self.piece == next.piece && self.offset + self.length == next.offset
    }
}

/// Gathers bytes, hashes and writes them.
struct Writer<'a> {
    out: &'a File,
    hash: Context,
    buffer: Vec<u8>,
    filled: usize,
    written_bytes: u64,
}

impl Writer<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), SpliceError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len() as u64)?;
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// The next part of the buffer, at most `wanted` bytes and at least one, which the caller fills.
    fn room(&mut self, wanted: u64) -> Result<&mut [u8], SpliceError> {
        if self.filled == BUFFER_BYTES {
            self.flush()?;
        }
        let begin = self.filled;
        let free = BUFFER_BYTES - begin;
        self.filled += usize::try_from(wanted).map_or(free, |wanted| wanted.min(free));
        Ok(&mut self.buffer[begin..self.filled])
    }

    fn flush(&mut self) -> Result<(), SpliceError> {
        let bytes = &self.buffer[..self.filled];
        self.out
            .write_all_at(bytes, self.written_bytes)
            .map_err(SpliceError::Write)?;
        self.hash.update(bytes);
        self.written_bytes += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Spliced, SpliceError> {
        self.flush()?;
        Ok(Spliced {
            size_bytes: self.written_bytes,
            sha256: digest_bytes(self.hash),
        })
    }
}
