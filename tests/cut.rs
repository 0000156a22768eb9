//! Clips are compared with the footage they were cut from, frame by frame.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests judge clips with ffprobe, not with what made them"
)]

#[path = "support/footage.rs"]
mod footage;

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
    }
}

fn engine(ffmpeg: &Path, folder: &Path) -> Engine {
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
    let made = runtime.block_on(cut(&engine(ffmpeg, scratch.path()), order, cancel, |_| {}));
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

fn check_windows(recipe: Recipe, windows: &[(i64, i64)]) {
    let recording = recipe.record();
    for (from, to) in windows {
        check_window(&recording, *from, *to);
    }
}

/// At a key frame, between key frames, across two segments, inside one frame, nearly everything.
const WINDOWS: [(i64, i64); 5] = [
    (0, 5_000),
    (1_400, 8_200),
    (3_010, 14_005),
    (9_960, 10_040),
    (400, 39_000),
];

#[test]
fn fragmented_h264_is_cut_to_the_frame() {
    check_windows(Recipe::plain(), &WINDOWS);
}

#[test]
fn progressive_h264_is_cut_to_the_frame() {
    check_windows(
        Recipe {
            layout: Layout::Progressive,
            ..Recipe::plain()
        },
        &WINDOWS,
    );
}

#[test]
fn mixed_layouts_and_clocks_are_cut_to_the_frame() {
    check_windows(
        Recipe {
            layout: Layout::Mixed,
            b_frames: 2,
            ..Recipe::plain()
        },
        &WINDOWS,
    );
}

#[test]
fn b_frames_are_cut_to_the_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        check_windows(
            Recipe {
                b_frames: 3,
                layout,
                ..Recipe::plain()
            },
            &WINDOWS,
        );
    }
}

#[test]
fn a_ten_second_group_of_pictures_is_cut_to_the_frame() {
    check_windows(
        Recipe {
            gop_frames: 250,
            b_frames: 2,
            ..Recipe::plain()
        },
        &WINDOWS,
    );
}

#[test]
fn open_groups_of_pictures_are_cut_to_the_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recipe = Recipe {
            b_frames: 2,
            gop_frames: 50,
            open_gop: true,
            layout,
            sound: false,
            ..Recipe::plain()
        };
        check_windows(
            recipe,
            &[
                (400, 39_000),
                (3_010, 14_005),
                (9_900, 12_000),
                (1_950, 2_050),
            ],
        );
    }
}

#[test]
fn broadcast_frame_rates_are_cut_to_the_frame() {
    let recipe = Recipe {
        rate: "30000/1001",
        gop_frames: 60,
        b_frames: 2,
        layout: Layout::Progressive,
        ..Recipe::plain()
    };
    check_windows(recipe, &WINDOWS);
}

#[test]
fn h265_is_cut_to_the_frame() {
    for (b_frames, open_gop, sound) in [(0, false, true), (3, true, false)] {
        let recipe = Recipe {
            codec: "libx265",
            b_frames,
            open_gop,
            sound,
            gop_frames: 50,
            length_s: 30,
            ..Recipe::plain()
        };
        check_windows(
            recipe,
            &[(0, 5_000), (1_400, 12_200), (9_960, 10_040), (400, 29_000)],
        );
    }
}

#[test]
fn many_short_segments_are_cut_to_the_frame() {
    let recipe = Recipe {
        segment_s: 2,
        gop_frames: 50,
        b_frames: 2,
        ..Recipe::plain()
    };
    check_windows(recipe, &[(400, 39_000), (3_010, 14_005)]);
}

#[test]
fn one_long_segment_is_cut_to_the_frame() {
    let recipe = Recipe {
        segment_s: 100,
        gop_frames: 100,
        ..Recipe::plain()
    };
    check_windows(recipe, &[(21_430, 33_330)]);
}

#[test]
fn transport_streams_and_matroska_are_cut_to_the_frame() {
    for layout in [Layout::MpegTs, Layout::Matroska] {
        check_windows(
            Recipe {
                layout,
                ..Recipe::plain()
            },
            &[(1_400, 8_200), (3_010, 24_005)],
        );
    }
}

// The clip defects of the predecessor, by their numbers.

