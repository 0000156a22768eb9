//! Long lists that take little memory: each item is written as its difference from the one before.
//!
//! An archive has hundreds of thousands of segments, gaps and zip records at once, and neighbours differ in little: a
//! path in some digits, a start by a length. Items are read one at a time, in order or from near a number on; nothing
//! can be changed but by adding at the end.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

/// Bytes that items share a block of. Reading an item begins with the first one of its block.
const BLOCK_BYTES: usize = 4096;

/// What can be written as its difference from the item before.
pub trait Differs: Sized {
    /// What is remembered of the item before; the default stands for none.
    type Before: Default + Clone;

    /// Writes the item in one byte or more, and remembers it.
    fn write(&self, before: &mut Self::Before, to: &mut Writing);

    /// Reads what [`Differs::write`] wrote after the same item, and remembers it.
    fn read(before: &mut Self::Before, from: &mut Reading<'_>) -> Self;
}

/// A list of items.
#[derive(Debug)]
pub struct Series<T: Differs> {
    blocks: Vec<Block>,
    length: usize,
    before: T::Before,
    writing: Writing,
}

#[derive(Debug)]
struct Block {
    /// Number of its first item.
    first: usize,
    bytes: Vec<u8>,
}

impl<T: Differs> Default for Series<T> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            length: 0,
            before: T::Before::default(),
            writing: Writing::default(),
        }
    }
}

impl<T: Differs> Series<T> {
    /// Adds an item at the end.
    pub fn push(&mut self, item: &T) {
        self.writing.0.clear();
        item.write(&mut self.before, &mut self.writing);
        let has_room = self
            .blocks
            .last()
            .is_some_and(|block| block.bytes.len() + self.writing.0.len() <= BLOCK_BYTES);
        if !has_room {
            self.before = T::Before::default();
            self.writing.0.clear();
            item.write(&mut self.before, &mut self.writing);
            self.blocks.push(Block {
                first: self.length,
                bytes: Vec::with_capacity(BLOCK_BYTES),
            });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.bytes.extend_from_slice(&self.writing.0);
        }
        self.length += 1;
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The items in order.
    pub fn iter(&self) -> Items<'_, T> {
        self.items_of(0)
    }

    /// The item with this number, from 0.
    pub fn get(&self, number: usize) -> Option<T> {
        let block = self
            .blocks
            .partition_point(|block| block.first <= number)
            .checked_sub(1)?;
        let first = self.blocks[block].first;
        self.items_of(block).nth(number - first)
    }

    /// The items from the first one of a block on.
    fn items_of(&self, number: usize) -> Items<'_, T> {
        let blocks = self.blocks.get(number..).unwrap_or_default();
        Items {
            left: blocks.first().map_or(0, |block| self.length - block.first),
            blocks: blocks.iter(),
            reading: Reading(&[]),
            before: T::Before::default(),
        }
    }
}

impl<'a, T: Differs> IntoIterator for &'a Series<T> {
    type Item = T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

/// The items of a [`Series`], each made when it is asked for.
#[derive(Debug)]
pub struct Items<'a, T: Differs> {
    left: usize,
    blocks: std::slice::Iter<'a, Block>,
    reading: Reading<'a>,
    before: T::Before,
}

impl<T: Differs> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        Self {
            left: self.left,
            blocks: self.blocks.clone(),
            reading: self.reading.clone(),
            before: self.before.clone(),
        }
    }
}

impl<T: Differs> Iterator for Items<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.reading.0.is_empty() {
            self.reading = Reading(&self.blocks.next()?.bytes);
            self.before = T::Before::default();
        }
        self.left = self.left.saturating_sub(1);
        Some(T::read(&mut self.before, &mut self.reading))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Where an item is written to.
#[derive(Clone, Debug, Default)]
pub struct Writing(Vec<u8>);

