//! The clip defects of the predecessor, by their numbers: none of them is here.

use super::*;

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
