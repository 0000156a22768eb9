//! Archives of more recordings than may be open at the same time.

use chrono::TimeDelta;
use heldar_footage::proto::{self, ArchiveFaultKind, ArchiveLayout};
use tonic::Code;

use super::asking::{
    all_of, archive_of, ask, delete, everything, header_of, hollow, later, make, rest_of, stream,
    submit,
};
use super::jobs::packing;
use super::large::tiny;
use super::unpacked::fetch;
use crate::footage::{decode, epoch};
use crate::recorder::{CAMERA, heldar_name, import, place, unfollowed};
use crate::server::{Site, ended, reason};

/// Descriptors of the server: some 90 are places for recordings.
const DESCRIPTORS: u32 = 600;

/// Seconds of each camera, in as many files: more than there are places for.
const SECONDS: i64 = 160;

/// Recordings of a second each of cameras with these ids.
fn seconds_of(cameras: &[&str]) -> Site {
    let site = unfollowed();
    let file = &tiny().record().segments[0].path;
    for camera in cameras {
        for second in 0..SECONDS {
            let name = heldar_name(camera, epoch() + TimeDelta::seconds(second));
            place(&site, &name, file);
        }
    }
    import(&site, &[]);
    site
}

#[tokio::test]
async fn recordings_without_a_place_are_archived_whole_and_one_that_goes_meanwhile_is_a_fault() {
    let site = seconds_of(&[CAMERA]);
    let path = |second| {
        let name = heldar_name(CAMERA, epoch() + TimeDelta::seconds(second));
        site.recordings().join(name)
    };
    // It is packed first, and takes some seconds.
    hollow(&path(0), 1 << 30);
    import(&site, &[]);
    let server = site.start_with_descriptors(DESCRIPTORS).await;
    let job_id = submit(&server, later(everything())).await;
    packing(&server, &job_id).await;
    assert!(
        server.holds_open(&site.recordings()) < 100,
        "more than there are places"
    );
    let last = path(SECONDS - 1);
    let copy = std::fs::read(&last).unwrap();
    std::fs::remove_file(&last).unwrap();
    let archive = archive_of(&ended(&server, &job_id).await);
    let [fault] = archive.faults.as_slice() else {
        panic!("{:?}", archive.faults)
    };
    assert_eq!(fault.kind(), ArchiveFaultKind::Missing);
    assert_eq!(archive.cameras[0].segment_count, SECONDS - 1);
    delete(&server, &archive.id).await.unwrap();

    std::fs::write(&last, copy).unwrap();
    crate::recorder::age(&last);
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    std::fs::remove_file(&last).unwrap();
    let (_, ended) = rest_of(streaming).await;
    let status = ended.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DataLoss, "FILE_CORRUPTED")
    );
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn clips_of_more_recordings_than_there_are_places_show_all_of_them() {
    let cameras = ["a_01", "b_02", "c_03", "d_04"];
    let site = seconds_of(&cameras);
    let server = site.start_with_descriptors(DESCRIPTORS).await;
    for layout in [ArchiveLayout::Clips, ArchiveLayout::SegmentsAndClips] {
        let spec = proto::ArchiveSpec {
            layout: layout.into(),
            ..everything()
        };
        let (job, archive) = make(&server, ask(spec)).await;
        assert_eq!((job.warnings.as_slice(), archive.fault_count), (&[][..], 0));
        let unpacked = fetch(&server, &archive).await;
        for (camera, told) in cameras.iter().zip(&archive.cameras) {
            assert_eq!(told.gaps, [], "{camera}");
            let clip = unpacked.path(&format!("{camera}/clip_20250615T150640Z.mp4"));
            assert_eq!(decode(&clip).len() as i64, SECONDS, "{camera}");
        }
        delete(&server, &archive.id).await.unwrap();
    }
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_server_that_can_open_no_more_files_says_nothing_false_of_the_recordings() {
    let site = seconds_of(&[CAMERA]);
    let server = site.start_with_descriptors(120).await;
    let spec = proto::ArchiveSpec {
        layout: ArchiveLayout::Clips.into(),
        ..all_of(CAMERA)
    };
    let refused = stream(&server, spec).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(
        refused.message().contains("cannot open as many files"),
        "{refused:?}"
    );
    // What needs one file at a time is made.
    let (_, archive) = make(&server, ask(everything())).await;
    assert_eq!(archive.fault_count, 0);
    server.stop_with_archives(&site, &[&archive]);
}
