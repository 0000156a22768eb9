//! What the fuzz targets do with an input.
//!
//! The rooms `domain`, `media`, `process`, `disk` and `hashing` are compiled in from their sources, not linked: so the targets
//! reach what is private to the service, which needs no door for them, and build without the servers and databases of the
//! service in a fraction of the time. `tests/layering.rs` of the service holds that these rooms need no other.

// The rooms have more than a cut needs.
#![allow(dead_code, unused_imports)]

pub mod boxes;
pub mod cut;
#[path = "../../src/disk.rs"]
mod disk;
#[path = "../../src/domain/mod.rs"]
mod domain;
#[path = "../../src/hashing.rs"]
mod hashing;
pub mod index;
#[path = "../../src/media/mod.rs"]
mod media;
pub mod memory;
#[path = "../../src/process/mod.rs"]
mod process;
pub mod stored;

use std::fs::File;
use std::io::Write as _;

/// A file of these bytes that lives in memory only.
fn file_of(bytes: &[u8]) -> File {
    let made = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(made.expect("Linux gives files in memory"));
    file.write_all(bytes).expect("room for an input");
    file
}
