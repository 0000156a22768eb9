//! Sources that are missing, damaged, or no longer what was imported.

use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use heldar_footage::proto::{self, ArchiveFaultKind, ArchiveLayout, GapReason};
use tonic::Code;

use super::asking::{OTHER, ask, check_refused, create, everything, make, plan, trimmed};
use super::unpacked::{fetch, of, window};
use crate::footage::{Recipe, epoch, ms};
use crate::recorder::{CAMERA, age, heldar_name, import, lay, place, unfollowed};
use crate::server::{Site, notice_reason};

/// Forty seconds of one camera, of which only the last ten are as they were imported: the first file is gone, the
/// second ends early, the third has other bytes. And ten seconds of another camera that ended early from the start.
fn faulty() -> Site {
    let recording = Recipe::plain().record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    let torn = place(
        &site,
        &heldar_name(OTHER, epoch()),
        &recording.segments[0].path,
    );
    halve(&torn);
    import(&site, &[]);
    std::fs::remove_file(&paths[0]).unwrap();
    halve(&paths[1]);
    rewrite(&paths[2]);
    site
}

fn gap_reasons(camera: &proto::ArchiveCamera) -> Vec<GapReason> {
    camera.gaps.iter().map(proto::Gap::reason).collect()
}

fn halve(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    age(path);
}

