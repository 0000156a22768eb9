//! Times at the edge of what can be said.

use super::*;

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
