//! Names of an archive's entries: readable, the same wherever the archive is unpacked, and never two alike.
//!
//! The rules for characters and reserved names are those of Windows, the strictest of the systems that archives are
//! unpacked on (Microsoft, "Naming Files, Paths, and Namespaces"). Names count as equal when they differ only in case
//! or in the form of their accents, because Windows and macOS take such names for one file.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use chrono::{DateTime, Utc};
use unicode_normalization::UnicodeNormalization as _;

use super::camera::CameraId;

/// Longest file name, bytes: with folder and camera a path stays well below the 260 characters of Windows.
const LONGEST_BYTES: usize = 120;

/// Names that Windows keeps for devices, whatever follows the first dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// The names of the entries of one camera: each file as it was recorded, as far as every system can have such a file.
/// Names that are equal get the time at which their footage starts, and then a number.
///
/// Only what cannot be seen from the recorded name alone is kept: which names are equal, and the numbers.
#[derive(Debug)]
pub struct EntryNames {
    folder: String,
    /// Keys that several names have, in order.
    equal: Vec<u64>,
    /// Entries whose name has a number, in order, with the number.
    numbers: Vec<(usize, u32)>,
}

impl EntryNames {
    /// Gives a name to each recording, in the order given: its name as it was recorded, and when its footage starts.
    pub fn new<'a>(
        camera_id: &CameraId,
        recorded: impl Iterator<Item = (Cow<'a, str>, DateTime<Utc>)> + Clone,
    ) -> Self {
        let mut keys: Vec<u64> = Vec::with_capacity(recorded.size_hint().0);
        keys.extend(recorded.clone().map(|(name, _)| key(&plain(&name))));
        keys.sort_unstable();
        let mut names = Self {
            folder: folder(camera_id),
            equal: Vec::new(),
            numbers: Vec::new(),
        };
        for same in keys.chunk_by(|one, other| one == other) {
            if let [key, _, ..] = same {
                names.equal.push(*key);
            }
        }
        if names.equal.is_empty() {
            return names;
        }
        // What only one file is called is taken, whoever comes first.
        keys.retain(|key| names.equal.binary_search(key).is_err());
        let mut given: HashSet<u64> = HashSet::new();
        for (at, (name, start)) in recorded.enumerate() {
            let name = plain(&name);
            if !names.is_equal(&name) {
                continue;
            }
            let mut number = 1;
            let mut candidate = key(&timed(&name, start, number));
            while keys.binary_search(&candidate).is_ok() || !given.insert(candidate) {
                number += 1;
                candidate = key(&timed(&name, start, number));
            }
            if number > 1 {
                names.numbers.push((at, number));
            }
        }
        names
    }

    /// The name of the entry at this place, counted from 0, whose recording is what was given for it.
    pub fn name(&self, at: usize, recorded: &str, start: DateTime<Utc>) -> String {
        let folder = &self.folder;
        let name = plain(recorded);
        if !self.is_equal(&name) {
            return format!("{folder}/{name}");
        }
        let found = self.numbers.binary_search_by_key(&at, |(at, _)| *at);
        let number = found.map_or(1, |found| self.numbers[found].1);
        format!("{folder}/{}", timed(&name, start, number))
    }

    /// Whether several recordings are called so.
    fn is_equal(&self, name: &str) -> bool {
        !self.equal.is_empty() && self.equal.binary_search(&key(name)).is_ok()
    }
}

/// A name with the time at which the footage starts, and with a number that is more than 1.
fn timed(name: &str, start: DateTime<Utc>, number: u32) -> String {
    let (stem, extension) = split(name);
    let time = start.format("%Y%m%dT%H%M%SZ");
    match number {
        0 | 1 => format!("{stem}_{time}{extension}"),
        _ => format!("{stem}_{time}_{number}{extension}"),
    }
}

/// The folder of a camera's entries. A camera id is a plain name already but for those of devices; no id begins with
/// `_`, so the folders of two cameras never become one.
pub(super) fn folder(camera_id: &CameraId) -> String {
    let id = camera_id.as_str();
    if is_device(id) {
        format!("_{id}")
    } else {
        id.to_owned()
    }
}

/// What two names have in common when a file system takes them for one, as a digest: tens of thousands of names are
/// compared. Two different names with the same digest only count as equal, which loses nothing.
fn key(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for c in name.nfc().flat_map(char::to_lowercase).nfc() {
        hasher.write_u32(c.into());
    }
    hasher.finish()
}

/// `name` with everything replaced that some system cannot have in a file name, or that could mislead a reader.
pub(super) fn plain(name: &str) -> String {
    let mut plain: String = name
        .chars()
        .map(|c| if is_unfit(c) { '_' } else { c })
        .collect();
    // Windows drops dots and spaces at the end, so that two names would become one.
    while plain.ends_with(['.', ' ']) {
        plain.pop();
    }
    if plain.starts_with(' ') || plain.is_empty() || is_device(&plain) {
        plain.insert(0, '_');
    }
    if plain.len() > LONGEST_BYTES {
        let (stem, extension) = match split(&plain) {
            // What is so long is no extension, and without it too little of the name might be left.
            (_, extension) if extension.len() > 16 => (plain.as_str(), ""),
            parts => parts,
        };
        let room = LONGEST_BYTES - extension.len();
        let cut = (0..=room)
            .rev()
            .find(|at| stem.is_char_boundary(*at))
            .unwrap_or(0);
        let stem = stem[..cut].trim_end_matches(['.', ' ']);
        plain = format!("{stem}{extension}");
    }
    plain
}

