//! Which picture another one is like.

/// Bytes between two looks at whether two pictures differ too much already.
const PIECE_BYTES: usize = 128;

/// By how much the bytes of two pictures differ, all in all; of more than `most` only that it is more.
pub(super) fn difference(one: &[u8], other: &[u8], most: u64) -> u64 {
    let mut sum = 0;
    let pieces = one.chunks(PIECE_BYTES).zip(other.chunks(PIECE_BYTES));
    for (one, other) in pieces {
        let length = one.len().min(other.len());
        let mut at = 0;
        // Iterators take many times as long where nothing is optimized, and this is most of the work of some tests.
        while at < length {
            sum += u64::from(one[at].abs_diff(other[at]));
            at += 1;
        }
        if sum > most {
            break;
        }
    }
    sum
}

/// The first of `count` candidates of which none differs less. `differs` tells by how much one does, and of more than the
/// number it is given only that it is more. A good guess spares most of the work.
pub(super) fn nearest(count: usize, guess: usize, differs: impl Fn(usize, u64) -> u64) -> usize {
    let mut best = (differs(guess, u64::MAX), guess);
    for at in 0..count {
        best = best.min((differs(at, best.0), at));
    }
    best.1
}
