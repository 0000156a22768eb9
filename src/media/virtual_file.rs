//! A clip that has no file: its header, and for each byte behind it the place in a source that it comes from.
//!
//! The bytes are those that `splice` would write: header, order and positions come from the same functions. `stored` is the
//! form in which a layout is kept on disk.

mod stored;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::movie::{Label, MovieError};
use super::plan::Plan;
use super::splice::{Head, head};
use crate::hashing::{Hasher, Sha256};

pub use stored::UnreadableLayout;

/// Where the bytes of a clip come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    head: Vec<u8>,
    /// In the order of the clip; each ends where the next begins, and the last with the clip.
    extents: Vec<Extent>,
    size_bytes: u64,
    /// Of each source that contributes, its place in the list that was planned with.
    sources: Vec<usize>,
}

/// Bytes that lie side by side in the clip and in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// Position in the clip.
    position: u64,
    /// Position in the source.
    offset: u64,
    /// Index into [`Layout::sources`].
    piece: u32,
}

/// A source that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("a source cannot be read")]
pub struct UnreadableSource {
    /// Index into [`Layout::sources`].
    pub piece: usize,
    /// What the system says; the end of the file is [`io::ErrorKind::UnexpectedEof`].
    #[source]
    pub error: io::Error,
}

impl Layout {
    pub(super) fn of(plan: &Plan, with_sound: bool, label: &Label) -> Result<Self, MovieError> {
        let Head {
            bytes: head,
            stretches,
            ..
        } = head(plan, with_sound, label)?;
        let mut position = head.len() as u64;
        let extents = stretches
            .iter()
            .map(|stretch| {
                let extent = Extent {
                    position,
                    offset: stretch.offset,
                    piece: stretch.piece,
                };
                position += stretch.length;
                extent
            })
            .collect();
        Ok(Self {
            head,
            extents,
            size_bytes: position,
            sources: plan.pieces.iter().map(|piece| piece.segment).collect(),
        })
    }

    /// Size of the clip.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Of each source that contributes, its place in the list that was planned with.
    pub fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// Memory that the layout takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.head.len()
            + self.extents.len() * size_of::<Extent>()
            + self.sources.len() * size_of::<usize>()
    }

    /// SHA-256 over the header and over where the rest comes from: two layouts with the same digest give the same bytes
    /// from the same sources.
    pub fn digest(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.update(&self.head);
        hasher.update(&self.size_bytes.to_be_bytes());
        for extent in &self.extents {
            let source = self.sources.get(extent.piece as usize);
            let source = source.map_or(u64::MAX, |source| *source as u64);
            hasher.update(&extent.position.to_be_bytes());
            hasher.update(&extent.offset.to_be_bytes());
            hasher.update(&source.to_be_bytes());
        }
        hasher.finish()
    }

    /// The stretches of sources that give the bytes of `range`: which source, from where in it, how many. What is left at
    /// the front is the header's.
    fn stretches(&self, range: Range<u64>) -> impl Iterator<Item = (usize, u64, u64)> {
        let first = self
            .extents
            .partition_point(|extent| extent.position <= range.start)
            .saturating_sub(1);
        let extents = self.extents.get(first..).unwrap_or_default();
        let ends = extents
            .iter()
            .skip(1)
            .map(|extent| extent.position)
            .chain([self.size_bytes]);
        extents
            .iter()
            .zip(ends)
            .take_while(move |(extent, _)| extent.position < range.end)
            .filter_map(move |(extent, end)| {
                let begin = extent.position.max(range.start);
                let length = end.min(range.end).checked_sub(begin)?;
                let offset = extent.offset + (begin - extent.position);
                (length > 0).then_some((extent.piece as usize, offset, length))
            })
    }

    /// The sources, as indexes into [`Layout::sources`], that give bytes of `range`, in order; one that is left and
    /// returned to comes again.
    pub fn pieces_in(&self, range: Range<u64>) -> Vec<usize> {
        let mut pieces: Vec<usize> = self.stretches(range).map(|(piece, ..)| piece).collect();
        pieces.dedup();
        pieces
    }

    /// Fills `buffer` with the bytes of the clip from `position` on; all of them must lie in the clip. `file_of` gives the
    /// open file of a source, by its index into [`Layout::sources`]. Blocks.
    ///
    /// # Errors
    /// The source that cannot be read, or has come to its end.
    pub fn read<'a>(
        &self,
        position: u64,
        buffer: &mut [u8],
        file_of: impl Fn(usize) -> &'a File,
    ) -> Result<(), UnreadableSource> {
        let end = position + buffer.len() as u64;
        let mut left = buffer;
        if let Ok(at) = usize::try_from(position)
            && let Some(head) = self.head.get(at..)
        {
            let count = head.len().min(left.len());
            let (now, later) = left.split_at_mut(count);
            now.copy_from_slice(&head[..count]);
            left = later;
        }
        for (piece, offset, length) in self.stretches(position..end) {
            let (now, later) = left.split_at_mut(length as usize);
            file_of(piece)
                .read_exact_at(now, offset)
                .map_err(|error| UnreadableSource { piece, error })?;
            left = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A head of 10 bytes, then 5 bytes of the second source, 3 of the first, 4 of the second from where it went on.
    pub(super) fn layout() -> Layout {
        let extent = |position, offset, piece| Extent {
            position,
            offset,
            piece,
        };
        Layout {
            head: b"0123456789".to_vec(),
            extents: vec![extent(10, 2, 1), extent(15, 0, 0), extent(18, 7, 1)],
            size_bytes: 22,
            sources: vec![4, 7],
        }
    }

    fn files() -> [File; 2] {
        ["abcdefgh", "ABCDEFGHIJKLMN"].map(|content| {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(content.as_bytes()).expect("written");
            file
        })
    }

    #[test]
    fn every_range_gives_the_bytes_that_the_whole_has_there() {
        let (layout, files) = (layout(), files());
        let whole = b"0123456789CDEFGabcHIJK";
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut read = vec![0; end - start];
                layout
                    .read(start as u64, &mut read, |piece| &files[piece])
                    .expect("the files are whole");
                assert_eq!(read, whole[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_sources_of_a_range_are_those_whose_bytes_are_in_it() {
        let layout = layout();
        assert_eq!(layout.pieces_in(0..10), [0usize; 0]);
        assert_eq!(layout.pieces_in(9..11), [1]);
        assert_eq!(layout.pieces_in(14..16), [1, 0]);
        assert_eq!(layout.pieces_in(0..22), [1, 0, 1]);
        assert_eq!(layout.pieces_in(22..22), [0usize; 0]);
    }

    #[test]
    fn a_source_that_is_too_short_is_named_and_nothing_is_made_up_for_it() {
        let (layout, files) = (layout(), files());
        files[1].set_len(9).expect("cut short");
        let mut read = [0; 22];
        let error = layout
            .read(0, &mut read, |piece| &files[piece])
            .unwrap_err();
        assert_eq!(error.piece, 1);
        assert_eq!(error.error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_digest_tells_layouts_apart_by_header_and_by_origin() {
        let digest = |change: fn(&mut Layout)| {
            let mut layout = layout();
            change(&mut layout);
            layout.digest()
        };
        let same = digest(|_| {});
        assert_eq!(same, digest(|_| {}));
        for other in [
            digest(|layout| layout.head[3] = b'x'),
            digest(|layout| layout.extents[1].offset = 1),
            digest(|layout| layout.extents[1].piece = 1),
            digest(|layout| layout.sources = vec![4, 8]),
        ] {
            assert_ne!(same, other);
        }
    }
}
