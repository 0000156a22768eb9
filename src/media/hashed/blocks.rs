//! The blocks in which a clip's bytes are on their way. Those that one clip is done with are kept for the next: memory that
//! the system gives anew is cleared page by page when it is first written to, which took a tenth of the time of a short clip.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a block.
pub(in crate::media) const BLOCK_BYTES: usize = 256 << 10;
/// How many blocks are kept while no clip needs them: some more than one clip has at a time.
const KEPT: usize = 12;

static SPARE: Spare = Spare(Mutex::new(Vec::new()));

/// The bytes of blocks that no clip needs.
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        let kept = self.lock().pop();
        kept.unwrap_or_else(|| vec![0; BLOCK_BYTES])
    }

    fn keep(&self, bytes: Vec<u8>) {
        let mut spare = self.lock();
        if spare.len() < KEPT {
            spare.push(bytes);
        }
    }
}

/// Bytes of the file on their way to the hash.
pub(super) struct Block {
    /// As many as a block has. What stands behind those that are filled may be of another clip.
    pub(super) bytes: Vec<u8>,
    pub(super) filled: usize,
}

impl Block {
    /// A block with nothing in it.
    pub(super) fn take() -> Self {
        Self {
            bytes: SPARE.take(),
            filled: 0,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        SPARE.keep(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_given_up_are_used_again_and_no_more_than_a_number_is_kept() {
        let spare = Spare(Mutex::default());
        let mut block = spare.take();
        assert_eq!(block.len(), BLOCK_BYTES);
        block[0] = 1;
        spare.keep(block);
        let block = spare.take();
        assert_eq!((block.len(), block[0]), (BLOCK_BYTES, 1));
        for _ in 0..2 * KEPT {
            spare.keep(vec![0; BLOCK_BYTES]);
        }
        assert_eq!(spare.lock().len(), KEPT);
    }
}
