//! What needs ZIP64: more than 65,535 entries, more than 4 GiB.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use super::sample::{InMemory, add, blamed, findings, head, key, known, look, places, seal};
use crate::packing::packer::{Packer, Sink};
use crate::packing::sums::sums_line;
use crate::packing::zip::zip_size;

/// A file in which chunks of zeros are holes.
struct Sparse {
    file: File,
    size_bytes: u64,
}

impl Sparse {
    fn new() -> Self {
        Self {
            file: tempfile::tempfile().unwrap(),
            size_bytes: 0,
        }
    }
}

impl Sink for Sparse {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        if bytes.len() < 4096 || bytes.iter().any(|byte| *byte != 0) {
            self.file.write_all_at(bytes, self.size_bytes)?;
        }
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn sparse(size_bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size_bytes).unwrap();
    file
}

#[test]
fn more_than_4_gib_are_verified() {
    let key = key(1);
    let long_bytes = (4 << 30) + 1;
    let mut packer = Packer::new(Sparse::new()).unwrap();
    let mut sums = String::new();
    for (name, size_bytes) in [("gate/long.mp4", long_bytes), ("gate/next.mp4", 3)] {
        let added = packer.add_file(&head(name, size_bytes), &sparse(size_bytes), |_| Ok(()));
        assert_eq!(added.unwrap().size_bytes, size_bytes);
        sums_line(&mut sums, &packer.next_digest().unwrap(), name);
    }
    let zip = seal(packer, &sums, &key);
    assert_eq!(zip.file.metadata().unwrap().len(), zip.size_bytes);
    let size = zip_size([
        head("gate/long.mp4", long_bytes),
        head("gate/next.mp4", 3),
        head("SHA256SUMS", sums.len() as u64),
        head("SHA256SUMS.sig", key.sign(b"").unwrap().len() as u64),
    ]);
    assert_eq!(size.unwrap(), zip.size_bytes);
    let found = look(&zip.file, &known(&key)).unwrap();
    assert!(found.is_intact(), "{:?}", found.defects);
    assert!(found.bytes_checked > long_bytes);
}

#[test]
fn a_long_source_that_was_cut_short_while_it_was_packed_is_verified() {
    let key = key(1);
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    let added = packer.add_file(&head("gate/long.mp4", 5 << 30), &sparse(3), |_| Ok(()));
    assert!(added.unwrap().cut_short.is_some());
    sums_line(&mut sums, &packer.next_digest().unwrap(), "gate/long.mp4");
    let bytes = seal(packer, &sums, &key).0;
    let found = findings(&bytes, &known(&key));
    assert!(found.is_intact(), "{:?}", found.defects);
    for (name, range) in places(&bytes) {
        for at in range {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let found = findings(&damaged, &known(&key));
            let blamed = blamed(&found);
            assert!(
                blamed == [name.as_str()] || blamed == [""],
                "byte {at}: {found:?}"
            );
        }
    }
}

#[test]
fn more_entries_than_16_bits_can_count_are_verified() {
    let key = key(1);
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    let names: Vec<String> = (0..66_000)
        .map(|number| format!("gate/{number}.mp4"))
        .collect();
    for name in &names {
        add(&mut packer, &mut sums, name, b"x");
    }
    let signature_bytes = key.sign(b"").unwrap().len();
    let size = zip_size(names.iter().map(|name| head(name, 1)).chain([
        head("SHA256SUMS", sums.len() as u64),
        head("SHA256SUMS.sig", signature_bytes as u64),
    ]));
    let mut bytes = seal(packer, &sums, &key).0;
    assert_eq!(size.unwrap(), bytes.len() as u64);
    let found = findings(&bytes, &known(&key));
    assert!(found.is_intact(), "{:?}", found.defects);
    assert_eq!(found.entries_checked, 66_000);

    let (name, range) = places(&bytes).swap_remove(65_900);
    bytes[range.end - 17] ^= 1;
    assert_eq!(blamed(&findings(&bytes, &known(&key))), [name]);
}
