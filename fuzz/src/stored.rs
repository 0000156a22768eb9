//! The form in which the catalog keeps an index: whatever the bytes are, there is an index or an error.

use std::fs::File;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::media::mp4::SourceIndex;
use crate::media::{Prepared, Source};
use crate::{cut, file_of, memory};

/// Length of the checksum at the end of the form.
const CHECK_BYTES: usize = 4;

const FIXED_BYTES: usize = 1 << 20;
/// Memory for each byte: a sample of 40 bytes in memory needs a byte here, and the plan of a clip keeps some 400 bytes for each.
const BYTES_PER_BYTE: usize = 1_000;

/// Decodes the bytes as they are, and with their true checksum behind them, and lays out clips of what they give.
pub fn read(bytes: &[u8]) {
    decode(bytes);
    let check = crc32fast::hash(bytes);
    decode(&[bytes, &check.to_le_bytes()].concat());
}

/// The input that stands for the index of a file.
///
/// # Errors
/// When the file is no MP4 that can be read.
pub fn input_of(file: &File) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut stored = SourceIndex::read(file)?.encode();
    stored.truncate(stored.len() - CHECK_BYTES);
    Ok(stored)
}

fn decode(bytes: &[u8]) {
    memory::within(FIXED_BYTES + BYTES_PER_BYTE * bytes.len(), || {
        let Ok(index) = SourceIndex::decode(bytes) else {
            return;
        };
        let again = SourceIndex::decode(&index.encode()).expect("what was encoded can be decoded");
        assert!(again == index, "an index changed while it was kept");
        lay_out(index);
    });
}

/// Plans with the index alone, of which no file has a byte: a layout reads none.
fn lay_out(index: SourceIndex) {
    let index = Arc::new(index);
    let source = Source {
        index: Some(index),
        ..cut::source("only", 0, Ok(Arc::new(file_of(&[]))))
    };
    let wanted = cut::wanted(1_500_000, 3_000_000);
    let sources = vec![source.clone(), source];
    let opened = cut::block_on(Prepared::open(
        &cut::no_ffmpeg(),
        sources,
        &CancellationToken::new(),
    ));
    let mut prepared = opened.expect("what is indexed needs no ffmpeg");
    match prepared.lay_out(&wanted, "fuzz") {
        Ok(laid_out) => cut::check_outcome(&laid_out.outcome, &wanted),
        Err(error) => cut::check_refusal(&error),
    }
}
