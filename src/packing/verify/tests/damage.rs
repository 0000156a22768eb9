//! One byte that changed, bytes that went or came: noticed wherever it is, and blamed on nothing else.

use std::os::unix::fs::FileExt as _;

use crate::domain::archive::{ArchiveDefectKind, ArchiveSignature};

use super::sample::{
    FOOTAGE, archive, blamed, file, findings, footage, key, known, look, places, sha256,
};
use crate::packing::KnownKeys;
use crate::packing::packer::Stop;
use crate::packing::verify::{VerifyError, verify};

#[test]
fn an_archive_of_ours_is_intact() {
    let key = key(1);
    let bytes = archive(&key);
    let found = findings(&bytes, &known(&key));
    assert_eq!(found.defects, []);
    assert!(found.is_intact());
    assert_eq!(found.signing_key_fingerprint, key.fingerprint());
    assert_eq!(found.entries_checked, FOOTAGE.len() as u64 + 3);
    let framing = 9 * (30 + 9 + 16 + 46 + 9) + 22;
    let names: usize = places(&bytes).iter().map(|(name, _)| name.len()).sum();
    assert_eq!(
        found.bytes_checked as usize,
        bytes.len() - framing - 2 * names
    );
}

#[test]
fn the_form_of_the_zip_is_the_one_that_archives_of_the_past_have() {
    // Archives are kept for years, and must be found intact by every later version of this program. When this fails,
    // the form has changed: the old one must still be verified too.
    assert_eq!(
        sha256(&archive(&key(1))),
        "0a7c7790912cefef88bf697998fbfab4a2d3b582ba2f6542973ee7eb5ecfba31"
    );
}

#[test]
fn a_changed_byte_anywhere_is_noticed_and_blamed_on_its_place_only() {
    let key = key(1);
    let known = known(&key);
    let bytes = archive(&key);
    let file = file(&bytes);
    for (name, range) in places(&bytes) {
        for at in range {
            for change in [0x01, 0x80] {
                file.write_all_at(&[bytes[at] ^ change], at as u64).unwrap();
                let found = look(&file, &known).unwrap();
                let place = format!("byte {at} of `{name}` by {change:#x}: {found:?}");
                assert_eq!(found.defect_count, 1, "{place}");
                let blamed = blamed(&found)[0];
                assert!(blamed == name || blamed.is_empty(), "{place}");
                let touches_signature = ["SHA256SUMS", "SHA256SUMS.sig"].contains(&name.as_str());
                assert!(
                    found.signature == ArchiveSignature::Valid || touches_signature,
                    "{place}"
                );
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
    assert!(look(&file, &known).unwrap().is_intact());
}

#[test]
fn changed_footage_is_named_with_both_hashes() {
    let key = key(1);
    let mut bytes = archive(&key);
    let (name, range) = places(&bytes).swap_remove(0);
    let (_, size_bytes) = FOOTAGE[0];
    let data = range.end - 16 - size_bytes..range.end - 16;
    bytes[data.start + 100] ^= 0x10;
    let found = findings(&bytes, &known(&key));
    let [defect] = &found.defects[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (&defect.entry_name, defect.kind),
        (&name, ArchiveDefectKind::Changed)
    );
    assert_eq!(defect.expected_sha256, sha256(&footage(size_bytes)));
    assert_eq!(defect.found_sha256, sha256(&bytes[data]));
    assert_eq!(found.signature, ArchiveSignature::Valid);
}

#[test]
fn an_archive_that_was_cut_off_anywhere_is_not_intact() {
    let key = key(1);
    let known = known(&key);
    let bytes = archive(&key);
    let file = file(&bytes);
    for length in (0..bytes.len()).rev() {
        file.set_len(length as u64).unwrap();
        match look(&file, &known) {
            Ok(found) => assert!(!found.is_intact() && found.defect_count > 0, "{length}"),
            Err(error) => assert!(
                length < 4 && matches!(error, VerifyError::NotAZip),
                "{length}: {error}"
            ),
        }
    }
}

#[test]
fn what_was_cut_off_behind_an_entry_does_not_put_blame_on_it() {
    let key = key(1);
    let bytes = archive(&key);
    let places = places(&bytes);
    let third = &places[2].1;
    let found = findings(&bytes[..third.start + 60], &known(&key));
    assert_eq!(
        blamed(&found),
        [places[2].0.as_str(), "SHA256SUMS", ""],
        "{found:?}"
    );
    assert_eq!(found.defects[0].message, "the zip ends before it does");
    assert_eq!(found.signature, ArchiveSignature::Missing);
}

#[test]
fn bytes_behind_the_zip_are_noticed() {
    let key = key(1);
    let known = known(&key);
    let bytes = archive(&key);
    for more in [1, 22, 100, 70_000, 2_000_000] {
        let found = findings(&[&bytes[..], &vec![0; more]].concat(), &known);
        assert_eq!(blamed(&found), [""], "{more}: {found:?}");
        assert_eq!(found.entries_checked, 7, "{more}");
    }
    let twice = findings(&[&bytes[..], &bytes[..]].concat(), &known);
    assert!(!twice.is_intact());
}

#[test]
fn bytes_before_the_zip_are_noticed() {
    let key = key(1);
    let found = findings(&[b"#!/bin/sh\n", &archive(&key)[..]].concat(), &known(&key));
    assert_eq!(blamed(&found), [""], "{found:?}");
}

#[test]
fn bytes_that_went_or_came_inside_of_an_entry_are_blamed_on_that_entry() {
    let key = key(1);
    let known = known(&key);
    let bytes = archive(&key);
    let (name, range) = places(&bytes).swap_remove(0);
    let at = range.start + 200;
    for (what, damaged) in [
        ("went", [&bytes[..at], &bytes[at + 50..]].concat()),
        ("came", [&bytes[..at], &[0; 50], &bytes[at..]].concat()),
    ] {
        let found = findings(&damaged, &known);
        assert!(blamed(&found).contains(&name.as_str()), "{what}: {found:?}");
        let others = blamed(&found)
            .into_iter()
            .filter(|blamed| !blamed.is_empty() && *blamed != name);
        assert_eq!(others.count(), 0, "{what}: {found:?}");
        assert_eq!(found.signature, ArchiveSignature::Valid, "{what}");
    }
}

#[test]
fn a_directory_that_is_gone_does_not_hide_that_the_entries_are_intact() {
    let key = key(1);
    let mut bytes = archive(&key);
    let (_, directory) = places(&bytes).pop().unwrap();
    bytes[directory].fill(0);
    let found = findings(&bytes, &known(&key));
    assert_eq!(blamed(&found), [""], "{found:?}");
    assert_eq!(found.entries_checked, 7);
    assert_eq!(found.signature, ArchiveSignature::Valid);
}

#[test]
fn a_signature_of_an_unknown_key_is_told_from_one_that_does_not_fit() {
    let (key, other) = (key(1), key(2));
    let bytes = archive(&key);
    for known in [known(&other), KnownKeys::default()] {
        let found = findings(&bytes, &known);
        assert_eq!(found.signature, ArchiveSignature::UnknownKey);
        assert_eq!(found.signing_key_fingerprint, key.fingerprint());
        assert_eq!(found.defect_count, 0);
        assert!(!found.is_intact());
    }
}

#[test]
fn a_verification_ends_when_it_is_told_to() {
    let key = key(1);
    let stopped = verify(&file(&archive(&key)), &known(&key), |_, _| Err(Stop));
    assert!(matches!(stopped, Err(VerifyError::Stopped)));
}
