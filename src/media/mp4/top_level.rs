//! What a file is, and the boxes that lie side by side in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::bytes::{FourCc, malformed};
use crate::domain::catalog::Container;

/// A movie header or fragment header above this size is refused: a day of footage at 60 frames a second
/// with sound needs less.
const LARGEST_HEADER_BYTES: u64 = 512 << 20;

/// Why a file could not be read as footage.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are not those of an ISO base media file.
    #[error("not an MP4 file")]
    NotMp4,
    /// There is no movie header: the recorder is still writing, or stopped before it could.
    #[error("the file has no movie header: it is still being written, or was never closed")]
    Unfinished,
    /// The movie header is cut off, so that nothing of the file can be used.
    #[error("the file ends inside its movie header")]
    Truncated,
    /// There is no video track with samples.
    #[error("the file has no video")]
    NoVideo,
    /// A box contradicts itself, the box around it or the file.
    #[error("malformed MP4: {0}")]
    Malformed(String),
    /// Reading failed.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// The format that the first bytes show, whatever the file is called. MP4 is answered as
/// [`Container::Mp4`]; only its index tells the two kinds apart.
///
/// # Errors
/// [`ReadError::Empty`], [`ReadError::NotMp4`] for anything unknown, [`ReadError::Io`].
pub fn sniff(file: &File) -> Result<Container, ReadError> {
    let mut head = [0u8; 377];
    let length = read_up_to(file, &mut head, 0)?;
    let head = &head[..length];
    if head.is_empty() {
        return Err(ReadError::Empty);
    }
    // Transport packets are 188 bytes and each begins with 0x47 (ISO/IEC 13818-1 section 2.4.3.2).
    let packet_starts = [0, 188, 376].map(|at| head.get(at));
    if packet_starts[0] == Some(&0x47)
        && packet_starts[1..]
            .iter()
            .all(|byte| byte.is_none_or(|b| *b == 0x47))
        && length >= 188
    {
        return Ok(Container::MpegTs);
    }
    if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        return Ok(Container::Matroska);
    }
    const FIRST_BOXES: [&FourCc; 10] = [
        b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid",
    ];
    match head.get(4..8) {
        Some(kind) if FIRST_BOXES.iter().any(|known| known.as_slice() == kind) => {
            Ok(Container::Mp4)
        }
        _ => Err(ReadError::NotMp4),
    }
}

/// Reads until `buffer` is full or the file ends; answers how much came.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A box at the top level of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopBox {
    pub(super) kind: FourCc,
    pub(super) offset: u64,
    pub(super) header_bytes: u64,
    /// With the header. May reach past the end of the file.
    pub(super) size: u64,
}

impl TopBox {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }

    /// The bytes after the header. The caller has checked that the box lies inside the file.
    pub(super) fn read_payload(&self, file: &File) -> Result<Vec<u8>, ReadError> {
        if self.size > LARGEST_HEADER_BYTES {
            return Err(malformed(self.kind, "is too large"));
        }
        let mut payload = vec![0; (self.size - self.header_bytes) as usize];
        file.read_exact_at(&mut payload, self.offset + self.header_bytes)?;
        Ok(payload)
    }
}

/// Walks the boxes of the file in order.
pub(super) struct TopBoxes<'a> {
    file: &'a File,
    position: u64,
    file_bytes: u64,
}

impl<'a> TopBoxes<'a> {
    pub(super) fn new(file: &'a File, file_bytes: u64) -> Self {
        Self {
            file,
            position: 0,
            file_bytes,
        }
    }

    /// The next box, `None` at the end of the file or where what follows is no box: recorders that
    /// lose power leave preallocated zeros there.
    pub(super) fn next_box(&mut self) -> Result<Option<TopBox>, ReadError> {
        let mut header = [0u8; 16];
        let length = read_up_to(self.file, &mut header, self.position)?;
        let (Some(size_word), Some(kind)) = (
            header[..length].first_chunk::<4>(),
            header[..length].get(4..).and_then(<[u8]>::first_chunk::<4>),
        ) else {
            return Ok(None);
        };
        let (size, header_bytes) = match u32::from_be_bytes(*size_word) {
            0 if *kind == [0; 4] => return Ok(None),
            0 => (self.file_bytes.saturating_sub(self.position), 8),
            1 if length < 16 => return Ok(None),
            1 => {
                let large = header[8..].first_chunk::<8>().copied().unwrap_or_default();
                (u64::from_be_bytes(large), 16)
            }
            size => (u64::from(size), 8),
        };
        if size < header_bytes {
            return Err(malformed(*kind, "is smaller than its own header"));
        }
        let found = TopBox {
            kind: *kind,
            offset: self.position,
            header_bytes,
            size,
        };
        self.position = found.end();
        Ok(Some(found))
    }
}

/// Where the movie header of a file with the header in front stands, up to the first box that is neither it
/// nor free space.
pub(crate) fn header_room(file: &File) -> Result<(u64, u64), ReadError> {
    let mut top = TopBoxes::new(file, file.metadata()?.len());
    let mut room: Option<(u64, u64)> = None;
    while let Some(found) = top.next_box()? {
        match (&found.kind, room) {
            (b"moov", None) => room = Some((found.offset, found.end())),
            (b"free", Some((start, _))) => room = Some((start, found.end())),
            (_, Some(room)) => return Ok(room),
            _ => {}
        }
    }
    Err(ReadError::Unfinished)
}
