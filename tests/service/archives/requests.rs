//! Requests of ArchiveService that are wrong or hostile: every method, every field, all of them at once.

use std::os::unix::fs::symlink;

use heldar_footage::proto;
use tonic::{Code, Status};

use super::asking::{
    all_of, ask, check_bytes, create, delete, download, entry, everything, get, later, make,
    stream, two_cameras,
};
use crate::footage::epoch;
use crate::hostile::requests::{bad_ids, check_invalid, check_missing, check_told};
use crate::recorder::{CAMERA, heldar_name};
use crate::server::{Server, fields, reason};

async fn list(server: &Server, request: proto::ListArchivesRequest) -> Result<(), Status> {
    server.archives().list_archives(request).await.map(drop)
}

async fn verify(server: &Server, request: proto::VerifyArchiveRequest) -> Result<(), Status> {
    server.archives().verify_archive(request).await.map(drop)
}

async fn verify_id(server: &Server, archive_id: &str) -> Result<(), Status> {
    let request = proto::VerifyArchiveRequest {
        archive_id: archive_id.to_owned(),
        ..Default::default()
    };
    verify(server, request).await
}

#[tokio::test]
async fn ids_that_are_none_are_refused_by_every_method_with_the_path_of_the_field() {
    let site = two_cameras();
    let server = site.start().await;
    let mut ids = bad_ids();
    ids.push(String::new());
    for id in &ids {
        let what = format!("{id:?}");
        let of_camera = || proto::ArchiveSpec {
            camera_ids: vec![CAMERA.to_owned(), id.clone()],
            ..everything()
        };
        let field = "spec.camera_ids[1]";
        let answer = create(&server, later(of_camera())).await.map(drop);
        check_invalid(&what, answer, field);
        let answer = stream(&server, of_camera()).await.map(drop);
        check_invalid(&what, answer, field);
        let request = proto::ListArchivesRequest {
            camera_ids: vec![id.clone()],
            ..Default::default()
        };
        check_invalid(&what, list(&server, request).await, "camera_ids[0]");
    }
    check_invalid("empty", get(&server, "").await.map(drop), "archive_id");
    check_invalid("empty", delete(&server, "").await, "archive_id");
    check_invalid(
        "empty",
        download(&server, "", 0, 0).await.map(drop),
        "archive_id",
    );
    check_invalid("empty", verify_id(&server, "").await, "archive_id");
    for id in bad_ids() {
        for id in [id.clone(), format!("bkj_{id}\n"), format!("job_{id}/")] {
            let what = format!("{id:?}");
            let why = "ARCHIVE_NOT_FOUND";
            check_missing(&what, get(&server, &id).await.map(drop), why);
            check_missing(&what, delete(&server, &id).await, why);
            check_missing(&what, download(&server, &id, 0, 0).await.map(drop), why);
            check_missing(&what, verify_id(&server, &id).await, why);
        }
        let what = format!("{id:?}");
        for validate_only in [true, false] {
            let request = proto::CreateArchiveRequest {
                archive_id: format!("bkj_{id}/"),
                validate_only,
                ..later(everything())
            };
            check_invalid(
                &what,
                create(&server, request).await.map(drop),
                "archive_id",
            );
        }
        let request = proto::CreateArchiveRequest {
            request_id: id.clone(),
            ..later(everything())
        };
        check_invalid(
            &what,
            create(&server, request).await.map(drop),
            "request_id",
        );
        let request = proto::VerifyArchiveRequest {
            archive_id: "bkj_any".to_owned(),
            request_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, verify(&server, request).await, "request_id");
        let request = proto::ListArchivesRequest {
            page_token: id.clone(),
            ..Default::default()
        };
        let refused = list(&server, request).await.expect_err(&what);
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
        );
        check_told(&refused);
    }
    // Ids of other things are no archives.
    for id in ["clip_a", "job_a", "bkd_a", "bkj_unknown"] {
        check_missing(id, get(&server, id).await.map(drop), "ARCHIVE_NOT_FOUND");
    }
    let (_, archive) = make(&server, ask(everything())).await;
    server.stop_with_archives(&site, &[&archive]);
}

/// Checks that a call names exactly these fields, each once or more.
fn check_all_named(what: &str, answer: Result<(), Status>, expected: &[&str]) {
    let refused = answer.expect_err(what);
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{what}"
    );
    let mut named = fields(&refused);
    named.sort();
    named.dedup();
    assert_eq!(named, expected, "{what}");
    check_told(&refused);
}

/// A selection in which everything is wrong.
fn all_wrong() -> proto::ArchiveSpec {
    proto::ArchiveSpec {
        start_time: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        }),
        end_time: None,
        camera_ids: vec!["../x".to_owned(), CAMERA.to_owned(), "A".to_owned()],
        evidence_only: true,
        trim: true,
        layout: 99,
        all_or_nothing: true,
        case_id: "x".repeat(129),
        operator: "\u{1b}[2J".to_owned(),
        reason: "a\rb".to_owned(),
    }
}

const ALL_OF_SPEC: [&str; 8] = [
    "spec.camera_ids[0]",
    "spec.camera_ids[2]",
    "spec.case_id",
    "spec.layout",
    "spec.operator",
    "spec.reason",
    "spec.start_time",
    "spec.trim",
];

