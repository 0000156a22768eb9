//! Where segments stand in time: vague names, overlaps, seams.

use super::*;

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
