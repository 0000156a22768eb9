//! In which order samples are copied, and what is copied together.

use super::*;

/// Ten seconds of picture and sound in so many fragments: in each the pictures, then the sound beside them.
fn in_fragments(count: i64) -> Plan {
    let mut segments = segments(&[plain(0, 10)], true);
    let index = index_of(&mut segments[0]);
    let mut at = 0;
    let sound = index.audio.as_mut().expect("sound");
    for number in 0..count {
        let mut lay = |sample: &mut Sample, clock: i64| {
            if sample.dts * count / (clock * 10) == number {
                (sample.offset, at) = (at, at + u64::from(sample.size));
            }
        };
        index
            .video
            .samples
            .iter_mut()
            .for_each(|sample| lay(sample, 12_800));
        sound
            .samples
            .iter_mut()
            .for_each(|sample| lay(sample, 48_000));
        // The header of the next fragment.
        at += 100;
    }
    plan(&segments, &wanted(0, 10_000)).expect("footage")
}

fn count_ranges(plan: &Plan) -> usize {
    let (_, stretches) = Places::of(plan, in_runs(plan, true));
    stretches.len()
}

#[test]
fn what_lies_together_in_a_source_is_copied_together() {
    for count in [10, 20] {
        assert_eq!(count_ranges(&in_fragments(count)) as i64, count);
    }
}

#[test]
fn picture_and_sound_are_never_much_more_than_a_second_apart() {
    for count in [1, 2, 7] {
        let plan = in_fragments(count);
        let (mut video_at, mut sound_at) = (0.0f64, 0.0f64);
        for turn in in_runs(&plan, true) {
            let needed = turn.sample.needed_at as f64;
            if turn.is_sound {
                sound_at = needed / 48_000.0;
            } else {
                video_at = needed / 12_800.0;
            }
            assert!(
                (video_at - sound_at).abs() <= 1.35,
                "{video_at} s and {sound_at} s"
            );
        }
        assert!(count_ranges(&plan) < 40);
    }
}
