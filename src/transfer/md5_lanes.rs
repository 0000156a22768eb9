//! MD5 of several byte streams side by side.
//!
//! Each step of MD5 waits for the one before, so that one stream leaves most of a core idle; eight streams together take
//! little longer than one. Libraries hash one stream at a time.

use std::array::from_fn;
use std::num::Wrapping;
use std::ops::{Add, BitAnd, BitOr, BitXor, Not};

use wide::u32x8;

/// Streams that are hashed side by side.
pub(super) const LANES: usize = 8;
/// Bytes that are hashed at a time.
pub(super) const BLOCK_BYTES: usize = 64;
/// From so many streams on, all lanes together are faster than one stream after the other.
const TOGETHER_FROM: usize = 3;

/// RFC 1321, 3.3: the state before the first block.
const BEGINNING: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// RFC 1321, 3.4: how far the sums of the four rounds are turned.
const TURNS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];
/// RFC 1321, 3.4: the integer parts of 2^32 times the absolute sines of 1 to 64.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The states of the streams.
pub(super) struct States([u32x8; 4]);

impl States {
    pub(super) fn new() -> Self {
        Self(BEGINNING.map(u32x8::splat))
    }

    /// Begins a new stream in a lane.
    pub(super) fn begin(&mut self, lane: usize) {
        self.set(lane, BEGINNING);
    }

    /// The hash of the stream in a lane, once its padding was added.
    pub(super) fn digest(&self, lane: usize) -> [u8; 16] {
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.get(lane)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    /// Adds `count` blocks to each stream; a lane without blocks has no stream.
    pub(super) fn add(&mut self, streams: [&[[u8; BLOCK_BYTES]]; LANES], count: usize) {
        let used = streams.iter().filter(|blocks| !blocks.is_empty()).count();
        if used < TOGETHER_FROM {
            self.add_one_by_one(streams, count);
        } else {
            self.add_together(streams, count);
        }
    }

    fn add_together(&mut self, streams: [&[[u8; BLOCK_BYTES]]; LANES], count: usize) {
        const IDLE: &[u8; BLOCK_BYTES] = &[0; BLOCK_BYTES];
        for number in 0..count {
            let blocks = streams.map(|blocks| blocks.get(number).unwrap_or(IDLE));
            let words = blocks.map(words);
            let message = from_fn(|index| u32x8::new(words.map(|words| words[index])));
            self.0 = add(self.0, &message, u32x8::splat, |word, by| {
                (word << by) | (word >> (32 - by))
            });
        }
    }

    fn add_one_by_one(&mut self, streams: [&[[u8; BLOCK_BYTES]]; LANES], count: usize) {
        for (lane, blocks) in streams.into_iter().enumerate() {
            let mut state = self.get(lane).map(Wrapping);
            for block in blocks.iter().take(count) {
                state = add(state, &words(block).map(Wrapping), Wrapping, |word, by| {
                    Wrapping(word.0.rotate_left(by))
                });
            }
            self.set(lane, state.map(|word| word.0));
        }
    }

    fn get(&self, lane: usize) -> [u32; 4] {
        self.0.map(|words| words.to_array()[lane])
    }

    fn set(&mut self, lane: usize, state: [u32; 4]) {
        for (words, word) in self.0.iter_mut().zip(state) {
            let mut array = words.to_array();
            array[lane] = word;
            *words = u32x8::new(array);
        }
    }
}

/// RFC 1321, 3.1 and 3.2: what follows a stream of so many bytes, up to the end of a block.
pub(super) fn padding(length_bytes: u64) -> impl Iterator<Item = u8> {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    // One byte that begins it, and eight with the length.
    let zeros = (BLOCK - (length_bytes + 9) % BLOCK) % BLOCK;
    let length_bits = length_bytes.wrapping_mul(8).to_le_bytes();
    std::iter::once(0x80)
        .chain((0..zeros).map(|_| 0))
        .chain(length_bits)
}

fn words(block: &[u8; BLOCK_BYTES]) -> [u32; 16] {
    from_fn(|index| {
        let at = 4 * index;
        u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
    })
}

/// Adds a block to a state: of one stream, or of several side by side.
#[inline(always)]
fn add<W>(
    state: [W; 4],
    message: &[W; 16],
    all: impl Fn(u32) -> W + Copy,
    turn: impl Fn(W, u32) -> W + Copy,
) -> [W; 4]
where
    W: Copy
        + Add<Output = W>
        + BitAnd<Output = W>
        + BitOr<Output = W>
        + BitXor<Output = W>
        + Not<Output = W>,
{
    let mut new = state;
    let mut round = |number: usize, factor: usize, first: usize, mix: fn(W, W, W) -> W| {
        for step in 0..16 {
            let [a, b, c, d] = new;
            let word = message[(factor * step + first) % 16];
            let sum = a + word + all(SINES[16 * number + step]) + mix(b, c, d);
            new = [d, b + turn(sum, TURNS[number][step % 4]), b, c];
        }
    };
    round(0, 1, 0, |x, y, z| z ^ (x & (y ^ z)));
    round(1, 5, 1, |x, y, z| y ^ (z & (x ^ y)));
    round(2, 3, 5, |x, y, z| x ^ y ^ z);
    round(3, 7, 0, |x, y, z| y ^ (x | !z));
    from_fn(|index| state[index] + new[index])
}
