//! Clips are compared with the footage they were cut from, frame by frame.

#[path = "support/footage.rs"]
mod footage;

use std::time::Duration;

use chrono::TimeDelta;
use footage::{Frame, Layout, Recipe, Recording, decode, epoch, ms};
use heldar_footage::domain::time::TimeRange;
use heldar_footage::media::{CutError, CutOrder, CutOutcome, Engine, Source, cut};
use tokio_util::sync::CancellationToken;

/// A finished clip in a folder of its own.
struct Clip {
    folder: tempfile::TempDir,
    outcome: CutOutcome,
}

impl Clip {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("clip.part")
    }
}

fn window(from: TimeDelta, to: TimeDelta) -> TimeRange {
    TimeRange::new(epoch() + from, epoch() + to).unwrap()
}

fn cut_sources(
    sources: Vec<Source>,
    from: TimeDelta,
    to: TimeDelta,
) -> (tempfile::TempDir, Result<CutOutcome, CutError>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine {
        ffmpeg: "ffmpeg".into(),
        scratch: folder.path().join("scratch"),
    };
    let order = CutOrder {
        sources,
        requested: window(from, to),
        gap_tolerance: ms(1000),
        output: folder.path().join("clip.part"),
        title: "gate_a_01".to_owned(),
        deadline: Duration::from_secs(60),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = runtime.block_on(cut(&engine, order, &CancellationToken::new(), |_| {}));
    (folder, made)
}

fn cut_clip(sources: Vec<Source>, from: TimeDelta, to: TimeDelta) -> Clip {
    let (folder, made) = cut_sources(sources, from, to);
    let outcome = made.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    Clip { folder, outcome }
}

/// Checks that the clip shows exactly these frames of the recording, each at its time: the clip's time plus
/// what was taken out before it.
fn check_frames(clip: &Clip, expected: &[Frame]) {
    let shown = decode(&clip.path());
    let digests = |frames: &[Frame]| frames.iter().map(|frame| frame.digest.clone()).collect::<Vec<_>>();
    let (shown_digests, expected_digests) = (digests(&shown), digests(expected));
    if shown_digests != expected_digests {
        let place = |digest| expected_digests.iter().position(|known| known == digest);
        let found: Vec<_> = shown_digests.iter().map(place).collect();
        let unknown: Vec<_> = (0..found.len()).filter(|at| found[*at].is_none()).take(9).collect();
        let lost: Vec<_> = (0..expected.len()).filter(|at| !found.contains(&Some(*at))).take(9).collect();
        panic!(
            "{} frames shown, {} expected; first unknown at {unknown:?}, first lost {lost:?}",
            shown.len(),
            expected.len()
        );
    }
    let outcome = &clip.outcome;
    assert_eq!(outcome.video.frame_count, expected.len() as u64);
    let frame = ms(42);
    let begins_off = (outcome.delivered.start() - (epoch() + expected[0].at)).abs();
    assert!(begins_off <= frame, "the clip begins {begins_off} off");
    for (shown, expected) in shown.iter().zip(expected) {
        let removed: TimeDelta = outcome
            .gaps
            .iter()
            .filter(|gap| gap.range.start() > outcome.delivered.start() && gap.range.end() <= epoch() + expected.at + frame)
            .map(|gap| gap.range.duration())
            .sum();
        let stands_at = outcome.delivered.start() + shown.at + removed;
        let off = (stands_at - (epoch() + expected.at)).abs();
        assert!(off <= frame, "a frame of {} stands {off} off", expected.at);
    }
}

fn check_window(recording: &Recording, from: i64, to: i64) -> Clip {
    let clip = cut_clip(recording.sources(), ms(from), ms(to));
    check_frames(&clip, &recording.between(ms(from), ms(to)));
    assert_eq!(clip.outcome.gaps, []);
    clip
}

fn check_windows(recipe: Recipe, windows: &[(i64, i64)]) {
    let recording = recipe.record();
    for (from, to) in windows {
        check_window(&recording, *from, *to);
    }
}

/// At a key frame, between key frames, across two segments, inside one frame, nearly everything.
const WINDOWS: [(i64, i64); 5] =
    [(0, 5_000), (1_400, 8_200), (3_010, 14_005), (9_960, 10_040), (400, 39_000)];

#[test]
fn fragmented_h264_is_cut_to_the_frame() {
    check_windows(Recipe::plain(), &WINDOWS);
}

#[test]
fn progressive_h264_is_cut_to_the_frame() {
    check_windows(Recipe { layout: Layout::Progressive, ..Recipe::plain() }, &WINDOWS);
}

#[test]
fn mixed_layouts_and_clocks_are_cut_to_the_frame() {
    check_windows(Recipe { layout: Layout::Mixed, b_frames: 2, ..Recipe::plain() }, &WINDOWS);
}

#[test]
fn b_frames_are_cut_to_the_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        check_windows(Recipe { b_frames: 3, layout, ..Recipe::plain() }, &WINDOWS);
    }
}

#[test]
fn a_ten_second_group_of_pictures_is_cut_to_the_frame() {
    check_windows(Recipe { gop_frames: 250, b_frames: 2, ..Recipe::plain() }, &WINDOWS);
}

#[test]
fn open_groups_of_pictures_are_cut_to_the_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recipe = Recipe { b_frames: 2, gop_frames: 50, open_gop: true, layout, sound: false, ..Recipe::plain() };
        check_windows(recipe, &[(400, 39_000), (3_010, 14_005), (9_900, 12_000), (1_950, 2_050)]);
    }
}

#[test]
fn broadcast_frame_rates_are_cut_to_the_frame() {
    let recipe = Recipe { rate: "30000/1001", gop_frames: 60, b_frames: 2, layout: Layout::Progressive, ..Recipe::plain() };
    check_windows(recipe, &WINDOWS);
}

#[test]
fn h265_is_cut_to_the_frame() {
    for (b_frames, open_gop, sound) in [(0, false, true), (3, true, false)] {
        let recipe = Recipe { codec: "libx265", b_frames, open_gop, sound, gop_frames: 50, length_s: 30, ..Recipe::plain() };
        check_windows(recipe, &[(0, 5_000), (1_400, 12_200), (9_960, 10_040), (400, 29_000)]);
    }
}

#[test]
fn many_short_segments_are_cut_to_the_frame() {
    let recipe = Recipe { segment_s: 2, gop_frames: 50, b_frames: 2, ..Recipe::plain() };
    check_windows(recipe, &[(400, 39_000), (3_010, 14_005)]);
}

#[test]
fn one_long_segment_is_cut_to_the_frame() {
    let recipe = Recipe { segment_s: 100, gop_frames: 100, ..Recipe::plain() };
    check_windows(recipe, &[(21_430, 33_330)]);
}

#[test]
fn transport_streams_and_matroska_are_cut_to_the_frame() {
    for layout in [Layout::MpegTs, Layout::Matroska] {
        check_windows(Recipe { layout, ..Recipe::plain() }, &[(1_400, 8_200), (3_010, 24_005)]);
    }
}
