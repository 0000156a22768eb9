//! Timelines and evidence locks.

use heldar_footage::proto::{self, GapReason};
use tonic::Code;

use super::{heldar, since_epoch, timeline};
use crate::footage::{epoch, ms};
use crate::server::{Site, reason, seconds, time, twelve_seconds};

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_has_spans_gaps_and_locks_that_fill_the_window() {
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    std::fs::remove_file(site.recordings().join(heldar("gate", ms(4_000)))).unwrap();
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let segments = server.segments("gate").await;
    let window = |from: &Option<prost_types::Timestamp>, to: &Option<prost_types::Timestamp>| {
        (since_epoch(from), since_epoch(to))
    };
    let spans = |timeline: &proto::Timeline| {
        timeline
            .spans
            .iter()
            .map(|span| window(&span.start_time, &span.end_time))
            .collect::<Vec<_>>()
    };
    let gaps = |timeline: &proto::Timeline| {
        timeline
            .gaps
            .iter()
            .map(|gap| {
                (
                    since_epoch(&gap.start_time),
                    since_epoch(&gap.end_time),
                    gap.reason(),
                )
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (
        window(&segments[0].start_time, &segments[0].end_time),
        window(&segments[1].start_time, &segments[1].end_time),
    );

    let wide = timeline(&server, "gate", -10_000, 20_000, 0).await;
    assert_eq!(spans(&wide), [first, second]);
    let none = GapReason::NotRecorded;
    assert_eq!(
        gaps(&wide),
        [
            (-10_000, 0, none),
            (first.1, 8_000, none),
            (second.1, 20_000, none)
        ]
    );
    let covered = wide.covered.unwrap();
    assert_eq!(
        covered.seconds * 1000 + i64::from(covered.nanos / 1_000_000),
        first.1 - first.0 + second.1 - second.0
    );
    assert_eq!(wide.resolution, seconds(1));

    let narrow = timeline(&server, "gate", 1_000, 9_000, 0).await;
    assert_eq!(
        spans(&narrow),
        [(1_000, first.1), (8_000, 9_000)],
        "cut to the window"
    );
    let coarse = timeline(&server, "gate", -10_000, 20_000, 5).await;
    assert_eq!(
        spans(&coarse),
        [(0, second.1)],
        "jumps below the resolution are closed"
    );
    assert_eq!((gaps(&coarse).len(), coarse.resolution), (2, seconds(5)));

    // Without bounds it is all that was recorded.
    let whole = proto::GetTimelineRequest {
        camera_id: "gate".to_owned(),
        ..Default::default()
    };
    let whole = server
        .catalog()
        .get_timeline(whole)
        .await
        .unwrap()
        .into_inner();
    let asked = whole.window.unwrap();
    assert_eq!(window(&asked.start_time, &asked.end_time), (0, second.1));
    assert_eq!(spans(&whole), [first, second]);

    let request = |from, to| proto::GetTimelineRequest {
        camera_id: "gate".to_owned(),
        start_time: time(epoch() + ms(from)),
        end_time: time(epoch() + ms(to)),
        resolution: None,
    };
    let status = server
        .catalog()
        .get_timeline(request(5, 5))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "WINDOW_REVERSED")
    );
    assert_eq!(status.message(), "`to` must be after `from`");
    let nobody = proto::GetTimelineRequest {
        camera_id: "nobody".to_owned(),
        ..request(0, 5)
    };
    let status = server.catalog().get_timeline(nobody).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), status.message()),
        ("CAMERA_NOT_FOUND", "camera nobody not found")
    );
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_held_for_each_incident_until_that_incident_is_released() {
    use proto::set_evidence_lock_request::Selection;
    let site = Site::new();
    site.record("gate", &twelve_seconds());
    let server = site.start().await;
    server.imported("recordings", 1).await;
    let segments = server.segments("gate").await;
    let window = |from, to| {
        Some(Selection::Window(proto::CameraWindow {
            camera_id: "gate".to_owned(),
            start_time: time(epoch() + ms(from)),
            end_time: time(epoch() + ms(to)),
        }))
    };
    let ids = |numbers: &[usize]| {
        let segment_ids = numbers
            .iter()
            .map(|number| segments[*number].id.clone())
            .collect();
        Some(Selection::Segments(proto::SegmentSelection { segment_ids }))
    };
    let change = async |selection, incident: &str, release: bool, all: bool| {
        let request = proto::SetEvidenceLockRequest {
            selection,
            incident_id: incident.to_owned(),
            release,
            all_incidents: all,
        };
        server
            .catalog()
            .set_evidence_lock(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let changed = async |selection, incident: &str, release, all| {
        let answer = change(selection, incident, release, all).await.unwrap();
        (answer.segments_selected, answer.segments_changed)
    };
    let held = async || {
        let segments = server.segments("gate").await;
        segments
            .into_iter()
            .map(|segment| (segment.evidence_locked, segment.incident_ids.join(" ")))
            .collect::<Vec<_>>()
    };
    let held_as = |incidents: [Option<&str>; 3]| {
        incidents.map(|incident| (incident.is_some(), incident.unwrap_or_default().to_owned()))
    };

    let answer = change(window(5_000, 9_000), "case-17", false, false)
        .await
        .unwrap();
    assert_eq!((answer.segments_selected, answer.segments_changed), (2, 2));
    let span = answer.span.unwrap();
    assert_eq!(
        (span.camera_id.as_str(), &span.start_time, &span.end_time),
        ("gate", &segments[1].start_time, &segments[2].end_time)
    );
    assert_eq!(
        held().await,
        held_as([None, Some("case-17"), Some("case-17")])
    );
    assert_eq!(
        changed(window(5_000, 9_000), "case-17", false, false).await,
        (2, 0),
        "again"
    );
    assert_eq!(changed(ids(&[0, 1]), "", false, false).await, (2, 2));
    assert_eq!(changed(ids(&[1]), "case-18", false, false).await, (1, 1));
    assert_eq!(
        held().await,
        held_as([Some(""), Some("case-17 case-18"), Some("case-17")])
    );
    let locks = timeline(&server, "gate", 6_000, 7_000, 0).await.locks;
    let locks: Vec<_> = locks
        .iter()
        .map(|lock| {
            (
                lock.incident_id.as_str(),
                since_epoch(&lock.start_time),
                since_epoch(&lock.end_time),
            )
        })
        .collect();
    assert_eq!(locks.len(), 3, "{locks:?}");
    for incident in ["", "case-17", "case-18"] {
        assert!(locks.contains(&(incident, 6_000, 7_000)), "{locks:?}");
    }

    // A release is that of one incident; a lock without one is an incident of its own.
    assert_eq!(
        changed(window(0, 12_000), "case-17", true, false).await,
        (3, 2)
    );
    assert_eq!(held().await, held_as([Some(""), Some("case-18"), None]));
    assert_eq!(changed(ids(&[0, 1, 2]), "", true, false).await, (3, 2));
    assert_eq!(held().await, held_as([None, Some("case-18"), None]));
    assert_eq!(changed(ids(&[1]), "", false, false).await, (1, 1));
    assert_eq!(changed(window(0, 12_000), "", true, true).await, (3, 1));
    assert_eq!(held().await, held_as([None, None, None]));

    let unknown = Some(Selection::Segments(proto::SegmentSelection {
        segment_ids: vec!["seg_unknown".to_owned()],
    }));
    let no_ids = Some(Selection::Segments(proto::SegmentSelection::default()));
    let wrong = [
        (
            change(None, "", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(no_ids, "", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "a\nb", false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), &"x".repeat(201), false, false).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "", false, true).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(0, 1), "case-17", true, true).await,
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            change(window(1, 1), "", false, false).await,
            Code::InvalidArgument,
            "WINDOW_REVERSED",
        ),
        (
            change(window(60_000, 61_000), "", false, false).await,
            Code::NotFound,
            "NO_FOOTAGE",
        ),
        (
            change(unknown, "", false, false).await,
            Code::NotFound,
            "SEGMENT_NOT_FOUND",
        ),
    ];
    for (answer, code, why) in wrong {
        let status = answer.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (code, why),
            "{}",
            status.message()
        );
    }
    assert_eq!(held().await, held_as([None, None, None]));
    assert_eq!(server.stop(), 0);
    site.check_left(&[]);
}
