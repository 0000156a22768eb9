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

mod reader;
mod writer;

use std::sync::Arc;

use chrono::DateTime;

use self::reader::Reader;
use self::writer::Writer;
use super::index::{MtxInfo, Sample, SourceIndex};
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
        let mut decoded = Self::decode_all([bytes]);
        decoded.pop().unwrap_or(Err(CUT_SHORT))
    }

    /// The same of many indexes, whose samples lie side by side in memory, for as long as one of the indexes is needed.
    pub fn decode_all<'a>(
        stored: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Result<Self, DecodeError>> {
        let mut all = Vec::new();
        let mut decoded: Vec<_> = stored
            .into_iter()
            .map(|bytes| Self::decode_beside(bytes, &mut all))
            .collect();
        let all = Arc::new(all);
        for index in decoded.iter_mut().flatten() {
            let sound = index.audio.iter_mut();
            for track in sound.chain([&mut index.video]) {
                track.samples.lie_in(&all);
            }
        }
        decoded
    }

    /// Puts the samples of an index behind `all`, as a portion of which its tracks have them.
    fn decode_beside(bytes: &[u8], all: &mut Vec<Sample>) -> Result<Self, DecodeError> {
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
        let video = from.track(true, size_bytes, all)?;
        let audio = match flags & SOUND {
            0 => None,
            _ => Some(from.track(false, size_bytes, all)?),
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

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
