//! The records around the data of an entry: local header and data descriptor (APPNOTE 4.3.7, 4.3.9).

use chrono::{DateTime, Utc};

use super::super::zip::{EntryHead, ZIP64_FROM, local_header};

const HEADER_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
pub(super) const DESCRIPTOR_SIGNATURE: [u8; 4] = *b"PK\x07\x08";
const DESCRIPTOR_BYTES: usize = 16;
const DESCRIPTOR_ZIP64_BYTES: usize = 24;

/// The fixed part of a local header, up to the name.
const HEADER_BYTES: usize = 30;
const NAME_LENGTH_AT: usize = 26;
const EXTRA_LENGTH_AT: usize = 28;

/// The extra fields that [`local_header`] writes: the extended timestamp, and ZIP64 when it is announced.
const TIMESTAMP_BYTES: usize = 9;
const TIME_AT: usize = 5;
const ZIP64_BYTES: usize = 20;

/// Enough for the local header of every entry of ours, whose names are far shorter.
pub(super) const HEADER_BYTES_MAX: usize = 4096;

/// What the local header of an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalHeader {
    pub(super) name: String,
    pub(super) modified_s: i64,
    pub(super) announces_zip64: bool,
}

impl LocalHeader {
    /// Reads a header that is to the byte as one of ours; `None` for any other.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(&HEADER_SIGNATURE) {
            return None;
        }
        let name_bytes = usize::from(u16_at(bytes, NAME_LENGTH_AT)?);
        let extra_bytes = usize::from(u16_at(bytes, EXTRA_LENGTH_AT)?);
        let extra_at = HEADER_BYTES + name_bytes;
        let name = std::str::from_utf8(bytes.get(HEADER_BYTES..extra_at)?).ok()?;
        let header = Self {
            name: name.to_owned(),
            modified_s: i64::from(u32_at(bytes, extra_at + TIME_AT)?),
            announces_zip64: extra_bytes == TIMESTAMP_BYTES + ZIP64_BYTES,
        };
        bytes.starts_with(&header.bytes()?).then_some(header)
    }

    /// The header as it is written; `None` when no zip can have it.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        local_header(&head(&self.name, self.modified_s, self.announces_zip64)).ok()
    }

    /// Its size in the zip.
    pub(super) fn size_bytes(&self) -> u64 {
        let zip64 = if self.announces_zip64 { ZIP64_BYTES } else { 0 };
        (HEADER_BYTES + self.name.len() + TIMESTAMP_BYTES + zip64) as u64
    }
}

/// What [`EntryHead`] must say so that these records come out.
pub(super) fn head(name: &str, modified_s: i64, announces_zip64: bool) -> EntryHead<'_> {
    EntryHead {
        name,
        modified: DateTime::<Utc>::from_timestamp(modified_s, 0).unwrap_or_default(),
        size_bytes: if announces_zip64 { ZIP64_FROM } else { 0 },
    }
}

/// Size of the data descriptor after so many bytes.
pub(super) fn descriptor_bytes(size_bytes: u64) -> u64 {
    if size_bytes >= ZIP64_FROM {
        DESCRIPTOR_ZIP64_BYTES as u64
    } else {
        DESCRIPTOR_BYTES as u64
    }
}

/// The data descriptor of a stored entry.
pub(super) fn descriptor(crc32: u32, size_bytes: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DESCRIPTOR_ZIP64_BYTES);
    bytes.extend(DESCRIPTOR_SIGNATURE);
    bytes.extend(crc32.to_le_bytes());
    for _ in ["compressed", "uncompressed"] {
        match u32::try_from(size_bytes) {
            Ok(size) if size_bytes < ZIP64_FROM => bytes.extend(size.to_le_bytes()),
            _ => bytes.extend(size_bytes.to_le_bytes()),
        }
    }
    bytes
}

/// The CRC-32 in the descriptor of an entry of so many bytes; `None` when this is no descriptor of such an entry.
pub(super) fn descriptor_crc32(bytes: &[u8], size_bytes: u64) -> Option<u32> {
    let crc32 = u32_at(bytes, 4)?;
    bytes
        .starts_with(&descriptor(crc32, size_bytes))
        .then_some(crc32)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LocalHeader, descriptor, descriptor_bytes, descriptor_crc32};

    fn header(announces_zip64: bool) -> LocalHeader {
        LocalHeader {
            name: "gate/ü.mp4".to_owned(),
            modified_s: 1_795_341_601,
            announces_zip64,
        }
    }

    #[test]
    fn a_local_header_is_read_as_it_was_written_and_has_the_size_it_says() {
        for header in [header(false), header(true)] {
            let bytes = header.bytes().unwrap();
            assert_eq!(bytes.len() as u64, header.size_bytes());
            assert_eq!(LocalHeader::parse(&bytes), Some(header));
        }
    }

    #[test]
    fn a_local_header_with_one_other_byte_is_not_read_as_the_same() {
        for header in [header(false), header(true)] {
            let bytes = header.bytes().unwrap();
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert_ne!(
                    LocalHeader::parse(&damaged),
                    Some(header.clone()),
                    "byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_no_name_of_ours() {
        let bytes = header(false).bytes().unwrap();
        let at = bytes.windows(5).position(|name| name == b"gate/").unwrap();
        for folder in [*b"../a/", *b"/etc/", *b"c:\\a/", *b"gat//"] {
            let mut hostile = bytes.clone();
            hostile[at..at + 5].copy_from_slice(&folder);
            assert_eq!(LocalHeader::parse(&hostile), None, "{folder:?}");
        }
    }

    #[test]
    fn a_descriptor_belongs_to_one_size() {
        for size in [0, 1, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1 << 40] {
            let bytes = descriptor(7, size);
            assert_eq!(bytes.len() as u64, descriptor_bytes(size));
            assert_eq!(descriptor_crc32(&bytes, size), Some(7));
            assert_eq!(descriptor_crc32(&bytes, size + 1), None);
            assert_eq!(descriptor_crc32(&bytes[..bytes.len() - 1], size), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_header_or_one_of_the_same_bytes(mut bytes: Vec<u8>) {
            bytes.splice(0..0, *b"PK\x03\x04");
            if let Some(header) = LocalHeader::parse(&bytes) {
                prop_assert!(bytes.starts_with(&header.bytes().unwrap()));
            }
        }
    }
}
