//! The blocks in which a clip's bytes are on their way. Those that one clip is done with are kept for the next: memory that
//! the system gives anew is cleared page by page when it is first written to, which took a tenth of the time of a short clip.

use std::sync::{Mutex, PoisonError};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// How many blocks are kept while no clip needs them: some more than one clip has at a time.
const KEPT: usize = 12;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes of the file on their way to the hash.
pub(super) struct Block {
    /// As many as a block has. What stands behind those that are filled may be of another clip.
    pub(super) bytes: Vec<u8>,
    pub(super) filled: usize,
}

impl Block {
    /// A block with nothing in it.
    pub(super) fn take() -> Self {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            bytes: spare.pop().unwrap_or_else(|| vec![0; BLOCK_BYTES]),
            filled: 0,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < KEPT {
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_given_up_are_kept_up_to_a_number() {
        let blocks: Vec<Block> = (0..2 * KEPT).map(|_| Block::take()).collect();
        drop(blocks);
        let spare = SPARE.lock().unwrap();
        assert!((1..=KEPT).contains(&spare.len()), "{}", spare.len());
        assert!(spare.iter().all(|bytes| bytes.len() == BLOCK_BYTES));
    }
}
