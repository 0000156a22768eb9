//! Hashes several files at once, with SHA-256 and MD5, each read once.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, fadvise};

use super::md5_lanes::{BLOCK_BYTES, LANES, States, padding};
use super::source::Digests;
use crate::hashing::Hasher;

/// Read at a time of each file, so that the buffers of all lanes stay in the cache of a core.
const CHUNK_BYTES: usize = 64 << 10;
/// Asked for ahead at a time, so that a disk whose head moves goes back and forth between the files seldom.
const AHEAD_BYTES: u64 = 4 << 20;

/// Hashes the files that `next` gives, each with its number and its size; a file is not read further than one byte beyond
/// its size, which shows that it is longer. `keep` gets what was found, in any order. Ends early when `goes_on` says so.
pub(super) fn digest_all<'a>(
    mut next: impl FnMut() -> Option<(usize, &'a File, u64)>,
    mut keep: impl FnMut(usize, io::Result<Digests>),
    goes_on: impl Fn() -> bool,
) {
    let mut states = States::new();
    let mut streams: [Option<Stream<'a>>; LANES] = Default::default();
    while goes_on() {
        for (lane, stream) in streams.iter_mut().enumerate() {
            while stream
                .as_ref()
                .is_none_or(|stream| stream.blocks().is_empty())
            {
                match stream.take() {
                    None => match next() {
                        Some((number, file, size_bytes)) => {
                            states.begin(lane);
                            *stream = Some(Stream::new(number, file, size_bytes));
                        }
                        None => break,
                    },
                    Some(whole) if whole.is_whole => {
                        let number = whole.number;
                        keep(number, Ok(whole.digests(states.digest(lane))));
                    }
                    Some(mut read) => match read.read_on() {
                        Ok(()) => *stream = Some(read),
                        Err(error) => keep(read.number, Err(error)),
                    },
                }
            }
        }
        let ready = streams
            .each_ref()
            .map(|stream| stream.as_ref().map_or(&[][..], Stream::blocks));
        let counts = ready.iter().map(|blocks| blocks.len());
        let Some(count) = counts.filter(|count| *count > 0).min() else {
            return;
        };
        states.add(ready, count);
        for stream in streams.iter_mut().flatten() {
            stream.begin += count * BLOCK_BYTES;
        }
    }
}

/// A file on its way through a lane.
struct Stream<'a> {
    number: usize,
    file: &'a File,
    /// Read at most: one byte more than the file should have.
    most_bytes: u64,
    read_bytes: u64,
    asked_bytes: u64,
    sha256: Hasher,
    buffer: Vec<u8>,
    /// Where in the buffer that begins which the MD5 does not have yet.
    begin: usize,
    /// Everything was read and the padding is in the buffer.
    is_whole: bool,
}

impl<'a> Stream<'a> {
    fn new(number: usize, file: &'a File, size_bytes: u64) -> Self {
        Self {
            number,
            file,
            most_bytes: size_bytes.saturating_add(1),
            read_bytes: 0,
            asked_bytes: 0,
            sha256: Hasher::default(),
            buffer: Vec::with_capacity(CHUNK_BYTES + 2 * BLOCK_BYTES),
            begin: 0,
            is_whole: false,
        }
    }

    /// The whole blocks that the MD5 does not have yet.
    fn blocks(&self) -> &[[u8; BLOCK_BYTES]] {
        self.buffer[self.begin..].as_chunks().0
    }

    /// Reads some more, and adds the padding at the end.
    fn read_on(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        if self.read_bytes >= self.asked_bytes {
            let ahead = NonZeroU64::new(AHEAD_BYTES);
            // Where the advice is not taken, the file is read all the same.
            let _ = fadvise(self.file, self.read_bytes, ahead, Advice::WillNeed);
            self.asked_bytes = self.read_bytes + AHEAD_BYTES;
        }
        let kept = self.buffer.len();
        let left = self.most_bytes - self.read_bytes;
        let most = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        self.buffer.resize(kept + most, 0);
        let count = loop {
            match self.file.read_at(&mut self.buffer[kept..], self.read_bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.truncate(kept + count);
        self.sha256.update(&self.buffer[kept..]);
        self.read_bytes += count as u64;
        if count == 0 {
            self.buffer.extend(padding(self.read_bytes));
            self.is_whole = true;
        }
        Ok(())
    }

    fn digests(self, md5: [u8; 16]) -> Digests {
        Digests {
            sha256: self.sha256.finish(),
            md5: Some(md5),
            size_bytes: self.read_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use md5::Digest as _;
    use ring::digest::{SHA256, digest};

    use super::*;

    /// What is found of files of these sizes, in their order.
    fn found(sizes: &[usize]) -> Vec<(Vec<u8>, io::Result<Digests>)> {
        let files: Vec<(Vec<u8>, File)> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| {
                let bytes: Vec<u8> = (0..=250).cycle().skip(number).take(*size).collect();
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&bytes).unwrap();
                (bytes, file)
            })
            .collect();
        let mut digests: Vec<Option<io::Result<Digests>>> = sizes.iter().map(|_| None).collect();
        let mut files_left = files.iter().enumerate();
        digest_all(
            || {
                files_left
                    .next()
                    .map(|(number, (bytes, file))| (number, file, bytes.len() as u64))
            },
            |number, found| assert!(digests[number].replace(found).is_none()),
            || true,
        );
        files
            .into_iter()
            .zip(digests)
            .map(|((bytes, _), found)| (bytes, found.unwrap()))
            .collect()
    }

    #[test]
    fn files_of_any_size_and_number_get_the_hashes_of_the_libraries() {
        let sizes = [
            0,
            1,
            55,
            56,
            57,
            63,
            64,
            65,
            119,
            120,
            128,
            1000,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3 * CHUNK_BYTES + 60,
            2,
            300_000,
            0,
            64,
        ];
        for count in 0..=sizes.len() {
            for (bytes, found) in found(&sizes[..count]) {
                let found = found.unwrap();
                let md5: [u8; 16] = md5::Md5::digest(&bytes).into();
                assert_eq!(found.md5, Some(md5), "{} bytes, {count} files", bytes.len());
                let sha256 = digest(&SHA256, &bytes);
                assert_eq!(found.sha256, sha256.as_ref());
                assert_eq!(found.size_bytes, bytes.len() as u64);
            }
        }
    }

    #[test]
    fn a_longer_file_is_noticed_and_one_that_cannot_be_read_is_no_end_of_the_others() {
        let longer = tempfile::tempfile().unwrap();
        (&longer).write_all(&[1; 100]).unwrap();
        let folder = File::open("/").unwrap();
        let mut files = [(0, &longer, 50), (1, &folder, 50), (2, &longer, 100)].into_iter();
        let mut found = [None, None, None];
        digest_all(
            || files.next(),
            |number, digests| found[number] = Some(digests),
            || true,
        );
        let [first, second, third] = found.map(Option::unwrap);
        assert_eq!(first.unwrap().size_bytes, 51);
        assert!(second.is_err());
        assert_eq!(third.unwrap().size_bytes, 100);
    }

    #[test]
    fn nothing_more_is_read_once_it_is_to_end() {
        let file = tempfile::tempfile().unwrap();
        digest_all(|| Some((0, &file, 0)), |_, _| panic!("a result"), || false);
    }
}
