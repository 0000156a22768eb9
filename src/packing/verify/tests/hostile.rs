//! Archives that somebody put together with intent, zips of others, and bytes that are nothing.

use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use crate::domain::archive::{ArchiveDefectKind, ArchiveSignature, LISTED_MAX};

use super::sample::{
    FOOTAGE, InMemory, add, archive, blamed, file, findings, finish, key, known, look, places, seal,
};
use crate::packing::packer::Packer;
use crate::packing::sums::sums_line;
use crate::packing::verify::{Findings, VerifyError, verify};

/// An archive that is made as ours, but with other contents or other hashes.
fn forged(make: impl FnOnce(&mut Packer<InMemory>, &mut String)) -> Findings {
    let key = key(1);
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    make(&mut packer, &mut sums);
    findings(&finish(packer, sums, &key).0, &known(&key))
}

fn add_unlisted(packer: &mut Packer<InMemory>, name: &str) {
    add(packer, &mut String::new(), name, b"footage");
}

fn kinds(findings: &Findings) -> Vec<(&str, ArchiveDefectKind)> {
    let defects = findings.defects.iter();
    defects
        .map(|defect| (defect.entry_name.as_str(), defect.kind))
        .collect()
}

#[test]
fn an_entry_that_the_hashes_do_not_list_is_named() {
    let found = forged(|packer, _| add_unlisted(packer, "gate/extra.mp4"));
    assert_eq!(
        kinds(&found),
        [("gate/extra.mp4", ArchiveDefectKind::Unlisted)]
    );
    assert_eq!(found.signature, ArchiveSignature::Valid);
}

#[test]
fn hashes_that_change_while_an_archive_is_verified_are_not_believed() {
    let key = key(1);
    let bytes = archive(&key);
    let file = file(&bytes);
    let places = places(&bytes);
    let sums = places.iter().find(|(name, _)| name == "SHA256SUMS");
    let (_, sums) = sums.expect("every archive has them");
    let (known, mut is_changed) = (known(&key), false);
    let verified = verify(&file, &known, |done_bytes, _| {
        // They were read, and what comes behind them as well.
        if done_bytes > sums.end as u64 {
            file.write_all_at(b"?", sums.start as u64 + 100).unwrap();
            is_changed = true;
        }
        Ok(())
    });
    assert!(is_changed);
    let error = verified.expect_err("the file is not the one that was read");
    assert!(matches!(error, VerifyError::Read(_)), "{error:?}");
}

#[test]
fn an_entry_that_only_the_hashes_have_is_named() {
    let found = forged(|_, sums| sums_line(sums, &[7; 32], "gate/gone.mp4"));
    assert_eq!(
        kinds(&found),
        [("gate/gone.mp4", ArchiveDefectKind::Missing)]
    );
    assert_eq!(found.defects[0].expected_sha256, "07".repeat(32));
}

#[test]
fn a_second_entry_of_the_same_name_is_named() {
    let found = forged(|packer, sums| {
        add(packer, sums, "gate/a.mp4", b"footage");
        add_unlisted(packer, "gate/a.mp4");
    });
    assert_eq!(kinds(&found), [("gate/a.mp4", ArchiveDefectKind::Unlisted)]);
}

#[test]
fn hashes_that_were_made_anew_do_not_have_the_signature() {
    let (key, other) = (key(1), key(2));
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    add(&mut packer, &mut sums, "gate/a.mp4", b"other footage");
    let bytes = seal(packer, &sums, &other).0;
    let found = findings(&bytes, &known(&key));
    assert_eq!(found.signature, ArchiveSignature::UnknownKey);
    assert!(!found.is_intact());
}

