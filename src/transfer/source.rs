//! Reads sources to hash them.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::hashing::{self, Sha256};

/// Large enough that a call of the system costs little beside it, small enough to stay in the cache of a core.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

thread_local! {
    /// What a thread read its last file with: of small files, the pages of a new buffer would cost as much as reading.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The hashes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) sha256: Sha256,
    /// Only of files that were hashed side by side.
    pub(super) md5: Option<[u8; 16]>,
    pub(super) size_bytes: u64,
}

/// Hashes bytes as they come.
pub(super) struct Hasher {
    sha256: hashing::Hasher,
    size_bytes: u64,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self {
            sha256: hashing::Hasher::default(),
            size_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> Digests {
        Digests {
            sha256: self.sha256.finish(),
            md5: None,
            size_bytes: self.size_bytes,
        }
    }
}

/// Reads a file from its beginning to its end, but not further than one byte beyond `size_bytes`, which shows that it is
/// longer. Does not move the file's position. `each` may end it early.
pub(super) fn read_all(
    file: &File,
    size_bytes: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = BUFFER.take();
    buffer.resize(CHUNK_BYTES, 0);
    let read = read_into(&mut buffer, file, size_bytes, &mut each);
    BUFFER.set(buffer);
    read
}

fn read_into(
    buffer: &mut [u8],
    file: &File,
    size_bytes: u64,
    each: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut offset = 0;
    while offset <= size_bytes {
        let most = usize::try_from(size_bytes + 1 - offset).unwrap_or(CHUNK_BYTES);
        let length = most.min(CHUNK_BYTES);
        let count = match file.read_at(&mut buffer[..length], offset) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        each(&buffer[..count])?;
        offset += count as u64;
    }
    Ok(())
}

/// Hashes a whole file, with SHA-256 only.
pub(super) fn digests(
    file: &File,
    size_bytes: u64,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Digests> {
    let mut hasher = Hasher::new();
    read_all(file, size_bytes, |bytes| {
        if !goes_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        hasher.add(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_whole_and_a_longer_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let file = File::open(&path).unwrap();
        let found = digests(&file, 3, || true).unwrap();
        assert_eq!(found.size_bytes, 3);
        assert_eq!(found.sha256[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(digests(&file, 2, || true).unwrap().size_bytes, 3);
        assert_eq!(digests(&file, 9, || true).unwrap().size_bytes, 3);
        assert!(digests(&file, 3, || false).is_err());
    }
}
