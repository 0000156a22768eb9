//! Codec parameters that change inside the window, cut without ffmpeg: each set has a sample entry of its own.

use super::*;

/// Cuts natively out of these segments, keeping all parameters of one kind.
fn cut_all(sources: Vec<Source>, from: i64, to: i64) -> Clip {
    let folder = tempfile::tempdir().unwrap();
    let mut order = CutOrder {
        output: folder.path().join("clip.part"),
        engine: EngineChoice::Native,
        ..order(sources, ms(from), ms(to))
    };
    order.wanted.parameters = Parameters::Several;
    let made = run_order_with(
        Path::new("/nowhere/ffmpeg"),
        order,
        &CancellationToken::new(),
    );
    finished((folder, made))
}

/// How many sample entries the first track of a file has.
fn entries(path: &Path) -> u32 {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|kind| kind == b"stsd").unwrap();
    u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap())
}

fn smaller() -> Recipe {
    Recipe {
        size: "128x96",
        ..Recipe::plain()
    }
}

#[test]
fn other_parameters_of_the_same_codec_are_shown_too() {
    let recording = Recipe::plain().record();
    let reordered = Recipe {
        b_frames: 3,
        ..Recipe::plain()
    };
    for other in [smaller(), reordered] {
        let other = other.record();
        let mut sources = recording.sources();
        sources[1] = footage::source(&other.segments[1].path, epoch() + ms(10_000));
        let clip = cut_all(sources, 7_400, 33_200);
        let expected = [
            recording.between(ms(7_400), ms(10_000)),
            other.between(ms(10_000), ms(20_000)),
            recording.between(ms(20_000), ms(33_200)),
        ]
        .concat();
        check_frames(&clip, &expected);
        assert_eq!(
            (clip.outcome.gaps.as_slice(), warning_kinds(&clip)),
            (&[][..], vec![])
        );
        assert_eq!(entries(&clip.path()), 2);
    }
}

#[test]
fn a_file_with_two_sample_entries_is_shown_whole() {
    // A clip of ours is such a file; it is footage like any other.
    let (one, other) = (Recipe::plain().record(), smaller().record());
    let mut sources = one.sources();
    sources.truncate(1);
    sources.push(footage::source(
        &other.segments[1].path,
        epoch() + ms(10_000),
    ));
    let both = cut_all(sources, 0, 20_000);
    assert_eq!(entries(&both.path()), 2);
    let source = footage::source(&both.path(), epoch());
    let source = Source {
        name: "both.mp4".to_owned(),
        ..source
    };
    let clip = cut_all(vec![source.clone()], 4_400, 17_200);
    let expected = [
        one.between(ms(4_400), ms(10_000)),
        other.between(ms(10_000), ms(17_200)),
    ];
    check_frames(&clip, &expected.concat());
    assert_eq!(clip.outcome.gaps, []);
    // Where there may be one set only, the rest is another codec, not damage.
    let clip = cut_clip(vec![source], ms(4_400), ms(17_200));
    check_frames(&clip, &expected[0]);
    check_gap(&clip, 10_000, 17_200, GapReason::CodecChange);
    assert_eq!(warning_kinds(&clip), [WarningKind::CodecChange]);
}

#[test]
fn another_codec_is_left_out_also_without_ffmpeg() {
    let recording = Recipe::plain().record();
    let other = Recipe {
        codec: "libx265",
        length_s: 30,
        gop_frames: 50,
        ..Recipe::plain()
    }
    .record();
    let mut sources = recording.sources();
    sources[2] = footage::source(&other.segments[2].path, epoch() + ms(20_000));
    let clip = cut_all(sources, 8_000, 26_000);
    check_frames(&clip, &recording.between(ms(8_000), ms(20_000)));
    check_gap(&clip, 20_000, 26_000, GapReason::CodecChange);
    assert_eq!(warning_kinds(&clip), [WarningKind::CodecChange]);
}
