//! Clips are compared with the footage they were cut from, frame by frame. Both engines cut them.

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
mod gaps;
mod parameters;
mod time;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use footage::{Frame, Layout, Recipe, Recording, decode, epoch, ms, run};
use heldar_footage::domain::clip::GapMode;
use heldar_footage::domain::coverage::GapReason;
use heldar_footage::domain::time::TimeRange;
use heldar_footage::media::plan::{Parameters, Wanted, WarningKind};
use heldar_footage::media::{
    CutError, CutOrder, CutOutcome, Engine, EngineChoice, Format, Source, cut,
};
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
        wanted: Wanted {
            requested: window(from, to),
            gap_tolerance: ms(1000),
            gap_mode: GapMode::Close,
            parameters: Parameters::One,
        },
        output: PathBuf::new(),
        title: "gate_a_01".to_owned(),
        engine: EngineChoice::Ffmpeg,
        deadline: Duration::from_secs(60),
        is_durable: true,
        hashes: true,
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

/// Cuts with both engines, which must show the same and say the same of it. Answers what ffmpeg copied; what is true of
/// it is true of both.
fn cut_sources(
    sources: Vec<Source>,
    from: TimeDelta,
    to: TimeDelta,
) -> (tempfile::TempDir, Result<CutOutcome, CutError>) {
    let [theirs, ours] = [EngineChoice::Ffmpeg, EngineChoice::Auto]
        .map(|engine| cut_sources_with(engine, sources.clone(), from, to));
    match (&theirs.1, &ours.1) {
        (Ok(of_theirs), Ok(of_ours)) => {
            assert!(of_theirs.engine.starts_with("ffmpeg "));
            if is_copied(&sources) {
                assert_eq!(of_ours.engine, OURS);
            }
            check_same((&theirs.0, of_theirs), (&ours.0, of_ours));
        }
        (Err(theirs), Err(ours)) => assert_eq!(theirs.to_string(), ours.to_string()),
        (theirs, ours) => panic!("{theirs:?}, but {ours:?}"),
    }
    theirs
}

/// The engine that a clip names which was cut without ffmpeg.
const OURS: &str = concat!("heldar-footage ", env!("CARGO_PKG_VERSION"));

fn cut_sources_with(
    engine: EngineChoice,
    sources: Vec<Source>,
    from: TimeDelta,
    to: TimeDelta,
) -> (tempfile::TempDir, Result<CutOutcome, CutError>) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("clip.part");
    let made = run_order(CutOrder {
        output,
        engine,
        ..order(sources, from, to)
    });
    (folder, made)
}

/// Whether these are sources that need no ffmpeg.
fn is_copied(sources: &[Source]) -> bool {
    sources.iter().all(|source| source.name.ends_with(".mp4"))
}

/// Checks that two clips show the same frames at the same times, sound the same and describe themselves so.
fn check_same(
    (of_one, one): (&tempfile::TempDir, &CutOutcome),
    (of_other, other): (&tempfile::TempDir, &CutOutcome),
) {
    let [path, other_path] = [of_one, of_other].map(|folder| folder.path().join("clip.part"));
    assert!(decode(&path) == decode(&other_path), "they show the same");
    if one.audio.is_some() {
        let sound = footage::decode_sound(&path, 48_000);
        assert!(
            sound == footage::decode_sound(&other_path, 48_000),
            "they sound the same"
        );
    }
    let told = |outcome: &CutOutcome| CutOutcome {
        engine: String::new(),
        is_native: false,
        not_native: None,
        sha256: None,
        size_bytes: 0,
        ..outcome.clone()
    };
    assert_eq!(
        format!("{:?}", told(one)),
        format!("{:?}", told(other)),
        "they say the same"
    );
    for (path, outcome) in [(&path, one), (&other_path, other)] {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(outcome.size_bytes, bytes.len() as u64);
        assert_eq!(
            outcome.sha256,
            Some(<[u8; 32]>::from(Sha256::digest(&bytes)))
        );
    }
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
    finished(cut_sources(sources, from, to))
}

fn finished((folder, made): (tempfile::TempDir, Result<CutOutcome, CutError>)) -> Clip {
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
