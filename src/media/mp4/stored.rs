//! A [`SourceIndex`] in a few kilobytes, to be kept beside the catalog: a ten-second segment of 300 frames with sound
//! takes some two.
//!
//! ```text
//! version            1 byte, 1
//! flags              1 byte: 1 fragmented, 2 truncated, 4 sound, 8 MediaMTX, 16 creation time
//! size of the file, declared duration (µs)
//! creation time      seconds since 1970
//! MediaMTX           stream id (16 bytes), segment number, decode time (ns), wall clock (ns)
//! video, sound       see below
//! check              CRC-32 of all before it, 4 bytes, little-endian
//!
//! a track: id, timescale, sample entries (how many after the first; of each length, bytes), matrix (9), width, height,
//!          edit (0 none; 1 shown from, media from; 2 the same and the duration),
//!          unit bytes (0: none), count of samples,
//!          sizes: each as its difference from the one before,
//!          then columns: jumps of the position, jumps of the decode time, durations, composition offsets, sync (0, 1),
//!          numbers of the sample entries
//! a column: a unit, then values in units. After two equal values: how many more of them follow.
//! ```
//!
//! Numbers are LEB128 of at most 64 bits; those with a sign are zigzag (0, -1, 1, -2 …). A jump is what a value differs
//! from the end of the sample before, 0 where samples lie side by side and follow without a break. What follows from the
//! rest (the meaning of the sample entry, the samples that lie wholly inside the file) is not stored.
//!
//! The form with a version never changes: rows that have it stay as they are. A reader that does not know the version,
//! or finds anything wrong, answers [`DecodeError`], and the file itself is read instead.

use chrono::DateTime;

use super::bytes::Children;
use super::edits::{Edit, EditList};
use super::entry::SampleEntry;
use super::index::{Display, MtxInfo, Sample, SourceIndex, Track};
use crate::domain::catalog::Container;

const VERSION: u8 = 1;

const FRAGMENTED: u8 = 1;
const TRUNCATED: u8 = 2;
const SOUND: u8 = 4;
const MEDIAMTX: u8 = 8;
const CREATED: u8 = 16;

const NO_EDIT: u64 = 0;
const OPEN_EDIT: u64 = 1;
const CLOSED_EDIT: u64 = 2;

const CHECK_BYTES: usize = 4;

/// Decode times stay below this, as they do in what is read from files, so that times can be added without overflow.
const LATEST_TICK: i64 = 1 << 62;

/// Why stored bytes are no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They have a form that this program does not know.
    #[error("a stored index has the unknown version {0}")]
    Version(u8),
    /// They were changed, or are not what [`SourceIndex::encode`] wrote.
    #[error("a stored index {0}")]
    Damaged(&'static str),
}

const CUT_SHORT: DecodeError = DecodeError::Damaged("ends too early");
const OUT_OF_RANGE: DecodeError = DecodeError::Damaged("holds a number that no file gives");

impl SourceIndex {
    /// The index in the compact form that this module describes.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        for (flag, is_set) in [
            (FRAGMENTED, self.container == Container::FragmentedMp4),
            (TRUNCATED, self.truncated),
            (SOUND, self.audio.is_some()),
            (MEDIAMTX, self.mtx.is_some()),
            (CREATED, self.creation_time.is_some()),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let mut to = Writer(vec![VERSION, flags]);
        to.number(self.size_bytes);
        to.number(self.declared_duration_us);
        if let Some(time) = self.creation_time {
            to.signed(time.timestamp());
        }
        if let Some(mtx) = &self.mtx {
            to.0.extend(mtx.stream_id);
            to.number(mtx.segment_number);
            to.signed(mtx.dts_ns);
            to.signed(mtx.ntp_ns);
        }
        to.track(&self.video);
        if let Some(audio) = &self.audio {
            to.track(audio);
        }
        let check = crc32fast::hash(&to.0);
        to.0.extend(check.to_le_bytes());
        to.0
    }

    /// The index that [`Self::encode`] wrote. Takes memory for no more samples than there are bytes.
    ///
    /// # Errors
    /// [`DecodeError`], whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(CUT_SHORT),
            Some(&VERSION) => {}
            Some(&other) => return Err(DecodeError::Version(other)),
        }
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(CUT_SHORT)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*check) {
            return Err(DecodeError::Damaged("does not have its checksum"));
        }
        let mut from = Reader(body.get(1..).ok_or(CUT_SHORT)?);
        let flags = from.byte()?;
        if flags >= CREATED << 1 {
            return Err(OUT_OF_RANGE);
        }
        let size_bytes = from.number()?;
        let declared_duration_us = from.number()?;
        let creation_time = match flags & CREATED {
            0 => None,
            _ => Some(DateTime::from_timestamp(from.signed()?, 0).ok_or(OUT_OF_RANGE)?),
        };
        let mtx = match flags & MEDIAMTX {
            0 => None,
            _ => Some(MtxInfo {
                stream_id: *from.take(16)?.first_chunk().ok_or(CUT_SHORT)?,
                segment_number: from.number()?,
                dts_ns: from.signed()?,
                ntp_ns: from.signed()?,
            }),
        };
        let video = from.track(true, size_bytes)?;
        let audio = match flags & SOUND {
            0 => None,
            _ => Some(from.track(false, size_bytes)?),
        };
        if !from.0.is_empty() {
            return Err(DecodeError::Damaged("goes on after its end"));
        }
        Ok(Self {
            container: match flags & FRAGMENTED {
                0 => Container::Mp4,
                _ => Container::FragmentedMp4,
            },
            size_bytes,
            video,
            audio,
            mtx,
            creation_time,
            declared_duration_us,
            truncated: flags & TRUNCATED != 0,
        })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn track(&mut self, track: &Track) {
        self.number(track.id.into());
        self.number(track.timescale.into());
        self.number(track.more_entries.len() as u64);
        for entry in std::iter::once(&track.entry).chain(&track.more_entries) {
            self.number(entry.bytes.len() as u64);
            self.0.extend(&entry.bytes);
        }
        for cell in track.display.matrix {
            self.signed(cell.into());
        }
        self.number(track.display.width.into());
        self.number(track.display.height.into());
        match track.edits.edit {
            None => self.number(NO_EDIT),
            Some(edit) => {
                self.number(edit.duration.map_or(OPEN_EDIT, |_| CLOSED_EDIT));
                self.signed(edit.shown_from);
                self.signed(edit.media_from);
                edit.duration
                    .into_iter()
                    .for_each(|ticks| self.signed(ticks));
            }
        }
        self.number(track.unit_bytes.unwrap_or(0).into());
        let samples = &track.samples;
        self.number(samples.len() as u64);
        let mut before = 0;
        for sample in samples {
            let size = i64::from(sample.size);
            self.signed(size - before);
            before = size;
        }
        let mut expected = 0;
        self.column(samples.iter().map(|sample| {
            let jump = sample.offset.wrapping_sub(expected);
            expected = sample.end();
            jump.cast_signed()
        }));
        let mut expected = 0;
        self.column(samples.iter().map(|sample| {
            let jump = sample.dts.wrapping_sub(expected);
            expected = sample.dts.wrapping_add(sample.duration.into());
            jump
        }));
        self.column(samples.iter().map(|sample| sample.duration.into()));
        self.column(
            samples
                .iter()
                .map(|sample| sample.composition_offset.into()),
        );
        self.column(samples.iter().map(|sample| sample.sync.into()));
        self.column(samples.iter().map(|sample| sample.description.into()));
    }

    fn column(&mut self, values: impl Iterator<Item = i64>) {
        let values: Vec<i64> = values.collect();
        let unit = values
            .iter()
            .fold(0, |unit, value| {
                greatest_divisor(unit, value.unsigned_abs())
            })
            .max(1);
        self.number(unit);
        let mut rest = values.as_slice();
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|value| *value == first).count();
            // The unit divides the value, and is 2^63 only beside values that are 0 or -2^63.
            let in_units = first.wrapping_div(unit.cast_signed());
            self.signed(in_units);
            if run > 1 {
                self.signed(in_units);
                self.number(run as u64 - 2);
            }
            rest = &rest[run..];
        }
    }
}

