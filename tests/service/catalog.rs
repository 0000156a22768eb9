//! The catalog from outside: segments. Cameras, importing, following and timelines have files of their own.

mod cameras;
mod following;
mod importing;
mod timelines;

use chrono::{DateTime, TimeDelta, Utc};
use heldar_footage::proto::SegmentState::{Available, Missing};
use heldar_footage::proto::{self, SegmentState};
use tonic::Code;

use crate::footage::{epoch, ms};
use crate::server::{Server, Site, becomes, put, reason, seconds, time, twelve_seconds};

/// Path of a recorded file in the Heldar layout.
fn heldar(camera: &str, at: TimeDelta) -> String {
    (epoch() + at)
        .format(&format!("{camera}/%Y%m%d_%H%M%S.mp4"))
        .to_string()
}

fn utc(time: &Option<prost_types::Timestamp>) -> DateTime<Utc> {
    let time = time.as_ref().expect("a time");
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap()).unwrap()
}

/// From the start of the recordings, in milliseconds.
fn since_epoch(time: &Option<prost_types::Timestamp>) -> i64 {
    (utc(time) - epoch()).num_milliseconds()
}

fn counts(summary: &proto::ImportSummary) -> [i64; 5] {
    [
        summary.segments_added,
        summary.segments_updated,
        summary.segments_unchanged,
        summary.segments_missing,
        summary.files_left_out,
    ]
}

/// The summary in the JSON of `footage import --json`, the way `counts` gives it.
fn printed_counts(printed: &str) -> [i64; 5] {
    let job: serde_json::Value =
        serde_json::from_str(printed.lines().last().expect("a job")).unwrap();
    let summary = &job["import"];
    [
        "segmentsAdded",
        "segmentsUpdated",
        "segmentsUnchanged",
        "segmentsMissing",
        "filesLeftOut",
    ]
    .map(|name| {
        summary[name]
            .as_str()
            .map_or(0, |count| count.parse().unwrap())
    })
}

async fn timeline(
    server: &Server,
    camera: &str,
    from: i64,
    to: i64,
    resolution: i64,
) -> proto::Timeline {
    let request = proto::GetTimelineRequest {
        camera_id: camera.to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        resolution: (resolution > 0).then(|| seconds(resolution)).flatten(),
    };
    server
        .catalog()
        .get_timeline(request)
        .await
        .unwrap()
        .into_inner()
}

/// The state of each segment of a camera by its start, in milliseconds.
async fn states(server: &Server, camera: &str) -> Vec<(i64, SegmentState)> {
    let segments = server.segments(camera).await;
    segments
        .iter()
        .map(|segment| (since_epoch(&segment.start_time), segment.state()))
        .collect()
}

async fn states_become(server: &Server, camera: &str, expected: &[(i64, SegmentState)]) {
    becomes(&format!("{camera} has {expected:?}"), async || {
        (states(server, camera).await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_listed_by_each_filter_in_pages_that_survive_new_ones() {
    let site = Site::new();
    let recording = twelve_seconds();
    site.record("gate", &recording);
    site.record("yard", &recording);
    std::fs::remove_file(site.recordings().join(heldar("yard", ms(8_000)))).unwrap();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    std::fs::remove_file(site.recordings().join(heldar("gate", ms(4_000)))).unwrap();
    states_become(
        &server,
        "gate",
        &[(0, Available), (4_000, Missing), (8_000, Available)],
    )
    .await;
    let window = proto::CameraWindow {
        camera_id: "gate".to_owned(),
        start_time: time(epoch()),
        end_time: time(epoch() + ms(1_000)),
    };
    let selection = Some(proto::set_evidence_lock_request::Selection::Window(window));
    server
        .catalog()
        .set_evidence_lock(proto::SetEvidenceLockRequest {
            selection,
            ..Default::default()
        })
        .await
        .unwrap();

    let list = async |request: proto::ListSegmentsRequest| {
        server
            .catalog()
            .list_segments(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let found = async |request| {
        let segments = list(request).await.unwrap().segments;
        segments
            .iter()
            .map(|segment| (segment.camera_id.clone(), since_epoch(&segment.start_time)))
            .collect::<Vec<_>>()
    };
    let gate = |from: i64| ("gate".to_owned(), from);
    let yard = |from: i64| ("yard".to_owned(), from);
    let all = proto::ListSegmentsRequest::default;
    let of_gate = || proto::ListSegmentsRequest {
        camera_id: "gate".to_owned(),
        ..all()
    };
    assert_eq!(
        found(of_gate()).await,
        [gate(8_000), gate(4_000), gate(0)],
        "newest first"
    );
    assert_eq!(found(all()).await.len(), 5);
    assert_eq!(
        found(proto::ListSegmentsRequest {
            start_time: time(epoch() + ms(8_500)),
            ..all()
        })
        .await,
        [gate(8_000)]
    );
    let early = found(proto::ListSegmentsRequest {
        end_time: time(epoch() + ms(4_000)),
        ..all()
    })
    .await;
    assert_eq!(early.len(), 2, "the end is not inside: {early:?}");
    assert!(early.contains(&gate(0)) && early.contains(&yard(0)));
    assert_eq!(
        found(proto::ListSegmentsRequest {
            evidence_locked_only: true,
            ..all()
        })
        .await,
        [gate(0)]
    );
    assert_eq!(
        found(proto::ListSegmentsRequest {
            state: Missing.into(),
            ..all()
        })
        .await,
        [gate(4_000)]
    );
    assert_eq!(
        found(proto::ListSegmentsRequest {
            state: Available.into(),
            ..of_gate()
        })
        .await,
        [gate(8_000), gate(0)]
    );

    let page = list(proto::ListSegmentsRequest {
        page_size: 2,
        ..of_gate()
    })
    .await
    .unwrap();
    assert_eq!(page.segments.len(), 2);
    put(
        &recording.segments[0].path,
        &site.recordings().join(heldar("gate", ms(60_000))),
    );
    becomes("the new segment is there", async || {
        (server.segments("gate").await.len() == 4).then_some(())
    })
    .await;
    let token = page.next_page_token;
    let rest = proto::ListSegmentsRequest {
        page_size: 2,
        page_token: token.clone(),
        ..of_gate()
    };
    let page = list(rest.clone()).await.unwrap();
    assert_eq!(
        page.segments
            .iter()
            .map(|segment| since_epoch(&segment.start_time))
            .collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(page.next_page_token, "");

    let wrong = [
        (
            proto::ListSegmentsRequest {
                camera_id: "yard".to_owned(),
                ..rest.clone()
            },
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
        ),
        (
            proto::ListSegmentsRequest {
                page_token: "x".to_owned(),
                ..rest
            },
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
        ),
        (
            proto::ListSegmentsRequest {
                page_size: 1001,
                ..all()
            },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            proto::ListSegmentsRequest { state: 99, ..all() },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            proto::ListSegmentsRequest {
                start_time: time(epoch()),
                end_time: time(epoch()),
                ..all()
            },
            Code::InvalidArgument,
            "WINDOW_REVERSED",
        ),
        (
            proto::ListSegmentsRequest {
                camera_id: "nobody".to_owned(),
                ..all()
            },
            Code::NotFound,
            "CAMERA_NOT_FOUND",
        ),
    ];
    for (request, code, why) in wrong {
        let status = list(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
    }
    let of_cameras = proto::ListCamerasRequest {
        page_token: token,
        ..Default::default()
    };
    let status = server.catalog().list_cameras(of_cameras).await.unwrap_err();
    assert_eq!(reason(&status), "PAGE_TOKEN_INVALID");
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
