//! Gaps that are kept as time: the last picture before one stays, and everything after it stands where it stood.

use super::*;

/// A recording without some of its segments, cut with the gaps kept by that engine.
fn cut_around(
    recipe: Recipe,
    missing: &[usize],
    (from, to): (i64, i64),
    engine: EngineChoice,
) -> (std::sync::Arc<Recording>, Clip) {
    let recording = recipe.record();
    let sources = recording.sources().into_iter().enumerate();
    let sources = sources.filter(|(number, _)| !missing.contains(number));
    let folder = tempfile::tempdir().unwrap();
    let mut order = CutOrder {
        output: folder.path().join("clip.part"),
        engine,
        ..order(
            sources.map(|(_, source)| source).collect(),
            ms(from),
            ms(to),
        )
    };
    order.wanted.gap_mode = GapMode::Keep;
    let made = run_order(order);
    (recording, finished((folder, made)))
}

/// The frames of a recording of ten-second segments without some of them.
fn without(frames: Vec<Frame>, missing: &[usize]) -> Vec<Frame> {
    let is_there = |frame: &Frame| !missing.contains(&(frame.at.num_seconds() as usize / 10));
    frames.into_iter().filter(is_there).collect()
}

/// Checks that each frame stands as far from the first as in the recording.
fn check_kept(clip: &Clip, expected: &[Frame]) {
    let shown = decode(&clip.path());
    let digests = |frames: &[Frame]| -> Vec<String> {
        frames.iter().map(|frame| frame.digest.clone()).collect()
    };
    assert!(digests(&shown) == digests(expected), "other frames");
    let begins = clip.outcome.delivered.start() - epoch();
    for (shown, expected) in shown.iter().zip(expected) {
        let off = (shown.at + begins - expected.at).abs();
        assert!(
            off <= ms(1),
            "a frame of {} stands at {}",
            expected.at,
            shown.at
        );
    }
    let outcome = &clip.outcome;
    let length = outcome.delivered.duration();
    assert!((outcome.duration_shown - length).abs() <= ms(1));
    let missing: TimeDelta = outcome.gaps.iter().map(|gap| gap.range.duration()).sum();
    assert_eq!(outcome.footage_shown, length - missing);
    for gap in &outcome.gaps {
        let begins = gap.range.start() - outcome.delivered.start();
        assert_eq!(gap.clip_offset, Some(begins));
    }
    let told = run(std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(clip.path()));
    let told: f64 = String::from_utf8(told).unwrap().trim().parse().unwrap();
    let due = outcome.duration_shown.as_seconds_f64();
    assert!(
        (told - due).abs() < 0.05,
        "ffprobe says {told} s, {due} s are due"
    );
}

const BOTH: [EngineChoice; 2] = [EngineChoice::Native, EngineChoice::Ffmpeg];

#[test]
fn a_gap_that_is_kept_lasts_as_long_as_it_lasted() {
    for layout in [Layout::Fragmented, Layout::Progressive, Layout::Mixed] {
        for b_frames in [0, 2] {
            for engine in BOTH {
                let recipe = Recipe {
                    layout,
                    b_frames,
                    ..Recipe::plain()
                };
                let (recording, clip) = cut_around(recipe, &[1], (7_400, 33_200), engine);
                let expected = without(recording.between(ms(7_400), ms(33_200)), &[1]);
                check_kept(&clip, &expected);
                check_gap(&clip, 10_000, 20_000, GapReason::NotRecorded);
                assert_eq!(clip.outcome.gaps[0].clip_offset, Some(ms(2_600)));
            }
        }
    }
}

#[test]
fn a_gap_in_front_or_behind_is_no_time_of_the_clip() {
    for engine in BOTH {
        let (recording, clip) = cut_around(Recipe::plain(), &[0, 3], (5_000, 38_000), engine);
        let expected = without(recording.between(ms(5_000), ms(38_000)), &[0, 3]);
        let shown = decode(&clip.path());
        assert_eq!(shown.len(), expected.len());
        assert_eq!(clip.outcome.duration_shown, ms(20_000));
        assert_eq!(clip.outcome.footage_shown, ms(20_000));
        let offsets: Vec<_> = clip
            .outcome
            .gaps
            .iter()
            .map(|gap| gap.clip_offset)
            .collect();
        assert_eq!(offsets, [Some(ms(0)), Some(ms(20_000))]);
    }
}

#[test]
fn both_engines_keep_a_gap_the_same_way_and_sound_the_same() {
    let cut = |engine| cut_around(Recipe::plain(), &[1], (7_400, 33_200), engine).1;
    let [ours, theirs] = BOTH.map(cut);
    check_same(
        (&theirs.folder, &theirs.outcome),
        (&ours.folder, &ours.outcome),
    );
}

#[test]
fn the_sound_goes_on_with_the_picture_after_a_gap_that_is_kept() {
    const RATE_HZ: u32 = 8_000;
    for engine in BOTH {
        let (recording, clip) = cut_around(Recipe::plain(), &[1], (7_400, 33_200), engine);
        let whole = footage::decode_sound(&recording.sound, RATE_HZ);
        let heard = footage::decode_sound(&clip.path(), RATE_HZ);
        let at = |time_ms: i64| usize::try_from(time_ms * i64::from(RATE_HZ) / 1000).unwrap();
        let delay_ms = 100;
        for clip_ms in [500, 13_500, 20_000] {
            let part = &heard[at(clip_ms)..][..at(300)];
            let likeness = |shift: i64| -> i64 {
                let from = at(7_400 + clip_ms - delay_ms).checked_add_signed(shift as isize);
                let other = &whole[from.unwrap()..];
                let pairs = part.iter().zip(other);
                pairs
                    .map(|(a, b)| -(i64::from(*a) - i64::from(*b)).abs())
                    .sum()
            };
            let best = (-200..=200).max_by_key(|shift| likeness(*shift)).unwrap();
            // ffmpeg's resampler fills the gap for this test, to within some milliseconds.
            assert!(
                best.abs() <= 48,
                "{engine:?} at {clip_ms} ms: {best} samples off"
            );
        }
        // Inside the gap there is none.
        let silent = &heard[at(4_000)..at(12_000)];
        assert!(silent.iter().all(|sample| sample.abs() < 200), "{engine:?}");
    }
}
