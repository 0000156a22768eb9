//! SHA-256 (FIPS 180-4) of what comes piece by piece. From ring, which is half as fast again as sha2 on processors without
//! SHA instructions, where hashing takes longer than a copy.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Fits into the fastest cache of a core together with where it was copied from. Measured: 8 to 64 KiB are as good.
const NEAR_BYTES: usize = 16 << 10;

/// How many pieces are hashed in each way before one is chosen. Measured: what a piece takes differs by less than the ways do.
const TRIES: usize = 16;

/// The SHA-256 of all bytes so far.
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Sha256 {
        let mut digest = Sha256::default();
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// The SHA-256 of all that is left to read. Blocks.
///
/// # Errors
/// When it cannot be read.
pub fn hash_of(mut bytes: impl Read) -> io::Result<Sha256> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// A [`Hasher`] of bytes that another thread has just written.
///
/// They are in the cache of another core, and the SHA instructions wait for one piece of 64 bytes after the other; a copy
/// asks for many at once. On some machines bytes that are copied first, a little at a time, are hashed in four fifths of the
/// time; on others the processor itself asks ahead, and the copy costs a sixteenth. So both are tried with the first bytes.
pub struct FarHasher {
    hasher: Hasher,
    near: Box<[u8]>,
    /// Whether the next piece is copied first.
    copies: bool,
    /// Until it is over.
    trial: Option<Trial>,
}

/// How long pieces of [`NEAR_BYTES`] took.
#[derive(Default)]
struct Trial {
    copied: Vec<Duration>,
    in_place: Vec<Duration>,
}

impl Trial {
    /// Notes how long a piece took.
    fn took(&mut self, was_copied: bool, duration: Duration) {
        let took = if was_copied {
            &mut self.copied
        } else {
            &mut self.in_place
        };
        took.push(duration);
    }

    /// Whether it is faster to copy, when enough was tried of both.
    fn copies(&mut self) -> Option<bool> {
        let Self { copied, in_place } = self;
        (copied.len().min(in_place.len()) == TRIES).then(|| median(copied) < median(in_place))
    }
}

/// Of a number of pieces some will have waited for the processor.
fn median(took: &mut [Duration]) -> Duration {
    *took.select_nth_unstable(took.len() / 2).1
}

impl Default for FarHasher {
    fn default() -> Self {
        Self {
            hasher: Hasher::default(),
            near: vec![0; NEAR_BYTES].into(),
            copies: false,
            trial: Some(Trial::default()),
        }
    }
}

impl FarHasher {
    /// Adds the next bytes, which another thread has just written.
    pub fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(NEAR_BYTES) {
            let begun = Instant::now();
            self.add(piece);
            if let Some(trial) = &mut self.trial
                && piece.len() == NEAR_BYTES
            {
                trial.took(self.copies, begun.elapsed());
                match trial.copies() {
                    Some(copies) => {
                        self.copies = copies;
                        self.trial = None;
                    }
                    None => self.copies = !self.copies,
                }
            }
        }
    }

    fn add(&mut self, piece: &[u8]) {
        if self.copies {
            let near = &mut self.near[..piece.len()];
            near.copy_from_slice(piece);
            self.hasher.update(near);
        } else {
            self.hasher.update(piece);
        }
    }

    /// The same for bytes that this thread has just written.
    pub fn update_near(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The digest of all bytes since the last one, and a new beginning.
    pub fn digest(&mut self) -> Sha256 {
        std::mem::take(&mut self.hasher).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of a million times `a` (NIST, example values for SHA-256).
    const MILLION: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

    fn hex(digest: Sha256) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_far_hasher_takes_each_byte_once_and_in_its_place() {
        let bytes: Vec<u8> = (0..100_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut far = FarHasher::default();
        far.update(&bytes[..70_000]);
        far.update_near(&bytes[70_000..80_000]);
        far.update(&bytes[80_000..]);
        let digest = ring::digest::digest(&SHA256, &bytes);
        assert_eq!(far.digest(), digest.as_ref());
    }

    #[test]
    fn the_way_that_was_faster_in_most_tries_is_taken() {
        let us = Duration::from_micros;
        for (copied_us, in_place_us) in [(9, 12), (12, 9), (9, 9)] {
            let mut trial = Trial::default();
            for at in 0..TRIES {
                assert_eq!(trial.copies(), None);
                // Some waited for the processor.
                let waited_us = if at % 3 == 0 { 1000 } else { 0 };
                trial.took(true, us(copied_us + waited_us));
                trial.took(false, us(in_place_us));
            }
            assert_eq!(trial.copies(), Some(copied_us < in_place_us));
        }
    }

    #[test]
    fn a_far_hasher_tries_both_ways_with_whole_pieces_and_keeps_to_one() {
        let mut far = FarHasher::default();
        far.update(&vec![0; NEAR_BYTES / 2]);
        assert!(!far.copies);
        for at in 0..2 * TRIES {
            assert_eq!((far.trial.is_some(), far.copies), (true, at % 2 == 1));
            far.update(&vec![0; NEAR_BYTES]);
        }
        let copies = far.copies;
        assert!(far.trial.is_none());
        far.update(&vec![0; 3 * NEAR_BYTES]);
        assert_eq!((far.trial.is_none(), far.copies), (true, copies));
    }

    #[test]
    fn both_hashers_give_the_digest_of_the_standard_however_the_bytes_come() {
        let bytes = vec![b'a'; 1_000_000];
        let mut far = FarHasher::default();
        for piece_bytes in [1, 1000, NEAR_BYTES - 1, NEAR_BYTES, NEAR_BYTES + 1, 700_000] {
            let mut hasher = Hasher::default();
            for (number, piece) in bytes.chunks(piece_bytes).enumerate() {
                hasher.update(piece);
                if number % 3 == 0 {
                    far.update_near(piece);
                } else {
                    far.update(piece);
                }
            }
            assert_eq!(hex(hasher.finish()), MILLION);
            assert_eq!(hex(far.digest()), MILLION);
        }
    }
}
