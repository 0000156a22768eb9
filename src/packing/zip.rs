//! The form of the zip (PKWARE APPNOTE 6.3.10), the same to the byte for the same entries.
//!
//! Entries are stored, one after another without a break: local header (4.3.7), data, data descriptor with signature
//! (4.3.9); then the central directory (4.3.12), ZIP64 records where a count, a size or an offset needs them (4.3.14,
//! 4.3.15), and the end record (4.3.16) without a comment. Because the descriptor follows the data, a zip can be
//! written to where nothing can be taken back. Times are UTC: in the fields of MS-DOS to two seconds, and to the second
//! in the extended timestamp (extra field 0x5455 of Info-ZIP), in the central directory and in the local header: unzip
//! takes the time from the latter, and a time that stands in two places cannot change unnoticed. Names are UTF-8. rawzip
//! writes the records of the entries; what it is told is decided here, and the records of the end are written here.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rawzip::extra_fields::ExtraFieldId;
use rawzip::time::UtcDateTime;
use rawzip::{
    DataDescriptorOutput, Header, ZipArchiveWriter, ZipArchiveWriterBuilder, ZipEntryWriter,
};

use crate::domain::series::{Differs, Reading, Series, Writing};

/// The times that the fields of MS-DOS and the extended timestamp can both hold: 1980 to 2105, seconds since 1970.
const EARLIEST_S: i64 = 315_532_800;
const LATEST_S: i64 = 4_291_747_199;

/// Readable by everybody, a regular file.
const PERMISSIONS: u32 = 0o100_644;

/// Sizes from here on need ZIP64.
pub(super) const ZIP64_FROM: u64 = u32::MAX as u64;

/// So many entries need ZIP64.
const ZIP64_FROM_ENTRIES: u64 = u16::MAX as u64;

/// The fixed part of a directory record, and where it has the lengths of name, extra fields and comment (4.3.12).
const RECORD_BYTES: usize = 46;
const RECORD_LENGTHS_AT: [usize; 3] = [28, 30, 32];

const ZIP64_END_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
const ZIP64_LOCATOR_SIGNATURE: [u8; 4] = *b"PK\x06\x07";
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";

/// What follows the size field of the ZIP64 end record.
const ZIP64_END_REST_BYTES: u64 = 44;
const ZIP64_VERSION: u16 = 45;

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
///
/// A writer of rawzip keeps some 160 bytes of each entry until the end. So each entry has one of its own here, and what
/// the directory says of the entries is kept as a [`Series`]; at the end each record is made by one more such writer.
#[derive(Default)]
pub(super) struct ZipWriter<W: Write> {
    sink: W,
    entries: Series<Recorded>,
    /// Where the next entry begins.
    offset: u64,
    /// Whether an entry needs ZIP64 in the directory.
    needs_zip64: bool,
}

/// What the directory says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    name: Arc<str>,
    modified_s: i64,
    crc32: u32,
    size_bytes: u64,
    offset: u64,
}

/// What is remembered of an entry for the next one.
#[derive(Clone, Debug, Default)]
struct RecordedBefore {
    name: Arc<str>,
    modified_s: i64,
    /// Where its data would end if it had no header.
    end: u64,
}

impl Differs for Recorded {
    type Before = RecordedBefore;

    fn write(&self, before: &mut RecordedBefore, to: &mut Writing) {
        to.text(&self.name, &mut before.name);
        to.number(self.modified_s - before.modified_s);
        to.bytes(&self.crc32.to_le_bytes());
        to.count(self.size_bytes);
        to.number(self.offset.wrapping_sub(before.end).cast_signed());
        before.modified_s = self.modified_s;
        before.end = self.offset.wrapping_add(self.size_bytes);
    }

    fn read(before: &mut RecordedBefore, from: &mut Reading<'_>) -> Self {
        let name = from.text(&mut before.name);
        before.modified_s += from.number();
        let crc32 = from.bytes(4).try_into().map_or(0, u32::from_le_bytes);
        let size_bytes = from.count();
        let offset = before.end.wrapping_add(from.number().cast_unsigned());
        before.end = offset.wrapping_add(size_bytes);
        Self {
            name,
            modified_s: before.modified_s,
            crc32,
            size_bytes,
            offset,
        }
    }
}

impl<W: Write> ZipWriter<W> {
    pub(super) fn new(sink: W) -> Self {
        Self {
            sink,
            entries: Series::default(),
            offset: 0,
            needs_zip64: false,
        }
    }

    /// Writes an entry: `data` gets where to write it, and returns its CRC-32 and size.
    pub(super) fn entry<E: From<io::Error>>(
        &mut self,
        head: &EntryHead<'_>,
        data: impl FnOnce(&mut dyn Write) -> Result<(u32, u64), E>,
    ) -> Result<(), E> {
        let offset = self.offset;
        let mut single = single(&mut self.sink, offset);
        let mut entry = start(&mut single, head)?;
        let (crc32, size_bytes) = data(&mut entry)?;
        entry
            .finish(DataDescriptorOutput::new(crc32, size_bytes))
            .map_err(zip_error)?;
        self.offset = single.stream_offset();
        self.needs_zip64 |= size_bytes >= ZIP64_FROM || offset >= ZIP64_FROM;
        self.entries.push(&Recorded {
            name: head.name.into(),
            modified_s: seconds(head),
            crc32,
            size_bytes,
            offset,
        });
        Ok(())
    }

