//! The stream that ffmpeg reads: a movie header of ours in front of exactly the samples that the clip needs.
//!
//! ffmpeg opens no source. It never sees a container that a recorder, or an attacker, wrote; it cannot be
//! talked into opening another file; a source that is deleted meanwhile is still read to its end; and
//! it copies not one packet too many.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use super::movie::{self, MovieError, PlacedTrack, Times, boxed};
use super::plan::Plan;

const BUFFER_BYTES: usize = 256 << 10;

/// A contiguous stretch of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    piece: u32,
    offset: u64,
    length: u64,
}

/// The stream, ready to be written.
pub(super) struct Feed {
    header: Vec<u8>,
    ranges: Vec<Range>,
    /// The file of each piece.
    files: Vec<Arc<File>>,
}

/// What became of the feeding, for whoever waits for ffmpeg.
#[derive(Clone, Default)]
pub(super) struct FeedOutcome {
    broken: Arc<Mutex<Option<BrokenSource>>>,
}

/// A source that could not be read.
#[derive(Debug)]
pub(super) struct BrokenSource {
    pub(super) piece: usize,
    pub(super) error: io::Error,
}

impl FeedOutcome {
    /// The source that stopped the feeding, if one did.
    pub(super) fn broken(&self) -> Option<BrokenSource> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BrokenSource>> {
        self.broken
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Feed {
    /// `files` has one entry for each piece of the plan.
    pub(super) fn new(
        plan: &Plan,
        with_sound: bool,
        quicktime: bool,
        files: Vec<Arc<File>>,
    ) -> Result<Self, MovieError> {
        let video = &plan.video;
        let sound = plan.sound.as_ref().filter(|_| with_sound);
        // Each piece's samples in the order in which they lie in its file, so that reading runs forward.
        let mut order: Vec<(u32, u64, u32, bool, usize)> = Vec::new();
        for (is_sound, track) in [(false, Some(video)), (true, sound)] {
            let Some(track) = track else { continue };
            order.extend(
                track
                    .samples
                    .iter()
                    .enumerate()
                    .map(|(at, sample)| (sample.piece, sample.offset, sample.size, is_sound, at)),
            );
        }
        order.sort_unstable();
        let mut ranges: Vec<Range> = Vec::new();
        let mut relative = [vec![0u64; video.samples.len()], Vec::new()];
        relative[1].resize(sound.map_or(0, |track| track.samples.len()), 0);
        let mut written = 0u64;
        for (piece, offset, size, is_sound, at) in order {
            let length = u64::from(size);
            relative[usize::from(is_sound)][at] = written;
            written += length;
            match ranges.last_mut() {
                Some(last) if last.piece == piece && last.offset + last.length == offset => {
                    last.length += length;
                }
                _ => ranges.push(Range {
                    piece,
                    offset,
                    length,
                }),
            }
        }
        let header = header(plan, sound.is_some(), quicktime, &relative, written)?;
        Ok(Self {
            header,
            ranges,
            files,
        })
    }

    /// Writes the stream. Ends early when the reader is gone, or a source cannot be read.
    pub(super) fn write(self, pipe: OwnedFd, outcome: &FeedOutcome) {
        let mut pipe = File::from(pipe);
        if pipe.write_all(&self.header).is_err() {
            return;
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        for range in &self.ranges {
            let mut done = 0;
            while done < range.length {
                let count = (range.length - done).min(BUFFER_BYTES as u64) as usize;
                let part = &mut buffer[..count];
                let read =
                    self.files[range.piece as usize].read_exact_at(part, range.offset + done);
                if let Err(error) = read {
                    *outcome.lock() = Some(BrokenSource {
                        piece: range.piece as usize,
                        error,
                    });
                    return;
                }
                if pipe.write_all(part).is_err() {
                    return;
                }
                done += count as u64;
            }
        }
    }
}

fn header(
    plan: &Plan,
    with_sound: bool,
    quicktime: bool,
    relative: &[Vec<u64>; 2],
    data_bytes: u64,
) -> Result<Vec<u8>, MovieError> {
    let brand: &[u8; 4] = if quicktime { b"qt  " } else { b"isom" };
    let file_type = boxed(b"ftyp", &[brand.as_slice(), &[0, 0, 2, 0], brand].concat());
    let data_header = data_header(data_bytes);
    let [video, sound] = relative;
    let tracks = placed(plan, with_sound, video, sound);
    movie::encode_head(&file_type, &tracks, Times::Needed, None, &data_header)
}

/// The header of the box that holds the media (ISO/IEC 14496-12 section 8.1.1).
pub(super) fn data_header(data_bytes: u64) -> Vec<u8> {
    match u32::try_from(data_bytes.saturating_add(8)) {
        Ok(size) => [&size.to_be_bytes(), b"mdat".as_slice()].concat(),
        Err(_) => {
            let size = data_bytes.saturating_add(16).to_be_bytes();
            [b"\0\0\0\x01mdat".as_slice(), &size].concat()
        }
    }
}

/// The plan's tracks with positions.
pub(super) fn placed<'a>(
    plan: &'a Plan,
    with_sound: bool,
    video: &'a [u64],
    sound: &'a [u64],
) -> Vec<PlacedTrack<'a>> {
    let mut tracks = vec![PlacedTrack {
        track: &plan.video,
        is_video: true,
        positions: video,
    }];
    if let Some(track) = plan.sound.as_ref().filter(|_| with_sound) {
        tracks.push(PlacedTrack {
            track,
            is_video: false,
            positions: sound,
        });
    }
    tracks
}
