//! A small archive, whole as the service makes them, and what is found in it after something was done to it.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

use super::super::directory::Directory;
use super::super::source::Source;
use super::super::{Findings, VerifyError, verify};
use crate::packing::sums::{hex, sums_line};
use crate::packing::{EntryHead, KnownKeys, Packer, SigningKey, Sink};

/// 2026-11-22 10:00:01 UTC: an odd second, which the fields of MS-DOS cannot hold.
pub(super) const MODIFIED_S: i64 = 1_795_341_601;

pub(super) const FOOTAGE: [(&str, usize); 4] = [
    ("gate/20261122_100000.mp4", 300),
    ("gate/empty.mp4", 0),
    ("yard/tür 1.mp4", 90),
    ("yard/zwei.mp4", 1),
];

/// A key that is the same each time.
pub(super) fn key(seed: u8) -> SigningKey {
    let key = PrivateKey::new(Ed25519Keypair::from_seed(&[seed; 32]).into(), "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(key.to_openssh(LineEnding::LF).unwrap().as_bytes())
        .unwrap();
    SigningKey::load(&path).unwrap()
}

pub(super) fn known(key: &SigningKey) -> KnownKeys {
    KnownKeys::from_text(&key.public_line()).unwrap()
}

pub(super) fn head(name: &str, size_bytes: u64) -> EntryHead<'_> {
    EntryHead {
        name,
        modified: DateTime::<Utc>::from_timestamp(MODIFIED_S, 0).unwrap(),
        size_bytes,
    }
}

/// Adds an entry, and its line to the hashes.
pub(super) fn add<S: Sink>(packer: &mut Packer<S>, sums: &mut String, name: &str, data: &[u8]) {
    write(packer, name, data);
    sums_line(sums, &packer.next_digest().unwrap(), name);
}

fn write<S: Sink>(packer: &mut Packer<S>, name: &str, data: &[u8]) {
    let head = head(name, data.len() as u64);
    packer
        .add_written(&head, |out| out.write_all(data))
        .unwrap();
}

/// Adds the entries that prove the others, and ends the zip.
pub(super) fn finish<S: Sink>(mut packer: Packer<S>, mut sums: String, key: &SigningKey) -> S {
    for (name, text) in [
        ("manifest.json", "{}\n".to_owned()),
        ("README.txt", "How to verify\n".to_owned()),
        ("allowed_signers", key.allowed_signers()),
    ] {
        add(&mut packer, &mut sums, name, text.as_bytes());
    }
    seal(packer, &sums, key)
}

/// Adds the hashes and their signature, and ends the zip.
pub(super) fn seal<S: Sink>(mut packer: Packer<S>, sums: &str, key: &SigningKey) -> S {
    write(&mut packer, "SHA256SUMS", sums.as_bytes());
    let signature = key.sign(sums.as_bytes()).unwrap();
    write(&mut packer, "SHA256SUMS.sig", signature.as_bytes());
    packer.finish().unwrap().0
}

#[derive(Default)]
pub(super) struct InMemory(pub(super) Vec<u8>);

impl Sink for InMemory {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

pub(super) fn footage(size_bytes: usize) -> Vec<u8> {
    (0..size_bytes)
        .map(|at| (at * 7 + size_bytes) as u8)
        .collect()
}

pub(super) fn archive(key: &SigningKey) -> Vec<u8> {
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    for (name, size_bytes) in FOOTAGE {
        add(&mut packer, &mut sums, name, &footage(size_bytes));
    }
    finish(packer, sums, key).0
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// A file in memory or in the folder for temporary files.
pub(super) fn file(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

pub(super) fn look(file: &File, known: &KnownKeys) -> Result<Findings, VerifyError> {
    verify(file, known, |done, total| {
        assert!(done <= total);
        Ok(())
    })
}

pub(super) fn findings(bytes: &[u8], known: &KnownKeys) -> Findings {
    look(&file(bytes), known).unwrap()
}

/// Each entry with the bytes of the zip that are its own, and the bytes of the directory under an empty name.
pub(super) fn places(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let file = file(bytes);
    let directory = Directory::read(Source::new(&file).unwrap()).unwrap();
    let start = directory.start.unwrap() as usize;
    let starts = directory
        .records
        .iter()
        .map(|record| record.offset as usize);
    let ends = starts.clone().skip(1).chain([start]);
    let names = directory
        .records
        .iter()
        .map(|record| record.name.to_string());
    names
        .zip(std::iter::zip(starts, ends).map(|(start, end)| start..end))
        .chain([(String::new(), start..bytes.len())])
        .collect()
}

/// The names that are blamed.
pub(super) fn blamed(findings: &Findings) -> Vec<&str> {
    findings
        .defects
        .iter()
        .map(|defect| defect.entry_name.as_str())
        .collect()
}
