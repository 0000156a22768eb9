//! What is written against the plan: every table, every byte.

mod faults;
mod form;
mod order;

use std::sync::OnceLock;

use chrono::DateTime;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::*;
use crate::domain::clip::GapMode;
use crate::media::interleave::sound_of;
use crate::media::mp4::{EditList, Fingerprint, Sample, SampleEntry, SourceIndex, Track};
use crate::media::plan::tests::{Made, any_segments, plain, wanted};
use crate::media::plan::{Footage, OutputTrack, Parameters, Segment, Wanted, WarningKind, plan};

/// Bytes of the file that holds the samples of all segments; each segment has a million.
const SOURCE_BYTES: usize = 6_200_000;
/// Where the sound of a segment begins among its bytes.
const SOUND_OFFSET: u64 = 400_000;

fn source_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        // No two stretches are alike.
        let scramble = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
        (0..SOURCE_BYTES).map(scramble).collect()
    })
}

fn source() -> Arc<File> {
    static FILE: OnceLock<Arc<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(source_bytes(), 0).expect("room for it");
        Arc::new(file)
    });
    Arc::clone(file)
}

/// Sound of 48 kHz beside the picture, all of the same parameters.
fn sound(number: usize, length_ms: i64) -> Track {
    let entry = SampleEntry {
        four_cc: *b"mp4a",
        codec: "aac".to_owned(),
        fingerprint: Fingerprint::of(&[b"sound"]),
        width: 0,
        height: 0,
        sample_rate_hz: 48_000,
        channels: 1,
        nal_length_bytes: None,
        bytes: [b"\0\0\0\x24mp4a".as_slice(), &[0; 28]].concat(),
        quicktime_sound: false,
    };
    let count = (length_ms * 48 / 1024) as usize;
    let samples: Vec<Sample> = (0..count)
        .map(|at| Sample {
            offset: number as u64 * 1_000_000 + SOUND_OFFSET + at as u64 * 50,
            dts: at as i64 * 1024,
            size: 50 - at as u32 % 3,
            duration: 1024,
            composition_offset: 0,
            sync: true,
            description: 1,
        })
        .collect();
    Track {
        id: 2,
        timescale: 48_000,
        entry,
        more_entries: Vec::new(),
        whole_samples: samples.len(),
        samples: samples.into(),
        edits: EditList::default(),
        display: crate::media::mp4::Display {
            matrix: [0; 9],
            width: 0,
            height: 0,
        },
        unit_bytes: None,
    }
}

fn segments(made: &[Made], with_sound: bool) -> Vec<Segment> {
    let mut segments: Vec<Segment> = (0..)
        .zip(made)
        .map(|(number, made)| made.segment(number))
        .collect();
    for (number, segment) in segments.iter_mut().enumerate().filter(|_| with_sound) {
        let Footage::Indexed(index) = &mut segment.footage else {
            unreachable!("the segments are made with footage");
        };
        let index = Arc::get_mut(index).expect("not shared");
        index.audio = Some(sound(number, made[number].frames * 40));
    }
    segments
}

fn label() -> Label {
    Label {
        start: DateTime::from_timestamp(1_750_000_000, 0).expect("a time"),
        title: "gate_a_01".to_owned(),
        comment: "a test".to_owned(),
    }
}

/// Whether the kernel copies: all holds of both ways.
const WAYS: [bool; 2] = [false, true];

fn unwatched(
    by_kernel: bool,
) -> Caller<impl Fn() -> bool, impl FnMut(Copied), impl FnOnce() -> io::Result<()>> {
    Caller {
        must_stop: || false,
        by_kernel,
        hashes: true,
        on_copied: |_| {},
        on_written: || Ok(()),
    }
}

