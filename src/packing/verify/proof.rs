//! The entries that prove the others, SHA256SUMS and its signature: their contents are needed after the pass.

use std::io;

use ring::digest::{SHA256, digest};

use super::super::sums::{SIGNATURE_NAME, SUMS_BYTES_MAX, SUMS_NAME};
use super::records::LocalHeader;
use super::source::Source;
use crate::hashing::Sha256;

/// A signature takes some 300 bytes.
const SIGNATURE_BYTES_MAX: u64 = 64 * 1024;

/// Which of them an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Sums,
    Signature,
}

impl Proof {
    /// What an entry is by its names, of which one may be damaged.
    pub(super) fn of(name: &str, local: Option<&LocalHeader>) -> Option<Self> {
        let names = [Some(name), local.map(|local| local.name.as_str())];
        names.into_iter().flatten().find_map(|name| match name {
            SUMS_NAME => Some(Self::Sums),
            SIGNATURE_NAME => Some(Self::Signature),
            _ => None,
        })
    }

    /// What is longer is none.
    pub(super) fn bytes_max(self) -> u64 {
        match self {
            Self::Sums => SUMS_BYTES_MAX,
            Self::Signature => SIGNATURE_BYTES_MAX,
        }
    }
}

/// Where SHA256SUMS was read and hashed. It is read once more, because it takes more memory than all else here, and is
/// needed when some of that is done with.
pub(super) struct SumsPlace {
    /// Which of the pieces it is.
    pub(super) piece: usize,
    pub(super) start: u64,
    pub(super) size_bytes: u64,
}

impl SumsPlace {
    /// Its contents. `digests` are those of all pieces.
    ///
    /// # Errors
    /// When the disk does not give the bytes, or not those that were hashed.
    pub(super) fn read(&self, source: Source<'_>, digests: &[Sha256]) -> io::Result<Vec<u8>> {
        // As much was there before, so that no more is taken than there is.
        let mut sums = vec![0; usize::try_from(self.size_bytes).unwrap_or(0)];
        source.fill(&mut sums, self.start, u64::MAX)?;
        let found = digest(&SHA256, &sums);
        let hashed = digests.get(self.piece);
        if hashed.is_some_and(|hashed| hashed.as_slice() == found.as_ref()) {
            Ok(sums)
        } else {
            Err(io::Error::other(format!(
                "{SUMS_NAME} changed while it was verified"
            )))
        }
    }
}
