//! The bytes are an index as the catalog keeps it, without its checksum.
#![no_main]

use heldar_footage_fuzz::{memory, stored};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: memory::let_panics_speak(), |bytes: &[u8]| stored::read(bytes));