/// Other bytes, as many as before.
fn rewrite(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_fault_of_a_source_is_in_the_answer_in_the_manifest_and_in_the_jobs_warnings() {
    let site = faulty();
    let server = site.start().await;
    let planned = plan(&server, everything()).await;
    let (job, archive) = make(&server, ask(everything())).await;
    let entry = |number: i64| heldar_name(CAMERA, epoch() + TimeDelta::seconds(number * 10));
    let torn = heldar_name(OTHER, epoch());
    let faults: Vec<_> = archive
        .faults
        .iter()
        .map(|fault| {
            (
                fault.kind(),
                fault.entry_name.clone(),
                fault.camera_id.as_str(),
            )
        })
        .collect();
    assert_eq!(
        faults,
        [
            (ArchiveFaultKind::Missing, entry(0), CAMERA),
            (ArchiveFaultKind::Changed, entry(1), CAMERA),
            (ArchiveFaultKind::Changed, entry(2), CAMERA),
            (ArchiveFaultKind::Damaged, torn.clone(), OTHER),
        ]
    );
    assert_eq!(archive.fault_count, 4);
    assert_eq!(planned.faults, archive.faults, "the plan knew");
    let warnings: Vec<_> = job
        .warnings
        .iter()
        .map(|warning| (notice_reason(warning), warning.message.as_str()))
        .collect();
    let where_listed = "`faults` and the manifest say which";
    assert_eq!(
        warnings,
        [
            (
                "FILE_MISSING".to_owned(),
                format!("1 recording is missing; {where_listed}").as_str()
            ),
            (
                "FILE_DAMAGED".to_owned(),
                format!("1 recording is damaged; {where_listed}").as_str()
            ),
            (
                "FILE_DAMAGED".to_owned(),
                format!("2 recordings are not as the catalog knows them; {where_listed}").as_str()
            ),
        ]
    );

    // What is there is archived as it is, and what is not there is said to be a gap.
    let unpacked = fetch(&server, &archive).await;
    assert_eq!(unpacked.footage(), [entry(1), entry(2), entry(3), torn]);
    for name in unpacked.footage() {
        let recorded = std::fs::read(site.recordings().join(&name)).unwrap();
        assert!(unpacked.read(&name) == recorded, "{name}");
    }
    assert_eq!(gap_reasons(&archive.cameras[0]), [GapReason::FileMissing]);
    assert_eq!(archive.cameras[0].segment_count, 3);
    let told = unpacked.manifest();
    let told = told["faults"].as_array().unwrap();
    let kinds: Vec<_> = told
        .iter()
        .map(|fault| fault["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["missing", "changed", "changed", "damaged"]);
    for (told, fault) in told.iter().zip(&archive.faults) {
        assert_eq!(told["segment_id"], fault.segment_id);
        assert_eq!(told["camera_id"], fault.camera_id);
        assert_eq!(told["entry"], fault.entry_name);
        assert_eq!(told["message"], fault.message);
    }
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn all_or_nothing_refuses_each_fault_and_takes_what_is_whole() {
    let site = faulty();
    let server = site.start().await;
    let strictly = |camera: &str, from_ms, layout: ArchiveLayout| proto::ArchiveSpec {
        all_or_nothing: true,
        camera_ids: vec![camera.to_owned()],
        layout: layout.into(),
        ..window(from_ms, from_ms + 10_000)
    };
    let plain = ArchiveLayout::Segments;
    for (camera, from_ms, why) in [
        (CAMERA, 10_000, "FILE_DAMAGED"),
        (CAMERA, 20_000, "FILE_DAMAGED"),
        (OTHER, 0, "FILE_DAMAGED"),
    ] {
        for layout in [plain, ArchiveLayout::Clips] {
            let spec = strictly(camera, from_ms, layout);
            let refused = create(&server, ask(spec)).await.unwrap_err();
            let words = refused.message().to_owned();
            check_refused(&refused, Code::FailedPrecondition, why, &words);
            assert!(words.starts_with(camera), "names the recording: {words}");
        }
    }
    // Beside one that is there, one that is gone is refused; alone, there is no footage at all.
    let spec = proto::ArchiveSpec {
        start_time: window(0, 1).start_time,
        ..strictly(CAMERA, 30_000, plain)
    };
    let refused = create(&server, ask(spec)).await.unwrap_err();
    let words = format!(
        "{}: the recording's file is gone",
        heldar_name(CAMERA, epoch())
    );
    check_refused(&refused, Code::FailedPrecondition, "FILE_MISSING", &words);
    let refused = create(&server, ask(strictly(CAMERA, 0, plain)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");

    // Time that was never recorded is no fault.
    let spec = proto::ArchiveSpec {
        end_time: crate::server::time(epoch() + ms(90_000)),
        ..strictly(CAMERA, 30_000, plain)
    };
    let (job, archive) = make(&server, ask(spec)).await;
    assert_eq!((job.warnings.len(), archive.fault_count), (0, 0));
    assert_eq!(gap_reasons(&archive.cameras[0]), [GapReason::NotRecorded]);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_missing_recording_is_called_what_its_trimmed_entry_would_have_been() {
    let site = faulty();
    let server = site.start().await;
    let spec = of(&[CAMERA], trimmed(5_000, 35_000));
    let planned = plan(&server, spec.clone()).await;
    let (_, archive) = make(&server, ask(spec)).await;
    let missing = heldar_name(CAMERA, epoch()).replace(".mp4", "_trimmed.mp4");
    for faults in [&planned.faults, &archive.faults] {
        let fault = &faults[0];
        assert_eq!(fault.kind(), ArchiveFaultKind::Missing);
        assert_eq!(fault.entry_name, missing);
    }
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn gaps_of_missing_recordings_that_overlap_are_all_told_as_missing() {
    let site = unfollowed();
    let long = Recipe {
        segment_s: 40,
        ..Recipe::plain()
    }
    .record();
    let short = Recipe {
        segment_s: 5,
        length_s: 10,
        ..Recipe::plain()
    }
    .record();
    let lay = |at_s: i64, recording: &crate::footage::Recording| {
        let name = heldar_name(CAMERA, epoch() + TimeDelta::seconds(at_s));
        place(&site, &name, &recording.segments[0].path)
    };
    let gone = [lay(0, &long), lay(5, &short)];
    lay(15, &short);
    import(&site, &[]);
    for path in gone {
        std::fs::remove_file(path).unwrap();
    }
    let server = site.start().await;
    let (_, archive) = make(&server, ask(everything())).await;
    let gaps = &archive.cameras[0].gaps;
    let reasons: Vec<_> = gaps
        .iter()
        .map(|gap| (gap.reason(), gap.segment_ids.len()))
        .collect();
    let missing = GapReason::FileMissing;
    assert_eq!(reasons, [(missing, 2), (missing, 1)], "{gaps:?}");
    server.stop_with_archives(&site, &[&archive]);
}
