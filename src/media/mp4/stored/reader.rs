//! Reads the parts of a stored index, whatever the bytes are.

use super::{CLOSED_EDIT, CUT_SHORT, DecodeError, LATEST_TICK, NO_EDIT, OPEN_EDIT, OUT_OF_RANGE};
use crate::media::mp4::bytes::Children;
use crate::media::mp4::edits::{Edit, EditList};
use crate::media::mp4::entry::SampleEntry;
use crate::media::mp4::index::{Display, Sample, Track};
use crate::media::portion::Portion;

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for (at, (byte, shift)) in self.0.iter().zip((0..64).step_by(7)).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(OUT_OF_RANGE);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        // Ten bytes hold more than 64 bits.
        Err(if self.0.len() < 10 {
            CUT_SHORT
        } else {
            OUT_OF_RANGE
        })
    }

    pub(super) fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.number()?).map_err(|_| OUT_OF_RANGE)
    }

    /// Puts the samples of a track behind `all`, as a portion of which the track has them.
    pub(super) fn track(
        &mut self,
        is_video: bool,
        size_bytes: u64,
        all: &mut Vec<Sample>,
    ) -> Result<Track, DecodeError> {
        let id = self.narrow()?;
        let timescale = self.narrow()?;
        if timescale == 0 {
            return Err(OUT_OF_RANGE);
        }
        let more_entries: usize = self.narrow()?;
        // Each has a length of a byte at least.
        if more_entries >= self.0.len() {
            return Err(OUT_OF_RANGE);
        }
        let entry = self.entry(is_video)?;
        let more_entries = (0..more_entries)
            .map(|_| self.entry(is_video))
            .collect::<Result<_, _>>()?;
        let mut matrix = [0; 9];
        for cell in &mut matrix {
            *cell = i32::try_from(self.signed()?).map_err(|_| OUT_OF_RANGE)?;
        }
        let display = Display {
            matrix,
            width: self.narrow()?,
            height: self.narrow()?,
        };
        let edits = self.edits()?;
        let unit_bytes = match self.narrow::<u32>()? {
            0 => None,
            bytes => Some(bytes),
        };
        let begin = all.len();
        self.samples(unit_bytes.unwrap_or(1), all)?;
        let whole_samples = all[begin..]
            .iter()
            .take_while(|sample| sample.end() <= size_bytes)
            .count();
        Ok(Track {
            id,
            timescale,
            entry,
            more_entries,
            samples: Portion::of(begin..all.len()),
            whole_samples,
            edits,
            display,
            unit_bytes,
        })
    }

    fn entry(&mut self, is_video: bool) -> Result<SampleEntry, DecodeError> {
        let length = self.narrow()?;
        read_entry(self.take(length)?, is_video)
    }

    fn edits(&mut self) -> Result<EditList, DecodeError> {
        let kind = self.number()?;
        if kind == NO_EDIT {
            return Ok(EditList::default());
        }
        let edit = Edit {
            shown_from: self.signed()?,
            media_from: self.signed()?,
            duration: match kind {
                OPEN_EDIT => None,
                CLOSED_EDIT => Some(self.signed()?),
                _ => return Err(OUT_OF_RANGE),
            },
        };
        if edit.shown_from < 0
            || edit.media_from < 0
            || edit.duration.is_some_and(|ticks| ticks <= 0)
        {
            return Err(OUT_OF_RANGE);
        }
        Ok(EditList { edit: Some(edit) })
    }

    /// Puts samples behind `all`.
    fn samples(&mut self, unit_bytes: u32, all: &mut Vec<Sample>) -> Result<(), DecodeError> {
        let count: usize = self.narrow()?;
        // The size of each sample takes a byte at least.
        if count == 0 || count > self.0.len() {
            return Err(OUT_OF_RANGE);
        }
        let begin = all.len();
        all.reserve(count);
        let mut size = 0i64;
        for _ in 0..count {
            size = size.wrapping_add(self.signed()?);
            all.push(Sample {
                offset: 0,
                dts: 0,
                size: u32::try_from(size).map_err(|_| OUT_OF_RANGE)?,
                duration: 0,
                composition_offset: 0,
                sync: false,
                description: 0,
            });
        }
        let samples = &mut all[begin..];
        if samples
            .iter()
            .any(|sample| sample.size == 0 || sample.size % unit_bytes != 0)
        {
            return Err(OUT_OF_RANGE);
        }
        let mut expected = 0u64;
        self.column(samples, |sample, jump| {
            sample.offset = expected.wrapping_add(jump.cast_unsigned());
            expected = sample
                .offset
                .checked_add(sample.size.into())
                .ok_or(OUT_OF_RANGE)?;
            Ok(())
        })?;
        self.column(samples, |sample, jump| {
            // The durations, which the next time follows from, come in the next column.
            sample.dts = jump;
            Ok(())
        })?;
        let mut expected = 0i64;
        self.column(samples, |sample, duration| {
            let duration = i32::try_from(duration).map_err(|_| OUT_OF_RANGE)?;
            sample.duration = u32::try_from(duration).map_err(|_| OUT_OF_RANGE)?;
            sample.dts = expected.wrapping_add(sample.dts);
            if !(0..LATEST_TICK).contains(&sample.dts) {
                return Err(OUT_OF_RANGE);
            }
            expected = sample.dts + i64::from(duration);
            Ok(())
        })?;
        self.column(samples, |sample, offset| {
            sample.composition_offset = i32::try_from(offset).map_err(|_| OUT_OF_RANGE)?;
            Ok(())
        })?;
        self.column(samples, |sample, sync| {
            sample.sync = match sync {
                0 => false,
                1 => true,
                _ => return Err(OUT_OF_RANGE),
            };
            Ok(())
        })?;
        self.column(samples, |sample, description| {
            sample.description = u16::try_from(description).map_err(|_| OUT_OF_RANGE)?;
            Ok(())
        })?;
        Ok(())
    }

    /// Reads a column and gives each sample its value. A run of equal values is read once.
    fn column(
        &mut self,
        samples: &mut [Sample],
        mut set: impl FnMut(&mut Sample, i64) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let unit = self.number()?.cast_signed();
        let mut before = None;
        let mut left = samples.iter_mut();
        while let Some(sample) = left.next() {
            let value = self.signed()?.wrapping_mul(unit);
            set(sample, value)?;
            if before == Some(value) {
                let repeats: usize = self.narrow()?;
                if repeats > left.len() {
                    return Err(OUT_OF_RANGE);
                }
                for sample in left.by_ref().take(repeats) {
                    set(sample, value)?;
                }
            }
            before = Some(value);
        }
        Ok(())
    }
}

pub(super) fn read_entry(bytes: &[u8], is_video: bool) -> Result<SampleEntry, DecodeError> {
    const NO_ENTRY: DecodeError = DecodeError::Damaged("holds no sample entry");
    let found = Children::new(bytes, *b"stsd").next();
    let entry = found.and_then(Result::ok).ok_or(NO_ENTRY)?;
    if entry.whole.len() != bytes.len() {
        return Err(NO_ENTRY);
    }
    let read = if is_video {
        SampleEntry::read_video(entry)
    } else {
        SampleEntry::read_sound(entry)
    };
    read.map_err(|_| NO_ENTRY)
}
