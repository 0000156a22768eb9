//! The bytes are recordings and a window: see `heldar_footage_fuzz::cut`.
#![no_main]

use heldar_footage_fuzz::{boxes, cut, memory};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: memory::let_panics_speak(), |bytes: &[u8]| -> Corpus {
    if cut::cut(bytes) {
        Corpus::Keep
    } else {
        Corpus::Reject
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    boxes::mutate(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});
