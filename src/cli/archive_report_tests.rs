//! What an archive says of itself.

use heldar_footage::proto::{
    Archive, ArchiveCamera, ArchiveDefect, ArchiveFault, ArchiveLayout, ArchivePlan,
    ArchivePlanSource, ArchiveSignature, ArchiveSpec, ArchiveVerdict, ArchiveVerification, Gap,
    GapReason, TimeWindow,
};

use super::{archive_lines, archive_plan_lines, shell_word, verification_lines};

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_795_341_600 + seconds,
        nanos: 0,
    })
}

fn from_to(start: i64, end: i64) -> Option<TimeWindow> {
    Some(TimeWindow {
        start_time: at(start),
        end_time: at(end),
    })
}

/// One camera with a gap, one without footage.
fn cameras() -> Vec<ArchiveCamera> {
    let gap = Gap {
        start_time: at(20),
        end_time: at(50),
        reason: GapReason::NotRecorded.into(),
        ..Gap::default()
    };
    let gate = ArchiveCamera {
        camera_id: "gate_a_01".into(),
        delivered_window: from_to(0, 60),
        covered: Some(prost_types::Duration {
            seconds: 30,
            nanos: 0,
        }),
        gaps: vec![gap],
        gap_count: 1,
        segment_count: 3,
        ..ArchiveCamera::default()
    };
    let yard = ArchiveCamera {
        camera_id: "yard_02".into(),
        ..ArchiveCamera::default()
    };
    vec![gate, yard]
}

fn fault(number: usize) -> ArchiveFault {
    ArchiveFault {
        entry_name: format!("gate_a_01/{number}.mp4"),
        message: "the file is missing".into(),
        ..ArchiveFault::default()
    }
}

#[test]
fn an_archive_says_what_is_in_it_what_is_missing_and_how_to_check_it() {
    let archive = Archive {
        id: "bkj_1".into(),
        spec: Some(ArchiveSpec {
            start_time: at(0),
            trim: true,
            layout: ArchiveLayout::SegmentsAndClips.into(),
            case_id: "2026-117".into(),
            reason: "collision\nat gate A".into(),
            ..ArchiveSpec::default()
        }),
        delivered_window: from_to(0, 60),
        cameras: cameras(),
        faults: vec![fault(1)],
        fault_count: 1,
        entry_count: 9,
        size_bytes: 1_234_567,
        sha256: "ab".into(),
        file_name: "bkj_1.zip".into(),
        signing_key_fingerprint: "SHA256:k".into(),
        expire_time: at(172_800),
        ..Archive::default()
    };
    assert_eq!(
        archive_lines(&archive, Some("http://h:1/media/archives/bkj_1.zip"), None),
        [
            "Archive       bkj_1",
            "URL           http://h:1/media/archives/bkj_1.zip",
            "Requested     2026-11-22T10:00:00Z to the newest footage",
            "Content       recorded files, and one clip per camera, clips cut to the window",
            "Case          2026-117",
            "Reason        collision\\u{a}at gate A",
            "Delivered     2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z",
            "Cameras       2",
            "  gate_a_01: 2026-11-22T10:00:00Z to 2026-11-22T10:01:00Z, 3 segments, 30.000 s of footage, 1 gap",
            "    2026-11-22T10:00:20Z to 2026-11-22T10:00:50Z (30 s): not recorded",
            "  yard_02: no footage",
            "Faults        1 recording is missing or damaged",
            "  gate_a_01/1.mp4: the file is missing",
            "Entries       9",
            "Size          1.23 MB (1,234,567 bytes)",
            "SHA-256       ab",
            "Signed by     SHA256:k",
            "Kept until    2026-11-24T10:00:00Z",
            "Verify        footage verify bkj_1.zip",
            "  or, unzipped:",
            "    sha256sum -c SHA256SUMS",
            "    ssh-keygen -Y verify -f allowed_signers -I heldar-footage -n heldar-footage-archive -s SHA256SUMS.sig < SHA256SUMS",
        ]
    );
}

#[test]
fn an_archive_that_was_fetched_names_the_file_to_check() {
    let file = std::path::Path::new("/srv/case 117/gate.zip");
    let lines = archive_lines(&Archive::default(), None, Some(file));
    assert_eq!(lines[0], "File          /srv/case 117/gate.zip");
    let verify = "Verify        footage verify '/srv/case 117/gate.zip'";
    assert!(lines.iter().any(|line| line == verify), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("URL")));
}

#[test]
fn a_plan_tells_an_exact_size_from_an_expected_one() {
    let mut plan = ArchivePlan {
        cameras: cameras(),
        sources: vec![ArchivePlanSource {
            window: from_to(0, 10),
            entry_name: "gate_a_01/1.mp4".into(),
            size_bytes: 5_000_000,
            ..ArchivePlanSource::default()
        }],
        source_count: 1,
        source_bytes: 5_000_000,
        size_bytes: 5_001_234,
        size_exact: true,
        ..ArchivePlan::default()
    };
    let lines = archive_plan_lines(&plan);
    assert!(lines.contains(&"Size          5.00 MB (5,001,234 bytes)".to_owned()));
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "Sources       1 segment, 5.00 MB",
            "  2026-11-22T10:00:00Z to 2026-11-22T10:00:10Z  gate_a_01/1.mp4  5.00 MB",
        ]
    );
    plan.size_exact = false;
    let lines = archive_plan_lines(&plan);
    assert!(lines.contains(&"Size, about   5.00 MB".to_owned()));
}

#[test]
fn many_faults_are_counted_and_only_the_first_are_named() {
    let archive = Archive {
        faults: (0..1000).map(fault).collect(),
        fault_count: 1500,
        ..Archive::default()
    };
    let lines = archive_lines(&archive, None, None);
    let named = lines.iter().filter(|line| line.contains("is missing"));
    assert_eq!(named.count(), 20);
    assert!(lines.contains(&"Faults        1,500 recordings are missing or damaged".to_owned()));
    assert!(
        lines.contains(&"  and 1,480 more; --json names up to 1,000, the manifest all".to_owned())
    );
}

#[test]
fn a_verification_names_each_entry_that_differs() {
    let defect = |entry: &str, message: &str| ArchiveDefect {
        entry_name: entry.into(),
        message: message.into(),
        ..ArchiveDefect::default()
    };
    let found = ArchiveVerification {
        archive_id: "bkj_1".into(),
        verdict: ArchiveVerdict::Damaged.into(),
        signature: ArchiveSignature::Valid.into(),
        signing_key_fingerprint: "SHA256:k".into(),
        entries_checked: 9,
        bytes_checked: 1_000_000,
        defects: vec![
            defect("gate_a_01/1.mp4", "its bytes have changed"),
            defect("", "the zip was cut off"),
        ],
        defect_count: 2,
        ..ArchiveVerification::default()
    };
    assert_eq!(
        verification_lines(&found),
        [
            "Archive       bkj_1",
            "Verdict       damaged",
            "Signature     valid",
            "Signed by     SHA256:k",
            "Compared      9 entries, 1.00 MB",
            "Defects       2",
            "  gate_a_01/1.mp4: its bytes have changed",
            "  the zip was cut off",
        ]
    );
}

#[test]
fn a_command_that_is_shown_can_be_copied_into_a_shell() {
    assert_eq!(shell_word("/a/b-1.zip"), "/a/b-1.zip");
    assert_eq!(shell_word("it's mine.zip"), r"'it'\''s mine.zip'");
    assert_eq!(shell_word("$(reboot).zip"), "'$(reboot).zip'");
    assert_eq!(shell_word("-rf.zip"), "./-rf.zip");
}
