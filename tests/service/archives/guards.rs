//! What is checked before a byte is written: the words, the codes, and that nothing is made.

use heldar_footage::proto;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::asking::{
    all_of, archive_jobs, archive_of, ask, check_bytes, check_refused, create, delete, download,
    everything, get, header_of, later, make, plan, rest_of, stream, trimmed, two_cameras,
    two_cameras_for_ffmpeg, with_footage,
};
use crate::footage::epoch;
use crate::recorder::{CAMERA, import, unfollowed};
use crate::server::{Server, Site, becomes, fields, files_in, reason, seconds, time};
use crate::small_disk::SmallDisk;

/// How each method that takes a selection refuses this one; it must be in the same way.
async fn refusal(server: &Server, spec: proto::ArchiveSpec) -> tonic::Status {
    let asked = proto::CreateArchiveRequest {
        validate_only: true,
        ..later(spec.clone())
    };
    let planned = create(server, asked).await.unwrap_err();
    let streamed = stream(server, spec.clone()).await.unwrap_err();
    let refused = create(server, ask(spec)).await.unwrap_err();
    for other in [planned, streamed] {
        assert_eq!(other.message(), refused.message());
        assert_eq!(other.code(), refused.code());
        assert_eq!(other.details(), refused.details());
    }
    refused
}

/// Checks that no archive and no job for one was made.
async fn check_nothing_made(site: &Site, server: &Server) {
    assert_eq!(archive_jobs(server).await, [], "a refused call made a job");
    assert_eq!(files_in(&site.archives()), Vec::<String>::new());
}