#[tokio::test]
async fn all_bad_fields_are_named_at_once_by_every_method_and_nothing_is_made() {
    let site = two_cameras();
    let server = site.start().await;
    let too_long = Some(prost_types::Duration {
        seconds: 61,
        nanos: 0,
    });
    let negative = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let labels = || [("a\nb".to_owned(), "x".repeat(256))].into();
    for validate_only in [true, false] {
        let request = proto::CreateArchiveRequest {
            spec: Some(all_wrong()),
            archive_id: "bkj_../x".to_owned(),
            labels: labels(),
            wait: too_long,
            request_id: "-y".to_owned(),
            validate_only,
            keep_for: negative,
            created_by: "x".repeat(201),
        };
        let others = [
            "archive_id",
            "created_by",
            "keep_for",
            "labels",
            "request_id",
        ];
        let expected = [&others[..], &ALL_OF_SPEC, &["wait"]].concat();
        let answer = create(&server, request).await.map(drop);
        check_all_named("CreateArchive", answer, &expected);
    }
    let request = proto::StreamArchiveRequest {
        spec: Some(all_wrong()),
        created_by: "\n".to_owned(),
    };
    let expected = [&["created_by"], &ALL_OF_SPEC[..]].concat();
    let answer = server.archives().stream_archive(request).await.map(drop);
    check_all_named("StreamArchive", answer, &expected);

    let answer = create(&server, proto::CreateArchiveRequest::default()).await;
    check_all_named("no selection", answer.map(drop), &["spec"]);
    let request = proto::StreamArchiveRequest::default();
    let answer = server.archives().stream_archive(request).await.map(drop);
    check_all_named("no selection", answer, &["spec"]);

    let bad_time = all_wrong().start_time;
    let request = proto::ListArchivesRequest {
        camera_ids: vec!["../x".to_owned()],
        start_time: bad_time,
        end_time: bad_time,
        labels: labels(),
        page_size: -1,
        ..Default::default()
    };
    let expected = [
        "camera_ids[0]",
        "end_time",
        "labels",
        "page_size",
        "start_time",
    ];
    check_all_named("ListArchives", list(&server, request).await, &expected);

    let answer = download(&server, "", -1, -1).await.map(drop);
    let expected = ["archive_id", "limit_bytes", "offset_bytes"];
    check_all_named("DownloadArchive", answer, &expected);

    let request = proto::VerifyArchiveRequest {
        archive_id: String::new(),
        wait: too_long,
        request_id: "-y".to_owned(),
        labels: labels(),
        created_by: "\u{7f}".to_owned(),
    };
    let expected = ["archive_id", "created_by", "labels", "request_id", "wait"];
    check_all_named("VerifyArchive", verify(&server, request).await, &expected);
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn texts_of_the_longest_length_and_of_any_letters_come_back_as_they_were_given() {
    let site = two_cameras();
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        case_id: "ü".repeat(128),
        operator: "'; DROP TABLE archives; --\u{202e}\"\\{{".to_owned(),
        reason: format!("<script>\n{}", "x".repeat(1015)),
        layout: proto::ArchiveLayout::Segments.into(),
        ..all_of(CAMERA)
    };
    let (_, archive) = make(&server, ask(spec.clone())).await;
    assert_eq!(archive.spec, Some(spec.clone()));
    assert_eq!(get(&server, &archive.id).await.unwrap(), archive);
    let request = proto::ListArchivesRequest {
        case_id: spec.case_id.clone(),
        operator: spec.operator.clone(),
        ..Default::default()
    };
    let found = server.archives().list_archives(request).await.unwrap();
    assert_eq!(found.into_inner().archives, std::slice::from_ref(&archive));
    let zip = site.archives().join(&archive.file_name);
    let manifest: serde_json::Value =
        serde_json::from_slice(&entry(&zip, "manifest.json")).unwrap();
    let told = manifest.to_string();
    for text in [&spec.case_id, &spec.operator, &spec.reason] {
        let quoted = serde_json::Value::from(text.as_str()).to_string();
        assert!(told.contains(&quoted), "{quoted} in {told}");
    }
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_recording_that_became_a_link_is_left_out_and_what_it_points_to_stays_secret() {
    let site = two_cameras();
    let secret = site.path("secret.mp4");
    let words = "what nobody may see";
    std::fs::write(&secret, words.repeat(100)).unwrap();
    let first = heldar_name(CAMERA, epoch());
    let path = site.recordings().join(&first);
    std::fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    // So is one whose folder became a link.
    let folder = site.recordings().join("yard_02");
    std::fs::rename(&folder, site.path("moved")).unwrap();
    symlink(site.path("moved"), &folder).unwrap();

    let server = site.start().await;
    let (job, archive) = make(&server, ask(everything())).await;
    assert_eq!(archive.fault_count, 4, "{:?}", archive.faults);
    for fault in &archive.faults {
        assert_eq!(
            fault.kind(),
            proto::ArchiveFaultKind::Unreadable,
            "{fault:?}"
        );
    }
    assert_eq!(job.warnings.len(), 1, "{:?}", job.warnings);
    let (_, bytes) = download(&server, &archive.id, 0, 0).await.unwrap();
    check_bytes(&archive, &bytes);
    let words = words.as_bytes();
    assert!(!bytes.windows(words.len()).any(|part| part == words));
    let told = format!("{job:?}");
    assert!(!told.contains(site.path("").to_str().unwrap()), "{told}");

    let strict = proto::ArchiveSpec {
        all_or_nothing: true,
        ..everything()
    };
    let refused = create(&server, ask(strict)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "FILE_DAMAGED")
    );
    check_told(&refused);
    server.stop_with_archives(&site, &[&archive]);
}
