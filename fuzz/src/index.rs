//! Reading an MP4: whatever the bytes are, there is an index or an error.

use crate::media::mp4::SourceIndex;
use crate::media::{ReadError, read_facts};
use crate::{file_of, memory};

/// Memory for what does not grow with the file.
const FIXED_BYTES: usize = 256 << 10;
/// Memory for each byte of the file. The headers are read as they are, and a sample of 40 bytes in memory needs 8 bytes of
/// file; a list that grows is in memory twice while it moves.
const BYTES_PER_BYTE: usize = 32;

/// Reads the bytes as a file, and what was read once more from the form in which the catalog keeps it.
pub fn read(bytes: &[u8]) {
    let file = file_of(bytes);
    memory::within(FIXED_BYTES + BYTES_PER_BYTE * bytes.len(), || {
        let index = match SourceIndex::read(&file) {
            Ok(index) => index,
            Err(ReadError::Io(error)) => panic!("a file in memory cannot be read: {error}"),
            Err(_) => return,
        };
        check(&index, bytes.len() as u64);
        let stored = index.encode();
        let kept = SourceIndex::decode(&stored).expect("what was encoded can be decoded");
        assert!(kept == index, "an index changed while it was kept");
        // It may show nothing, which is an error.
        let _ = read_facts(&file);
    });
}

/// What every index promises to those who use it.
pub(crate) fn check(index: &SourceIndex, size_bytes: u64) {
    assert_eq!(index.size_bytes, size_bytes);
    for track in std::iter::once(&index.video).chain(&index.audio) {
        assert!(track.timescale > 0, "a clock that stands still");
        assert!(!track.samples.is_empty(), "a track without samples");
        let (whole, beyond) = track.samples.split_at(track.whole_samples);
        assert!(whole.iter().all(|sample| sample.end() <= size_bytes));
        assert!(
            beyond
                .first()
                .is_none_or(|sample| sample.end() > size_bytes)
        );
        for sample in &track.samples {
            assert!(sample.size > 0, "a sample without bytes");
            assert!(
                track.entry_of(sample).is_some(),
                "a sample without an entry"
            );
            assert!(i32::try_from(sample.duration).is_ok());
            if let Some(unit_bytes) = track.unit_bytes {
                assert!(sample.size.is_multiple_of(unit_bytes));
            }
        }
    }
}
