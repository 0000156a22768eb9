//! What breaks around an archive: disks that fill up, an ffmpeg that hangs.

use heldar_footage::proto::{self, JobState};

use super::asking::{
    all_of, archive_of, ask, check_bytes, delete, download, entry, everything, header_of, hollow,
    later, make, one_cut, plan, rest_of, stream, submit, thirty_seconds, thirty_seconds_for_ffmpeg,
    trimmed, two_cameras_for_ffmpeg, with_footage_for_ffmpeg,
};
use super::jobs::{packing, with_a_long_recording};
use super::unpacked::fetch;
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, heldar_name, import, lay, unfollowed};
use crate::server::{Site, ended, eventually, files_in, notice_reason};
use crate::small_disk::SmallDisk;
use crate::stand_in::{Gate, script};

/// The reason and the words of a job that failed, which must not tell where things lie on the server.
fn failure(site: &Site, job: &proto::Job) -> (String, String) {
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    assert!(job.result.is_none());
    let error = job.error.as_ref().unwrap();
    let told = format!("{error:?}");
    assert!(!told.contains(site.path("").to_str().unwrap()), "{told}");
    (notice_reason(error), error.message.clone())
}

#[tokio::test]
async fn a_disk_that_filled_up_since_the_request_fails_the_job_and_leaves_nothing() {
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    let disk = SmallDisk::mount(site.path("disk"), 2 << 30);
    site.set("HELDAR_ARCHIVE_DIR", disk.at.to_str().unwrap());
    with_footage_for_ffmpeg(&site);
    let server = site.start().await;
    let job_id = submit(&server, later(one_cut())).await;
    gate.reached_by(1);
    disk.resize(1 << 30);
    gate.open();
    let job = ended(&server, &job_id).await;
    let (why, words) = failure(&site, &job);
    assert_eq!(why, "DISK_FULL", "{words}");
    let begin = "not enough free disk for this export: need ~";
    assert!(
        words.starts_with(begin) && words.ends_with(" free"),
        "{words}"
    );
    assert_eq!(files_in(&disk.at), Vec::<String>::new(), "unfinished files");
    disk.resize(2 << 30);
    let (_, archive) = make(&server, ask(everything())).await;
    assert_eq!(files_in(&disk.at), [archive.file_name.as_str()]);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn an_ffmpeg_that_finds_the_disk_full_fails_the_job_and_ends_the_stream_as_such() {
    let mut site = two_cameras_for_ffmpeg();
    script(
        &mut site,
        "full-ffmpeg",
        "echo \"av_interleaved_write_frame(): No space left on device\" >&2\nexit 228",
    );
    let server = site.start().await;
    let job_id = submit(&server, later(one_cut())).await;
    let job = ended(&server, &job_id).await;
    assert_eq!(failure(&site, &job).0, "DISK_FULL");
    let refused = stream(&server, one_cut()).await.unwrap_err();
    assert_eq!(
        (refused.code(), crate::server::reason(&refused).as_str()),
        (tonic::Code::ResourceExhausted, "DISK_FULL")
    );
    let (_, archive) = make(&server, ask(everything())).await;
    let (_, bytes) = download(&server, &archive.id, 0, 0).await.unwrap();
    check_bytes(&archive, &bytes);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn an_archive_that_takes_too_long_is_ended_by_the_time_limit() {
    let mut site = two_cameras_for_ffmpeg().with("HELDAR_ARCHIVE_TIMEOUT_S", "5");
    let gate = Gate::of(&mut site);
    let server = site.start().await;
    let job_id = submit(&server, later(one_cut())).await;
    gate.reached_by(1);
    let job = ended(&server, &job_id).await;
    assert_eq!(
        failure(&site, &job),
        (
            "TIMED_OUT".to_owned(),
            "archive export timed out".to_owned()
        )
    );
    assert!(gate.waiting().is_empty(), "ffmpeg outlives its job");
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    let (bytes, archive) = rest_of(streaming).await;
    check_bytes(&archive.unwrap(), &bytes);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn sources_that_are_deleted_while_a_job_runs_are_archived_whole() {
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    let paths = lay(&site, CAMERA, &thirty_seconds_for_ffmpeg().record());
    import(&site, &[]);
    let copies: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        layout: proto::ArchiveLayout::SegmentsAndClips.into(),
        ..all_of(CAMERA)
    };
    let job_id = submit(&server, later(spec)).await;
    gate.reached_by(1);
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    gate.open();
    let job = ended(&server, &job_id).await;
    let archive = archive_of(&job);
    assert_eq!(
        (archive.faults.as_slice(), job.warnings.as_slice()),
        (&[][..], &[][..])
    );
    let zip = site.archives().join(&archive.file_name);
    for (path, copy) in paths.iter().zip(copies) {
        let name = path
            .strip_prefix(site.recordings())
            .unwrap()
            .to_str()
            .unwrap();
        assert!(entry(&zip, name) == copy, "{name}");
    }
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn the_end_of_one_export_frees_nothing_that_another_reads() {
    let mut site = unfollowed();
    let mut gate = Gate::of(&mut site);
    let paths = lay(&site, CAMERA, &thirty_seconds_for_ffmpeg().record());
    import(&site, &[]);
    let copies: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        layout: proto::ArchiveLayout::SegmentsAndClips.into(),
        ..all_of(CAMERA)
    };
    let slow = submit(&server, later(spec)).await;
    gate.reached_by(1);
    let held = server.holds_open(&site.recordings());
    assert!(held >= paths.len(), "{held} held");
    // It reads the same segments, needs no ffmpeg, and is done with them first.
    let (_, quick) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(server.holds_open(&site.recordings()), held);
    for path in &paths {
        std::fs::remove_file(path).unwrap();
    }
    gate.open();
    let archive = archive_of(&ended(&server, &slow).await);
    assert_eq!(archive.faults, []);
    for made in [&archive, &quick] {
        let zip = site.archives().join(&made.file_name);
        for (path, copy) in paths.iter().zip(&copies) {
            let name = path.strip_prefix(site.recordings()).unwrap();
            assert!(entry(&zip, name.to_str().unwrap()) == *copy, "{name:?}");
        }
    }
    eventually("nothing is held any more", || {
        server.holds_open(&site.recordings()) == 0
    });
    server.stop_with_archives(&site, &[&archive, &quick]);
}

#[tokio::test]
async fn a_source_that_shrinks_while_it_is_packed_is_a_fault_or_the_end_where_all_were_wanted() {
    let site = with_a_long_recording();
    let server = site.start().await;
    // It comes after the long one.
    let last = site
        .recordings()
        .join(heldar_name(CAMERA, epoch() + ms(20_000)));
    let whole = std::fs::read(&last).unwrap();
    for all_or_nothing in [true, false] {
        let spec = proto::ArchiveSpec {
            all_or_nothing,
            ..everything()
        };
        let size = plan(&server, spec.clone()).await.size_bytes;
        let job_id = submit(&server, later(spec)).await;
        packing(&server, &job_id).await;
        let file = std::fs::File::options().write(true).open(&last).unwrap();
        file.set_len(whole.len() as u64 / 2).unwrap();
        let job = ended(&server, &job_id).await;
        if all_or_nothing {
            let (why, words) = failure(&site, &job);
            assert_eq!(why, "FILE_DAMAGED", "{words}");
            assert_eq!(files_in(&site.archives()), Vec::<String>::new());
            std::fs::write(&last, &whole).unwrap();
            continue;
        }
        let archive = archive_of(&job);
        let [fault] = archive.faults.as_slice() else {
            panic!("{:?}", archive.faults)
        };
        assert_eq!(fault.kind(), proto::ArchiveFaultKind::Unreadable);
        assert_eq!(job.warnings.len(), 1);
        let bytes: i64 = archive.cameras.iter().map(|camera| camera.size_bytes).sum();
        assert_eq!(bytes, archive.source_bytes, "only what is there is counted");
        let lost = whole.len() - whole.len() / 2;
        assert!(archive.source_bytes <= size - lost as i64);
        let zip = site.archives().join(&archive.file_name);
        assert_eq!(
            std::fs::metadata(&zip).unwrap().len(),
            archive.size_bytes as u64
        );
        assert!(archive.size_bytes < size);
        assert!(entry(&zip, &fault.entry_name) == whole[..whole.len() / 2]);
        delete(&server, &archive.id).await.unwrap();
    }
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_recording_that_is_only_cut_from_and_shrinks_is_a_fault_or_the_end_where_all_were_wanted()
{
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &thirty_seconds().record());
    // It is hashed first, which takes some seconds.
    hollow(&paths[1], 4 << 30);
    import(&site, &[]);
    let server = site.start().await;
    let whole = std::fs::read(&paths[2]).unwrap();
    for all_or_nothing in [true, false] {
        let spec = proto::ArchiveSpec {
            all_or_nothing,
            ..trimmed(12_000, 25_000)
        };
        let job_id = submit(&server, later(spec)).await;
        packing(&server, &job_id).await;
        let file = std::fs::File::options()
            .write(true)
            .open(&paths[2])
            .unwrap();
        file.set_len(whole.len() as u64 / 2).unwrap();
        let job = ended(&server, &job_id).await;
        std::fs::write(&paths[2], &whole).unwrap();
        crate::recorder::age(&paths[2]);
        if all_or_nothing {
            let (why, words) = failure(&site, &job);
            assert_eq!(why, "FILE_DAMAGED", "{words}");
            continue;
        }
        let archive = archive_of(&job);
        let [fault] = archive.faults.as_slice() else {
            panic!("{:?}", archive.faults)
        };
        assert_eq!(fault.kind(), proto::ArchiveFaultKind::Unreadable);
        assert_eq!(archive.entry_count, 2 + 5, "both cuts are there");
        let told = fetch(&server, &archive).await.manifest();
        assert_eq!(told["sources"].as_array().unwrap().len(), 1, "with a hash");
        delete(&server, &archive.id).await.unwrap();
    }
    server.stop_with_archives(&site, &[]);
}
