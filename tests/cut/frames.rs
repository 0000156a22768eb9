//! Every frame of the window, once, at its time, whatever the footage is like.

use super::*;

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
