//! Which engine makes a clip, and what is said of it.

use super::*;
use heldar_footage::proto::ClipEngine;

/// A request for seven seconds, cut by that engine.
fn by(engine: ClipEngine) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        engine: engine.into(),
        ..ask(CAMERA, 1_400, 8_200)
    }
}

async fn planned(server: &Server, request: proto::CreateClipRequest) -> proto::ClipPlan {
    let request = proto::CreateClipRequest {
        validate_only: true,
        ..request
    };
    let job = server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner();
    match job.plan {
        Some(proto::job::Plan::ClipPlan(plan)) => plan,
        other => panic!("{other:?}"),
    }
}

/// Cuts with each engine out of footage of that recipe; `obstacle` is what keeps it from being cut natively.
async fn check_engines(recipe: Recipe, obstacle: Option<&str>) {
    let recording = recipe.record();
    let site = unfollowed();
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let server = site.start().await;
    let expected = recording.between(ms(1_400), ms(8_200));
    let auto = match obstacle {
        None => ClipEngine::Native,
        Some(_) => ClipEngine::Ffmpeg,
    };
    let mut clips = Vec::new();
    for (asked, used, why) in [
        (ClipEngine::Unspecified, auto, obstacle.unwrap_or_default()),
        (ClipEngine::Auto, auto, obstacle.unwrap_or_default()),
        (ClipEngine::Ffmpeg, ClipEngine::Ffmpeg, ""),
    ] {
        let plan = planned(&server, by(asked)).await;
        assert_eq!((plan.engine(), plan.engine_reason.as_str()), (used, why));
        let (_, clip) = cut(&server, by(asked)).await;
        assert_eq!(
            (clip.engine_used(), clip.engine_reason.as_str()),
            (used, why)
        );
        let program = if used == ClipEngine::Native {
            "heldar-footage "
        } else {
            "ffmpeg "
        };
        assert!(clip.engine.starts_with(program), "{}", clip.engine);
        check(&server, &clip, &expected, START, FRAME).await;
        clips.push(clip);
    }
    match obstacle {
        None => {
            let (_, clip) = cut(&server, by(ClipEngine::Native)).await;
            assert_eq!(
                (clip.engine_used(), clip.engine_reason.as_str()),
                (ClipEngine::Native, "")
            );
            check(&server, &clip, &expected, START, FRAME).await;
            clips.push(clip);
        }
        Some(why) => {
            for validate_only in [true, false] {
                let request = proto::CreateClipRequest {
                    validate_only,
                    ..by(ClipEngine::Native)
                };
                let refused = server.clips().create_clip(request).await.unwrap_err();
                assert_eq!(
                    (refused.code(), reason(&refused).as_str()),
                    (Code::FailedPrecondition, "ENGINE_UNSUITABLE")
                );
                let words = format!("the footage cannot be cut without ffmpeg: {why}");
                assert_eq!(refused.message(), words);
            }
        }
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_cameras_write_is_cut_natively_unless_ffmpeg_is_asked_for() {
    check_engines(thirty_seconds(), None).await;
}

#[tokio::test]
async fn sound_in_opus_needs_ffmpeg_and_the_clip_says_so() {
    let opus = Recipe {
        sound_codec: "libopus",
        ..thirty_seconds()
    };
    check_engines(opus, Some("the sound is Opus")).await;
}

#[tokio::test]
async fn transport_streams_need_ffmpeg_and_the_clip_says_so() {
    let streams = Recipe {
        layout: Layout::MpegTs,
        ..thirty_seconds()
    };
    check_engines(streams, Some("a recording is an MPEG transport stream")).await;
}

#[tokio::test]
async fn an_engine_that_only_the_files_show_to_be_unsuitable_fails_the_plan_and_the_job() {
    // Most of the sound is Opus, which takes more than the catalog's rows to see: part of it is AAC.
    let site = unfollowed();
    let aac = thirty_seconds().record();
    let opus = Recipe {
        sound_codec: "libopus",
        ..thirty_seconds()
    }
    .record();
    for (number, segment) in opus.segments.iter().enumerate() {
        let from = if number == 0 {
            &aac.segments[0]
        } else {
            segment
        };
        place(
            &site,
            &heldar_name(CAMERA, epoch() + segment.start),
            &from.path,
        );
    }
    import(&site, &[]);
    let server = site.start().await;
    let request = proto::CreateClipRequest {
        engine: ClipEngine::Native.into(),
        ..ask(CAMERA, 5_000, 28_000)
    };
    let plan = proto::CreateClipRequest {
        validate_only: true,
        ..request.clone()
    };
    let refused = server.clips().create_clip(plan).await.unwrap_err();
    assert_eq!(reason(&refused), "ENGINE_UNSUITABLE");
    let job = run_job(&server, request).await;
    let error = job.error.unwrap();
    assert_eq!(notice_reason(&error), "ENGINE_UNSUITABLE");
    assert_eq!(
        error.message,
        "the footage cannot be cut without ffmpeg: the sound is Opus"
    );
    server.stop_with(&site, &[]);
}
