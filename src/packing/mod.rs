//! Archives as files: the zip, its manifest, its hashes and their signature, and the check of all of them.
//!
//! [`Packer`] writes an archive in one pass over its sources; [`zip`] is the form of the zip, which is fixed to the byte,
//! so that its size is known before it is written and a verification can compare every byte of it. [`verify()`] reads
//! an archive again. [`SigningKey`] signs. This room knows no catalog row and no gRPC, and never names a path.

mod durable;
mod known_keys;
mod lane;
mod packer;
mod pool;
mod signing;
mod sums;
mod verify;
mod zip;

pub use known_keys::{KnownKeys, KnownKeysError};
pub use packer::{Added, PackError, Packed, Packer, Sink, Stop};
pub use signing::{
    KeyError, SIGNATURE_NAMESPACE, SIGNER, SignatureError, SignedBy, SigningKey, check_signature,
};
pub use sums::{SIGNATURE_NAME, SUMS_NAME, SumsError, sums_line};
pub use verify::{Findings, VerifyError, verify};
pub use zip::{EntryHead, zip_size};