impl Writing {
    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Bytes whose number the reader knows.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A number; small ones take less room (LEB128).
    pub fn count(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number that may be negative; those near 0 take less room.
    pub fn number(&mut self, number: i64) {
        self.count((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
    }

    /// A duration; one that is short and of whole microseconds takes less room.
    pub fn duration(&mut self, duration: TimeDelta) {
        let micros = duration.num_microseconds().unwrap_or_default();
        let rest = duration - TimeDelta::microseconds(micros);
        self.number(micros);
        self.number(rest.num_nanoseconds().unwrap_or_default());
    }

    /// A time, as what lies between `before` and it. It then becomes `before`.
    pub fn time(&mut self, time: DateTime<Utc>, before: &mut DateTime<Utc>) {
        self.duration(time - *before);
        *before = time;
    }

    /// A text that begins and ends much like `before`, which then becomes it.
    pub fn text(&mut self, text: &str, before: &mut Arc<str>) {
        if **before == *text {
            self.count(0);
            return;
        }
        let (old, new) = (before.as_bytes(), text.as_bytes());
        let same = |pairs: &mut dyn Iterator<Item = (&u8, &u8)>| {
            pairs.take_while(|(old, new)| old == new).count()
        };
        let head = same(&mut old.iter().zip(new));
        let tail = same(&mut old[head..].iter().rev().zip(new[head..].iter().rev()));
        let own = &new[head..new.len() - tail];
        self.count(1 + head as u64);
        self.count(tail as u64);
        self.count(own.len() as u64);
        self.bytes(own);
        *before = text.into();
    }

    /// An id of `prefix` and a UUID without hyphens: such a one takes 16 bytes, any other all of its own.
    pub fn id(&mut self, id: &str, prefix: &str) {
        match uuid_of(id, prefix) {
            Some(uuid) => {
                self.count(0);
                self.bytes(&uuid);
            }
            None => {
                self.count(1 + id.len() as u64);
                self.bytes(id.as_bytes());
            }
        }
    }
}

/// Where an item is read from. It holds what was written, so that it never ends too early.
#[derive(Clone, Debug)]
pub struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    /// What [`Writing::byte`] wrote.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// What [`Writing::bytes`] wrote.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        self.0.split_off(..count).unwrap_or_default()
    }

    /// What [`Writing::count`] wrote.
    pub fn count(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    /// What [`Writing::number`] wrote.
    pub fn number(&mut self) -> i64 {
        let number = self.count();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    /// What [`Writing::duration`] wrote.
    pub fn duration(&mut self) -> TimeDelta {
        let micros = TimeDelta::microseconds(self.number());
        micros + TimeDelta::nanoseconds(self.number())
    }

    /// What [`Writing::time`] wrote.
    pub fn time(&mut self, before: &mut DateTime<Utc>) -> DateTime<Utc> {
        *before = before
            .checked_add_signed(self.duration())
            .unwrap_or(*before);
        *before
    }

    /// What [`Writing::text`] wrote.
    pub fn text(&mut self, before: &mut Arc<str>) -> Arc<str> {
        let head = self.length();
        if head > 0 {
            let (tail, own) = (self.length(), self.length());
            let own = self.bytes(own);
            let old = before.as_bytes();
            let text = [&old[..head - 1], own, &old[old.len() - tail..]].concat();
            *before = String::from_utf8(text).unwrap_or_default().into();
        }
        Arc::clone(before)
    }

    /// What [`Writing::id`] wrote with the same prefix.
    pub fn id(&mut self, prefix: &str) -> String {
        match self.length() {
            0 => {
                let mut id = prefix.to_owned();
                for byte in self.bytes(UUID_BYTES) {
                    for nibble in [byte >> 4, byte & 0xf] {
                        id.push(char::from(HEX[usize::from(nibble)]));
                    }
                }
                id
            }
            length => String::from_utf8_lossy(self.bytes(length - 1)).into_owned(),
        }
    }

    fn length(&mut self) -> usize {
        usize::try_from(self.count()).unwrap_or(usize::MAX)
    }
}

const UUID_BYTES: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The bytes of the UUID, if the id is written exactly as [`Reading::id`] writes it.
fn uuid_of(id: &str, prefix: &str) -> Option<[u8; UUID_BYTES]> {
    let digits = id.strip_prefix(prefix)?.as_bytes();
    if digits.len() != 2 * UUID_BYTES {
        return None;
    }
    let value = |digit: u8| HEX.iter().position(|hex| *hex == digit).map(|at| at as u8);
    let mut uuid = [0; UUID_BYTES];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item {
        text: String,
        id: String,
        number: i64,
        count: u64,
        nanos: i64,
    }

    impl Differs for Item {
        type Before = Arc<str>;

        fn write(&self, before: &mut Arc<str>, to: &mut Writing) {
            to.text(&self.text, before);
            to.id(&self.id, "seg_");
            to.number(self.number);
            to.count(self.count);
            to.duration(TimeDelta::nanoseconds(self.nanos));
        }

        fn read(before: &mut Arc<str>, from: &mut Reading<'_>) -> Self {
            Self {
                text: from.text(before).to_string(),
                id: from.id("seg_"),
                number: from.number(),
                count: from.count(),
                nanos: from.duration().num_nanoseconds().unwrap_or_default(),
            }
        }
    }

    fn series(items: &[Item]) -> Series<Item> {
        let mut series = Series::default();
        for item in items {
            series.push(item);
        }
        series
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let text = "gate/2026[0-9é]{0,8}\\.mp4|\\PC{0,40}|x{3000}";
        let id = "seg_[0-9a-f]{32}|seg_[0-9a-fA-F]{31,33}|[a-z_]{0,8}";
        (text, id, any::<i64>(), any::<u64>(), any::<i64>()).prop_map(
            |(text, id, number, count, nanos)| Item {
                text,
                id,
                number,
                count,
                nanos,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_added_is_read_in_order_and_by_number(
            items in proptest::collection::vec(any_item(), 0..60)
        ) {
            let series = series(&items);
            prop_assert_eq!(series.len(), items.len());
            prop_assert_eq!(series.is_empty(), items.is_empty());
            prop_assert_eq!(series.iter().size_hint(), (items.len(), Some(items.len())));
            prop_assert_eq!(&series.iter().collect::<Vec<_>>(), &items);
            for (number, item) in items.iter().enumerate() {
                let found = series.get(number);
                prop_assert_eq!(found.as_ref(), Some(item));
            }
            prop_assert_eq!(series.get(items.len()), None);
        }
    }

    #[test]
    fn the_ends_of_the_range_of_numbers_are_kept() {
        let item = |number, count| Item {
            text: String::new(),
            id: String::new(),
            number,
            count,
            nanos: number,
        };
        let items = [
            item(i64::MIN, u64::MAX),
            item(i64::MAX, 0),
            item(-1, 127),
            item(0, 128),
        ];
        assert_eq!(series(&items).iter().collect::<Vec<_>>(), items);
    }

    #[test]
    fn neighbours_that_are_much_alike_take_little_more_than_their_ids() {
        let items: Vec<Item> = (0..10_000)
            .map(|number| Item {
                text: format!("gate_a_01/20261122_{number:06}.mp4"),
                id: format!("seg_{number:032x}"),
                number: 1,
                count: 100,
                nanos: 1_000_000,
            })
            .collect();
        let series = series(&items);
        let bytes: usize = series
            .blocks
            .iter()
            .map(|block| block.bytes.capacity() + size_of::<Block>())
            .sum();
        assert!(bytes < 30 * items.len(), "{bytes} bytes");
        assert_eq!(series.iter().count(), items.len());
    }
}
