//! Requests that are wrong: every method, every field, all of them at once.

use super::*;

/// Texts that are no id of anything.
pub fn bad_ids() -> Vec<String> {
    let ids = [
        "..",
        ".",
        "../../etc/passwd",
        "/abs",
        "a/b",
        "it's",
        "a\"b",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "-rf",
        "--help",
        "A",
        "a b",
        " a",
        "a:b",
        "\u{202e}a",
        "u\u{308}",
        "%00",
        "a;DROP TABLE clips",
        "' OR 1=1 --",
        "\u{7f}",
        "a.mp4",
        "#x",
    ];
    let mut ids: Vec<String> = ids.map(str::to_owned).to_vec();
    ids.push("a".repeat(300));
    ids
}

pub fn check_told(status: &Status) {
    assert!(
        !status.message().chars().any(char::is_control),
        "control characters are told: {:?}",
        status.message()
    );
    assert!(
        status.message().len() < 1_000,
        "{} bytes are told",
        status.message().len()
    );
}

pub fn check_invalid(what: &str, answer: Result<(), Status>, field: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{what}: {status:?}"
    );
    assert_eq!(fields(&status), [field], "{what}");
    check_told(&status);
}

pub fn check_missing(what: &str, answer: Result<(), Status>, why: &str) {
    let status = answer.expect_err(what);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, why),
        "{what}: {status:?}"
    );
    check_told(&status);
}

/// A call whose answer does not matter.
macro_rules! called {
    ($client:expr, $method:ident, $request:expr) => {
        $client.$method($request).await.map(drop)
    };
}