#[tokio::test]
async fn selections_that_make_no_archive_are_refused_with_the_words_that_clients_know() {
    let site = two_cameras();
    let server = site.start().await;
    let window = |from_ms, to_ms| proto::ArchiveSpec {
        trim: false,
        ..trimmed(from_ms, to_ms)
    };

    let unknown = proto::ArchiveSpec {
        camera_ids: vec![CAMERA.to_owned(), "nobody".to_owned()],
        // That nothing is there would come next.
        ..window(90_000, 95_000)
    };
    let refused = refusal(&server, unknown).await;
    let words = "camera nobody not found";
    check_refused(&refused, Code::NotFound, "CAMERA_NOT_FOUND", words);
    let resource = refused.get_details_resource_info().unwrap();
    assert_eq!(
        (resource.resource_type, resource.resource_name),
        ("camera".to_owned(), "nobody".to_owned())
    );

    let evidence = proto::ArchiveSpec {
        evidence_only: true,
        ..everything()
    };
    let nothing_yet = proto::ArchiveSpec {
        end_time: time(epoch()),
        ..everything()
    };
    for empty in [
        window(90_000, 95_000),
        trimmed(90_000, 95_000),
        nothing_yet,
        evidence,
    ] {
        let refused = refusal(&server, empty).await;
        let words = "no recorded footage matches the requested archive selection";
        check_refused(&refused, Code::NotFound, "NO_FOOTAGE", words);
        assert!(refused.get_details_resource_info().is_some());
    }

    for (from_ms, to_ms) in [(5_000, 5_000), (5_000, 4_999)] {
        let refused = refusal(&server, window(from_ms, to_ms)).await;
        let words = "`to` must be after `from`";
        check_refused(&refused, Code::InvalidArgument, "WINDOW_REVERSED", words);
        assert_eq!(fields(&refused), ["spec.end_time"]);
    }
    let reversed_and_more = proto::ArchiveSpec {
        operator: "x".repeat(200),
        ..window(5_000, 4_999)
    };
    let refused = refusal(&server, reversed_and_more).await;
    assert_eq!(reason(&refused), "INVALID_FIELD");
    assert_eq!(fields(&refused), ["spec.operator", "spec.end_time"]);

    let whole = trimmed(0, 5_000);
    for open in [
        proto::ArchiveSpec {
            start_time: None,
            ..whole.clone()
        },
        proto::ArchiveSpec {
            end_time: None,
            ..whole.clone()
        },
        proto::ArchiveSpec {
            start_time: None,
            end_time: None,
            ..whole
        },
    ] {
        let refused = refusal(&server, open).await;
        let words = "`trim` requires both `from` and `to`";
        check_refused(&refused, Code::InvalidArgument, "INVALID_FIELD", words);
        assert_eq!(fields(&refused), ["spec.trim"]);
    }
    check_nothing_made(&site, &server).await;
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn a_selection_of_exactly_the_limit_passes_and_a_larger_one_is_refused() {
    let mut site = two_cameras();
    let server = site.start().await;
    let both = plan(&server, everything()).await.source_bytes;
    let one = plan(&server, all_of(CAMERA)).await.source_bytes;
    assert_eq!(server.stop(), 0);

    site.set("HELDAR_ARCHIVE_MAX_BYTES", one.to_string());
    let server = site.start().await;
    let refused = refusal(&server, everything()).await;
    let words = format!(
        "archive selection is {both} bytes; exceeds the limit of {one} bytes (HELDAR_ARCHIVE_MAX_BYTES)"
    );
    let code = Code::InvalidArgument;
    check_refused(&refused, code, "ARCHIVE_TOO_LARGE", &words);
    assert_eq!(fields(&refused), ["spec"]);
    check_nothing_made(&site, &server).await;
    let (_, archive) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(archive.source_bytes, one);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_selection_of_exactly_as_many_segments_as_are_allowed_passes_and_one_of_more_is_refused()
{
    let site = two_cameras().with("HELDAR_ARCHIVE_MAX_SEGMENTS", "3");
    let server = site.start().await;
    let refused = refusal(&server, everything()).await;
    let words = "archive selection is 6 segments; exceeds the limit of 3 segments (HELDAR_ARCHIVE_MAX_SEGMENTS)";
    let code = Code::InvalidArgument;
    check_refused(&refused, code, "ARCHIVE_TOO_LARGE", words);
    assert_eq!(fields(&refused), ["spec"]);
    check_nothing_made(&site, &server).await;
    let (_, archive) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(archive.cameras[0].segment_count, 3);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn segments_that_vanished_count_as_well() {
    let site = unfollowed().with("HELDAR_ARCHIVE_MAX_SEGMENTS", "5");
    let paths = with_footage(&site);
    std::fs::remove_file(&paths[0]).unwrap();
    import(&site, &[]);
    let server = site.start().await;
    let refused = refusal(&server, everything()).await;
    let words = "archive selection is 6 segments; exceeds the limit of 5 segments (HELDAR_ARCHIVE_MAX_SEGMENTS)";
    check_refused(&refused, Code::InvalidArgument, "ARCHIVE_TOO_LARGE", words);
    check_nothing_made(&site, &server).await;
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn the_folder_holds_no_more_than_it_may_and_expired_archives_make_room() {
    let mut site = two_cameras();
    let server = site.start().await;
    let size = plan(&server, everything()).await.size_bytes;
    assert_eq!(server.stop(), 0);

    site.set("HELDAR_ARCHIVE_DIR_MAX_BYTES", (2 * size - 1).to_string());
    let server = site.start().await;
    let (_, first) = make(&server, ask(everything())).await;
    assert_eq!(first.size_bytes, size);
    let words = format!(
        "not enough free disk for this export: need ~{size} bytes, {} free (HELDAR_ARCHIVE_DIR_MAX_BYTES)",
        size - 1
    );
    for validate_only in [true, false] {
        let request = proto::CreateArchiveRequest {
            validate_only,
            ..ask(everything())
        };
        let refused = create(&server, request).await.unwrap_err();
        check_refused(&refused, Code::ResourceExhausted, "DISK_FULL", &words);
        let quota = refused.get_details_quota_failure().unwrap();
        assert_eq!(quota.violations[0].description, words);
        assert!(refused.get_details_retry_info().is_some());
    }
    assert_eq!(files_in(&site.archives()), [first.file_name.as_str()]);
    // What leaves no file needs no room.
    let mut streaming = stream(&server, everything()).await.unwrap();
    header_of(&mut streaming).await;
    let (bytes, streamed) = rest_of(streaming).await;
    check_bytes(&streamed.unwrap(), &bytes);

    delete(&server, &first.id).await.unwrap();
    let short_lived = proto::CreateArchiveRequest {
        keep_for: seconds(1),
        ..ask(everything())
    };
    let (_, second) = make(&server, short_lived).await;
    let third = becomes("the second archive's time is over", async || {
        create(&server, ask(everything())).await.ok()
    })
    .await;
    let third = archive_of(&third);
    let gone = get(&server, &second.id).await.unwrap_err();
    assert_eq!(reason(&gone), "ARCHIVE_NOT_FOUND");
    server.stop_with_archives(&site, &[&third]);
}

#[tokio::test]
async fn a_disk_with_too_little_room_refuses_an_archive_and_not_a_stream() {
    let mut site = unfollowed();
    let disk = SmallDisk::mount(site.path("disk"), 64 << 20);
    site.set("HELDAR_ARCHIVE_DIR", disk.at.to_str().unwrap());
    with_footage(&site);
    let server = site.start().await;
    let mut size = 0;
    for spec in [trimmed(1_000, 15_000), everything()] {
        let mut streaming = stream(&server, spec).await.unwrap();
        size = header_of(&mut streaming).await.size_bytes;
        let (bytes, streamed) = rest_of(streaming).await;
        check_bytes(&streamed.unwrap(), &bytes);
    }

    for validate_only in [true, false] {
        let request = proto::CreateArchiveRequest {
            validate_only,
            ..ask(everything())
        };
        let refused = create(&server, request).await.unwrap_err();
        let words = format!(
            "not enough free disk for this export: need ~{} bytes, {} free",
            size + (1 << 30),
            64 << 20
        );
        check_refused(&refused, Code::ResourceExhausted, "DISK_FULL", &words);
        assert!(refused.get_details_quota_failure().is_some());
        assert!(refused.get_details_retry_info().is_some());
    }
    check_nothing_made(&site, &server).await;
    assert_eq!(files_in(&disk.at), Vec::<String>::new());
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn what_is_cut_needs_room_on_the_disk_where_it_is_cut() {
    let site = unfollowed();
    let disk = SmallDisk::mount(site.path("disk"), 64 << 20);
    with_footage(&site);
    std::os::unix::fs::symlink(&disk.at, site.data().join("scratch")).unwrap();
    let server = site.start().await;
    let refused = refusal(&server, trimmed(1_000, 15_000)).await;
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "DISK_FULL")
    );
    let free = format!(" bytes, {} free", 64 << 20);
    assert!(refused.message().ends_with(&free), "{}", refused.message());
    check_nothing_made(&site, &server).await;
    assert_eq!(files_in(&disk.at), Vec::<String>::new());
    let (_, archive) = make(&server, ask(everything())).await;
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn without_ffmpeg_only_what_it_would_have_to_cut_is_refused() {
    let site = two_cameras_for_ffmpeg().with("HELDAR_FFMPEG_BIN", "/nowhere/ffmpeg");
    let server = site.start().await;
    let clips = proto::ArchiveSpec {
        layout: proto::ArchiveLayout::Clips.into(),
        ..everything()
    };
    for spec in [trimmed(1_000, 15_000), clips] {
        let refused = refusal(&server, spec).await;
        let words = "ffmpeg binary `/nowhere/ffmpeg` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN";
        let code = Code::FailedPrecondition;
        check_refused(&refused, code, "FFMPEG_UNAVAILABLE", words);
        let unmet = refused.get_details_precondition_failure().unwrap();
        assert_eq!(unmet.violations[0].subject, "ffmpeg");
    }
    check_nothing_made(&site, &server).await;
    let (_, archive) = make(&server, ask(everything())).await;
    let (_, bytes) = download(&server, &archive.id, 0, 0).await.unwrap();
    check_bytes(&archive, &bytes);
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn what_cameras_write_is_cut_for_an_archive_without_ffmpeg() {
    let site = two_cameras().with("HELDAR_FFMPEG_BIN", "/nowhere/ffmpeg");
    let server = site.start().await;
    let clips = proto::ArchiveSpec {
        layout: proto::ArchiveLayout::Clips.into(),
        ..everything()
    };
    let mut made = Vec::new();
    for spec in [trimmed(1_000, 15_000), clips] {
        let (_, archive) = make(&server, ask(spec)).await;
        let (_, bytes) = download(&server, &archive.id, 0, 0).await.unwrap();
        check_bytes(&archive, &bytes);
        assert_eq!(archive.faults, []);
        made.push(archive);
    }
    server.stop_with_archives(&site, &made.iter().collect::<Vec<_>>());
}
