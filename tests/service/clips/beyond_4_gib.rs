//! What lies behind the first four gigabytes, of a recording and of a clip.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use heldar_footage::media::mp4::SourceIndex;
use heldar_footage::proto::ClipEngine;

use super::holes::{Holes, write};
use super::virtual_clips::{get, virtually};
use super::*;
use crate::footage::run;

const FOUR_GIB: u64 = 4 << 30;

#[tokio::test]
async fn footage_that_lies_beyond_4_gib_of_its_file_is_cut_to_the_frame() {
    let recording = Recipe {
        b_frames: 2,
        layout: Layout::Progressive,
        length_s: 20,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    for segment in &recording.segments {
        let name = heldar_name(CAMERA, epoch() + segment.start);
        let holes = Holes {
            // The media begins in front of the limit, and ends behind it.
            lead_bytes: FOUR_GIB - 60_000,
            ..Holes::default()
        };
        write(&segment.path, &site.recordings().join(name), holes);
    }
    import(&site, &[]);
    let server = site.start().await;
    let mut kept = Vec::new();
    for (from, to) in [(1_400, 8_200), (8_440, 13_000)] {
        let request = proto::CreateClipRequest {
            engine: ClipEngine::Native.into(),
            ..ask(CAMERA, from, to)
        };
        let (_, clip) = cut(&server, request.clone()).await;
        let frames = recording.between(ms(from), ms(to));
        check(&server, &clip, &frames, START, FRAME).await;
        assert_eq!((clip.gaps.len(), clip.audio.is_some()), (0, true));
        let (_, without_file) = cut(&server, virtually(request)).await;
        let (_, bytes) = download(&server, &without_file.id, 0, 0).await.unwrap();
        assert_eq!(sha256(&bytes), clip.sha256);
        kept.push(clip);
    }
    server.stop_with(&site, &kept.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_clip_of_more_than_4_gib_has_the_bytes_of_its_recording_also_behind_the_first_four() {
    const FILLER_BYTES: u32 = 20 << 20;
    let recording = Recipe {
        layout: Layout::Progressive,
        length_s: 10,
        ..Recipe::plain()
    }
    .record();
    let site = unfollowed();
    let recorded = site.recordings().join(heldar_name(CAMERA, epoch()));
    let holes = Holes {
        filler_bytes: FILLER_BYTES,
        ..Holes::default()
    };
    write(&recording.segments[0].path, &recorded, holes);
    import(&site, &[]);
    let server = site.start().await;
    let (_, clip) = cut(&server, virtually(ask(CAMERA, 400, 9_990))).await;
    let size_bytes = clip.size_bytes as u64;
    assert!(size_bytes > FOUR_GIB + (500 << 20), "{size_bytes} bytes");

    let head = get(&server, &clip, &[("Range", "bytes=0-262143")]);
    assert_eq!(head.status, 206);
    assert!(head.body.windows(4).any(|kind| kind == b"co64"));
    // As much of the clip as its tables need, and holes.
    let path = site.path("clip.mp4");
    let fetched = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    fetched.write_all_at(&head.body, 0).unwrap();
    fetched.set_len(size_bytes).unwrap();
    let index = SourceIndex::read(&fetched).unwrap();
    let source = File::open(&recorded).unwrap();
    let recorded = SourceIndex::read(&source).unwrap().video.samples;
    let samples = index.video.samples;
    assert_eq!(samples.len(), recorded.len(), "from the key frame on");
    let mut beyond = 0;
    for (sample, original) in samples.iter().zip(&recorded) {
        assert_eq!(sample.size, original.size);
        // The picture, and a little of the filler.
        let length = u64::from(sample.size - FILLER_BYTES + 16);
        let mut expected = vec![0; length as usize];
        source
            .read_exact_at(&mut expected, original.offset)
            .unwrap();
        let range = format!("bytes={}-{}", sample.offset, sample.offset + length - 1);
        let part = get(&server, &clip, &[("Range", &range)]);
        assert!(part.status == 206 && part.body == expected, "{range}");
        fetched.write_all_at(&part.body, sample.offset).unwrap();
        if sample.offset > FOUR_GIB {
            beyond += 1;
            let (offset, limit) = (sample.offset as i64, length as i64);
            let (_, part) = download(&server, &clip.id, offset, limit).await.unwrap();
            assert!(part == expected, "over gRPC at {offset}");
        }
    }
    assert!(beyond > 20, "{beyond} pictures");
    let sound = index.audio.expect("sound").samples;
    assert!(sound.last().is_some_and(|last| last.offset > FOUR_GIB));
    // ffprobe finds the last pictures where we do.
    let told = run(Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v",
            "-read_intervals",
            "9%",
        ])
        .args(["-show_entries", "packet=pos", "-of", "csv=p=0"])
        .arg(&path));
    let told = String::from_utf8(told).unwrap();
    let places: Vec<u64> = told
        .lines()
        .map(|line| line.trim_end_matches(',').parse().unwrap())
        .collect();
    let offsets: Vec<u64> = samples.iter().map(|sample| sample.offset).collect();
    assert!(
        !places.is_empty() && offsets.ends_with(&places),
        "{places:?}"
    );
    server.stop_with(&site, &[]);
}