/// Whether every file system can have a file of this name, and it misleads no reader.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.chars().any(is_unfit)
        && !name.ends_with(['.', ' '])
        && !name.starts_with(' ')
        && !is_device(name)
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' | char::REPLACEMENT_CHARACTER
        )
        // Line and paragraph separators, marks that turn the direction of writing, and marks that are not seen.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{061c}' | '\u{feff}')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_lowercase();
    DEVICES.contains(&stem.as_str())
        || stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"))
            .is_some_and(|rest| {
                let mut rest = rest.chars();
                matches!(
                    (rest.next(), rest.next()),
                    (Some('0'..='9' | '¹' | '²' | '³'), None)
                )
            })
}

/// Stem and extension, the extension with its dot. A leading dot begins no extension.
pub(super) fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_341_600 + seconds, 0).expect("in range")
    }

    fn camera(id: &str) -> CameraId {
        CameraId::parse(id).expect("a slug")
    }

    fn with_folder(camera_id: &str, recorded: &[(Cow<'_, str>, DateTime<Utc>)]) -> Vec<String> {
        let names = EntryNames::new(&camera(camera_id), recorded.iter().cloned());
        (0..)
            .zip(recorded)
            .map(|(at, (name, start))| names.name(at, name, *start))
            .collect()
    }

    /// The names without the folder.
    fn names_at(recorded: &[(&str, DateTime<Utc>)]) -> Vec<String> {
        let recorded: Vec<_> = recorded
            .iter()
            .map(|(name, start)| (Cow::Borrowed(*name), *start))
            .collect();
        with_folder("gate", &recorded)
            .iter()
            .map(|name| name.strip_prefix("gate/").expect("the folder").to_owned())
            .collect()
    }

    fn names(recorded: &[&str]) -> Vec<String> {
        let recorded: Vec<_> = (0..)
            .zip(recorded)
            .map(|(n, name)| (*name, at(n * 10)))
            .collect();
        names_at(&recorded)
    }

    #[test]
    fn names_that_differ_stay_as_they_were_recorded() {
        let recorded = [
            "20261122_100000.mp4",
            "-y.mp4",
            "it's.mp4",
            "#x.ts",
            "é.mp4",
        ];
        assert_eq!(names(&recorded), recorded);
    }

    #[test]
    fn a_long_name_that_is_nearly_all_extension_keeps_its_beginning() {
        let long = format!("..{}", "x".repeat(200));
        assert_eq!(names(&[&long]), [&long[..LONGEST_BYTES]]);
    }

    #[test]
    fn equal_names_get_the_time_of_their_footage_and_then_a_number() {
        assert_eq!(
            names(&["00.10.mp4", "00.10.MP4", "00.20.mp4"]),
            [
                "00.10_20261122T100000Z.mp4",
                "00.10_20261122T100010Z.MP4",
                "00.20.mp4"
            ]
        );
        let same_time = [("a.mp4", at(0)), ("A.mp4", at(0)), ("a.mp4", at(0))];
        assert_eq!(
            names_at(&same_time),
            [
                "a_20261122T100000Z.mp4",
                "A_20261122T100000Z_2.mp4",
                "a_20261122T100000Z_3.mp4"
            ]
        );
    }

    #[test]
    fn a_name_that_looks_like_one_with_a_time_is_not_taken_by_another() {
        assert_eq!(
            names(&["a.mp4", "a.mp4", "a_20261122T100000Z.mp4"]),
            [
                "a_20261122T100000Z_2.mp4",
                "a_20261122T100010Z.mp4",
                "a_20261122T100000Z.mp4"
            ]
        );
    }

    #[test]
    fn what_windows_cannot_name_is_replaced() {
        for (recorded, fit) in [
            ("a:b.mp4", "a_b.mp4"),
            ("CON", "_CON"),
            ("nul.mp4", "_nul.mp4"),
            ("com1.tar.gz", "_com1.tar.gz"),
            ("common.mp4", "common.mp4"),
            ("a.mp4. .", "a.mp4"),
            ("..", "_"),
            (" x ", "_ x"),
            ("a\nb", "a_b"),
            ("gpj\u{202e}4pm.mp4", "gpj_4pm.mp4"),
            ("a\\..\\b", "a_.._b"),
        ] {
            assert_eq!(names(&[recorded]), [fit], "{recorded:?}");
        }
        let recorded = [(Cow::Borrowed("a.mp4"), at(0))];
        assert_eq!(with_folder("con", &recorded), ["_con/a.mp4"]);
    }

    #[test]
    fn accents_in_two_forms_are_one_name() {
        let both = names(&["\u{e9}.mp4", "e\u{301}.mp4"]);
        assert_ne!(key(&both[0]), key(&both[1]));
    }

    proptest! {
        #[test]
        fn names_are_as_many_as_recordings_never_alike_and_fit_everywhere(
            recorded in proptest::collection::vec("[aAbé\u{301}.:/ \u{202e}]{0,6}|\\PC{0,200}", 0..30)
        ) {
            let recorded: Vec<_> = recorded.iter().map(|name| (name.as_str(), at(0))).collect();
            let names = names_at(&recorded);
            prop_assert_eq!(names.len(), recorded.len());
            let distinct: HashSet<u64> = names.iter().map(|name| key(name)).collect();
            prop_assert_eq!(distinct.len(), names.len());
            for name in &names {
                prop_assert!(!name.is_empty() && name.len() <= LONGEST_BYTES + 40, "{:?}", name);
                prop_assert!(!name.chars().any(is_unfit), "{:?}", name);
                prop_assert!(!name.ends_with(['.', ' ']) && !is_device(name), "{:?}", name);
                prop_assert!(name != "." && name != "..");
            }
        }
    }
}
