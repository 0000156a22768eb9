//! The zip's directory: read for what it says of the entries, and compared with what it should be.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{CompressionMethod, ErrorKind, ZipFileHeaderRecord, ZipLocator};

use super::super::zip::{ZipWriter, write_zeros};
use super::piece::Piece;
use super::records::head;
use super::source::Source;
use crate::domain::series::{Differs, Reading, Series, Writing};

/// A record with its name and extra fields, each of at most 64 KiB, has room in it.
const BUFFER_BYTES: usize = 256 * 1024;

/// No archive has more; it bounds the memory that a hostile file can take.
const RECORDS_MAX: usize = 2_000_000;

/// What the directory says of an entry.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) name: Arc<str>,
    pub(super) modified_s: i64,
    pub(super) crc32: u32,
    pub(super) size_bytes: u64,
    pub(super) offset: u64,
    /// Whether the data is neither compressed nor encrypted.
    pub(super) is_plain: bool,
}

/// What is remembered of a record for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordBefore {
    name: Arc<str>,
    modified_s: i64,
    /// Where its data would end if it had no header.
    end: u64,
}

impl Differs for Record {
    type Before = RecordBefore;

    fn write(&self, before: &mut RecordBefore, to: &mut Writing) {
        to.byte(u8::from(self.is_plain));
        to.text(&self.name, &mut before.name);
        to.number(self.modified_s.wrapping_sub(before.modified_s));
        to.bytes(&self.crc32.to_le_bytes());
        to.count(self.size_bytes);
        to.number(self.offset.wrapping_sub(before.end).cast_signed());
        before.modified_s = self.modified_s;
        before.end = self.offset.wrapping_add(self.size_bytes);
    }

    fn read(before: &mut RecordBefore, from: &mut Reading<'_>) -> Self {
        let is_plain = from.byte() != 0;
        let name = from.text(&mut before.name);
        before.modified_s = before.modified_s.wrapping_add(from.number());
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
            is_plain,
        }
    }
}

/// The directory as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) records: Series<Record>,
    /// Where it starts; `None` when the end record of the zip cannot be found.
    pub(super) start: Option<u64>,
    /// Why the records are not all.
    pub(super) complaint: Option<String>,
}

impl Directory {
    /// Reads the directory. Only a failing disk is an error.
    pub(super) fn read(source: Source<'_>) -> io::Result<Self> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let located = ZipLocator::new().locate_in_reader(source, &mut buffer, source.size_bytes());
        let archive = match located {
            // An end record elsewhere is that of a zip inside of the footage.
            Ok(archive) if archive.end_offset() == source.size_bytes() => archive,
            Ok(_) => return Ok(Self::missing()),
            Err((_, error)) => {
                io_error(error)?;
                return Ok(Self::missing());
            }
        };
        let mut directory = Self {
            start: Some(archive.directory_offset()),
            ..Self::default()
        };
        let mut entries = archive.entries(&mut buffer);
        loop {
            match entries.next_entry() {
                Ok(None) => break,
                Ok(Some(_)) if directory.records.len() == RECORDS_MAX => {
                    directory.complaint = Some(format!(
                        "the zip's directory has more than {RECORDS_MAX} records, as no archive has"
                    ));
                    break;
                }
                Ok(Some(record)) => directory.records.push(&Record::new(&record)),
                Err(error) => {
                    io_error(error)?;
                    directory.complaint = Some(format!(
                        "the zip's directory cannot be read beyond its first {} records",
                        directory.records.len()
                    ));
                    break;
                }
            }
        }
        Ok(directory)
    }

    fn missing() -> Self {
        let complaint = "the zip does not end with its end record: it was cut off, damaged there, or something was added";
        Self {
            complaint: Some(complaint.to_owned()),
            ..Self::default()
        }
    }
}

impl Record {
    fn new(record: &ZipFileHeaderRecord<'_>) -> Self {
        let is_encrypted = record.flags().bits() & 1 != 0;
        Self {
            name: String::from_utf8_lossy(record.file_path().as_bytes()).into(),
            modified_s: modified_s(record).unwrap_or_default(),
            crc32: record.crc32(),
            size_bytes: record.compressed_size_hint(),
            offset: record.local_header_offset(),
            is_plain: record.compression_method() == CompressionMethod::STORE && !is_encrypted,
        }
    }
}

/// The time in the extended timestamp, which each record of ours has.
fn modified_s(record: &ZipFileHeaderRecord<'_>) -> Option<i64> {
    let (_, field) = record
        .extra_fields()
        .find(|(id, _)| *id == ExtraFieldId::EXTENDED_TIMESTAMP)?;
    let seconds = field.get(1..5)?;
    Some(i64::from(u32::from_le_bytes(seconds.try_into().ok()?)))
}

/// An error of the disk; all others are about what the file holds.
fn io_error(error: rawzip::Error) -> io::Result<()> {
    match error.into_kind() {
        ErrorKind::IO(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(()),
    }
}

/// Writes the directory of these entries anew and compares it with the rest of the file from `start` on. Returns the
/// offset of the first byte that differs, that is missing or that is too many.
pub(super) fn first_difference(
    source: Source<'_>,
    start: u64,
    pieces: &Series<Piece>,
) -> io::Result<Option<u64>> {
    let is_open = Rc::new(Cell::new(false));
    let mut zip = ZipWriter::new(Comparison {
        source,
        is_open: Rc::clone(&is_open),
        at: start,
        gathered: Vec::with_capacity(BUFFER_BYTES),
        found: vec![0; BUFFER_BYTES],
        first_difference: None,
        failed: None,
    });
    for piece in pieces {
        let head = head(&piece.name, piece.modified_s, piece.announces_zip64);
        let written = zip.entry(&head, |data| {
            write_zeros(data, piece.recorded_bytes)?;
            Ok::<_, io::Error>((piece.recorded_crc32, piece.recorded_bytes))
        });
        if written.is_err() {
            // No zip can have this name, so the directory is not the one of these entries.
            return Ok(Some(start));
        }
    }
    is_open.set(true);
    let mut comparison = zip.finish()?;
    comparison.compare();
    if let Some(error) = comparison.failed {
        return Err(error);
    }
    let has_rest = comparison.at < source.size_bytes();
    Ok(comparison
        .first_difference
        .or(has_rest.then_some(comparison.at)))
}

/// Compares what is written to it, once it is open, with the bytes of the file from `at` on.
struct Comparison<'a> {
    source: Source<'a>,
    is_open: Rc<Cell<bool>>,
    at: u64,
    gathered: Vec<u8>,
    found: Vec<u8>,
    first_difference: Option<u64>,
    failed: Option<io::Error>,
}

impl Comparison<'_> {
    fn compare(&mut self) {
        let found = &mut self.found[..self.gathered.len()];
        let read = match self.source.fill(found, self.at, u64::MAX) {
            Ok(read) => read,
            Err(error) => {
                self.failed.get_or_insert(error);
                0
            }
        };
        if self.first_difference.is_none() {
            let same = std::iter::zip(&found[..read], &self.gathered)
                .take_while(|(found, written)| found == written)
                .count();
            self.first_difference = (same < self.gathered.len()).then_some(self.at + same as u64);
        }
        self.at += self.gathered.len() as u64;
        self.gathered.clear();
    }
}

impl Write for Comparison<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.is_open.get() {
            return Ok(data.len());
        }
        let count = data.len().min(BUFFER_BYTES - self.gathered.len());
        self.gathered.extend_from_slice(&data[..count]);
        if self.gathered.len() == BUFFER_BYTES {
            self.compare();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
