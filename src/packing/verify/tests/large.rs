//! What needs ZIP64: more than 65,535 entries, more than 4 GiB.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use super::sample::{
    InMemory, add, blamed, file, findings, head, key, known, look, places, seal, sha256,
};
use crate::packing::packer::Packer;
use crate::packing::sums::sums_line;
use crate::packing::zip::{EntryHead, ZipSize, ZipWriter};

const LONG_BYTES: u64 = (4 << 30) + 1;

/// SHA-256 of so many zeros; making the archive with it saves two passes.
const LONG_SHA256: &str = "fbb82f7b353676bb562eb82157fcf0ea42c36492ca13ee56dbf82c08b6802c5c";

/// A file in which long stretches of zeros are holes.
struct Sparse {
    file: File,
    size_bytes: u64,
}

impl Write for Sparse {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() < ZEROS.len() || *data != ZEROS {
            self.file.write_all_at(data, self.size_bytes)?;
        }
        self.size_bytes += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

fn write(zip: &mut ZipWriter<Sparse>, name: &str, data: &[u8]) {
    zip.entry(&head(name, data.len() as u64), |out| {
        out.write_all(data)?;
        Ok::<_, io::Error>((crc32fast::hash(data), data.len() as u64))
    })
    .unwrap();
}

fn zip_size<'a>(heads: impl IntoIterator<Item = EntryHead<'a>>) -> u64 {
    let mut size = ZipSize::default();
    for head in heads {
        size.add(&head).unwrap();
    }
    size.finish().unwrap()
}

#[test]
fn more_than_4_gib_are_verified() {
    let key = key(1);
    let mut zip = ZipWriter::new(Sparse {
        file: tempfile::tempfile().unwrap(),
        size_bytes: 0,
    });
    let long = head("gate/long.mp4", LONG_BYTES);
    zip.entry(&long, |out| {
        let mut crc = crc32fast::Hasher::new();
        for _ in 0..LONG_BYTES >> 20 {
            crc.update(&ZEROS);
            out.write_all(&ZEROS)?;
        }
        crc.update(&[0]);
        out.write_all(&[0])?;
        Ok::<_, io::Error>((crc.finalize(), LONG_BYTES))
    })
    .unwrap();
    let mut sums = format!("{LONG_SHA256}  {}\n", long.name);
    write(&mut zip, "gate/next.mp4", b"abc");
    writeln!(sums, "{}  gate/next.mp4", sha256(b"abc")).unwrap();
    let signature = key.sign(sums.as_bytes()).unwrap();
    write(&mut zip, "SHA256SUMS", sums.as_bytes());
    write(&mut zip, "SHA256SUMS.sig", signature.as_bytes());
    let zip = zip.finish().unwrap();
    let size = zip_size([
        long,
        head("gate/next.mp4", 3),
        head("SHA256SUMS", sums.len() as u64),
        head("SHA256SUMS.sig", signature.len() as u64),
    ]);
    assert_eq!(size, zip.file.metadata().unwrap().len());
    let found = look(&zip.file, &known(&key)).unwrap();
    assert!(found.is_intact(), "{:?}", found.defects);
    assert_eq!(found.entries_checked, 2);
}

#[test]
fn a_long_source_that_was_cut_short_while_it_was_packed_is_verified() {
    let key = key(1);
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    let three_bytes = file(b"abc");
    let added = packer.add_file(&head("gate/long.mp4", 5 << 30), &three_bytes, |_| Ok(()));
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
    assert_eq!(size, bytes.len() as u64);
    let found = findings(&bytes, &known(&key));
    assert!(found.is_intact(), "{:?}", found.defects);
    assert_eq!(found.entries_checked, 66_000);

    let (name, range) = places(&bytes).swap_remove(65_900);
    bytes[range.end - 17] ^= 1;
    assert_eq!(blamed(&findings(&bytes, &known(&key))), [name]);
}
