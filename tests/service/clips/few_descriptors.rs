//! A clip of more recordings than the server may have open at the same time.

use heldar_footage::proto::JobState;

use super::virtual_clips::virtually;
use super::*;

/// What the server may have open. It needs some dozens of them for itself.
const DESCRIPTORS: u32 = 200;
/// Recordings of a second each.
const RECORDINGS: i64 = 300;

#[tokio::test]
async fn no_recording_is_called_damaged_because_the_server_can_open_no_more_files() {
    let recording = Recipe {
        size: "64x48",
        segment_s: 1,
        length_s: 1,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    for second in 0..RECORDINGS {
        let name = heldar_name(CAMERA, epoch() + TimeDelta::seconds(second));
        place(&site, &name, &recording.segments[0].path);
    }
    import(&site, &[]);
    let server = site.start_with_descriptors(DESCRIPTORS).await;
    let whole = || ask(CAMERA, 0, RECORDINGS * 1000);
    let preview = proto::CreateClipRequest {
        validate_only: true,
        ..whole()
    };
    let refused = server.clips().create_clip(preview).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("raise its limit"), "{refused:?}");
    let mut jobs = Vec::new();
    for request in [whole(), virtually(whole())] {
        let request = proto::CreateClipRequest {
            wait: None,
            ..request
        };
        let answer = server.clips().create_clip(request).await.unwrap();
        jobs.push(answer.into_inner().id);
    }
    for id in jobs {
        let job = ended(&server, &id).await;
        assert_eq!(job.state(), JobState::Failed);
        let error = job.error.as_ref().unwrap();
        assert!(error.message.contains("raise its limit"), "{error:?}");
    }
    // What fits is delivered.
    let (_, part) = cut(&server, ask(CAMERA, 0, 20_000)).await;
    assert!(part.gaps.is_empty(), "{:?}", part.gaps);
    server.stop_with(&site, &[&part]);
    let server = site.start().await;
    let (_, clip) = cut(&server, whole()).await;
    assert!(clip.gaps.is_empty(), "{:?}", clip.gaps);
    server.stop_with(&site, &[&part, &clip]);
}