fn spliced(plan: &Plan, with_sound: bool, out: &File) -> Result<Spliced, SpliceError> {
    let files = vec![source(); plan.pieces.len()];
    let splice_into = |out, by_kernel| {
        let caller = unwatched(by_kernel);
        splice(out, plan, with_sound, &label(), &files, caller)
    };
    let made = splice_into(out, false)?;
    // Whoever copies, the clip is the same.
    let other = tempfile::tempfile().expect("a temporary file");
    let again = splice_into(&other, true)?;
    assert_eq!(made.sha256, again.sha256);
    for file in [out, &other] {
        let mut bytes = vec![0; made.size_bytes as usize];
        file.read_exact_at(&mut bytes, 0).expect("the whole clip");
        assert_eq!(digest(&SHA256, &bytes).as_ref(), made.sha256.unwrap());
    }
    Ok(made)
}

/// A minute of picture with sound, and everything of it wanted.
fn minute() -> Plan {
    let segments = segments(&[plain(0, 60)], true);
    plan(&segments, &wanted(0, 60_000)).expect("footage")
}

#[test]
fn a_clip_of_so_many_recordings_that_its_tracks_are_planned_side_by_side_is_planned_as_its_parts_are()
 {
    const LENGTH_S: i64 = 2;
    let made: Vec<Made> = (0..60)
        .map(|number| plain(number * LENGTH_S, LENGTH_S))
        .collect();
    let segments = segments(&made, true);
    let offsets = |track: &OutputTrack| -> Vec<u64> {
        track.samples.iter().map(|sample| sample.offset).collect()
    };
    let (mut video, mut sound) = (Vec::new(), Vec::new());
    for from in [0, 20, 40] {
        let (from_ms, to_ms) = (from * LENGTH_S * 1000, (from + 20) * LENGTH_S * 1000);
        let part = plan(&segments, &wanted(from_ms, to_ms)).expect("footage");
        video.extend(offsets(&part.video));
        sound.extend(offsets(part.sound.as_ref().expect("sound")));
    }
    let whole = plan(&segments, &wanted(0, 60 * LENGTH_S * 1000)).expect("footage");
    assert_eq!(whole.pieces.len(), 60);
    assert_eq!(offsets(&whole.video), video);
    assert_eq!(offsets(whole.sound.as_ref().expect("sound")), sound);
}

/// The picture of a minute in stretches that are long enough for the kernel.
fn long_stretches() -> Plan {
    const SAMPLE_BYTES: u32 = 4_000;
    const TOGETHER: u64 = 50;
    let mut plan = minute();
    for (sample, at) in plan.video.samples.iter_mut().zip(0..) {
        // A byte lies between two stretches.
        sample.offset = at * u64::from(SAMPLE_BYTES) + at / TOGETHER;
        sample.size = SAMPLE_BYTES;
    }
    let count = plan.video.samples.len() as u64;
    plan.video.piece_bytes = vec![count * u64::from(SAMPLE_BYTES)];
    assert!(TOGETHER * u64::from(SAMPLE_BYTES) >= KERNEL_BYTES);
    plan
}

#[test]
fn long_stretches_are_the_same_whoever_copies_them() {
    let out = tempfile::tempfile().expect("a temporary file");
    spliced(&long_stretches(), false, &out).expect("a clip");
}

