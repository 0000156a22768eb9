//! Archives as files: the zip, its manifest, its hashes and their signature, and the check of all of them.
//!
//! [`Packer`] writes an archive in one pass over its sources; [`zip`] is the form of the zip, which is fixed to the byte,
//! so that its size is known before it is written and a verification can compare every byte of it. [`verify()`] reads
//! an archive again. [`SigningKey`] signs. This room knows no catalog row and no gRPC, and never names a path.

mod lane;
mod packer;
mod zip;

pub use packer::{Added, PackError, Packed, Packer, Sink, Stop};
pub use zip::{EntryHead, zip_size};
