//! What a pass found of an entry. There may be hundreds of thousands, which are kept as a [`Series`].
//!
//! [`Series`]: crate::domain::series::Series

use std::sync::Arc;

use crate::domain::series::{Differs, Reading, Writing};

/// An entry that was found and read.
#[derive(Debug)]
pub(super) struct Piece {
    /// Name in the directory; in the local header when the directory does not tell of it.
    pub(super) name: Arc<str>,
    /// Name in the local header, when that is another one and the header is sound.
    pub(super) local_name: Option<Arc<str>>,
    pub(super) modified_s: i64,
    pub(super) announces_zip64: bool,
    /// Size and CRC-32 that the directory should have.
    pub(super) recorded_bytes: u64,
    pub(super) recorded_crc32: u32,
    /// Whether the file ends before the entry does.
    pub(super) is_cut_off: bool,
    /// Whether the data has a CRC-32 that is recorded for it.
    pub(super) is_data_sound: bool,
    /// What is wrong with the records around the data.
    pub(super) complaint: Option<Complaint>,
}

/// What is wrong with the records around the data of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    Packed,
    Header,
    Tail,
}

impl Complaint {
    const ALL: [Self; 3] = [Self::Packed, Self::Header, Self::Tail];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Packed => "it is compressed or encrypted, which no entry of an archive is",
            Self::Header => "its header in the zip is damaged",
            Self::Tail => "the record behind its bytes is damaged or missing",
        }
    }
}

/// What is remembered of a piece for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct PieceBefore {
    name: Arc<str>,
    local_name: Arc<str>,
    modified_s: i64,
}

const HAS_LOCAL_NAME: u8 = 1;
const ANNOUNCES_ZIP64: u8 = 2;
const IS_CUT_OFF: u8 = 4;
const IS_DATA_SOUND: u8 = 8;

impl Differs for Piece {
    type Before = PieceBefore;

    fn write(&self, before: &mut PieceBefore, to: &mut Writing) {
        let flags = [
            (self.local_name.is_some(), HAS_LOCAL_NAME),
            (self.announces_zip64, ANNOUNCES_ZIP64),
            (self.is_cut_off, IS_CUT_OFF),
            (self.is_data_sound, IS_DATA_SOUND),
        ];
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        to.byte(set.map(|(_, flag)| flag).sum());
        to.text(&self.name, &mut before.name);
        if let Some(local_name) = &self.local_name {
            to.text(local_name, &mut before.local_name);
        }
        to.number(self.modified_s.wrapping_sub(before.modified_s));
        before.modified_s = self.modified_s;
        to.count(self.recorded_bytes);
        to.bytes(&self.recorded_crc32.to_le_bytes());
        to.byte(self.complaint.map_or(0, |complaint| 1 + complaint as u8));
    }

    fn read(before: &mut PieceBefore, from: &mut Reading<'_>) -> Self {
        let flags = from.byte();
        let is_set = |flag| flags & flag != 0;
        let name = from.text(&mut before.name);
        let local_name = is_set(HAS_LOCAL_NAME).then(|| from.text(&mut before.local_name));
        before.modified_s = before.modified_s.wrapping_add(from.number());
        let recorded_bytes = from.count();
        let recorded_crc32 = from.bytes(4).try_into().map_or(0, u32::from_le_bytes);
        let complaint = usize::from(from.byte());
        Self {
            name,
            local_name,
            modified_s: before.modified_s,
            announces_zip64: is_set(ANNOUNCES_ZIP64),
            recorded_bytes,
            recorded_crc32,
            is_cut_off: is_set(IS_CUT_OFF),
            is_data_sound: is_set(IS_DATA_SOUND),
            complaint: complaint
                .checked_sub(1)
                .and_then(|at| Complaint::ALL.get(at).copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::series::Series;

    proptest! {
        #[test]
        fn a_series_of_pieces_gives_back_each_of_them(
            rows in proptest::collection::vec(
                ("[a-c]{0,3}", any::<(bool, bool, bool, bool)>(), any::<(i64, u64, u32)>(), 0_usize..4),
                0..40,
            )
        ) {
            let mut series = Series::default();
            for (name, flags, numbers, complaint) in &rows {
                series.push(&Piece {
                    name: name.as_str().into(),
                    local_name: flags.0.then(|| format!("{name}é").into()),
                    modified_s: numbers.0,
                    announces_zip64: flags.1,
                    recorded_bytes: numbers.1,
                    recorded_crc32: numbers.2,
                    is_cut_off: flags.2,
                    is_data_sound: flags.3,
                    complaint: Complaint::ALL.get(*complaint).copied(),
                });
            }
            prop_assert_eq!(series.len(), rows.len());
            for (piece, (name, flags, numbers, complaint)) in series.iter().zip(&rows) {
                prop_assert_eq!(&*piece.name, name);
                prop_assert_eq!(piece.local_name, flags.0.then(|| format!("{name}é").into()));
                prop_assert_eq!(
                    (piece.announces_zip64, piece.is_cut_off, piece.is_data_sound),
                    (flags.1, flags.2, flags.3)
                );
                prop_assert_eq!(
                    (piece.modified_s, piece.recorded_bytes, piece.recorded_crc32),
                    *numbers
                );
                prop_assert_eq!(piece.complaint, Complaint::ALL.get(*complaint).copied());
            }
        }
    }
}
