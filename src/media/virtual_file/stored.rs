//! A [`Layout`] as bytes, to be kept in a file until the clip is fetched again.
//!
//! ```text
//! mark               7 bytes, "LAYOUT" and a 0
//! version            1 byte, 1
//! size of the clip   bytes
//! length of the header, count of extents, count of sources
//! header             its bytes
//! extents            of each its position in the clip, its position in the source (8 bytes each), and the number of the
//!                    source among those below (4 bytes)
//! sources            of each its place in the list that was planned with
//! ```
//!
//! Numbers are big-endian, of 8 bytes where nothing else is said. All lengths are known from the first 40 bytes and must add
//! up to the length of the whole, so that nothing is ever taken memory for that is not there. The bytes are not packed any
//! further: nearly all of them are the header's, and whoever fetches a clip waits until they are read.
//!
//! There is no checksum, because [`Layout::digest`] is one: who keeps a layout knows its digest and compares. What
//! [`Layout::decode`] accepts can be read from without harm all the same.
//!
//! The form with a version never changes. A layout may outlive the program that made it, and one that plans in another way
//! could not make it again.

use std::io::{self, Write};

use super::{Extent, Layout};

const MARK: &[u8; 7] = b"LAYOUT\0";
const VERSION: u8 = 1;
const PREFIX_BYTES: usize = MARK.len() + 1 + 4 * 8;
const EXTENT_BYTES: usize = 20;
const SOURCE_BYTES: usize = 8;

/// Why bytes are no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableLayout {
    /// They have a form that this program does not know.
    #[error("it has the unknown version {0}")]
    Version(u8),
    /// They were changed, or are not what [`Layout::encode`] wrote.
    #[error("it {0}")]
    Damaged(&'static str),
}

const NO_LAYOUT: UnreadableLayout = UnreadableLayout::Damaged("does not begin as layouts do");
const OTHER_LENGTH: UnreadableLayout =
    UnreadableLayout::Damaged("is not as long as its beginning says");
const OUT_OF_RANGE: UnreadableLayout =
    UnreadableLayout::Damaged("names places that are in no clip or no source");

impl Layout {
    /// Writes the layout in the form that this module describes; a few bytes at a time, but for the header.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn encode(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(MARK)?;
        to.write_all(&[VERSION])?;
        for number in [
            self.size_bytes,
            self.head.len() as u64,
            self.extents.len() as u64,
            self.sources.len() as u64,
        ] {
            to.write_all(&number.to_be_bytes())?;
        }
        to.write_all(&self.head)?;
        for extent in &self.extents {
            to.write_all(&extent.position.to_be_bytes())?;
            to.write_all(&extent.offset.to_be_bytes())?;
            to.write_all(&extent.piece.to_be_bytes())?;
        }
        for source in &self.sources {
            to.write_all(&(*source as u64).to_be_bytes())?;
        }
        Ok(())
    }

    /// How many bytes [`Self::encode`] writes.
    pub fn encoded_bytes(&self) -> u64 {
        let bytes = PREFIX_BYTES
            + self.head.len()
            + self.extents.len() * EXTENT_BYTES
            + self.sources.len() * SOURCE_BYTES;
        bytes as u64
    }

    /// The layout that [`Self::encode`] wrote. Takes memory for no more than there are bytes.
    ///
    /// # Errors
    /// [`UnreadableLayout`], whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableLayout> {
        let mut from = bytes.strip_prefix(MARK).ok_or(NO_LAYOUT)?;
        let [version] = take(&mut from)?;
        if version != VERSION {
            return Err(UnreadableLayout::Version(version));
        }
        let size_bytes = number(&mut from)?;
        let head_bytes = number(&mut from)?;
        let (extents, extent_bytes) = records(&mut from, EXTENT_BYTES)?;
        let (sources, source_bytes) = records(&mut from, SOURCE_BYTES)?;
        let (head, mut from) = usize::try_from(head_bytes)
            .ok()
            .and_then(|length| from.split_at_checked(length))
            .filter(|(_, rest)| extent_bytes.checked_add(source_bytes) == Some(rest.len()))
            .ok_or(OTHER_LENGTH)?;
        let mut layout = Self {
            head: head.to_vec(),
            extents: Vec::with_capacity(extents),
            size_bytes,
            sources: Vec::with_capacity(sources),
        };
        for _ in 0..extents {
            layout.extents.push(Extent {
                position: number(&mut from)?,
                offset: number(&mut from)?,
                piece: u32::from_be_bytes(take(&mut from)?),
            });
        }
        for _ in 0..sources {
            let source = usize::try_from(number(&mut from)?).map_err(|_| OUT_OF_RANGE)?;
            layout.sources.push(source);
        }
        if layout.is_sound() {
            Ok(layout)
        } else {
            Err(OUT_OF_RANGE)
        }
    }

    /// Whether every byte of the clip is in the header or in one extent, and every extent in a source, at a place that files
    /// can have.
    fn is_sound(&self) -> bool {
        let mut end = self.size_bytes;
        for extent in self.extents.iter().rev() {
            let source_end = end
                .checked_sub(extent.position)
                .and_then(|length| extent.offset.checked_add(length));
            if source_end.is_none() || extent.piece as usize >= self.sources.len() {
                return false;
            }
            end = extent.position;
        }
        end == self.head.len() as u64
    }
}

fn take<const COUNT: usize>(from: &mut &[u8]) -> Result<[u8; COUNT], UnreadableLayout> {
    let (taken, rest) = from.split_first_chunk().ok_or(OTHER_LENGTH)?;
    *from = rest;
    Ok(*taken)
}

fn number(from: &mut &[u8]) -> Result<u64, UnreadableLayout> {
    Ok(u64::from_be_bytes(take(from)?))
}

/// A count of records, and how many bytes they take.
fn records(from: &mut &[u8], record_bytes: usize) -> Result<(usize, usize), UnreadableLayout> {
    let count = usize::try_from(number(from)?).map_err(|_| OTHER_LENGTH)?;
    let length = count.checked_mul(record_bytes).ok_or(OTHER_LENGTH)?;
    Ok((count, length))
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