#[test]
fn defect_1_the_start_of_the_window_is_not_lost_up_to_the_next_key_frame() {
    let two_seconds = Recipe {
        gop_frames: 50,
        ..Recipe::plain()
    }
    .record();
    let clip = check_window(&two_seconds, 1_400, 9_000);
    assert_eq!(clip.outcome.delivered.start(), epoch() + ms(1_400));
    let four_seconds = Recipe {
        gop_frames: 100,
        ..Recipe::plain()
    }
    .record();
    let clip = check_window(&four_seconds, 2_520, 12_520);
    assert_eq!(clip.outcome.duration_shown, ms(10_000));
    assert_eq!(clip.outcome.covered, ms(10_000));
    assert!(clip.outcome.hidden_lead >= ms(2_500));
}

#[test]
fn defect_2_a_gap_does_not_move_the_end() {
    let recording = Recipe::plain().record();
    let mut sources = recording.sources();
    sources.remove(1);
    let clip = cut_clip(sources, ms(8_000), ms(23_000));
    let mut expected = recording.between(ms(8_000), ms(10_000));
    expected.extend(recording.between(ms(20_000), ms(23_000)));
    check_frames(&clip, &expected);
    let [gap] = &clip.outcome.gaps[..] else {
        panic!("{:?}", clip.outcome.gaps)
    };
    assert_eq!(gap.range, window(ms(10_000), ms(20_000)));
    assert_eq!(gap.reason, GapReason::NotRecorded);
    assert_eq!(gap.clip_offset, Some(ms(2_000)));
    assert_eq!(clip.outcome.duration_shown, ms(5_000));
    assert_eq!(clip.outcome.covered, ms(5_000));
    assert_eq!(clip.outcome.delivered, window(ms(8_000), ms(23_000)));
}

#[test]
fn defect_3_a_missing_file_in_the_middle_is_a_gap_and_the_rest_is_there() {
    let recording = Recipe::plain().record();
    let mut sources = recording.sources();
    sources[1].file = Err(GapReason::FileMissing);
    sources[1].expected_end = Some(epoch() + ms(20_000));
    let clip = cut_clip(sources, ms(8_000), ms(23_000));
    let mut expected = recording.between(ms(8_000), ms(10_000));
    expected.extend(recording.between(ms(20_000), ms(23_000)));
    check_frames(&clip, &expected);
    check_gap(&clip, 10_000, 20_000, GapReason::FileMissing);
    assert_eq!(clip.outcome.gaps[0].segment_ids, ["seg_segment_001.mp4"]);
    assert_eq!(warning_kinds(&clip), [WarningKind::FileMissing]);
}

#[test]
fn defect_4_after_a_change_of_codec_parameters_the_clip_still_plays() {
    let recording = Recipe::plain().record();
    let others = [
        Recipe {
            size: "128x96",
            ..Recipe::plain()
        },
        Recipe {
            codec: "libx265",
            length_s: 30,
            gop_frames: 50,
            ..Recipe::plain()
        },
        Recipe {
            b_frames: 3,
            ..Recipe::plain()
        },
    ];
    for other in others {
        let mut sources = recording.sources();
        sources.truncate(2);
        let changed = other.record();
        sources.push(footage::source(
            &changed.segments[2].path,
            epoch() + ms(20_000),
        ));
        let clip = cut_clip(sources, ms(8_000), ms(26_000));
        check_frames(&clip, &recording.between(ms(8_000), ms(20_000)));
        check_gap(&clip, 20_000, 26_000, GapReason::CodecChange);
        assert_eq!(warning_kinds(&clip), [WarningKind::CodecChange]);
        // The side that covers more of the window is the one that is delivered.
        let mut sources = recording.sources();
        sources.truncate(2);
        sources.push(footage::source(
            &changed.segments[2].path,
            epoch() + ms(20_000),
        ));
        let clip = cut_clip(sources, ms(18_000), ms(26_000));
        check_frames(&clip, &changed.between(ms(20_000), ms(26_000)));
        check_gap(&clip, 18_000, 20_000, GapReason::CodecChange);
    }
}

