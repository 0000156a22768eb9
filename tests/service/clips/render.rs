//! Clips that are encoded anew: which pictures they show, and to which player. What is written into them, and what
//! goes wrong, have files of their own.

mod faults;
mod text;

use std::path::Path;

use heldar_footage::proto::{ClipEngine, RenderOptions};

use super::likeness::{difference, nearest};
use super::*;
use crate::footage::{Recording, ffmpeg, run};

/// Pictures are compared at this size: so small that only what they show counts, not how it was encoded.
const COMPARED: (usize, usize) = (96, 54);

/// A picture as brightness, row by row.
type Picture = Vec<u8>;

/// Every picture of a file, also the hidden ones where edit lists are ignored.
fn pictures(path: &Path, size: (usize, usize), honours_edit_lists: bool) -> Vec<Picture> {
    let mut command = ffmpeg();
    if !honours_edit_lists {
        command.args(["-ignore_editlist", "1"]);
    }
    let filters = format!("scale={}:{}:flags=area,format=gray", size.0, size.1);
    command.arg("-i").arg(path);
    command.args(["-map", "0:v:0", "-vf", &filters, "-vsync", "passthrough"]);
    let bytes = run(command.args(["-f", "rawvideo", "-"]));
    bytes
        .chunks_exact(size.0 * size.1)
        .map(<[u8]>::to_vec)
        .collect()
}

fn recorded(recording: &Recording) -> Vec<Picture> {
    let segments = recording.segments.iter();
    segments
        .flat_map(|segment| pictures(&segment.path, COMPARED, true))
        .collect()
}

/// Which recorded picture each is.
fn numbers(shown: &[Picture], recorded: &[Picture]) -> Vec<usize> {
    let mut number = 0;
    let mut of = |picture: &Picture| {
        let differs = |at: usize, most| difference(picture, &recorded[at], most);
        number = nearest(recorded.len(), number, differs);
        number
    };
    shown.iter().map(&mut of).collect()
}