#[tokio::test]
async fn ids_that_are_none_are_refused_by_every_method_with_the_path_of_the_field() {
    use heldar_footage::proto::set_evidence_lock_request::Selection;
    let recording = footage().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (mut catalog, mut clips, mut jobs) = (server.catalog(), server.clips(), server.jobs());
    let mut ids = bad_ids();
    ids.push(String::new());
    for id in &ids {
        let what = format!("{id:?}");
        let camera = Some(proto::Camera {
            id: id.clone(),
            ..Default::default()
        });
        check_invalid(
            &what,
            called!(
                catalog,
                upsert_camera,
                proto::UpsertCameraRequest {
                    camera,
                    update_mask: None
                }
            ),
            "camera.id",
        );
        check_invalid(
            &what,
            called!(
                catalog,
                get_camera,
                proto::GetCameraRequest {
                    camera_id: id.clone()
                }
            ),
            "camera_id",
        );
        let request = proto::DeleteCameraRequest {
            camera_id: id.clone(),
            force: true,
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, delete_camera, request), "camera_id");
        let request = proto::GetTimelineRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, get_timeline, request), "camera_id");
        let window = proto::CameraWindow {
            camera_id: id.clone(),
            start_time: time(epoch()),
            end_time: time(epoch() + ms(1_000)),
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Window(window)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "window.camera_id",
        );
        let chosen = proto::SegmentSelection {
            segment_ids: vec![id.clone()],
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Segments(chosen)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "segments.segment_ids",
        );
        check_invalid(
            &what,
            called!(clips, create_clip, ask(id, 0, 1_000)),
            "camera_id",
        );
    }
    check_invalid(
        "empty",
        called!(clips, get_clip, proto::GetClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, delete_clip, proto::DeleteClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, download_clip, proto::DownloadClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(jobs, get_job, proto::GetJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, watch_job, proto::WatchJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, cancel_job, proto::CancelJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, retry_job, proto::RetryJobRequest::default()),
        "job_id",
    );
    for id in bad_ids() {
        for id in [id.clone(), format!("clip_{id}\n"), format!("job_{id}/")] {
            let what = format!("{id:?}");
            check_missing(
                &what,
                called!(
                    clips,
                    get_clip,
                    proto::GetClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(
                    clips,
                    delete_clip,
                    proto::DeleteClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            let request = proto::DownloadClipRequest {
                clip_id: id.clone(),
                ..Default::default()
            };
            check_missing(
                &what,
                called!(clips, download_clip, request),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(jobs, get_job, proto::GetJobRequest { job_id: id.clone() }),
                "JOB_NOT_FOUND",
            );
            let request = proto::WatchJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, watch_job, request), "JOB_NOT_FOUND");
            check_missing(
                &what,
                called!(
                    jobs,
                    cancel_job,
                    proto::CancelJobRequest { job_id: id.clone() }
                ),
                "JOB_NOT_FOUND",
            );
            let request = proto::RetryJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, retry_job, request), "JOB_NOT_FOUND");
        }
        let what = format!("{id:?}");
        let request = proto::CreateClipRequest {
            clip_id: format!("clip_{id}/"),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "clip_id");
        let request = proto::CreateClipRequest {
            request_id: id.clone(),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "request_id");
        let request = proto::ListClipsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(clips, list_clips, request), "camera_id");
        let request = proto::ListSegmentsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, list_segments, request), "camera_id");
        let filter = Some(proto::JobFilter {
            camera_id: id.clone(),
            ..Default::default()
        });
        let request = proto::ListJobsRequest {
            filter: filter.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(jobs, list_jobs, request), "filter.camera_id");
        check_invalid(
            &what,
            called!(jobs, watch_jobs, proto::WatchJobsRequest { filter }),
            "filter.camera_id",
        );
        for token in [id.clone(), "////".to_owned()] {
            let tokens = [
                called!(
                    clips,
                    list_clips,
                    proto::ListClipsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    jobs,
                    list_jobs,
                    proto::ListJobsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_cameras,
                    proto::ListCamerasRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_segments,
                    proto::ListSegmentsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
            ];
            for answer in tokens {
                let status = answer.expect_err("a page token");
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
                );
                assert_eq!(fields(&status), ["page_token"]);
                check_told(&status);
            }
        }
        let messages = vec![proto::RegisterSegmentsRequest {
            camera_id: id.clone(),
            ..message("x", "x.mp4", 0)
        }];
        let answer = register(&server, messages).await;
        assert_eq!(answer.files_rejected, 1, "{what}");
    }
    // Nothing of all that did any harm.
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn all_bad_fields_of_a_clip_are_named_at_once() {
    let site = Site::new();
    let server = site.start().await;
    let bad_time = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    });
    let bad_duration = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let request = proto::CreateClipRequest {
        camera_id: "../x".to_owned(),
        start_time: bad_time,
        end_time: None,
        clip_id: "clip_../x".to_owned(),
        wait: Some(prost_types::Duration {
            seconds: 61,
            nanos: 0,
        }),
        request_id: "-y".to_owned(),
        keep_for: bad_duration,
        labels: [("a\nb".to_owned(), "x".repeat(256))].into(),
        created_by: "\u{1b}[2J".to_owned(),
        validate_only: false,
        engine: 99,
        gap_mode: -1,
        render: Some(proto::RenderOptions::default()),
        r#virtual: false,
        hold_sources: true,
    };
    let status = server.clips().create_clip(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    let mut named = fields(&status);
    named.sort();
    named.dedup();
    assert_eq!(
        named,
        [
            "camera_id",
            "clip_id",
            "created_by",
            "end_time",
            "engine",
            "gap_mode",
            "hold_sources",
            "keep_for",
            "labels",
            "render",
            "request_id",
            "start_time",
            "wait",
        ]
    );
    assert!(
        !status.message().chars().any(char::is_control),
        "{:?}",
        status.message()
    );
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn all_bad_fields_are_named_at_once_by_every_other_method() {
    use heldar_footage::proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    let server = site.start().await;
    let (mut catalog, mut clips, mut jobs) = (server.catalog(), server.clips(), server.jobs());
    let bad_time = Some(prost_types::Timestamp {
        seconds: 0,
        nanos: -1,
    });
    let bad = || "../x".to_owned();
    let filter = || {
        Some(proto::JobFilter {
            camera_id: bad(),
            kinds: vec![99],
            states: vec![99],
            created_by: "\n".to_owned(),
            ..Default::default()
        })
    };
    let window = proto::CameraWindow {
        camera_id: bad(),
        start_time: None,
        end_time: bad_time,
    };
    let camera = proto::Camera {
        id: bad(),
        display_name: "\n".to_owned(),
        labels: [(String::new(), String::new())].into(),
        ..Default::default()
    };
    let mask = prost_types::FieldMask {
        paths: vec!["id".to_owned()],
    };
    let answers: Vec<(&str, Result<(), Status>, &[&str])> = vec![
        (
            "UpsertCamera",
            called!(
                catalog,
                upsert_camera,
                proto::UpsertCameraRequest {
                    camera: Some(camera),
                    update_mask: Some(mask)
                }
            ),
            &[
                "camera.display_name",
                "camera.id",
                "camera.labels",
                "update_mask",
            ],
        ),
        (
            "ListSegments",
            called!(
                catalog,
                list_segments,
                proto::ListSegmentsRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    state: 99,
                    page_size: -1,
                    ..Default::default()
                }
            ),
            &["camera_id", "end_time", "page_size", "start_time", "state"],
        ),
        (
            "GetTimeline",
            called!(
                catalog,
                get_timeline,
                proto::GetTimelineRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    resolution: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0
                    }),
                }
            ),
            &["camera_id", "end_time", "resolution", "start_time"],
        ),
        (
            "SetEvidenceLock",
            called!(
                catalog,
                set_evidence_lock,
                proto::SetEvidenceLockRequest {
                    selection: Some(Selection::Window(window)),
                    incident_id: "\n".to_owned(),
                    release: false,
                    all_incidents: true,
                }
            ),
            &[
                "all_incidents",
                "incident_id",
                "window.camera_id",
                "window.end_time",
                "window.start_time",
            ],
        ),
        (
            "ListClips",
            called!(
                clips,
                list_clips,
                proto::ListClipsRequest {
                    camera_id: bad(),
                    start_time: bad_time,
                    end_time: bad_time,
                    page_size: 1001,
                    ..Default::default()
                }
            ),
            &["camera_id", "end_time", "page_size", "start_time"],
        ),
        (
            "DownloadClip",
            called!(
                clips,
                download_clip,
                proto::DownloadClipRequest {
                    clip_id: String::new(),
                    offset_bytes: -1,
                    limit_bytes: -1
                }
            ),
            &["clip_id", "limit_bytes", "offset_bytes"],
        ),
        (
            "ListJobs",
            called!(
                jobs,
                list_jobs,
                proto::ListJobsRequest {
                    filter: filter(),
                    page_size: -1,
                    ..Default::default()
                }
            ),
            &[
                "filter.camera_id",
                "filter.created_by",
                "filter.kinds",
                "filter.states",
                "page_size",
            ],
        ),
        (
            "WatchJobs",
            called!(
                jobs,
                watch_jobs,
                proto::WatchJobsRequest { filter: filter() }
            ),
            &[
                "filter.camera_id",
                "filter.created_by",
                "filter.kinds",
                "filter.states",
            ],
        ),
        (
            "WatchJob",
            called!(
                jobs,
                watch_job,
                proto::WatchJobRequest {
                    job_id: String::new(),
                    after_revision: -1
                }
            ),
            &["after_revision", "job_id"],
        ),
        (
            "RetryJob",
            called!(
                jobs,
                retry_job,
                proto::RetryJobRequest {
                    job_id: String::new(),
                    wait: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0
                    }),
                    request_id: bad(),
                }
            ),
            &["job_id", "request_id", "wait"],
        ),
    ];
    let mut wrong = Vec::new();
    for (method, answer, expected) in answers {
        let status = answer.expect_err(method);
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{method}"
        );
        let mut named = fields(&status);
        named.sort();
        named.dedup();
        if named != expected {
            wrong.push(format!("{method} names {named:?} of {expected:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn times_at_the_edge_of_what_can_be_said_are_answered_and_do_no_harm() {
    let recording = footage().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let (first, last) = (-62_135_596_800, 253_402_300_799);
    for (start, end, code) in [
        (at(first, 0), at(last, 999_999_999), Code::InvalidArgument),
        (at(first, 0), at(first + 3600, 0), Code::NotFound),
        (at(last - 3600, 0), at(last, 0), Code::NotFound),
        (at(first - 1, 0), at(first, 0), Code::InvalidArgument),
        (at(last, 0), at(last + 1, 0), Code::InvalidArgument),
        (
            at(i64::MIN, i32::MIN),
            at(i64::MAX, i32::MAX),
            Code::InvalidArgument,
        ),
        (at(0, 1), at(0, 2), Code::InvalidArgument),
        (at(0, 1_000_000_000), at(9, 0), Code::InvalidArgument),
    ] {
        let request = proto::CreateClipRequest {
            start_time: start,
            end_time: end,
            ..ask(CAMERA, 0, 0)
        };
        let status = server.clips().create_clip(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{start:?} {end:?}: {status:?}");
        let timeline = proto::GetTimelineRequest {
            camera_id: CAMERA.to_owned(),
            start_time: start,
            end_time: end,
            resolution: None,
        };
        if let Err(status) = server.catalog().get_timeline(timeline).await {
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{start:?} {end:?}: {status:?}"
            );
        }
        let mut register_at = message(CAMERA, "x.mp4", 0);
        register_at.start_time = start;
        register(&server, vec![register_at]).await;
    }
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}