#[test]
fn defect_5_a_relative_output_path_is_no_obstacle() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(folder.path().file_name().unwrap()).join("it's a; clip.part");
    let outcome = run_order(CutOrder {
        output: relative.clone(),
        ..order(recording.sources(), ms(0), ms(2_000))
    });
    assert_eq!(
        outcome.unwrap().size_bytes,
        relative.metadata().unwrap().len()
    );
    assert_eq!(decode(&relative).len(), 50);
}

#[test]
fn defect_6_nothing_but_the_clip_lies_beside_it() {
    let recording = Recipe::plain().record();
    let clip = check_window(&recording, 1_000, 3_000);
    let beside: Vec<_> = clip
        .folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(beside, ["clip.part"]);
}

// What the clip says of itself.

#[test]
fn size_and_hash_are_those_of_the_file() {
    let clip = check_window(&Recipe::plain().record(), 1_400, 8_200);
    let bytes = std::fs::read(clip.path()).unwrap();
    assert_eq!(clip.outcome.size_bytes, bytes.len() as u64);
    assert_eq!(
        clip.outcome.sha256,
        <[u8; 32]>::from(Sha256::digest(&bytes))
    );
}

#[test]
fn the_absolute_start_is_in_the_file_and_the_index_in_front() {
    let clip = check_window(&Recipe::plain().record(), 1_400, 8_200);
    let told = run(std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=start_time,duration:format_tags",
            "-of",
            "default=nk=0",
        ])
        .arg(clip.path()));
    let told = String::from_utf8(told).unwrap();
    for line in [
        "TAG:date=2025-06-15T15:06:41.400000Z",
        "TAG:creation_time=2025-06-15T15:06:41.000000Z",
        "TAG:title=gate_a_01",
        "duration=6.800000",
        "start_time=0.000000",
    ] {
        assert!(
            told.lines().any(|told| told == line),
            "{line} is not in\n{told}"
        );
    }
    let bytes = std::fs::read(clip.path()).unwrap();
    let at = |name: &[u8]| bytes.windows(4).position(|four| four == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
}

#[test]
fn the_sound_stays_with_the_picture() {
    // The pitch of the test sound rises steadily, so it tells the time: compared with the whole recording
    // the clip's sound must match best at no shift.
    const RATE_HZ: u32 = 8_000;
    let recipe = Recipe {
        length_s: 30,
        ..Recipe::plain()
    };
    for layout in [Layout::Fragmented, Layout::Progressive, Layout::Mixed] {
        let recording = Recipe {
            layout,
            ..recipe.clone()
        }
        .record();
        let clip = check_window(&recording, 3_400, 23_000);
        assert_eq!(warning_kinds(&clip), []);
        let whole = footage::decode_sound(&recording.sound, RATE_HZ);
        let heard = footage::decode_sound(&clip.path(), RATE_HZ);
        let delay_ms = 100;
        for clip_ms in [500, 6_400, 12_000, 19_000] {
            let at = |time_ms: i64| usize::try_from(time_ms * i64::from(RATE_HZ) / 1000).unwrap();
            let part = &heard[at(clip_ms)..][..at(300)];
            let likeness = |shift: i64| -> i64 {
                let from = at(3_400 + clip_ms - delay_ms)
                    .checked_add_signed(shift as isize)
                    .unwrap();
                let other = &whole[from..];
                part.iter()
                    .zip(other)
                    .map(|(a, b)| -(i64::from(*a) - i64::from(*b)).abs())
                    .sum()
            };
            let best = (-200..=200).max_by_key(|shift| likeness(*shift)).unwrap();
            assert!(
                best.abs() <= 24,
                "{layout:?} at {clip_ms} ms: {best} samples of 1/8000 s off"
            );
        }
    }
}

#[test]
fn footage_without_sound_among_footage_with_sound_is_silent_and_said_so() {
    let with = Recipe::plain().record();
    let without = Recipe {
        sound: false,
        ..Recipe::plain()
    }
    .record();
    let mut sources = with.sources();
    sources[1] = footage::source(&without.segments[1].path, epoch() + ms(10_000));
    let clip = cut_clip(sources, ms(8_000), ms(23_000));
    check_frames(&clip, &with.between(ms(8_000), ms(23_000)));
    assert_eq!(warning_kinds(&clip), [WarningKind::SoundPartlyMissing]);
    assert!(clip.outcome.audio.is_some());
}

