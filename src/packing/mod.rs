//! Archives as files: the zip, its manifest, its hashes and their signature, and the check of all of them.
//!
//! [`Packer`] writes an archive in one pass over its sources; `zip.rs` is the form of the zip, which is fixed to the byte,
//! so that its size is known before it is written and a verification can compare every byte of it. This room knows no
//! catalog row and no gRPC, and never names a path of the server.

mod disk;
mod durable;
mod known_keys;
mod lane;
mod manifest;
mod packer;
mod pool;
mod readme;
mod signing;
mod sums;
mod verify;
mod zip;

pub use disk::DiskFile;
pub use known_keys::{KnownKeys, KnownKeysError};
pub use manifest::{Manifest, ManifestCamera, ManifestCut, ManifestSource};
pub use packer::{Added, PackError, Packed, Packer, Sink, Stop, sha256};
pub use readme::readme;
pub use signing::{
    Hashing512, KeyError, SIGNATURE_NAMESPACE, SIGNER, Sha512, SignatureError, SignedBy,
    SigningKey, check_signature,
};
pub use sums::{
    SIGNATURE_NAME, SUMS_NAME, SumsError, hex, parse_sha256, sums_line, sums_line_bytes,
};
pub use verify::{Findings, VerifyError, verify};
pub use zip::{EntryHead, ZipSize};

/// Entry with everything about the archive.
pub const MANIFEST: &str = "manifest.json";
/// Entry for people.
pub const README: &str = "README.txt";
/// Entry with the key that the signature is checked with, as `ssh-keygen -Y verify -f` reads it.
pub const ALLOWED_SIGNERS: &str = "allowed_signers";
