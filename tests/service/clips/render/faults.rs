//! Clips that are not made: cancelled, broken by the encoder, refused.

use super::*;
use crate::stand_in::{installed, script, write_program};

#[tokio::test]
async fn a_rendered_clip_that_is_cancelled_ends_within_a_second_and_leaves_nothing() {
    let recording = thirty_seconds().record();
    let mut site = Site::new();
    let gate = Gate::of(&mut site);
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let options = RenderOptions {
        burn_in_time: true,
        ..Default::default()
    };
    let mut request = ask_rendered(0, 20_000, options);
    request.wait = None;
    let job_id = server
        .clips()
        .create_clip(request)
        .await
        .unwrap()
        .into_inner()
        .id;
    gate.reached_by(1);
    let asked = std::time::Instant::now();
    let cancel = proto::CancelJobRequest {
        job_id: job_id.clone(),
    };
    server.jobs().cancel_job(cancel).await.unwrap();
    let job = ended(&server, &job_id).await;
    assert!(asked.elapsed().as_secs() < 1, "{:?}", asked.elapsed());
    assert_eq!(job.state(), proto::JobState::Cancelled);
    assert_eq!(job.progress.unwrap().phase, "rendering");
    server.stop_with(&site, &[]);
}

#[tokio::test]
async fn what_goes_wrong_with_the_encoder_is_told_by_its_reason_and_leaves_nothing() {
    let recording = thirty_seconds().record();
    for (body, why) in [
        ("cat > /dev/null; kill -XFSZ $$", "DISK_FULL"),
        (
            "echo \"av_interleaved_write_frame(): No space left on device\" >&2; exit 1",
            "DISK_FULL",
        ),
        ("echo \"$*: broken\" >&2; exit 7", "FFMPEG_FAILED"),
        ("cat > /dev/null", "INTERNAL"),
        (
            "\"$ffmpeg\" \"$@\" || exit\ntruncate -s -1000 \"$output\"",
            "INTERNAL",
        ),
    ] {
        let mut site = Site::new();
        script(&mut site, "broken-ffmpeg", body);
        lay(&site, CAMERA, &recording);
        site.import();
        let server = site.start().await;
        let options = RenderOptions {
            burn_in_camera_name: true,
            ..Default::default()
        };
        let job = run_job(&server, ask_rendered(0, 4_000, options)).await;
        assert_eq!(job.state(), proto::JobState::Failed, "{body}");
        let error = job.error.as_ref().unwrap();
        assert_eq!(notice_reason(error), why, "{body}");
        let folder = site.path("");
        assert!(
            !format!("{error:?}").contains(folder.to_str().unwrap()),
            "{error:?}"
        );
        server.stop_with(&site, &[]);
    }
}

#[tokio::test]
async fn an_ffmpeg_that_lacks_what_a_rendered_clip_needs_is_refused_before_there_is_a_job() {
    let recording = thirty_seconds().record();
    for (lacks, part) in [("libx264", "encoder libx264"), ("ass", "filter ass")] {
        let mut site = Site::new();
        let ffmpeg = installed();
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in *' -encoders '*|*' -filters '*) '{0}' \"$@\" | grep -v ' {lacks} ';; \
             *) exec '{0}' \"$@\";; esac\n",
            ffmpeg.display()
        );
        let path = site.path("small-ffmpeg");
        write_program(&path, &text);
        site.set("HELDAR_FFMPEG_BIN", path.to_str().unwrap());
        lay(&site, CAMERA, &recording);
        site.import();
        let server = site.start().await;
        let options = RenderOptions {
            burn_in_time: true,
            ..Default::default()
        };
        for validate_only in [true, false] {
            let request = proto::CreateClipRequest {
                validate_only,
                ..ask_rendered(0, 4_000, options.clone())
            };
            let refused = server.clips().create_clip(request).await.unwrap_err();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::FailedPrecondition, "FFMPEG_UNAVAILABLE")
            );
            assert!(refused.message().contains(part), "{}", refused.message());
        }
        // All else goes on, also what is rendered without it.
        let (_, copied) = cut(&server, ask(CAMERA, 0, 4_000)).await;
        let mut kept = vec![copied];
        if lacks == "ass" {
            kept.push(
                cut(&server, ask_rendered(0, 4_000, RenderOptions::default()))
                    .await
                    .1,
            );
        }
        server.stop_with(&site, &kept.iter().collect::<Vec<_>>());
    }
}
