//! What is written against the plan: every table, every byte.

use std::cell::Cell;
use std::sync::OnceLock;

use chrono::DateTime;
use proptest::prelude::*;

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
        samples,
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

fn unwatched() -> Caller<impl Fn() -> bool, impl FnMut(Copied), impl FnOnce() -> io::Result<()>> {
    watched_to_its_end(|| Ok(()))
}

fn watched_to_its_end<Written: FnOnce() -> io::Result<()>>(
    on_written: Written,
) -> Caller<impl Fn() -> bool, impl FnMut(Copied), Written> {
    Caller {
        must_stop: || false,
        on_copied: |_| {},
        on_written,
    }
}

fn spliced(plan: &Plan, with_sound: bool, out: &File) -> Result<Spliced, SpliceError> {
    let files = vec![source(); plan.pieces.len()];
    splice(out, plan, with_sound, &label(), &files, unwatched())
}

/// A minute of picture with sound, and everything of it wanted.
fn minute() -> Plan {
    let segments = segments(&[plain(0, 60)], true);
    plan(&segments, &wanted(0, 60_000)).expect("footage")
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
        let digest = ring::digest::digest(&SHA256, &bytes);
        prop_assert_eq!(spliced.sha256.as_slice(), digest.as_ref());

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

#[test]
fn a_source_that_ends_before_its_tables_say_is_named() {
    let plan = minute();
    let short = tempfile::tempfile().expect("a temporary file");
    short
        .write_all_at(&source_bytes()[..1000], 0)
        .expect("room");
    let out = tempfile::tempfile().expect("a temporary file");
    let files = [Arc::new(short)];
    let made = splice(&out, &plan, true, &label(), &files, unwatched());
    let Err(SpliceError::Broken(broken)) = made else {
        panic!("a clip of what is not there");
    };
    assert_eq!(broken.piece, 0);
    assert_eq!(broken.error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_full_disk_is_told_as_such() {
    let full = File::options().read(true).write(true).open("/dev/full");
    let made = spliced(&minute(), true, &full.expect("Linux has it"));
    let Err(SpliceError::Write(error)) = made else {
        panic!("a clip on a full disk");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_copy_stops_when_it_is_told_to() {
    let mut plan = minute();
    // Larger than what is copied between two looks, and apart from one another.
    for sample in &mut plan.video.samples {
        sample.size = 10_000;
    }
    plan.video.piece_bytes = vec![plan.video.samples.len() as u64 * 10_000];
    let out = tempfile::tempfile().expect("a temporary file");
    let looks = Cell::new(0);
    let must_stop = || {
        looks.set(looks.get() + 1);
        looks.get() == 3
    };
    let files = [source()];
    let mut last = Copied::default();
    let on_copied = |copied: Copied| {
        assert!(copied.media_bytes >= last.media_bytes && copied.needed_at >= last.needed_at);
        last = copied;
    };
    let never = || panic!("it is not written whole");
    let made = splice(
        &out,
        &plan,
        true,
        &label(),
        &files,
        Caller {
            must_stop,
            on_copied,
            on_written: never,
        },
    );
    assert!(matches!(made, Err(SpliceError::Stopped)));
    assert_eq!(looks.get(), 3);
    assert!(out.metadata().expect("a file").len() <= 3 * (STEP_BYTES + BUFFER_BYTES as u64));
    assert!(last.media_bytes > 0 && last.needed_at > 0);
}

#[test]
fn what_is_to_be_done_with_a_file_that_is_written_is_done_once_and_its_failure_is_that_of_the_clip()
{
    let plan = minute();
    let out = tempfile::tempfile().expect("a temporary file");
    let files = [source()];
    let mut written_bytes = None;
    let on_written = || {
        written_bytes = Some(out.metadata()?.len());
        Ok(())
    };
    let made = splice(
        &out,
        &plan,
        true,
        &label(),
        &files,
        watched_to_its_end(on_written),
    );
    assert_eq!(written_bytes, Some(made.expect("a clip").size_bytes));

    let out = tempfile::tempfile().expect("a temporary file");
    let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
    let made = splice(
        &out,
        &plan,
        true,
        &label(),
        &files,
        watched_to_its_end(full),
    );
    assert!(matches!(made, Err(SpliceError::Write(_))));
}

#[test]
fn a_file_that_is_not_as_planned_is_found_out() {
    let plan = minute();
    let out = tempfile::tempfile().expect("a temporary file");
    spliced(&plan, true, &out).expect("a clip");
    let Head {
        bytes, mut places, ..
    } = head(&plan, true, &label()).expect("a header");
    places.move_back(bytes.len() as u64);
    let is_fine = |plan: &Plan, places: &Places| check(&out, plan, true, places).is_ok();
    assert!(is_fine(&plan, &places));
    type Change = fn(&mut Plan);
    let changes: [Change; 6] = [
        |plan| plan.video.samples[7].size += 1,
        |plan| plan.video.samples[7].dts += 1,
        |plan| plan.video.samples[7].composition_offset += 1,
        |plan| plan.video.samples[7].sync = true,
        |plan| plan.sound = None,
        |plan| {
            plan.video.samples.pop();
        },
    ];
    for change in changes {
        let mut other = plan.clone();
        change(&mut other);
        assert!(!is_fine(&other, &places));
    }
    places.video[7] += 1;
    assert!(!is_fine(&plan, &places));
}

/// Two segments with sound and ten seconds between them.
fn two_with_a_gap() -> Vec<Segment> {
    segments(&[plain(0, 10), plain(20, 10)], true)
}

fn index_of(segment: &mut Segment) -> &mut SourceIndex {
    let Footage::Indexed(index) = &mut segment.footage else {
        unreachable!("the segments are made with footage");
    };
    Arc::get_mut(index).expect("not shared")
}

/// A clip from 4.4 s to 26.2 s, as bytes.
fn clip_of(segments: &[Segment], gap_mode: GapMode, parameters: Parameters) -> Vec<u8> {
    let wanted = Wanted {
        gap_mode,
        parameters,
        ..wanted(4_400, 26_200)
    };
    let plan = plan(segments, &wanted).expect("footage");
    let out = tempfile::tempfile().expect("a temporary file");
    let made = spliced(&plan, true, &out).expect("a clip");
    let mut bytes = vec![0; made.size_bytes as usize];
    out.read_exact_at(&mut bytes, 0).expect("all of it");
    bytes
}

/// The same footage with parameters of its own in the second segment.
fn with_other_parameters() -> Vec<Segment> {
    let mut segments = two_with_a_gap();
    let entry = &mut index_of(&mut segments[1]).video.entry;
    entry.fingerprint = Fingerprint::of(&[b"other"]);
    entry.bytes[40] = 7;
    segments
}

/// The same footage with sound in G.711.
fn with_g711() -> Vec<Segment> {
    let mut segments = two_with_a_gap();
    for segment in &mut segments {
        let track = index_of(segment).audio.as_mut().expect("sound");
        track.timescale = 8_000;
        track.unit_bytes = Some(1);
        track.entry.four_cc = *b"alaw";
        track.entry.codec = "pcm_alaw".to_owned();
        track.entry.sample_rate_hz = 8_000;
        track.entry.bytes[4..8].copy_from_slice(b"alaw");
        let first = track.samples[0].offset;
        track.samples.truncate(78);
        track.whole_samples = 78;
        for (at, sample) in track.samples.iter_mut().enumerate() {
            (sample.offset, sample.dts) = (first + at as u64 * 1024, at as i64 * 1024);
            (sample.size, sample.duration) = (1024, 1024);
        }
    }
    segments
}

/// The form of a clip changes only on purpose: what was made once must be made again to the byte, for a virtual clip has
/// no bytes but these.
#[test]
fn the_bytes_of_clips_are_these() {
    let clips = [
        clip_of(&two_with_a_gap(), GapMode::Close, Parameters::One),
        clip_of(&two_with_a_gap(), GapMode::Keep, Parameters::One),
        clip_of(
            &with_other_parameters(),
            GapMode::Close,
            Parameters::Several,
        ),
        clip_of(&with_g711(), GapMode::Close, Parameters::One),
    ];
    let digests = clips.map(|bytes| {
        let digest = ring::digest::digest(&SHA256, &bytes);
        let digits: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        digits
    });
    assert_eq!(
        digests,
        [
            "73cab36fc7bdf4619c5bfedd9b865eb9eaeafe8c7a240e625b5f69ff6cf875f4",
            "16283fd8db113f8ae5696e14587fff6a3389007fd272c43a34cf64864fd2ec86",
            "3a26c40d167c519980ebb5ef30046bf8dbc38cba3bda0806e10ceaa84051501e",
            "6131c233d9936fc56027a141f21169e3e999e72962927bcff44c4ef1f001feab",
        ]
    );
}

#[test]
fn parameters_that_change_have_a_sample_entry_of_their_own() {
    let bytes = clip_of(
        &with_other_parameters(),
        GapMode::Close,
        Parameters::Several,
    );
    let file = tempfile::tempfile().expect("a temporary file");
    file.write_all_at(&bytes, 0).expect("room for it");
    let index = SourceIndex::read(&file).expect("an MP4");
    assert_eq!(index.video.more_entries.len(), 1);
    let numbers = index.video.samples.iter().map(|sample| sample.description);
    let runs: Vec<u16> = numbers
        .collect::<Vec<_>>()
        .chunk_by(|a, b| a == b)
        .map(|run| run[0])
        .collect();
    assert_eq!(runs, [1, 2]);
}

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

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_file_that_lies_is_refused_or_cut_and_never_a_panic(
        changes in prop::collection::vec((0usize..12_000, prop_oneof![any::<u8>(), Just(0u8), Just(255u8)]), 1..12),
        length in 0usize..200_000,
    ) {
        static HONEST: OnceLock<Vec<u8>> = OnceLock::new();
        let honest = HONEST.get_or_init(|| {
            clip_of(&with_other_parameters(), GapMode::Keep, Parameters::Several)
        });
        let mut bytes = honest.clone();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(length.max(1_000));
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(&bytes, 0).expect("room for it");
        let Ok(index) = SourceIndex::read(&file) else {
            return Ok(());
        };
        let mut segment = plain(0, 10).segment(0);
        segment.footage = Footage::Indexed(Arc::new(index));
        for (gap_mode, parameters) in [(GapMode::Close, Parameters::One), (GapMode::Keep, Parameters::Several)] {
            let wanted = Wanted { gap_mode, parameters, ..wanted(1_000, 20_000) };
            let Ok(plan) = plan(std::slice::from_ref(&segment), &wanted) else {
                continue;
            };
            if plan.expected_bytes > 2 * bytes.len() as u64 {
                continue;
            }
            let out = tempfile::tempfile().expect("a temporary file");
            let shared = Arc::new(file.try_clone().expect("a descriptor"));
            let files = vec![shared; plan.pieces.len()];
            // Refused or not: what matters is that it ends.
            let _ = splice(&out, &plan, plan.sound.is_some(), &label(), &files, unwatched());
        }
    }
}
