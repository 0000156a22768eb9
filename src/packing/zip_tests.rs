//! Zips of ours against those that rawzip alone writes.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use proptest::prelude::*;

use super::*;

/// Takes a zip of any size: its length, and a hash of all that is not data.
#[derive(Default)]
struct Digest {
    bytes: u64,
    hasher: DefaultHasher,
}

impl Write for Digest {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.bytes += data.len() as u64;
        if data.len() < 1 << 20 {
            // Zeros of the data come in pieces of their own.
            self.hasher.write(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The zip as rawzip alone writes all of it.
fn by_rawzip(entries: &[(String, i64, u32, u64)]) -> (u64, u64) {
    let mut zip = single(Digest::default(), 0);
    for (name, modified_s, crc32, size_bytes) in entries {
        let mut entry = start(&mut zip, &head(name, *modified_s, *size_bytes)).unwrap();
        write_zeros(&mut entry, *size_bytes).unwrap();
        let descriptor = DataDescriptorOutput::new(*crc32, *size_bytes);
        entry.finish(descriptor).unwrap();
    }
    let digest = zip.finish().unwrap();
    (digest.bytes, digest.hasher.finish())
}

fn by_us(entries: &[(String, i64, u32, u64)]) -> (u64, u64) {
    let mut zip = ZipWriter::new(Digest::default());
    for (name, modified_s, crc32, size_bytes) in entries {
        zip.entry(&head(name, *modified_s, *size_bytes), |data| {
            write_zeros(data, *size_bytes)?;
            Ok::<_, io::Error>((*crc32, *size_bytes))
        })
        .unwrap();
    }
    let digest = zip.finish().unwrap();
    (digest.bytes, digest.hasher.finish())
}

fn head(name: &str, modified_s: i64, size_bytes: u64) -> EntryHead<'_> {
    EntryHead {
        name,
        modified: DateTime::from_timestamp(modified_s, 0).unwrap(),
        size_bytes,
    }
}

fn check(entries: &[(String, i64, u32, u64)]) {
    assert_eq!(by_us(entries), by_rawzip(entries));
}

#[test]
fn entries_and_offsets_beyond_4_gib_have_the_records_of_rawzip() {
    for size_bytes in [ZIP64_FROM - 1, ZIP64_FROM, ZIP64_FROM + 1] {
        let sizes = [3, size_bytes, 0, 7];
        let entries: Vec<_> = (0..)
            .zip(sizes)
            .map(|(number, size)| (format!("gate/{number}.mp4"), number, 9, size))
            .collect();
        check(&entries);
    }
}

#[test]
fn as_many_entries_as_need_zip64_have_the_end_of_rawzip() {
    for count in [ZIP64_FROM_ENTRIES - 1, ZIP64_FROM_ENTRIES] {
        let entry = |number| (format!("gate/{number}.mp4"), number as i64, 9, number % 3);
        let entries: Vec<_> = (0..count).map(entry).collect();
        check(&entries);
    }
}

proptest! {
    #[test]
    fn every_zip_is_as_rawzip_writes_it(
        entries in proptest::collection::vec(
            ("[a-c/é]{1,9}", -1_i64 << 33..1 << 33, any::<u32>(), 0_u64..2000),
            0..100,
        )
    ) {
        prop_assert_eq!(by_us(&entries), by_rawzip(&entries));
    }
}
