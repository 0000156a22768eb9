//! One pass through the entries of an archive, from its first byte to the directory.
//!
//! Each fact about an entry stands in the file more than once: its name and time in the local header and in the
//! directory; its size in the descriptor, in the directory and in where the next entry begins; its CRC-32 in the
//! descriptor, in the directory and in the data. So one damaged place is outvoted by the others, is blamed alone, and
//! does not hide what comes after it. An entry that the directory no longer tells of is found by its local header, and
//! its end by the descriptor that fits.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::lane::Lane;
use super::super::packer::Stop;
use super::super::pool::{CHUNK_BYTES, Pool};
use super::super::zip::ZIP64_FROM;
use super::VerifyError;
use super::directory::{Directory, Record};
use super::piece::{Complaint, Piece};
use super::proof::{Proof, SumsPlace};
use super::records::{
    DESCRIPTOR_SIGNATURE, HEADER_BYTES_MAX, LocalHeader, descriptor, descriptor_bytes,
    descriptor_crc32,
};
use super::source::Source;
use crate::domain::series::Series;
use crate::hashing::Sha256;

/// What a pass through an archive found.
pub(super) struct Walked {
    pub(super) pieces: Series<Piece>,
    /// SHA-256 of the data of each piece.
    pub(super) digests: Vec<Sha256>,
    /// Bytes of data that were read.
    pub(super) data_bytes: u64,
    /// Names in the directory where there is no entry.
    pub(super) lost: Vec<Arc<str>>,
    /// Where the last entry ends.
    pub(super) end: u64,
    /// Why the directory cannot be right.
    pub(super) complaint: Option<String>,
    /// Where SHA256SUMS is; `None` when it is not there, or too large.
    pub(super) sums: Option<SumsPlace>,
    /// Contents of its signature.
    pub(super) signature: Option<Vec<u8>>,
}

/// Reads all entries. `on_bytes` is called with how much of the file has been read, and its size.
pub(super) fn walk(
    source: Source<'_>,
    directory: &Directory,
    on_bytes: &mut dyn FnMut(u64, u64) -> Result<(), Stop>,
) -> Result<Walked, VerifyError> {
    let limit = directory.start.unwrap_or(source.size_bytes());
    let mut walk = Walk {
        source,
        limit,
        lane: Lane::start()?,
        pool: Pool::new(),
        on_bytes,
        search_bytes: source.size_bytes(),
        excess_bytes: source.size_bytes(),
        walked: Walked {
            pieces: Series::default(),
            digests: Vec::with_capacity(directory.records.len()),
            data_bytes: 0,
            lost: Vec::new(),
            end: 0,
            complaint: None,
            sums: None,
            signature: None,
        },
    };
    walk.run(directory.records.iter())?;
    let Walk {
        lane, mut walked, ..
    } = walk;
    while walked.digests.len() < walked.pieces.len() {
        let digest = lane.digest();
        let digest = digest.ok_or_else(|| io::Error::other("a hashing thread ended"))?;
        walked.digests.push(digest);
    }
    Ok(walked)
}

struct Walk<'a> {
    source: Source<'a>,
    /// Where the directory starts, or the file ends.
    limit: u64,
    lane: Lane,
    pool: Pool,
    on_bytes: &'a mut dyn FnMut(u64, u64) -> Result<(), Stop>,
    /// Bytes that may still be searched: a hostile file must not be searched again and again.
    search_bytes: u64,
    /// Bytes by which recorded sizes may still exceed what is there.
    excess_bytes: u64,
    walked: Walked,
}

/// Where the data of an entry is.
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    size_bytes: u64,
    announces_zip64: bool,
    /// Size that the entry had when it was archived, as far as that is known.
    recorded_bytes: u64,
}

impl Extent {
    fn end(&self) -> u64 {
        self.start + self.size_bytes
    }
}

