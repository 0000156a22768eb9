//! The bytes are an MP4.
#![no_main]

use heldar_footage_fuzz::{boxes, index, memory};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: memory::let_panics_speak(), |bytes: &[u8]| index::read(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    boxes::mutate(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
