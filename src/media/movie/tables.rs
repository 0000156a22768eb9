//! Sample tables of a track: how long each sample lasts, when it is shown, and where it lies.

use std::num::NonZeroU32;

use shiguredo_mp4::Either;
use shiguredo_mp4::boxes::{Co64Box, CttsBox, CttsEntry, StcoBox, StscEntry, SttsEntry};

use super::MovieError;
use crate::media::plan::{OutputSample, OutputTrack};

/// The longest chunk: players read a chunk at a time.
const LONGEST_CHUNK_BYTES: u64 = 1 << 20;

/// Time from each sample to the next, in runs.
pub(super) struct Deltas {
    pub(super) entries: Vec<SttsEntry>,
    pub(super) total: u64,
}

impl Deltas {
    pub(super) fn of(
        track: &OutputTrack,
        time_of: impl Fn(&OutputSample) -> i64,
    ) -> Result<Self, MovieError> {
        let mut deltas = Self {
            entries: Vec::new(),
            total: 0,
        };
        for (at, sample) in track.samples.iter().enumerate() {
            let next = track.samples.get(at + 1).map(&time_of);
            let until_next = match next {
                Some(next) => next - time_of(sample),
                None => i64::from(track.last_duration),
            };
            let until_next = u32::try_from(until_next)
                .map_err(|_| MovieError("a sample lasts too long".to_owned()))?;
            match track.unit_bytes {
                // The last unit of a block takes up what is missing before the next.
                Some(unit_bytes) => {
                    let units = (sample.size / unit_bytes.max(1)).max(1);
                    let usual = track.timescale / track.entry.sample_rate_hz.max(1);
                    let each = (until_next / units).min(usual);
                    deltas.push(units - 1, each);
                    deltas.push(1, until_next - each * (units - 1));
                }
                None => deltas.push(1, until_next),
            }
        }
        Ok(deltas)
    }

    /// One tick for each unit.
    pub(super) fn steady(track: &OutputTrack) -> Self {
        let mut deltas = Self {
            entries: Vec::new(),
            total: 0,
        };
        let unit_bytes = track.unit_bytes.unwrap_or(1).max(1);
        for sample in &track.samples {
            deltas.push(sample.size / unit_bytes, 1);
        }
        deltas
    }

    fn push(&mut self, count: u32, delta: u32) {
        self.total += u64::from(count) * u64::from(delta);
        match self.entries.last_mut() {
            _ if count == 0 => {}
            Some(last) if last.sample_delta == delta => last.sample_count += count,
            _ => self.entries.push(SttsEntry {
                sample_count: count,
                sample_delta: delta,
            }),
        }
    }
}

pub(super) fn composition_offsets(samples: &[OutputSample]) -> Option<CttsBox> {
    let mut entries: Vec<CttsEntry> = Vec::new();
    for sample in samples {
        let sample_offset = i64::from(sample.composition_offset);
        match entries.last_mut() {
            Some(last) if last.sample_offset == sample_offset => last.sample_count += 1,
            _ => entries.push(CttsEntry {
                sample_count: 1,
                sample_offset,
            }),
        }
    }
    let reordered = entries.iter().any(|entry| entry.sample_offset != 0);
    reordered.then_some(CttsBox {
        version: 0,
        entries,
    })
}

/// Samples that follow one another in the file, grouped.
pub(super) struct Chunks {
    pub(super) runs: Vec<StscEntry>,
    pub(super) positions: Either<StcoBox, Co64Box>,
    pub(super) samples: u32,
}

impl Chunks {
    pub(super) fn of(track: &OutputTrack, positions: &[u64]) -> Self {
        let mut starts: Vec<u64> = Vec::new();
        // Samples, and the sample entry that they need.
        let mut counts: Vec<(u32, u16)> = Vec::new();
        let mut end = 0u64;
        let mut samples = 0;
        for (sample, position) in track.samples.iter().zip(positions) {
            let size = u64::from(sample.size);
            let units = track.unit_bytes.map_or(1, |unit| sample.size / unit.max(1));
            samples += units;
            // ffmpeg cuts chunks of constant sample size into packets; one block each keeps ours whole.
            let begun = track.unit_bytes.is_none()
                && starts.last().is_some_and(|start| {
                    *position == end && position + size - start <= LONGEST_CHUNK_BYTES
                });
            match counts.last_mut() {
                Some((count, entry)) if begun && *entry == sample.entry => *count += units,
                _ => {
                    starts.push(*position);
                    counts.push((units, sample.entry));
                }
            }
            end = position + size;
        }
        let mut runs: Vec<StscEntry> = Vec::new();
        for (number, (count, entry)) in (1u32..).zip(counts) {
            let run = StscEntry {
                first_chunk: NonZeroU32::MIN.saturating_add(number - 1),
                sample_per_chunk: count,
                sample_description_index: NonZeroU32::new(u32::from(entry))
                    .unwrap_or(NonZeroU32::MIN),
            };
            let is_as_before = |last: &StscEntry| {
                (last.sample_per_chunk, last.sample_description_index)
                    == (run.sample_per_chunk, run.sample_description_index)
            };
            if !runs.last().is_some_and(is_as_before) {
                runs.push(run);
            }
        }
        let narrow: Option<Vec<u32>> = starts
            .iter()
            .map(|start| u32::try_from(*start).ok())
            .collect();
        Self {
            runs,
            positions: match narrow {
                Some(chunk_offsets) => Either::A(StcoBox { chunk_offsets }),
                None => Either::B(Co64Box {
                    chunk_offsets: starts,
                }),
            },
            samples,
        }
    }
}

/// Puts every chunk that much further back, where its position may need 64 bits.
pub(super) fn move_back(positions: &mut Either<StcoBox, Co64Box>, by_bytes: u64) {
    let moved = |position: u32| u64::from(position) + by_bytes;
    match positions {
        Either::A(StcoBox { chunk_offsets }) => {
            let fits = |position: &u32| u32::try_from(moved(*position)).is_ok();
            if chunk_offsets.iter().all(fits) {
                for position in chunk_offsets {
                    *position = moved(*position) as u32;
                }
            } else {
                let chunk_offsets = chunk_offsets.iter().copied().map(moved).collect();
                *positions = Either::B(Co64Box { chunk_offsets });
            }
        }
        Either::B(Co64Box { chunk_offsets }) => {
            for position in chunk_offsets {
                *position += by_bytes;
            }
        }
    }
}
