//! Changes to an MP4 that keep it one: boxes inside of boxes whose sizes still fit, with other numbers, more or fewer of
//! them. Without this, nearly every change of a length ends at the next size, and nothing behind it is tried.

use fastrand::Rng;

use crate::cut::{RECORDING_BYTES, SEPARATOR, WINDOW_BYTES};

/// Boxes with boxes inside, and what stands before these.
const PARENTS: [(&[u8; 4], usize); 17] = [
    (b"moov", 0),
    (b"trak", 0),
    (b"mdia", 0),
    (b"minf", 0),
    (b"stbl", 0),
    (b"edts", 0),
    (b"mvex", 0),
    (b"moof", 0),
    (b"traf", 0),
    (b"udta", 0),
    (b"wave", 0),
    (b"stsd", 8),
    (b"avc1", 78),
    (b"avc3", 78),
    (b"hvc1", 78),
    (b"hev1", 78),
    (b"mp4a", 28),
];

/// Box types that may stand for one another, or that are read in their own way.
const KINDS: [&[u8; 4]; 24] = [
    b"stco", b"co64", b"stsz", b"stz2", b"stts", b"ctts", b"stss", b"stsc", b"elst", b"trun",
    b"tfdt", b"tfhd", b"trex", b"mtxi", b"mehd", b"free", b"avc1", b"avc3", b"hvc1", b"hev1",
    b"mp4a", b"alaw", b"ulaw", b"moof",
];

const NUMBERS: [u32; 20] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    90,
    255,
    256,
    1_000,
    1_024,
    90_000,
    0x0001_0000,
    0x0100_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_fffe,
    0xffff_ffff,
];

struct Found {
    begin: usize,
    /// Where its content begins.
    content: usize,
    end: usize,
    /// Where the boxes around it begin, the outermost first.
    around: Vec<usize>,
}

/// Changes `data[..size]` and answers its new length; `None` when it is better left to libFuzzer.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut rng = Rng::with_seed(seed.into());
    if rng.u8(..) < 80 {
        return None;
    }
    let mut bytes = data[..size].to_vec();
    for _ in 0..=rng.usize(..3) {
        change(&mut bytes, &mut rng)?;
    }
    let length = bytes.len();
    if length > max_size || length > data.len() {
        return None;
    }
    data[..length].copy_from_slice(&bytes);
    Some(length)
}

/// Makes one change. `None` when there is nothing to change.
fn change(bytes: &mut Vec<u8>, rng: &mut Rng) -> Option<()> {
    let files = files(bytes);
    if files.len() > 1 && rng.u8(..) < 48 {
        return change_recordings(bytes, &files, rng);
    }
    let (begin, end) = *choose(&files, rng)?;
    let boxes = boxes(bytes, begin, end);
    let found = choose(&boxes, rng)?;
    let content = found.end - found.content;
    match rng.u8(..16) {
        // Numbers are at the front, or entries of a table.
        0..6 => {
            let fields = content / 4;
            let near = if rng.bool() { fields.min(8) } else { fields };
            let at = found.content + 4 * rng.usize(..near.max(1));
            set_number(bytes, at.min(found.end.checked_sub(4)?), rng);
        }
        6 => {
            let at = found.content + rng.usize(..content.max(1));
            *bytes.get_mut(at)? ^= 1 << rng.u8(..8);
        }
        7 => {
            let count = rng.usize(1..=16.min(content.max(1)));
            let at = found.content + rng.usize(..=content.saturating_sub(count));
            let till = (at + count).min(found.end);
            resize(bytes, &found.around, found.begin, at, till, &[]);
        }
        8 => {
            // An entry more of a table, a copy of one that is there.
            let count = *choose(&[4, 8, 12, 16, 20], rng)?;
            let at = found.content + rng.usize(..=content.saturating_sub(count));
            let entry = bytes.get(at..at + count)?.to_vec();
            if at + count <= found.end {
                resize(bytes, &found.around, found.begin, at, at, &entry);
            }
        }
        9 | 10 => {
            // A count that agrees with a table of one entry more or less.
            let at = found.content + *choose(&[4, 8], rng)?;
            let field = bytes.get_mut(at..at + 4)?.first_chunk_mut::<4>()?;
            let value = u32::from_be_bytes(*field);
            *field = value
                .wrapping_add(if rng.bool() { 1 } else { u32::MAX })
                .to_be_bytes();
        }
        11 => outside(bytes, found, found.begin, found.end, &[]),
        12 => {
            let copy = bytes[found.begin..found.end].to_vec();
            outside(bytes, found, found.end, found.end, &copy);
        }
        13 => {
            let other = choose(&boxes, rng)?;
            let copy = bytes[other.begin..other.end].to_vec();
            outside(bytes, found, found.end, found.end, &copy);
        }
        14 => {
            let kind = *choose(&KINDS, rng)?;
            bytes[found.begin + 4..found.begin + 8].copy_from_slice(kind);
        }
        _ => {
            if rng.bool() {
                set_number(bytes, found.begin, rng);
            } else {
                let at = if rng.bool() { found.begin } else { found.end };
                bytes.drain(at..end);
            }
        }
    }
    Some(())
}