fn greatest_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(front)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
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

    fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.number()?).map_err(|_| OUT_OF_RANGE)
    }

    fn track(&mut self, is_video: bool, size_bytes: u64) -> Result<Track, DecodeError> {
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
        let samples = self.samples(unit_bytes.unwrap_or(1))?;
        let whole_samples = samples
            .iter()
            .take_while(|sample| sample.end() <= size_bytes)
            .count();
        Ok(Track {
            id,
            timescale,
            entry,
            more_entries,
            samples,
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

    fn samples(&mut self, unit_bytes: u32) -> Result<Vec<Sample>, DecodeError> {
        let count: usize = self.narrow()?;
        // The size of each sample takes a byte at least.
        if count == 0 || count > self.0.len() {
            return Err(OUT_OF_RANGE);
        }
        let mut samples = Vec::with_capacity(count);
        let mut size = 0i64;
        for _ in 0..count {
            size = size.wrapping_add(self.signed()?);
            samples.push(Sample {
                offset: 0,
                dts: 0,
                size: u32::try_from(size).map_err(|_| OUT_OF_RANGE)?,
                duration: 0,
                composition_offset: 0,
                sync: false,
                description: 0,
            });
        }
        if samples
            .iter()
            .any(|sample| sample.size == 0 || sample.size % unit_bytes != 0)
        {
            return Err(OUT_OF_RANGE);
        }
        let mut expected = 0u64;
        self.column(&mut samples, |sample, jump| {
            sample.offset = expected.wrapping_add(jump.cast_unsigned());
            expected = sample
                .offset
                .checked_add(sample.size.into())
                .ok_or(OUT_OF_RANGE)?;
            Ok(())
        })?;
        self.column(&mut samples, |sample, jump| {
            // The durations, which the next time follows from, come in the next column.
            sample.dts = jump;
            Ok(())
        })?;
        let mut expected = 0i64;
        self.column(&mut samples, |sample, duration| {
            let duration = i32::try_from(duration).map_err(|_| OUT_OF_RANGE)?;
            sample.duration = u32::try_from(duration).map_err(|_| OUT_OF_RANGE)?;
            sample.dts = expected.wrapping_add(sample.dts);
            if !(0..LATEST_TICK).contains(&sample.dts) {
                return Err(OUT_OF_RANGE);
            }
            expected = sample.dts + i64::from(duration);
            Ok(())
        })?;
        self.column(&mut samples, |sample, offset| {
            sample.composition_offset = i32::try_from(offset).map_err(|_| OUT_OF_RANGE)?;
            Ok(())
        })?;
        self.column(&mut samples, |sample, sync| {
            sample.sync = match sync {
                0 => false,
                1 => true,
                _ => return Err(OUT_OF_RANGE),
            };
            Ok(())
        })?;
        self.column(&mut samples, |sample, description| {
            sample.description = u16::try_from(description).map_err(|_| OUT_OF_RANGE)?;
            Ok(())
        })?;
        Ok(samples)
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

fn read_entry(bytes: &[u8], is_video: bool) -> Result<SampleEntry, DecodeError> {
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

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