#[test]
fn a_text_that_is_no_list_of_hashes_is_said_to_be_none() {
    let found = forged(|_, sums| sums.push_str("not a hash\n"));
    assert_eq!(
        kinds(&found),
        [("SHA256SUMS", ArchiveDefectKind::Unreadable)]
    );
    assert_eq!(found.signature, ArchiveSignature::Valid);
    assert_eq!(found.entries_checked, 0);
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_a_defect() {
    let key = key(1);
    let mut bytes = archive(&key);
    let hostile = *b"../../../../etc/crontab.";
    let name = FOOTAGE[0].0.as_bytes();
    assert_eq!(name.len(), hostile.len());
    for at in 0..bytes.len() - name.len() {
        if bytes[at..].starts_with(name) {
            bytes[at..at + name.len()].copy_from_slice(&hostile);
        }
    }
    let found = findings(&bytes, &known(&key));
    assert!(!found.is_intact());
    assert_eq!(found.signature, ArchiveSignature::Invalid);
    assert!(
        blamed(&found).contains(&"../../../../etc/crontab."),
        "{found:?}"
    );
}

#[test]
fn an_entry_that_is_marked_as_compressed_or_encrypted_is_a_defect() {
    let key = key(1);
    let bytes = archive(&key);
    let places = places(&bytes);
    let (name, entry) = &places[0];
    let (_, directory) = places.last().unwrap();
    for (in_entry, in_directory, value) in [(8, 10, 8), (6, 8, 0x09)] {
        let mut marked = bytes.clone();
        marked[entry.start + in_entry] = value;
        marked[directory.start + in_directory] = value;
        let found = findings(&marked, &known(&key));
        assert_eq!(blamed(&found), [name.as_str(), ""], "{found:?}");
        assert!(found.defects[0].message.contains("compressed or encrypted"));
    }
}

#[test]
fn the_zip_of_somebody_else_is_told_from_a_damaged_archive() {
    let mut packer = Packer::new(InMemory::default()).unwrap();
    for name in ["beach.jpg", "manifest.json"] {
        add_unlisted(&mut packer, name);
    }
    let bytes = packer.finish().unwrap().0.0;
    let found = findings(&bytes, &known(&key(1)));
    assert_eq!(kinds(&found), [("SHA256SUMS", ArchiveDefectKind::Missing)]);
    assert_eq!(found.signature, ArchiveSignature::Missing);
    assert!(
        found.defects[0]
            .message
            .contains("not an archive of footage")
    );
}

#[test]
fn what_is_no_zip_is_said_to_be_none() {
    for bytes in [&b""[..], b"P", b"\0\0\0\x18ftypmp42", &[0; 100_000]] {
        let error = look(&file(bytes), &known(&key(1))).unwrap_err();
        assert!(matches!(error, VerifyError::NotAZip), "{error}");
    }
}

#[test]
fn an_empty_zip_is_not_intact() {
    let bytes = Packer::new(InMemory::default()).unwrap().finish().unwrap();
    assert!(!findings(&bytes.0.0, &known(&key(1))).is_intact());
}

#[test]
fn of_many_defects_the_first_are_listed_and_all_are_counted() {
    let found = forged(|packer, _| {
        for number in 0..LISTED_MAX + 5 {
            add_unlisted(packer, &format!("gate/{number}.mp4"));
        }
    });
    assert_eq!(found.defects.len(), LISTED_MAX);
    assert_eq!(found.defect_count, LISTED_MAX as u64 + 5);
    assert_eq!(found.defects[1].entry_name, "gate/1.mp4");
}

#[test]
fn footage_that_contains_a_zip_is_intact() {
    let inner = archive(&key(2));
    let found = forged(|packer, sums| add(packer, sums, "gate/a.mp4", &inner));
    assert!(found.is_intact(), "{found:?}");
    // Without a directory the entries are told by their records, which the footage has as well.
    let key = key(1);
    let mut packer = Packer::new(InMemory::default()).unwrap();
    let mut sums = String::new();
    add(&mut packer, &mut sums, "gate/a.mp4", &inner);
    let bytes = finish(packer, sums, &key).0;
    let start = places(&bytes).pop().unwrap().1.start;
    let found = findings(&bytes[..start], &known(&key));
    assert_eq!(blamed(&found), [""], "{found:?}");
    assert_eq!(found.entries_checked, 4);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_intact_and_never_panic(bytes: Vec<u8>, begins_as_zip: bool) {
        let bytes = if begins_as_zip { [b"PK\x03\x04", &bytes[..]].concat() } else { bytes };
        if let Ok(found) = look(&file(&bytes), &known(&key(1))) {
            prop_assert!(!found.is_intact());
        }
    }

    #[test]
    fn an_archive_with_stretches_overwritten_is_never_intact_and_never_panics(
        stretches in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..12)), 1..6)
    ) {
        let key = key(1);
        let whole = archive(&key);
        let mut bytes = whole.clone();
        for (at, stretch) in stretches {
            let at = at.index(bytes.len());
            let count = stretch.len().min(bytes.len() - at);
            bytes[at..at + count].copy_from_slice(&stretch[..count]);
        }
        let found = look(&file(&bytes), &known(&key));
        if bytes != whole {
            // With its first byte and its end both gone, nothing says that it ever was a zip.
            let is_noticed = match found {
                Ok(found) => found.defect_count > 0,
                Err(error) => matches!(error, VerifyError::NotAZip),
            };
            prop_assert!(is_noticed);
        }
    }
}
