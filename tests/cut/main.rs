//! Clips are compared with the footage they were cut from, frame by frame.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests judge clips with ffprobe, not with what made them"
)]

mod account;
mod damage;
mod defects;
mod engine;
#[path = "../support/footage.rs"]
mod footage;
mod frames;
mod time;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use footage::{Frame, Layout, Recipe, Recording, decode, epoch, ms, run};
use heldar_footage::domain::coverage::GapReason;
use heldar_footage::domain::time::TimeRange;
use heldar_footage::media::plan::WarningKind;
use heldar_footage::media::{CutError, CutOrder, CutOutcome, Engine, Format, Source, cut};
use sha2::{Digest, Sha256};
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

fn order(sources: Vec<Source>, from: TimeDelta, to: TimeDelta) -> CutOrder {
    CutOrder {
        sources,
        requested: window(from, to),
        gap_tolerance: ms(1000),
        output: PathBuf::new(),
        title: "gate_a_01".to_owned(),
        deadline: Duration::from_secs(60),
        is_durable: true,
    }
}

fn engine_at(ffmpeg: &Path, folder: &Path) -> Engine {
    Engine {
        ffmpeg: ffmpeg.into(),
        scratch: folder.to_owned(),
    }
}

fn run_order_with(
    ffmpeg: &Path,
    order: CutOrder,
    cancel: &CancellationToken,
) -> Result<CutOutcome, CutError> {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = runtime.block_on(cut(
        &engine_at(ffmpeg, scratch.path()),
        order,
        cancel,
        |_| {},
    ));
    assert_eq!(
        scratch.path().read_dir().unwrap().count(),
        0,
        "the scratch folder is empty again"
    );
    made
}

fn run_order(order: CutOrder) -> Result<CutOutcome, CutError> {
    run_order_with(Path::new("ffmpeg"), order, &CancellationToken::new())
}

fn cut_sources(
    sources: Vec<Source>,
    from: TimeDelta,
    to: TimeDelta,
) -> (tempfile::TempDir, Result<CutOutcome, CutError>) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("clip.part");
    let made = run_order(CutOrder {
        output,
        ..order(sources, from, to)
    });
    (folder, made)
}

fn check_gap(clip: &Clip, from: i64, to: i64, reason: GapReason) {
    let found: Vec<_> = clip
        .outcome
        .gaps
        .iter()
        .map(|gap| (gap.range, gap.reason))
        .collect();
    assert_eq!(found, [(window(ms(from), ms(to)), reason)]);
}

fn warning_kinds(clip: &Clip) -> Vec<WarningKind> {
    clip.outcome
        .warnings
        .iter()
        .map(|warning| warning.kind)
        .collect()
}

fn make_executable(script: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
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
    let digests = |frames: &[Frame]| {
        frames
            .iter()
            .map(|frame| frame.digest.clone())
            .collect::<Vec<_>>()
    };
    let (shown_digests, expected_digests) = (digests(&shown), digests(expected));
    if shown_digests != expected_digests {
        let place = |digest| expected_digests.iter().position(|known| known == digest);
        let found: Vec<_> = shown_digests.iter().map(place).collect();
        let unknown: Vec<_> = (0..found.len())
            .filter(|at| found[*at].is_none())
            .take(9)
            .collect();
        let lost: Vec<_> = (0..expected.len())
            .filter(|at| !found.contains(&Some(*at)))
            .take(9)
            .collect();
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
            .filter(|gap| {
                gap.range.start() > outcome.delivered.start()
                    && gap.range.end() <= epoch() + expected.at + frame
            })
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
