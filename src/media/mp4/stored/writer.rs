//! Writes the parts of a stored index.

use super::{CLOSED_EDIT, NO_EDIT, OPEN_EDIT};
use crate::media::mp4::index::Track;

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(super) fn track(&mut self, track: &Track) {
        self.number(track.id.into());
        self.number(track.timescale.into());
        self.number(track.more_entries.len() as u64);
        for entry in std::iter::once(&track.entry).chain(&track.more_entries) {
            self.number(entry.bytes.len() as u64);
            self.0.extend(&entry.bytes);
        }
        for cell in track.display.matrix {
            self.signed(cell.into());
        }
        self.number(track.display.width.into());
        self.number(track.display.height.into());
        match track.edits.edit {
            None => self.number(NO_EDIT),
            Some(edit) => {
                self.number(edit.duration.map_or(OPEN_EDIT, |_| CLOSED_EDIT));
                self.signed(edit.shown_from);
                self.signed(edit.media_from);
                edit.duration
                    .into_iter()
                    .for_each(|ticks| self.signed(ticks));
            }
        }
        self.number(track.unit_bytes.unwrap_or(0).into());
        let samples = &track.samples;
        self.number(samples.len() as u64);
        let mut before = 0;
        for sample in samples {
            let size = i64::from(sample.size);
            self.signed(size - before);
            before = size;
        }
        let mut expected = 0;
        self.column(samples.iter().map(|sample| {
            let jump = sample.offset.wrapping_sub(expected);
            expected = sample.end();
            jump.cast_signed()
        }));
        let mut expected = 0;
        self.column(samples.iter().map(|sample| {
            let jump = sample.dts.wrapping_sub(expected);
            expected = sample.dts.wrapping_add(sample.duration.into());
            jump
        }));
        self.column(samples.iter().map(|sample| sample.duration.into()));
        self.column(
            samples
                .iter()
                .map(|sample| sample.composition_offset.into()),
        );
        self.column(samples.iter().map(|sample| sample.sync.into()));
        self.column(samples.iter().map(|sample| sample.description.into()));
    }

    fn column(&mut self, values: impl Iterator<Item = i64>) {
        let values: Vec<i64> = values.collect();
        let unit = values
            .iter()
            .fold(0, |unit, value| {
                greatest_divisor(unit, value.unsigned_abs())
            })
            .max(1);
        self.number(unit);
        let mut rest = values.as_slice();
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|value| *value == first).count();
            // The unit divides the value, and is 2^63 only beside values that are 0 or -2^63.
            let in_units = first.wrapping_div(unit.cast_signed());
            self.signed(in_units);
            if run > 1 {
                self.signed(in_units);
                self.number(run as u64 - 2);
            }
            rest = &rest[run..];
        }
    }
}

fn greatest_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
