//! One byte changed anywhere is noticed, and blamed on the entry that it lies in.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use heldar_footage::proto::{self, ArchiveDefectKind, ArchiveSignature, ArchiveVerdict, JobState};
use serde_json::Value;

use super::asking::{ask, download, everything, make, two_cameras};
use super::unpacked::{Entry, entries};
use crate::recorder::sha256;
use crate::server::{Server, Site, ended, seconds};

pub(super) async fn verify(server: &Server, archive_id: &str) -> proto::ArchiveVerification {
    let request = proto::VerifyArchiveRequest {
        archive_id: archive_id.to_owned(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.archives().verify_archive(request).await.unwrap();
    let job = job.into_inner();
    let job = if job.end_time.is_some() {
        job
    } else {
        ended(server, &job.id).await
    };
    assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    match job.result {
        Some(proto::job::Result::ArchiveVerification(found)) => found,
        other => panic!("no verification: {other:?}"),
    }
}

/// What `footage verify` says of a file: exit code, text, and the findings in JSON.
fn verify_by_command(site: &Site, zip: &Path, options: &[&str]) -> (i32, String, Value) {
    let zip = zip.to_str().unwrap();
    let (code, text, errors) = site.run(&[&["verify", zip], options].concat());
    let (code_with_json, found, _) = site.run(&[&["verify", "--json", zip], options].concat());
    assert_eq!(code, code_with_json, "{text}{errors}");
    let mut found: Vec<Value> = serde_json::from_str(&found).unwrap();
    (code, text, found.remove(0))
}

fn flip(zip: &Path, at: u64) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(zip)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Where the data of an entry begins: after its local header, its name and its extra field (APPNOTE 4.3.7).
fn data_of(zip: &[u8], entry: &Entry) -> u64 {
    let at = entry.offset as usize;
    let length = |at: usize| u64::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
    entry.offset + 30 + length(at + 26) + length(at + 28)
}

#[tokio::test]
async fn one_byte_changed_anywhere_is_noticed_and_its_entry_named() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let zip = site.archives().join(&archive.file_name);
    let bytes = std::fs::read(&zip).unwrap();

    let intact = verify(&server, &archive.id).await;
    assert_eq!(intact.verdict(), ArchiveVerdict::Intact);
    assert_eq!(intact.signature(), ArchiveSignature::Valid);
    assert_eq!((intact.defects.len(), intact.defect_count), (0, 0));
    assert_eq!(intact.archive_id, archive.id);
    assert_eq!(
        intact.signing_key_fingerprint,
        archive.signing_key_fingerprint
    );
    // SHA256SUMS cannot list itself nor its signature.
    assert_eq!(intact.entries_checked, archive.entry_count - 2);
    let key = site.data().join("signing_keys.pub");
    let key = ["--key", key.to_str().unwrap()];
    let (code, text, found) = verify_by_command(&site, &zip, &key);
    assert_eq!((code, &found["intact"]), (0, &Value::Bool(true)), "{text}");
    assert!(text.contains(": intact, "), "{text}");
    assert!(text.contains(&archive.signing_key_fingerprint), "{text}");

    let found = entries(&zip);
    let named = |name: &str| found.iter().find(|entry| entry.name == name).unwrap();
    let footage = &found[1];
    let directory = bytes
        .windows(4)
        .rposition(|four| four == b"PK\x01\x02")
        .unwrap() as u64;
    let (sums, signature) = (named("SHA256SUMS"), named("SHA256SUMS.sig"));
    for (what, at, entry) in [
        (
            "footage",
            data_of(&bytes, footage) + footage.size_bytes / 2,
            footage.name.as_str(),
        ),
        (
            "the manifest",
            data_of(&bytes, named("manifest.json")) + 100,
            "manifest.json",
        ),
        ("a local header", footage.offset + 10, &footage.name),
        (
            "the name in a local header",
            footage.offset + 31,
            &footage.name,
        ),
        ("the directory", directory + 16, ""),
        ("the end of the zip", bytes.len() as u64 - 5, ""),
        // Hashes that nobody signed speak against no entry.
        ("the hashes", data_of(&bytes, sums) + 3, "SHA256SUMS"),
        (
            "the signature",
            data_of(&bytes, signature) + 120,
            "SHA256SUMS.sig",
        ),
    ] {
        flip(&zip, at);
        let damaged = verify(&server, &archive.id).await;
        assert_eq!(damaged.verdict(), ArchiveVerdict::Damaged, "{what}");
        let names: Vec<&str> = damaged
            .defects
            .iter()
            .map(|defect| defect.entry_name.as_str())
            .collect();
        assert_eq!(names, [entry], "{what}: {damaged:?}");
        assert_eq!(damaged.defect_count, names.len() as i64);
        let is_sealed = ["the hashes", "the signature"].contains(&what);
        let seal = if is_sealed {
            ArchiveSignature::Invalid
        } else {
            ArchiveSignature::Valid
        };
        assert_eq!(damaged.signature(), seal, "{what}");

        let (code, text, told) = verify_by_command(&site, &zip, &key);
        assert_eq!(
            (code, &told["intact"]),
            (5, &Value::Bool(false)),
            "{what}: {text}"
        );
        let told: Vec<_> = told["defects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|defect| defect["entry_name"].as_str().unwrap())
            .collect();
        assert_eq!(told, names, "{what}: the command says the same");
        for name in names {
            assert!(text.contains(name), "{what}: {text}");
        }
        flip(&zip, at);
    }
    let damaged_hash = {
        let at = data_of(&bytes, footage);
        flip(&zip, at);
        let found = verify(&server, &archive.id).await;
        flip(&zip, at);
        found.defects[0].clone()
    };
    let recorded = &bytes[data_of(&bytes, footage) as usize..][..footage.size_bytes as usize];
    assert_eq!(damaged_hash.kind(), ArchiveDefectKind::Changed);
    assert_eq!(damaged_hash.expected_sha256, sha256(recorded));
    let mut changed = recorded.to_vec();
    changed[0] ^= 0x10;
    assert_eq!(damaged_hash.found_sha256, sha256(&changed));

    assert_eq!(
        verify(&server, &archive.id).await.verdict(),
        ArchiveVerdict::Intact
    );
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn what_is_missing_added_or_signed_by_another_key_is_told() {
    let site = two_cameras();
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let zip = site.archives().join(&archive.file_name);
    let bytes = std::fs::read(&zip).unwrap();
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    for (what, other) in [
        ("cut off", head.to_vec()),
        ("longer", [head, tail, b"\0"].concat()),
        ("without its end", bytes[..bytes.len() - 1].to_vec()),
    ] {
        std::fs::write(&zip, other).unwrap();
        let damaged = verify(&server, &archive.id).await;
        assert_eq!(damaged.verdict(), ArchiveVerdict::Damaged, "{what}");
        assert!(damaged.defect_count > 0, "{what}");
        assert_eq!(verify_by_command(&site, &zip, &[]).0, 5, "{what}");
    }

    // The same footage, sealed by another server.
    let another = two_cameras();
    let other_server = another.start().await;
    let (_, foreign) = make(&other_server, ask(everything())).await;
    let (_, foreign_bytes) = download(&other_server, &foreign.id, 0, 0).await.unwrap();
    other_server.stop_with_archives(&another, &[&foreign]);
    assert_ne!(
        foreign.signing_key_fingerprint,
        archive.signing_key_fingerprint
    );
    std::fs::write(&zip, foreign_bytes).unwrap();
    let found = verify(&server, &archive.id).await;
    assert_eq!(found.verdict(), ArchiveVerdict::Damaged);
    assert_eq!(found.signature(), ArchiveSignature::UnknownKey);
    assert_eq!(
        found.signing_key_fingerprint,
        foreign.signing_key_fingerprint
    );
    assert_eq!(found.defects, [], "no entry is to blame");
    let keys = |site: &Site| {
        site.data()
            .join("signing_keys.pub")
            .to_str()
            .unwrap()
            .to_owned()
    };
    for (key, code) in [(keys(&site), 5), (keys(&another), 0)] {
        let (found, text, _) = verify_by_command(&site, &zip, &["--key", &key]);
        assert_eq!(found, code, "{text}");
        assert!(text.contains(&foreign.signing_key_fingerprint), "{text}");
    }
    // Nobody said whom to trust: it fits, and that this proves little is said.
    let (code, text, _) = verify_by_command(&site, &zip, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Ask the operator"), "{text}");

    std::fs::write(&zip, &bytes).unwrap();
    assert_eq!(
        verify(&server, &archive.id).await.verdict(),
        ArchiveVerdict::Intact
    );
    server.stop_with_archives(&site, &[&archive]);
}
