//! Many fields that are wrong, all of them named at once.

use super::*;

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
        quick: false,
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