#[test]
fn sound_that_mp4_cannot_hold_makes_a_quicktime_file() {
    let recording = Recipe {
        length_s: 20,
        ..Recipe::plain()
    }
    .record();
    let folder = tempfile::tempdir().unwrap();
    let sources = recording.segments.iter().map(|segment| {
        let packed = folder
            .path()
            .join(segment.path.with_extension("mkv").file_name().unwrap());
        run(footage::ffmpeg()
            .arg("-i")
            .arg(&segment.path)
            .args([
                "-c:v", "copy", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1",
            ])
            .arg(&packed));
        footage::source(&packed, epoch() + segment.start)
    });
    let clip = cut_clip(sources.collect(), ms(3_010), ms(14_005));
    check_frames(&clip, &recording.between(ms(3_010), ms(14_005)));
    assert_eq!(clip.outcome.format, Format::QuickTime);
    assert_eq!(clip.outcome.audio.as_ref().unwrap().codec, "pcm_alaw");
    let heard = footage::decode_sound(&clip.path(), 8_000);
    let due = 8 * clip.outcome.duration_shown.num_milliseconds();
    assert!(
        (heard.len() as i64 - due).abs() < 8 * 100,
        "{} of {due}",
        heard.len()
    );
}

// Time.

#[test]
fn names_cut_to_the_second_lose_and_repeat_no_frame() {
    // 9.6 s segments whose names tell whole seconds.
    let recipe = Recipe {
        gop_frames: 48,
        b_frames: 2,
        segment_s: 9,
        ..Recipe::plain()
    };
    let recording = recipe.record();
    let true_start = ms(700);
    let sources = recording
        .segments
        .iter()
        .map(|segment| {
            let start = epoch() + true_start + segment.start;
            let named = chrono::DateTime::from_timestamp(start.timestamp(), 0).unwrap();
            Source {
                start_accuracy: ms(1000),
                ..footage::source(&segment.path, named)
            }
        })
        .collect();
    let clip = cut_clip(sources, ms(3_000), ms(39_000));
    let shown = decode(&clip.path());
    let first = recording
        .frames
        .iter()
        .position(|frame| frame.digest == shown[0].digest)
        .unwrap();
    let expected: Vec<_> = recording.frames[first..][..shown.len()]
        .iter()
        .map(|frame| &frame.digest)
        .collect();
    assert_eq!(
        shown.iter().map(|frame| &frame.digest).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(shown.len(), 36 * 25);
    assert_eq!(clip.outcome.gaps, []);
    // The names together narrow the start down to less than the second that one name leaves open.
    let off = recording.frames[first].at + true_start - ms(3_000);
    assert!(off.abs() < ms(700), "{off}");
}

#[test]
fn overlapping_footage_is_shown_once() {
    let recording = Recipe {
        segment_s: 100,
        b_frames: 2,
        length_s: 30,
        ..Recipe::plain()
    }
    .record();
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, from: &str, to: &str| {
        let path = folder.path().join(name);
        run(footage::ffmpeg()
            .arg("-i")
            .arg(&recording.segments[0].path)
            .args(["-ss", from, "-to", to, "-map", "0", "-c", "copy"])
            .arg(&path));
        path
    };
    // Copies that begin at key frames: 0 to 12 s and 8 to 20 s.
    let early = part("early.mp4", "0", "12");
    let late = part("late.mp4", "8", "20");
    let begins = recording
        .frames
        .iter()
        .position(|frame| frame.digest == decode(&late)[0].digest)
        .unwrap();
    let early_ends = decode(&early).len();
    let sources = vec![
        footage::source(&early, epoch()),
        footage::source(&late, epoch() + recording.frames[begins].at),
    ];
    assert!(begins < early_ends);
    let clip = cut_clip(sources, ms(4_000), ms(18_000));
    check_frames(&clip, &recording.between(ms(4_000), ms(18_000)));
    assert_eq!(clip.outcome.gaps, []);
    assert_eq!(clip.outcome.covered, ms(14_000));
}

#[test]
fn a_seam_within_the_tolerance_keeps_time() {
    let recording = Recipe::plain().record();
    let mut sources = recording.sources();
    sources[1].start += ms(600);
    sources.truncate(2);
    let clip = cut_clip(sources, ms(8_000), ms(12_600));
    let mut expected = recording.between(ms(8_000), ms(10_000));
    let mut later = recording.between(ms(10_000), ms(12_000));
    later.iter_mut().for_each(|frame| frame.at += ms(600));
    expected.extend(later);
    check_frames(&clip, &expected);
    assert_eq!(clip.outcome.gaps, []);
    assert_eq!(clip.outcome.duration_shown, ms(4_600));
}

// Damage.

#[test]
fn a_truncated_file_is_used_as_far_as_it_goes() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            b_frames: 2,
            ..Recipe::plain()
        }
        .record();
        let folder = tempfile::tempdir().unwrap();
        let cut_short = folder.path().join("short.mp4");
        let bytes = std::fs::read(&recording.segments[1].path).unwrap();
        std::fs::write(&cut_short, &bytes[..bytes.len() / 2]).unwrap();
        let mut sources = recording.sources();
        sources[1] = Source {
            expected_end: Some(epoch() + ms(20_000)),
            ..footage::source(&cut_short, epoch() + ms(10_000))
        };
        let clip = cut_clip(sources, ms(8_000), ms(23_000));
        let [gap] = &clip.outcome.gaps[..] else {
            panic!("{:?}", clip.outcome.gaps)
        };
        assert_eq!(gap.reason, GapReason::FileDamaged);
        assert!(gap.range.start() > epoch() + ms(12_000), "{gap:?}");
        assert_eq!(gap.range.end(), epoch() + ms(20_000));
        let shown = decode(&clip.path());
        let known = |frame: &Frame| {
            recording
                .frames
                .iter()
                .position(|known| known.digest == frame.digest)
        };
        let places: Vec<_> = shown
            .iter()
            .map(|frame| known(frame).expect("a frame of the recording"))
            .collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert_eq!(places.last(), Some(&574));
        assert_eq!(warning_kinds(&clip), [WarningKind::FileDamaged]);
    }
}