impl Walk<'_> {
    fn run(&mut self, mut records: impl Iterator<Item = Record>) -> Result<(), VerifyError> {
        let mut at = 0;
        let (mut record, mut next) = (records.next(), records.next());
        let mut block = vec![0; HEADER_BYTES_MAX];
        loop {
            let read = self.source.fill(&mut block, at, self.limit)?;
            let local = LocalHeader::parse(&block[..read]);
            let is_here = record.as_ref().is_some_and(|record| {
                let is_named = local
                    .as_ref()
                    .is_some_and(|local| *local.name == *record.name);
                (record.offset == at && at < self.limit) || is_named
            });
            let is_passed = match (local, &record) {
                (local, Some(record)) if is_here => {
                    at = self.entry(at, local, Some(record), next.as_ref())?;
                    true
                }
                (Some(local), record) => {
                    at = self.entry(at, Some(local), None, record.as_ref())?;
                    false
                }
                (None, Some(record)) if record.offset > at && record.offset < self.limit => {
                    self.stray(at, record.offset);
                    at = record.offset;
                    false
                }
                (None, Some(record)) => {
                    self.walked.lost.push(Arc::clone(&record.name));
                    true
                }
                (None, None) => break,
            };
            if is_passed {
                record = std::mem::replace(&mut next, records.next());
            }
        }
        if at < self.limit && self.limit < self.source.size_bytes() {
            self.stray(at, self.limit);
        }
        self.walked.end = at;
        Ok(())
    }

    fn stray(&mut self, from: u64, to: u64) {
        self.walked
            .complaint
            .get_or_insert_with(|| format!("bytes {from} to {to} of the zip belong to no entry"));
    }

    /// Reads the entry at `at` and returns where it ends. At least one of `local` and `record` is there.
    fn entry(
        &mut self,
        at: u64,
        local: Option<LocalHeader>,
        record: Option<&Record>,
        next: Option<&Record>,
    ) -> Result<u64, VerifyError> {
        let (name, modified_s) = match (record, &local) {
            (Some(record), _) => (Arc::clone(&record.name), record.modified_s),
            (None, Some(local)) => (local.name.as_str().into(), local.modified_s),
            (None, None) => return Ok(at),
        };
        let extent = self.extent(at, &name, local.as_ref(), record, next)?;
        let (crc32, size_bytes) = self.data(&extent, Proof::of(&name, local.as_ref()))?;
        let mut block = [0; 24];
        let read = self.source.fill(&mut block, extent.end(), self.limit)?;
        let tail = &block[..read];
        let recorded = [
            record.map(|record| record.crc32),
            descriptor_crc32(tail, extent.recorded_bytes),
        ];
        let is_data_sound = recorded.contains(&Some(crc32)) && size_bytes == extent.size_bytes;
        let recorded_crc32 = match recorded {
            _ if is_data_sound => crc32,
            [Some(crc32), _] | [None, Some(crc32)] => crc32,
            [None, None] => crc32,
        };
        let is_tail_sound = tail.starts_with(&descriptor(recorded_crc32, extent.recorded_bytes));
        let complaint = match (&local, record) {
            (None, Some(record)) if !record.is_plain => Some(Complaint::Packed),
            (None, _) => Some(Complaint::Header),
            _ if !is_tail_sound => Some(Complaint::Tail),
            _ => None,
        };
        if let (Some(local), Some(record)) = (&local, record)
            && local.modified_s != record.modified_s
        {
            self.walked.complaint.get_or_insert_with(|| {
                format!("the zip's directory has another time for {name} than the entry itself")
            });
        }
        let end = extent.end() + descriptor_bytes(extent.recorded_bytes);
        let local_name = local
            .map(|local| Arc::<str>::from(local.name))
            .filter(|local| *local != name);
        self.walked.pieces.push(&Piece {
            name,
            local_name,
            modified_s,
            announces_zip64: extent.announces_zip64,
            recorded_bytes: extent.recorded_bytes,
            recorded_crc32,
            is_cut_off: end > self.source.size_bytes(),
            is_data_sound,
            complaint,
        });
        Ok(end.min(self.limit))
    }

    /// Decides where the data of the entry at `at` is.
    fn extent(
        &mut self,
        at: u64,
        name: &str,
        local: Option<&LocalHeader>,
        record: Option<&Record>,
        next: Option<&Record>,
    ) -> Result<Extent, VerifyError> {
        let headers = match local {
            Some(local) => vec![local.clone()],
            None => [false, true]
                .map(|announces_zip64| LocalHeader {
                    name: name.to_owned(),
                    modified_s: 0,
                    announces_zip64,
                })
                .to_vec(),
        };
        let next_at = next.map_or(self.limit, |next| next.offset);
        let mut extents = headers.iter().map(|header| {
            let start = (at + header.size_bytes()).min(self.limit);
            (start, header.announces_zip64)
        });
        // A descriptor that says the size which leads to it is proof enough.
        for (start, announces_zip64) in extents.clone() {
            let sizes = [
                record.map(|record| record.size_bytes),
                size_up_to(start, next_at),
            ];
            for size_bytes in sizes.into_iter().flatten() {
                if self.has_descriptor(start, size_bytes)? {
                    return Ok(Extent {
                        start,
                        size_bytes,
                        announces_zip64,
                        recorded_bytes: size_bytes,
                    });
                }
            }
        }
        let (start, announces_zip64) = match record {
            Some(record) => extents
                .clone()
                .find(|(start, _)| size_up_to(*start, next_at) == Some(record.size_bytes)),
            None => None,
        }
        .or_else(|| extents.next())
        .unwrap_or((at, false));
        let size_bytes = match record {
            // The directory agrees with itself, and what follows is in its place: the descriptor is damaged.
            Some(record)
                if size_up_to(start, next_at) == Some(record.size_bytes)
                    && self.is_in_place(next)? =>
            {
                Some(record.size_bytes)
            }
            // Bytes were lost or came in between.
            Some(_) => match next {
                Some(next) => self.find_entry(start, next)?,
                None => size_up_to(start, self.limit),
            },
            None => self.find_descriptor(start)?,
        };
        let left = self.limit - start;
        let recorded_bytes = record.map(|record| record.size_bytes);
        let size_bytes = size_bytes
            .or(recorded_bytes)
            .map_or(left, |size| size.min(left));
        let recorded_bytes = recorded_bytes.unwrap_or(size_bytes);
        let excess = recorded_bytes.saturating_sub(size_bytes);
        let is_bounded = excess <= self.excess_bytes;
        self.excess_bytes -= if is_bounded { excess } else { 0 };
        Ok(Extent {
            start,
            size_bytes,
            announces_zip64,
            recorded_bytes: if is_bounded {
                recorded_bytes
            } else {
                size_bytes
            },
        })
    }

    fn has_descriptor(&self, start: u64, size_bytes: u64) -> io::Result<bool> {
        let Some(at) = start.checked_add(size_bytes) else {
            return Ok(false);
        };
        let mut block = [0; 24];
        let read = self.source.fill(&mut block, at, self.limit)?;
        Ok(descriptor_crc32(&block[..read], size_bytes).is_some())
    }

    /// Whether the entry is where the directory says; true when there is none, because then the directory follows.
    fn is_in_place(&self, record: Option<&Record>) -> io::Result<bool> {
        let Some(record) = record else {
            return Ok(true);
        };
        let mut block = vec![0; HEADER_BYTES_MAX];
        let read = self.source.fill(&mut block, record.offset, self.limit)?;
        Ok(LocalHeader::parse(&block[..read]).is_some())
    }

    /// The size of data from `start` on that is followed by the entry of this record.
    fn find_entry(&mut self, start: u64, record: &Record) -> Result<Option<u64>, VerifyError> {
        let header = LocalHeader {
            name: record.name.to_string(),
            modified_s: record.modified_s,
            announces_zip64: record.size_bytes >= ZIP64_FROM,
        };
        let Some(needle) = header.bytes() else {
            return Ok(None);
        };
        let found = self.search(start, &needle, |_, _| Ok(true))?;
        Ok(found.and_then(|at| size_up_to(start, at)))
    }

    /// The size of data from `start` on that a descriptor says which follows it.
    fn find_descriptor(&mut self, start: u64) -> Result<Option<u64>, VerifyError> {
        let found = self.search(start, &DESCRIPTOR_SIGNATURE, |walk, at| {
            walk.has_descriptor(start, at - start)
        })?;
        Ok(found.map(|at| at - start))
    }

    /// The offset from `start` on at which the bytes are, and `is_it` agrees.
    fn search(
        &mut self,
        start: u64,
        needle: &[u8],
        is_it: impl Fn(&Self, u64) -> io::Result<bool>,
    ) -> Result<Option<u64>, VerifyError> {
        let finder = memchr::memmem::Finder::new(needle);
        let mut block = vec![0; CHUNK_BYTES + needle.len()];
        let mut at = start;
        while self.search_bytes > 0 {
            let read = self.source.fill(&mut block, at, self.limit)?;
            for offset in finder.find_iter(&block[..read]) {
                let found = at + offset as u64;
                if is_it(self, found)? {
                    return Ok(Some(found));
                }
            }
            if read < block.len() {
                break;
            }
            // What begins at the end of a block is in the next one too.
            at += CHUNK_BYTES as u64;
            self.search_bytes = self.search_bytes.saturating_sub(CHUNK_BYTES as u64);
            self.report(start)?;
        }
        Ok(None)
    }

    /// Reads, sums and hashes the data, and returns its CRC-32 and how much of it there is.
    fn data(&mut self, extent: &Extent, proof: Option<Proof>) -> Result<(u32, u64), VerifyError> {
        let proof = proof.filter(|proof| extent.size_bytes <= proof.bytes_max());
        let mut kept = (proof == Some(Proof::Signature)).then(Vec::new);
        let mut crc = crc32fast::Hasher::new();
        let mut done = 0;
        while done < extent.size_bytes {
            let wanted = (extent.size_bytes - done).min(CHUNK_BYTES as u64) as usize;
            let mut buffer = self.pool.take();
            let at = extent.start + done;
            buffer.length = self
                .source
                .fill(&mut buffer.bytes[..wanted], at, self.limit)?;
            if buffer.length == 0 {
                break;
            }
            done += buffer.length as u64;
            let chunk = Bytes::from_owner(buffer);
            crc.update(&chunk);
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(&chunk);
            }
            self.lane.add(chunk);
            self.report(extent.start + done)?;
        }
        self.lane.end();
        // What waits in a channel takes more room.
        while let Some(digest) = self.lane.digest_if_there() {
            self.walked.digests.push(digest);
        }
        self.walked.data_bytes += done;
        match proof {
            Some(Proof::Sums) if self.walked.sums.is_none() => {
                self.walked.sums = Some(SumsPlace {
                    piece: self.walked.pieces.len(),
                    start: extent.start,
                    size_bytes: done,
                });
            }
            Some(Proof::Signature) if self.walked.signature.is_none() => {
                self.walked.signature = kept;
            }
            _ => {}
        }
        Ok((crc.finalize(), done))
    }

    fn report(&mut self, done_bytes: u64) -> Result<(), VerifyError> {
        (self.on_bytes)(done_bytes, self.source.size_bytes())?;
        Ok(())
    }
}

/// The size of an entry's data that begins at `start` and whose descriptor ends at `end`.
fn size_up_to(start: u64, end: u64) -> Option<u64> {
    let both = end.checked_sub(start)?;
    let short = both.checked_sub(descriptor_bytes(0))?;
    if descriptor_bytes(short) == descriptor_bytes(0) {
        return Some(short);
    }
    both.checked_sub(descriptor_bytes(short))
}