fn check_track(planned: &OutputTrack, found: &Track, bytes: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(planned.timescale, found.timescale);
    prop_assert_eq!(found.whole_samples, planned.samples.len());
    prop_assert_eq!(found.samples.len(), planned.samples.len());
    for (planned, found) in planned.samples.iter().zip(&found.samples) {
        prop_assert_eq!(
            (planned.size, planned.dts, planned.pts(), planned.sync),
            (found.size, found.dts, found.pts(), found.sync)
        );
        let of = |bytes: &'_ [u8], offset: u64| {
            bytes[offset as usize..][..planned.size as usize].to_vec()
        };
        prop_assert!(of(bytes, found.offset) == of(source_bytes(), planned.offset));
    }
    let last = found.samples.last().expect("samples");
    prop_assert_eq!(last.duration, planned.last_duration);
    let first_edit = planned.edits.iter().find_map(|edit| edit.media_time);
    prop_assert_eq!(found.edits.first_media_time(), first_edit);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tables_and_the_bytes_of_a_copy_are_those_of_the_plan(
        made in any_segments(),
        from_ms in 0i64..12_000,
        length_ms in 1i64..15_000,
        with_sound in any::<bool>(),
        gap_mode in prop_oneof![Just(GapMode::Close), Just(GapMode::Keep)],
    ) {
        let segments = segments(&made, with_sound);
        let wanted = Wanted { gap_mode, ..wanted(from_ms, from_ms + length_ms) };
        let Ok(plan) = plan(&segments, &wanted) else {
            return Ok(());
        };
        let out = tempfile::tempfile().expect("a temporary file");
        let spliced = spliced(&plan, with_sound, &out).expect("a clip");
        let mut bytes = vec![0; out.metadata().expect("a file").len() as usize];
        out.read_exact_at(&mut bytes, 0).expect("all of it");
        prop_assert_eq!(spliced.size_bytes, bytes.len() as u64);
        let digest = digest(&SHA256, &bytes);
        prop_assert_eq!(spliced.sha256.expect("a digest"), digest.as_ref());

        let index = SourceIndex::read(&out).expect("an MP4");
        check_track(&plan.video, &index.video, &bytes)?;
        let sound = sound_of(&plan, with_sound);
        prop_assert_eq!(index.audio.is_some(), sound.is_some());
        for (planned, found) in sound.iter().zip(&index.audio) {
            check_track(planned, found, &bytes)?;
        }
        // Nothing is in the file that no table names.
        let first = index.video.samples.iter().chain(index.audio.iter().flat_map(|track| &track.samples));
        let media_start = first.map(|sample| sample.offset).min().expect("samples");
        prop_assert_eq!(media_start + plan.expected_bytes, bytes.len() as u64);
    }
}

#[test]
fn sound_in_units_and_sound_in_samples_are_not_joined_in_one_clip() {
    let mut segments = segments(&[plain(0, 10), plain(10, 5)], true);
    let Footage::Indexed(index) = &mut segments[1].footage else {
        unreachable!("the segments are made with footage");
    };
    let index = Arc::get_mut(index).expect("not shared");
    index.audio.as_mut().expect("sound").unit_bytes = Some(7);
    let plan = plan(&segments, &wanted(0, 15_000)).expect("footage");
    let warned = plan.warnings.iter().map(|warning| warning.kind);
    assert!(warned.eq([WarningKind::SoundPartlyMissing]));
    let out = tempfile::tempfile().expect("a temporary file");
    spliced(&plan, true, &out).expect("a clip with the sound of ten seconds");
}

#[test]
fn a_clip_of_more_than_4_gib_has_wide_positions_and_a_wide_box() {
    let mut plan = minute();
    plan.sound = None;
    for sample in &mut plan.video.samples {
        sample.size = 4 << 20;
    }
    plan.video.piece_bytes = vec![(plan.video.samples.len() as u64) << 22];
    let Head { bytes: head, .. } = head(&plan, false, &label()).expect("a header");
    let table = head.windows(4).position(|kind| kind == b"co64");
    // Kind, version and flags, count.
    let table = &head[table.expect("wide positions")..];
    let count = u32::from_be_bytes(table[8..12].try_into().expect("four bytes")) as usize;
    let (positions, _) = table[12..].as_chunks();
    assert_eq!(positions[0], (head.len() as u64).to_be_bytes());
    assert!(u64::from_be_bytes(positions[count - 1]) > 4 << 30);
    let data_header = &head[head.len() - 16..];
    assert_eq!(&data_header[..8], b"\0\0\0\x01mdat");
}

fn index_of(segment: &mut Segment) -> &mut SourceIndex {
    let Footage::Indexed(index) = &mut segment.footage else {
        unreachable!("the segments are made with footage");
    };
    Arc::get_mut(index).expect("not shared")
}
