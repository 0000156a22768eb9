//! The form of the zip (PKWARE APPNOTE 6.3.10), the same to the byte for the same entries.
//!
//! Entries are stored, one after another without a break: local header (4.3.7), data, data descriptor with signature
//! (4.3.9); then the central directory (4.3.12), ZIP64 records where a count, a size or an offset needs them (4.3.14,
//! 4.3.15), and the end record (4.3.16) without a comment. Because the descriptor follows the data, a zip can be
//! written to where nothing can be taken back. Times are UTC: in the fields of MS-DOS to two seconds, and to the second
//! in the extended timestamp (extra field 0x5455 of Info-ZIP), in the central directory and in the local header: unzip
//! takes the time from the latter, and a time that stands in two places cannot change unnoticed. Names are UTF-8. rawzip writes
//! the records; what it is told is decided here.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use rawzip::extra_fields::ExtraFieldId;
use rawzip::time::UtcDateTime;
use rawzip::{
    DataDescriptorOutput, Header, ZipArchiveWriter, ZipArchiveWriterBuilder, ZipEntryWriter,
};

/// The times that the fields of MS-DOS and the extended timestamp can both hold: 1980 to 2105, seconds since 1970.
const EARLIEST_S: i64 = 315_532_800;
const LATEST_S: i64 = 4_291_747_199;

/// Readable by everybody, a regular file.
const PERMISSIONS: u32 = 0o100_644;

/// Sizes from here on need ZIP64.
pub(super) const ZIP64_FROM: u64 = u32::MAX as u64;

/// The ZIP64 field of a local header whose sizes follow in the descriptor: two sizes of zero (4.5.3).
const SIZES_FOLLOW: [u8; 16] = [0; 16];

/// What the headers of an entry say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead<'a> {
    /// Name with folders, separated by `/`.
    pub name: &'a str,
    /// Time of last change.
    pub modified: DateTime<Utc>,
    /// Size that the entry is expected to have; it decides whether the local header announces ZIP64.
    pub size_bytes: u64,
}

/// Writes the records of a zip; the data of its entries comes from the caller.
pub(super) struct ZipWriter<W: Write> {
    inner: ZipArchiveWriter<W>,
}

impl<W: Write> ZipWriter<W> {
    pub(super) fn new(sink: W) -> Self {
        Self::with_capacity(sink, 0)
    }

    /// With room for the records of so many entries: a directory that grows is there twice whenever it moves.
    pub(super) fn with_capacity(sink: W, entry_count: usize) -> Self {
        Self {
            inner: ZipArchiveWriterBuilder::new()
                .with_capacity(entry_count)
                .build(sink),
        }
    }

    /// Writes an entry: `data` gets where to write it, and returns its CRC-32 and size.
    pub(super) fn entry<E: From<io::Error>>(
        &mut self,
        head: &EntryHead<'_>,
        data: impl FnOnce(&mut dyn Write) -> Result<(u32, u64), E>,
    ) -> Result<(), E> {
        let mut entry = self.start(head)?;
        let (crc32, size_bytes) = data(&mut entry)?;
        entry
            .finish(DataDescriptorOutput::new(crc32, size_bytes))
            .map_err(zip_error)?;
        Ok(())
    }

    /// Writes a local header.
    fn start(&mut self, head: &EntryHead<'_>) -> io::Result<ZipEntryWriter<'_, W>> {
        let seconds = head.modified.timestamp().clamp(EARLIEST_S, LATEST_S);
        let mut builder = self
            .inner
            .new_file(head.name)
            .last_modified(UtcDateTime::from_unix(seconds))
            .unix_permissions(PERMISSIONS)
            .extra_field(
                ExtraFieldId::EXTENDED_TIMESTAMP,
                &timestamp(seconds),
                Header::LOCAL,
            )
            .map_err(zip_error)?;
        if head.size_bytes >= ZIP64_FROM {
            builder = builder
                .extra_field(ExtraFieldId::ZIP64, &SIZES_FOLLOW, Header::LOCAL)
                .map_err(zip_error)?;
        }
        let (entry, _) = builder.start().map_err(zip_error)?;
        Ok(entry)
    }

    /// Writes the central directory and the end of the zip.
    pub(super) fn finish(self) -> io::Result<W> {
        self.inner.finish().map_err(zip_error)
    }
}

/// The extended timestamp with a time of last change and no other.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "LATEST_S fits into 32 bits without a sign"
)]
fn timestamp(seconds: i64) -> [u8; 5] {
    let mut field = [1; 5];
    field[1..].copy_from_slice(&(seconds.clamp(EARLIEST_S, LATEST_S) as u32).to_le_bytes());
    field
}

/// The local header of an entry.
pub(super) fn local_header(head: &EntryHead<'_>) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    ZipWriter::new(&mut header).start(head)?;
    Ok(header)
}

/// rawzip's errors are those of the sink, or say that a name is too long, which ours never are.
fn zip_error(error: rawzip::Error) -> io::Error {
    match error.kind() {
        rawzip::ErrorKind::IO(inner) => io::Error::new(inner.kind(), error.to_string()),
        _ => io::Error::other(error.to_string()),
    }
}

/// The exact size of the zip with these entries.
///
/// # Errors
/// When an entry cannot be in a zip, which names of `domain::entry_name` always can.
pub fn zip_size<'a>(entries: impl IntoIterator<Item = EntryHead<'a>>) -> io::Result<u64> {
    let entries = entries.into_iter();
    let mut zip = ZipWriter::with_capacity(Counter::default(), entries.size_hint().0);
    for head in entries {
        zip.entry(&head, |data| write_zeros(data, head.size_bytes))?;
    }
    Ok(zip.finish()?.bytes)
}

/// Stands in for data that is not read: only its length counts.
pub(super) fn write_zeros(data: &mut dyn Write, size_bytes: u64) -> io::Result<(u32, u64)> {
    static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
    let mut left = size_bytes;
    while left > 0 {
        let part = left.min(ZEROS.len() as u64) as usize;
        data.write_all(&ZEROS[..part])?;
        left -= part as u64;
    }
    Ok((0, size_bytes))
}

#[derive(Default)]
struct Counter {
    bytes: u64,
}

impl Write for Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.bytes += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