#[test]
fn files_that_are_no_footage_are_gaps() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.mp4");
    std::fs::copy(&recording.segments[3].path, &secret).unwrap();
    let playlist = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        secret.display()
    );
    let contents: [&[u8]; 4] = [b"", b"this is text\n", playlist.as_bytes(), &[0; 4096]];
    for content in contents {
        let path = folder.path().join("segment.mp4");
        std::fs::write(&path, content).unwrap();
        let mut sources = recording.sources();
        sources[1] = Source {
            expected_end: Some(epoch() + ms(20_000)),
            ..footage::source(&path, epoch() + ms(10_000))
        };
        let clip = cut_clip(sources, ms(8_000), ms(23_000));
        let mut expected = recording.between(ms(8_000), ms(10_000));
        expected.extend(recording.between(ms(20_000), ms(23_000)));
        check_frames(&clip, &expected);
        check_gap(&clip, 10_000, 20_000, GapReason::FileDamaged);
        let (folder, made) = cut_sources(vec![footage::source(&path, epoch())], ms(0), ms(5_000));
        assert!(matches!(made, Err(CutError::NoFootage(_))), "{made:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn a_file_deleted_after_it_was_opened_is_cut_whole() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let doomed = folder.path().join("doomed.mp4");
    std::fs::copy(&recording.segments[0].path, &doomed).unwrap();
    let sources = vec![footage::source(&doomed, epoch())];
    std::fs::remove_file(&doomed).unwrap();
    check_frames(
        &cut_clip(sources, ms(1_000), ms(9_000)),
        &recording.between(ms(1_000), ms(9_000)),
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_cut_is_left_out() {
    // The index is read first; the bytes are gone when they are copied.
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let shrinking = folder.path().join("shrinking.mp4");
    std::fs::copy(&recording.segments[1].path, &shrinking).unwrap();
    let mut sources = recording.sources();
    sources[1] = Source {
        expected_end: Some(epoch() + ms(20_000)),
        ..footage::source(&shrinking, epoch() + ms(10_000))
    };
    let folder = tempfile::tempdir().unwrap();
    // A stand-in for ffmpeg cuts the file short before it becomes ffmpeg.
    let script = folder.path().join("ffmpeg");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\ntruncate -s 1000 '{}'\nexec ffmpeg \"$@\"\n",
            shrinking.display()
        ),
    )
    .unwrap();
    make_executable(&script);
    let order = CutOrder {
        output: folder.path().join("clip.part"),
        ..order(sources, ms(8_000), ms(23_000))
    };
    let outcome = run_order_with(&script, order, &CancellationToken::new()).unwrap();
    let clip = Clip { folder, outcome };
    let mut expected = recording.between(ms(8_000), ms(10_000));
    expected.extend(recording.between(ms(20_000), ms(23_000)));
    check_frames(&clip, &expected);
    check_gap(&clip, 10_000, 20_000, GapReason::FileDamaged);
}

// ffmpeg that does not do its work.

/// Runs a cut with a shell script in ffmpeg's place; nothing must be left behind.
fn cut_with_script(script: &str, deadline: Duration, cancel: &CancellationToken) -> CutError {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let stand_in = folder.path().join("stand-in");
    std::fs::write(&stand_in, format!("#!/bin/sh\n{script}\n")).unwrap();
    make_executable(&stand_in);
    let output = folder.path().join("clip.part");
    let order = CutOrder {
        output: output.clone(),
        deadline,
        ..order(recording.sources(), ms(0), ms(5_000))
    };
    let error = run_order_with(&stand_in, order, cancel).unwrap_err();
    assert!(!output.exists());
    error
}

#[test]
fn an_ffmpeg_that_hangs_is_killed_at_the_deadline() {
    let error = cut_with_script(
        "exec sleep 600",
        Duration::from_millis(200),
        &CancellationToken::new(),
    );
    assert_eq!(error.to_string(), "clip export timed out");
}

#[test]
fn an_ffmpeg_that_floods_its_error_output_fails_with_the_end_of_it() {
    let script =
        "cat >/dev/null; head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 5";
    let error = cut_with_script(script, Duration::from_secs(60), &CancellationToken::new());
    let told = error.to_string();
    assert!(
        told.starts_with("ffmpeg clip export failed: exit status: 5"),
        "{}",
        &told[..60]
    );
    assert!(told.ends_with("the reason") && told.len() < 9_000);
}

#[test]
fn an_ffmpeg_that_writes_nothing_is_found_out() {
    let error = cut_with_script(
        "cat >/dev/null; exit 0",
        Duration::from_secs(60),
        &CancellationToken::new(),
    );
    assert!(matches!(error, CutError::Mismatch { .. }), "{error}");
}

#[test]
fn a_missing_ffmpeg_is_named() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("clip.part");
    let order = CutOrder {
        output: output.clone(),
        ..order(recording.sources(), ms(0), ms(5_000))
    };
    let error = run_order_with(
        Path::new("/nowhere/ffmpeg"),
        order,
        &CancellationToken::new(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ffmpeg binary `/nowhere/ffmpeg` is not available; install ffmpeg or set HELDAR_FFMPEG_BIN"
    );
    assert!(!output.exists());
}

#[test]
fn cancelling_kills_ffmpeg_and_leaves_nothing() {
    let cancel = CancellationToken::new();
    let waiting = cancel.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        waiting.cancel();
    });
    let error = cut_with_script("exec sleep 600", Duration::from_secs(60), &cancel);
    canceller.join().unwrap();
    assert!(matches!(error, CutError::Cancelled), "{error}");
}

#[test]
fn progress_rises_to_the_end() {
    let recording = Recipe::plain().record();
    let folder = tempfile::tempdir().unwrap();
    let order = CutOrder {
        output: folder.path().join("clip.part"),
        ..order(recording.sources(), ms(0), ms(30_000))
    };
    let mut seen = Vec::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(cut(
            &engine(Path::new("ffmpeg"), folder.path()),
            order,
            &CancellationToken::new(),
            |progress| seen.push(progress),
        ))
        .unwrap();
    assert!(seen.is_sorted_by_key(|progress| (progress.media_done, progress.bytes_done)));
    let last = seen.last().unwrap();
    assert_eq!(
        (last.media_done, last.bytes_done),
        (ms(30_000), last.bytes_total)
    );
}
