//! Files that are cut short, gone, or no footage at all.

use super::*;

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