/// When each frame of a file begins, in milliseconds, for a player that ignores edit lists.
fn begins_ms(path: &Path) -> Vec<i64> {
    let told = std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-ignore_editlist",
            "1",
            "-select_streams",
            "v",
        ])
        .args(["-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .expect("ffprobe is installed");
    let text = String::from_utf8(told.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end_matches(',').parse::<f64>().unwrap())
        .map(|seconds| (seconds * 1000.0).round() as i64)
        .collect()
}

fn ask_rendered(from_ms: i64, to_ms: i64, options: RenderOptions) -> proto::CreateClipRequest {
    proto::CreateClipRequest {
        engine: ClipEngine::Render.into(),
        render: Some(options),
        ..ask(CAMERA, from_ms, to_ms)
    }
}

/// The best that can be had, so that pictures can be told apart for certain.
fn fine() -> RenderOptions {
    RenderOptions {
        crf: 4,
        ..Default::default()
    }
}

async fn with_recording(recording: &Recording) -> (Site, Server) {
    let site = Site::new();
    lay(&site, CAMERA, recording);
    site.import();
    let server = site.start().await;
    (site, server)
}

#[tokio::test]
async fn a_rendered_clip_is_exact_for_every_player_from_its_first_frame_on() {
    for recipe in [
        Recipe {
            b_frames: 2,
            gop_frames: 100,
            ..thirty_seconds()
        },
        Recipe {
            codec: "libx265",
            layout: Layout::Progressive,
            sound: false,
            ..thirty_seconds()
        },
    ] {
        let recording = recipe.record();
        let known = recorded(&recording);
        let (site, server) = with_recording(&recording).await;
        let mut clips = Vec::new();
        for (from, to) in [(1_400, 8_200), (9_010, 14_005)] {
            let (job, clip) = cut(&server, ask_rendered(from, to, fine())).await;
            assert_eq!(job.warnings, []);
            let fetched = fetch(&server, &clip).await;
            let path = fetched.path();
            check_decodes(&path);
            let due: Vec<usize> = (0..known.len())
                .filter(|at| (from..to).contains(&(*at as i64 * 40)))
                .collect();
            for honours_edit_lists in [true, false] {
                let shown = pictures(&path, COMPARED, honours_edit_lists);
                assert_eq!(numbers(&shown, &known), due);
            }
            let times: Vec<i64> = (0..due.len() as i64).map(|at| at * 40).collect();
            assert_eq!(begins_ms(&path), times);
            let video = clip.video.as_ref().unwrap();
            assert_eq!(
                (
                    video.codec.as_str(),
                    video.width,
                    video.height,
                    video.frame_count
                ),
                ("h264", 192, 108, due.len() as i64)
            );
            assert_eq!(clip.audio.is_some(), recipe.sound);
            assert_eq!(clip.engine_used(), ClipEngine::Render);
            assert!(clip.engine.starts_with("ffmpeg "), "{}", clip.engine);
            assert_eq!(clip.media_type, "video/mp4");
            assert_eq!(delta(clip.hidden_lead.as_ref()), TimeDelta::zero());
            assert_eq!(
                clip.render
                    .as_ref()
                    .map(|render| (render.crf, render.speed)),
                Some((4, 1.0))
            );
            assert_eq!(clip.covered, clip.duration);
            let seconds: f64 = probe(&path, "format=duration").parse().unwrap();
            let duration = delta(clip.duration.as_ref()).as_seconds_f64();
            assert!(
                (seconds - duration).abs() < 0.05,
                "{seconds} s, told {duration} s"
            );
            assert_eq!(
                probe(&path, "stream=pix_fmt").lines().next(),
                Some("yuv420p")
            );
            clips.push(clip);
        }
        server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_sound_of_a_rendered_clip_stays_with_the_picture() {
    let recording = thirty_seconds().record();
    let (site, server) = with_recording(&recording).await;
    let (_, copied) = cut(&server, ask(CAMERA, 5_400, 11_000)).await;
    let (_, rendered) = cut(&server, ask_rendered(5_400, 11_000, fine())).await;
    let sounds: Vec<Vec<i16>> = {
        let (one, other) = (
            fetch(&server, &copied).await,
            fetch(&server, &rendered).await,
        );
        [one.path(), other.path()]
            .iter()
            .map(|path| crate::footage::decode_sound(path, 8_000))
            .collect()
    };
    // A second from the middle, and how far the other must be moved to fit it best.
    let part = &sounds[0][16_000..24_000];
    let misfit = |shift: i64| -> f64 {
        let from = usize::try_from(16_000 + shift).unwrap();
        let pairs = part.iter().zip(&sounds[1][from..]);
        pairs
            .map(|(one, other)| (f64::from(*one) - f64::from(*other)).abs())
            .sum()
    };
    let best = (-400..=400).min_by(|one, other| misfit(*one).total_cmp(&misfit(*other)));
    assert!(
        best.unwrap().abs() <= 8,
        "the sound is {best:?} samples of 8,000 a second away"
    );
    assert!(
        (sounds[1].len() as i64 - 5_600 * 8).abs() < 400,
        "{} samples",
        sounds[1].len()
    );
    let silent = RenderOptions {
        audio_off: true,
        ..fine()
    };
    let (job, silent) = cut(&server, ask_rendered(5_400, 11_000, silent)).await;
    assert_eq!((silent.audio.as_ref(), job.warnings.len()), (None, 0));
    let fetched = fetch(&server, &silent).await;
    assert_eq!(probe(&fetched.path(), "stream=codec_type"), "video");
    server.stop_with(&site, &[&copied, &rendered, &silent]);
}

#[tokio::test]
async fn a_rendered_clip_has_the_size_that_was_asked_for() {
    let recording = thirty_seconds().record();
    let known = recorded(&recording);
    let (site, server) = with_recording(&recording).await;
    let mut clips = Vec::new();
    for (asked, made) in [
        ((96, 0), (96, 54)),
        ((0, 216), (384, 216)),
        ((200, 64), (200, 64)),
    ] {
        let options = RenderOptions {
            width: asked.0,
            height: asked.1,
            ..fine()
        };
        let (_, clip) = cut(&server, ask_rendered(1_000, 1_400, options)).await;
        let video = clip.video.as_ref().unwrap();
        assert_eq!((video.width, video.height), made);
        let fetched = fetch(&server, &clip).await;
        assert_eq!(
            probe(&fetched.path(), "stream=width").lines().next(),
            Some(made.0.to_string().as_str())
        );
        let shown = pictures(&fetched.path(), COMPARED, true);
        assert_eq!(numbers(&shown, &known), (25..35).collect::<Vec<_>>());
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_faster_clip_drops_frames_and_a_slower_one_shows_all() {
    let recording = thirty_seconds().record();
    let known = recorded(&recording);
    let (site, server) = with_recording(&recording).await;
    let mut clips = Vec::new();
    for (speed, step, frame_ms) in [(4.0, 4, 40), (0.5, 1, 80), (50.0, 50, 40)] {
        let options = RenderOptions { speed, ..fine() };
        let (job, clip) = cut(&server, ask_rendered(2_000, 22_000, options)).await;
        let fetched = fetch(&server, &clip).await;
        let shown = pictures(&fetched.path(), COMPARED, false);
        let due: Vec<usize> = (50..550).step_by(step).collect();
        assert_eq!(numbers(&shown, &known), due, "{speed} times faster");
        let times: Vec<i64> = (0..due.len() as i64).map(|at| at * frame_ms).collect();
        assert_eq!(begins_ms(&fetched.path()), times);
        assert_eq!(clip.video.as_ref().unwrap().frame_count, due.len() as i64);
        assert_eq!((clip.audio.as_ref(), job.warnings.len()), (None, 0));
        assert_eq!(delta(clip.covered.as_ref()), ms(20_000));
        let duration = 20.0 / speed;
        assert_eq!(
            delta(clip.duration.as_ref()),
            ms((duration * 1000.0) as i64)
        );
        let seconds: f64 = probe(&fetched.path(), "format=duration").parse().unwrap();
        assert!(
            (seconds - duration).abs() < 0.05,
            "{seconds} s where {duration} s were due"
        );
        let delivered = clip.delivered_window.as_ref().unwrap();
        assert_eq!(since_epoch(delivered.start_time.as_ref()), ms(2_000));
        assert_eq!(since_epoch(delivered.end_time.as_ref()), ms(22_000));
        clips.push(clip);
    }
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gap_that_is_kept_is_time_of_a_rendered_clip_too() {
    let recording = thirty_seconds().record();
    let known = recorded(&recording);
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    std::fs::remove_file(&paths[1]).unwrap();
    import(&site, &[]);
    let server = site.start().await;
    let request = proto::CreateClipRequest {
        gap_mode: proto::GapMode::Keep.into(),
        ..ask_rendered(7_400, 23_200, fine())
    };
    let (_, clip) = cut(&server, request).await;
    assert_eq!(clip.gap_mode(), proto::GapMode::Keep);
    assert_eq!(delta(clip.duration.as_ref()), ms(15_800));
    assert_eq!(delta(clip.covered.as_ref()), ms(5_800));
    assert_eq!(gap_reasons(&clip), [GapReason::NotRecorded]);
    assert_eq!(delta(clip.gaps[0].clip_offset.as_ref()), ms(2_600));
    let fetched = fetch(&server, &clip).await;
    let path = fetched.path();
    check_decodes(&path);
    // Frames 185 to 249 and 500 to 579 of the recording, each at its distance from the begin of the window.
    let due: Vec<usize> = (185..250).chain(500..580).collect();
    for honours_edit_lists in [true, false] {
        let shown = pictures(&path, COMPARED, honours_edit_lists);
        assert_eq!(numbers(&shown, &known), due);
    }
    let times: Vec<i64> = due.iter().map(|frame| *frame as i64 * 40 - 7_400).collect();
    assert_eq!(begins_ms(&path), times);
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn the_plan_of_a_rendered_clip_says_so() {
    let recording = thirty_seconds().record();
    let (site, server) = with_recording(&recording).await;
    let mut sizes = Vec::new();
    for crf in [23, 5] {
        let options = RenderOptions {
            crf,
            ..Default::default()
        };
        let mut request = ask_rendered(1_000, 9_000, options);
        request.validate_only = true;
        let job = server
            .clips()
            .create_clip(request)
            .await
            .unwrap()
            .into_inner();
        let Some(proto::job::Plan::ClipPlan(plan)) = job.plan else {
            panic!("{job:?}")
        };
        assert_eq!(plan.engine(), ClipEngine::Render);
        sizes.push(plan.expected_bytes);
    }
    assert_eq!(sizes[1] / sizes[0], 8, "{sizes:?}");
    server.stop_with(&site, &[]);
}
