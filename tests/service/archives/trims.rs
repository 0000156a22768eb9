//! Trimmed recordings and clips in archives, frame by frame.

use heldar_footage::proto::{self, ArchiveLayout, JobState};

use super::asking::{archive_of, ask, later, make, submit, trimmed};
use super::unpacked::{Unpacked, fetch, of};
use crate::footage::{Frame, Layout, Recipe, decode, epoch, ms};
use crate::recorder::{
    self, CAMERA, blank_headers, check_decodes, check_frames, cut, heldar_name, import, lay, place,
    unfollowed,
};
use crate::server::ended;
use crate::stand_in::script;

/// The frames of all entries, one after another.
fn shown(unpacked: &Unpacked) -> Vec<Frame> {
    let mut frames = Vec::new();
    for name in unpacked.footage() {
        check_decodes(&unpacked.path(&name));
        frames.extend(decode(&unpacked.path(&name)));
    }
    frames
}

#[tokio::test]
async fn trimmed_recordings_together_show_exactly_the_frames_of_a_clip_of_the_window() {
    let recipes = [
        Recipe {
            length_s: 30,
            gop_frames: 50,
            b_frames: 2,
            ..Recipe::plain()
        },
        Recipe {
            length_s: 30,
            layout: Layout::Mixed,
            gop_frames: 250,
            ..Recipe::plain()
        },
        Recipe {
            length_s: 30,
            codec: "libx265",
            gop_frames: 50,
            ..Recipe::plain()
        },
    ];
    for recipe in recipes {
        let recording = recipe.record();
        let site = unfollowed();
        lay(&site, CAMERA, &recording);
        import(&site, &[]);
        let server = site.start().await;
        let mut archives = Vec::new();
        let mut clips = Vec::new();
        // Between key frames over all segments, inside one segment, at its edges, inside one frame, nearly nothing of two.
        for (from, to, entries) in [
            (1_400, 28_200, ["_trimmed", "", "_trimmed"].as_slice()),
            (12_520, 17_004, &["_trimmed"]),
            (10_000, 20_000, &[""]),
            (0, 10_010, &["", "_trimmed"]),
            (9_960, 10_040, &["_trimmed", "_trimmed"]),
        ] {
            let (job, archive) = make(&server, ask(of(&[CAMERA], trimmed(from, to)))).await;
            assert_eq!((job.warnings.as_slice(), archive.fault_count), (&[][..], 0));
            let unpacked = fetch(&server, &archive).await;
            let kinds: Vec<_> = unpacked
                .footage()
                .iter()
                .map(|name| name.strip_suffix(".mp4").unwrap()[CAMERA.len() + 16..].to_owned())
                .collect();
            assert_eq!(kinds, entries, "{from} to {to}: {:?}", unpacked.footage());
            let (_, clip) = cut(&server, recorder::ask(CAMERA, from, to)).await;
            let of_clip = decode(&recorder::fetch(&server, &clip).await.path());
            let frames = shown(&unpacked);
            check_frames(&frames, &recording.between(ms(from), ms(to)));
            check_frames(&frames, &of_clip);
            assert_eq!(archive.cameras[0].gaps, [], "{from} to {to}");
            archives.push(archive);
            clips.push(clip);
        }
        assert_eq!(server.stop(), 0);
        crate::server::nothing_left_but(
            &site,
            &clips.iter().collect::<Vec<_>>(),
            &archives.iter().collect::<Vec<_>>(),
        );
    }
}

#[tokio::test]
async fn recordings_are_trimmed_without_a_look_at_their_headers() {
    let recording = Recipe {
        length_s: 30,
        gop_frames: 50,
        b_frames: 2,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    for path in &paths {
        blank_headers(path);
    }
    let server = site.start().await;
    let (job, archive) = make(&server, ask(of(&[CAMERA], trimmed(12_520, 17_004)))).await;
    assert_eq!((job.warnings.as_slice(), archive.fault_count), (&[][..], 0));
    let unpacked = fetch(&server, &archive).await;
    check_frames(
        &shown(&unpacked),
        &recording.between(ms(12_520), ms(17_004)),
    );
    assert_eq!(server.stop(), 0);
    crate::server::nothing_left_but(&site, &[], &[&archive]);
}

#[tokio::test]
async fn recordings_are_trimmed_by_an_ffmpeg_only_where_it_is_needed() {
    for (layout, needs_ffmpeg) in [
        (Layout::Fragmented, false),
        (Layout::Progressive, false),
        (Layout::MpegTs, true),
    ] {
        let recording = Recipe {
            length_s: 20,
            layout,
            ..Recipe::plain()
        }
        .record();
        let mut site = unfollowed();
        for segment in &recording.segments {
            // What a file is, its content says and not its name.
            let name = heldar_name(CAMERA, epoch() + segment.start);
            place(&site, &name, &segment.path);
        }
        import(&site, &[]);
        script(&mut site, "broken-ffmpeg", "exit 9");
        let server = site.start().await;
        let job_id = submit(&server, later(trimmed(1_400, 18_200))).await;
        let job = ended(&server, &job_id).await;
        if needs_ffmpeg {
            assert_eq!(job.state(), JobState::Failed, "{layout:?}: {job:?}");
            server.stop_with_archives(&site, &[]);
            continue;
        }
        let archive = archive_of(&job);
        let frames = shown(&fetch(&server, &archive).await);
        check_frames(&frames, &recording.between(ms(1_400), ms(18_200)));
        server.stop_with_archives(&site, &[&archive]);
    }
}

#[tokio::test]
async fn each_stretch_with_another_codec_is_a_clip_of_its_own_and_nothing_is_missing() {
    let recording = Recipe::plain().record();
    let other = Recipe {
        size: "160x90",
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    for (at, segment) in recording.segments.iter().enumerate() {
        let path = if at == 2 {
            &other.segments[2].path
        } else {
            &segment.path
        };
        place(&site, &heldar_name(CAMERA, epoch() + segment.start), path);
    }
    import(&site, &[]);
    let server = site.start().await;
    let spec = proto::ArchiveSpec {
        layout: ArchiveLayout::Clips.into(),
        all_or_nothing: true,
        ..trimmed(1_400, 38_000)
    };
    let (job, archive) = make(&server, ask(spec)).await;
    assert_eq!(job.warnings, []);
    let unpacked = fetch(&server, &archive).await;
    let frames: Vec<Vec<Frame>> = unpacked
        .footage()
        .iter()
        .map(|name| {
            check_decodes(&unpacked.path(name));
            decode(&unpacked.path(name))
        })
        .collect();
    let [first, second] = frames.as_slice() else {
        panic!("two clips: {:?}", unpacked.footage())
    };
    let around = [
        recording.between(ms(1_400), ms(20_000)),
        recording.between(ms(30_000), ms(38_000)),
    ];
    check_frames(first, &around.concat());
    check_frames(second, &other.between(ms(20_000), ms(30_000)));
    let camera = &archive.cameras[0];
    assert_eq!((camera.gaps.as_slice(), camera.segment_count), (&[][..], 4));
    assert_eq!(recorder::delta(camera.covered.as_ref()), ms(36_600));
    server.stop_with_archives(&site, &[&archive]);
}