/// Another window, other times of a recording, one more, one less, or another order.
fn change_recordings(bytes: &mut Vec<u8>, files: &[(usize, usize)], rng: &mut Rng) -> Option<()> {
    let &(begin, end) = choose(files, rng)?;
    let front = begin.checked_sub(RECORDING_BYTES)?;
    let whole = front.checked_sub(SEPARATOR.len())?;
    match rng.u8(..6) {
        0 => set_number(bytes, 4 * rng.usize(..WINDOW_BYTES / 4), rng),
        1 => set_number(bytes, front + 4 * rng.usize(..2), rng),
        2 => *bytes.get_mut(rng.usize(8..WINDOW_BYTES))? = rng.u8(..),
        3 => drop(bytes.drain(whole..end)),
        4 => bytes.extend_from_within(whole..end),
        _ => {
            // A tenth of a second, a frame or a microsecond earlier or later.
            let at = if rng.bool() {
                front
            } else {
                4 * rng.usize(..2)
            };
            let field = bytes.get_mut(at..at + 4)?.first_chunk_mut::<4>()?;
            let step = *choose(&[1, 100_000, 1_000_000, 40_000, 66_667], rng)?;
            let step = if rng.bool() { step } else { -step };
            *field = i32::from_be_bytes(*field).wrapping_add(step).to_be_bytes();
        }
    }
    Some(())
}

/// Where the files of an input lie: behind separators, or all of it.
fn files(bytes: &[u8]) -> Vec<(usize, usize)> {
    let starts: Vec<usize> = bytes
        .windows(SEPARATOR.len())
        .enumerate()
        .filter(|(_, window)| *window == SEPARATOR)
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() {
        return vec![(0, bytes.len())];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| (start + SEPARATOR.len() + RECORDING_BYTES, end))
        .filter(|(begin, end)| begin < end)
        .collect()
}

/// The boxes of a file, at all depths.
fn boxes(bytes: &[u8], begin: usize, end: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open = vec![(begin, end, Vec::new())];
    while let Some((mut at, end, around)) = open.pop() {
        while at + 8 <= end {
            let word = u32::from_be_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 4])) as usize;
            let wide = word == 1;
            let content = at + if wide { 16 } else { 8 };
            let box_end = match word {
                0 => end,
                1 => match bytes.get(at + 8..at + 16).and_then(<[u8]>::first_chunk) {
                    Some(size) => at.saturating_add(u64::from_be_bytes(*size) as usize),
                    None => end,
                },
                size => at + size,
            }
            .min(end);
            if box_end < content {
                break;
            }
            let kind = &bytes[at + 4..at + 8];
            let parent = PARENTS.iter().find(|(name, _)| name.as_slice() == kind);
            if let Some((_, before)) = parent {
                let mut inner = around.clone();
                inner.push(at);
                open.push((content + before, box_end, inner));
            }
            found.push(Found {
                begin: at,
                content,
                end: box_end,
                around: around.clone(),
            });
            at = box_end;
        }
    }
    found
}

/// Replaces `bytes[from..to]`, which lies in the box that begins at `own`, and lets it and the boxes around it grow or shrink.
fn resize(bytes: &mut Vec<u8>, around: &[usize], own: usize, from: usize, to: usize, with: &[u8]) {
    let growth = with.len() as i64 - (to - from) as i64;
    bytes.splice(from..to, with.iter().copied());
    for begin in around.iter().chain([&own]) {
        grow(bytes, *begin, growth);
    }
}

/// The same beside a box: only those around it grow or shrink.
fn outside(bytes: &mut Vec<u8>, found: &Found, from: usize, to: usize, with: &[u8]) {
    let growth = with.len() as i64 - (to - from) as i64;
    bytes.splice(from..to, with.iter().copied());
    for begin in &found.around {
        grow(bytes, *begin, growth);
    }
}

fn grow(bytes: &mut [u8], begin: usize, growth: i64) {
    let Some(word) = bytes
        .get_mut(begin..)
        .and_then(<[u8]>::first_chunk_mut::<4>)
    else {
        return;
    };
    let size = u32::from_be_bytes(*word);
    // 0 goes to the end, and 1 has its size elsewhere.
    if size > 1 {
        *word = (i64::from(size) + growth).max(8).to_be_bytes()[4..]
            .first_chunk()
            .copied()
            .unwrap_or_default();
    }
}

fn set_number(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) else {
        return;
    };
    let value = u32::from_be_bytes(*field);
    let changed = match rng.u8(..5) {
        0 | 1 => NUMBERS[rng.usize(..NUMBERS.len())],
        2 => value.wrapping_add(rng.u32(1..=16)),
        3 => value.wrapping_sub(rng.u32(1..=16)),
        _ => value ^ (1 << rng.u8(..32)),
    };
    *field = changed.to_be_bytes();
}

fn choose<'a, T>(from: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    from.get(rng.usize(..from.len().max(1)))
}