    /// Writes the central directory and the end of the zip.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let directory_offset = self.offset;
        for entry in &self.entries {
            let record = directory_record(&entry)?;
            self.sink.write_all(&record)?;
            self.offset += record.len() as u64;
        }
        let end = End {
            entry_count: self.entries.len() as u64,
            directory_offset,
            directory_bytes: self.offset - directory_offset,
            needs_zip64: self.needs_zip64,
        };
        self.sink.write_all(&end.records())?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// A zip of one entry, which begins at `offset`.
fn single<W: Write>(sink: W, offset: u64) -> ZipArchiveWriter<W> {
    ZipArchiveWriterBuilder::new()
        .with_offset(offset)
        .build(sink)
}

/// The time of an entry, as a zip can have it.
fn seconds(head: &EntryHead<'_>) -> i64 {
    head.modified.timestamp().clamp(EARLIEST_S, LATEST_S)
}

/// Writes a local header.
fn start<'z, W: Write>(
    zip: &'z mut ZipArchiveWriter<W>,
    head: &EntryHead<'_>,
) -> io::Result<ZipEntryWriter<'z, W>> {
    let seconds = seconds(head);
    let mut builder = zip
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

/// The record of an entry in the central directory: the first record in the directory of a zip of nothing else.
fn directory_record(recorded: &Recorded) -> io::Result<Vec<u8>> {
    let kept = Kept::default();
    let mut zip = single(&kept, recorded.offset);
    let head = EntryHead {
        name: &recorded.name,
        modified: DateTime::from_timestamp(recorded.modified_s, 0).unwrap_or_default(),
        // What the local header announces is not told in the directory.
        size_bytes: 0,
    };
    let mut entry = start(&mut zip, &head)?;
    write_zeros(&mut entry, recorded.size_bytes)?;
    entry
        .finish(DataDescriptorOutput::new(
            recorded.crc32,
            recorded.size_bytes,
        ))
        .map_err(zip_error)?;
    kept.is_open.set(true);
    zip.finish().map_err(zip_error)?;
    let mut record = kept.bytes.into_inner();
    let length_at = |at: usize| match record.get(at..at + 2) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    let length = RECORD_BYTES + RECORD_LENGTHS_AT.map(length_at).iter().sum::<usize>();
    record.truncate(length);
    Ok(record)
}

/// Keeps what is written to it from the moment on that it is open.
#[derive(Default)]
struct Kept {
    is_open: Cell<bool>,
    bytes: RefCell<Vec<u8>>,
}

impl Write for &Kept {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.is_open.get() {
            self.bytes.borrow_mut().extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the records after the central directory say (APPNOTE 4.3.14 to 4.3.16).
struct End {
    entry_count: u64,
    directory_offset: u64,
    directory_bytes: u64,
    /// Whether an entry needs ZIP64.
    needs_zip64: bool,
}

impl End {
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let needs_zip64 = self.needs_zip64
            || self.entry_count >= ZIP64_FROM_ENTRIES
            || self.directory_bytes >= ZIP64_FROM
            || self.directory_offset >= ZIP64_FROM;
        if needs_zip64 {
            records.extend(ZIP64_END_SIGNATURE);
            records.extend(ZIP64_END_REST_BYTES.to_le_bytes());
            // Made by, and needed to extract: version 4.5.
            records.extend(
                [ZIP64_VERSION, ZIP64_VERSION]
                    .map(u16::to_le_bytes)
                    .concat(),
            );
            // This disk, and that of the directory: there is one only.
            records.extend([0; 8]);
            for value in [
                self.entry_count,
                self.entry_count,
                self.directory_bytes,
                self.directory_offset,
            ] {
                records.extend(value.to_le_bytes());
            }
            records.extend(ZIP64_LOCATOR_SIGNATURE);
            records.extend([0; 4]);
            let end_offset = self.directory_offset + self.directory_bytes;
            records.extend(end_offset.to_le_bytes());
            records.extend(1_u32.to_le_bytes());
        }
        records.extend(END_SIGNATURE);
        records.extend([0; 4]);
        let entry_count = u16::try_from(self.entry_count).unwrap_or(u16::MAX);
        records.extend([entry_count, entry_count].map(u16::to_le_bytes).concat());
        for value in [self.directory_bytes, self.directory_offset] {
            records.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
        }
        // No comment.
        records.extend([0; 2]);
        records
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
    start(&mut single(&mut header, 0), head)?;
    Ok(header)
}

/// rawzip's errors are those of the sink, or say that a name is too long, which ours never are.
fn zip_error(error: rawzip::Error) -> io::Error {
    match error.kind() {
        rawzip::ErrorKind::IO(inner) => io::Error::new(inner.kind(), error.to_string()),
        _ => io::Error::other(error.to_string()),
    }
}

/// Finds the exact size of a zip before there is any data for it.
#[derive(Default)]
pub struct ZipSize {
    zip: ZipWriter<Counter>,
}

impl ZipSize {
    /// Adds an entry.
    ///
    /// # Errors
    /// When an entry cannot be in a zip, which names of `domain::entry_name` always can.
    pub fn add(&mut self, head: &EntryHead<'_>) -> io::Result<()> {
        self.zip
            .entry(head, |data| write_zeros(data, head.size_bytes))
    }

    /// The size of the zip with all of them.
    ///
    /// # Errors
    /// As for [`ZipSize::add`].
    pub fn finish(self) -> io::Result<u64> {
        Ok(self.zip.finish()?.bytes)
    }
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

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
