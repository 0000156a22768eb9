//! What is stored comes back, is small, and harms nobody when it was changed.

use proptest::prelude::*;
use proptest::sample;

use super::super::edits::{Edit, EditList};
use super::super::entry::SampleEntry;
use super::super::index::{Display, Track};
use super::super::tests::{SOUND_RUN, Shape, boxed, read};
use super::reader::read_entry;
use super::*;
use crate::media::plan::FrameTimes;

fn video_entry(extra: &[u8]) -> SampleEntry {
    let parts: [&[u8]; 4] = [
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[0; 16],
        &[0, 64, 0, 48],
        &[0; 50],
    ];
    let bytes = boxed(b"avc1", &[&parts.concat(), extra]);
    read_entry(&bytes, true).expect("a sample entry")
}

fn sound_entry() -> SampleEntry {
    let bytes = boxed(
        b"mp4a",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 8],
            &[0, 1, 0, 16, 0, 0, 0, 0],
            &(48_000u32 << 16).to_be_bytes(),
        ],
    );
    read_entry(&bytes, false).expect("a sample entry")
}

fn track(entry: SampleEntry, samples: Vec<Sample>) -> Track {
    Track {
        id: 1,
        timescale: 90_000,
        entry,
        more_entries: Vec::new(),
        whole_samples: samples.len(),
        samples: samples.into(),
        edits: EditList::default(),
        display: Display {
            matrix: [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000],
            width: 64 << 16,
            height: 48 << 16,
        },
        unit_bytes: None,
    }
}

/// Ten seconds of 30 frames a second with two B-frames between others, and of sound, in chunks of half a second.
fn ten_seconds() -> SourceIndex {
    // Sizes vary as those of real frames do; the constants are those of Knuth's generator.
    let mut state = 1u64;
    let mut varying = move |least: u32, spread: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        least + (state >> 33) as u32 % spread
    };
    let mut offset = 48;
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    for half_second in 0..20u32 {
        for frame in half_second * 15..(half_second + 1) * 15 {
            let sync = frame % 60 == 0;
            let size = if sync {
                varying(90_000, 30_000)
            } else {
                varying(4_000, 12_000)
            };
            pictures.push(Sample {
                offset,
                dts: i64::from(frame) * 3_000,
                size,
                duration: 3_000,
                composition_offset: [3_000, 9_000, 0, 0][frame as usize % 4],
                sync,
                description: 1,
            });
            offset += u64::from(size);
        }
        for frame in half_second * 24..(half_second + 1) * 24 {
            let size = varying(150, 60);
            sounds.push(Sample {
                offset,
                dts: i64::from(frame) * 1_024,
                size,
                duration: 1_024,
                composition_offset: 0,
                sync: true,
                description: 1,
            });
            offset += u64::from(size);
        }
    }
    SourceIndex {
        container: Container::FragmentedMp4,
        size_bytes: offset,
        video: track(video_entry(&boxed(b"free", &[&[1; 60]])), pictures),
        audio: Some(Track {
            id: 2,
            timescale: 48_000,
            ..track(sound_entry(), sounds)
        }),
        mtx: None,
        creation_time: None,
        declared_duration_us: 10_000_000,
        truncated: false,
    }
}

#[test]
fn a_ten_second_segment_with_sound_takes_some_two_kilobytes() {
    let index = ten_seconds();
    let stored = index.encode();
    assert_eq!(SourceIndex::decode(&stored), Ok(index));
    assert!(stored.len() < 2_400, "{} bytes", stored.len());
}

#[test]
fn indexes_that_are_decoded_together_are_as_if_each_was_alone_and_damage_to_one_harms_no_other() {
    let mut silent = ten_seconds();
    silent.audio = None;
    let stored = [ten_seconds(), silent, ten_seconds()].map(|index| index.encode());
    let whole: Vec<&[u8]> = stored.iter().map(Vec::as_slice).collect();
    let alone = |bytes: &&[u8]| SourceIndex::decode(bytes);
    for damaged in 0..whole.len() {
        for length in [0, 1, 100, whole[damaged].len() - 1, whole[damaged].len()] {
            let mut stored = whole.clone();
            stored[damaged] = &stored[damaged][..length];
            let together = SourceIndex::decode_all(stored.iter().copied());
            let each: Vec<_> = stored.iter().map(alone).collect();
            assert_eq!(together, each, "{damaged}, {length} bytes");
        }
    }
    // Nor does one whose damage shows only behind its samples.
    let mut longer = ten_seconds().encode();
    longer.truncate(longer.len() - CHECK_BYTES);
    longer.push(0);
    longer.extend(crc32fast::hash(&longer).to_le_bytes());
    let together = SourceIndex::decode_all([&*longer, whole[1]]);
    assert_eq!(together, [alone(&&*longer), alone(&whole[1])]);
    assert!(together[0].is_err());
}

#[test]
fn what_was_read_from_a_file_comes_back_equal() {
    for shape in [Shape::default(), Shape::fragmented(&SOUND_RUN)] {
        let bytes = shape.bytes();
        // Samples beyond the end of the file are in its index, too.
        for length in [bytes.len(), bytes.len() - 15] {
            let Ok(index) = read(&bytes[..length]) else {
                continue;
            };
            assert_eq!(SourceIndex::decode(&index.encode()), Ok(index));
        }
    }
}

#[test]
fn the_form_stays_as_it_is() {
    let sample = |number: u8, offset| Sample {
        offset,
        dts: 900 + i64::from(number) * 40,
        size: 1_000 + u32::from(number),
        duration: 40,
        composition_offset: [80, 120, 0, 0][usize::from(number)],
        sync: number == 0,
        description: 1 + u16::from(number == 3),
    };
    let index = SourceIndex {
        container: Container::FragmentedMp4,
        size_bytes: 5_000,
        video: Track {
            edits: EditList {
                edit: Some(Edit {
                    shown_from: 0,
                    media_from: 80,
                    duration: None,
                }),
            },
            whole_samples: 3,
            more_entries: vec![video_entry(&boxed(b"free", &[b"more"]))],
            ..track(
                video_entry(&[]),
                vec![
                    sample(0, 40),
                    sample(1, 1_040),
                    sample(2, 2_500),
                    sample(3, 4_500),
                ],
            )
        },
        audio: None,
        mtx: Some(MtxInfo {
            stream_id: *b"0123456789abcdef",
            segment_number: 7,
            dts_ns: 36_000_000_000,
            ntp_ns: 1_750_000_000_123_456_789,
        }),
        creation_time: DateTime::from_timestamp(1_750_000_000, 0),
        declared_duration_us: 0,
        truncated: true,
    };
    let stored = index.encode();
    // Rows that were written with this version are read for as long as they are kept. What differs from this needs
    // another version.
    assert_eq!(hex(&stored), GOLDEN);
    assert_eq!(SourceIndex::decode(&stored), Ok(index));
}

const GOLDEN: &str = concat!(
    "011b8827008086f7840d303132333435363738396162636465660780a0a39c8c02aab4d6c4cdee9fc9300190bf",
    "050156000000566176633100000000000000010000000000000000000000000000000000400030000000000000",
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000062",
    "000000626176633100000000000000010000000000000000000000000000000000400030000000000000000000",
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c",
    "667265656d6f72658080080000008080080000008080808008808080028080c0010100a0010004d00f02020201",
    "50009607cc0f8407020000012802020228040600000001020000010102020104c7e58600",
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_unknown_version_and_every_single_changed_bit_is_noticed() {
    let stored = ten_seconds().encode();
    for bit in 0..stored.len() * 8 {
        let mut changed = stored.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(SourceIndex::decode(&changed).is_err(), "bit {bit}");
    }
    let mut newer = stored;
    newer[0] = VERSION + 1;
    assert_eq!(
        SourceIndex::decode(&newer),
        Err(DecodeError::Version(VERSION + 1))
    );
}

#[test]
fn bytes_that_end_too_early_are_refused_wherever_they_end() {
    let stored = ten_seconds().encode();
    for length in 0..stored.len() {
        assert!(SourceIndex::decode(&stored[..length]).is_err(), "{length}");
    }
    for length in 0..stored.len() - CHECK_BYTES {
        let sealed = decode_sealed(&stored[..length]);
        assert!(sealed.is_err(), "{length} bytes with a checksum that fits");
    }
}

fn decode_sealed(body: &[u8]) -> Result<SourceIndex, DecodeError> {
    let sealed = [body, &crc32fast::hash(body).to_le_bytes()].concat();
    SourceIndex::decode(&sealed)
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (
        prop_oneof![3 => Just(0u64), 1 => 0..1u64 << 40],
        prop_oneof![3 => Just(0i64), 1 => 0..1i64 << 50],
        1..u32::MAX,
        prop_oneof![3 => Just(3_000u32), 1 => 0..=i32::MAX as u32],
        prop_oneof![3 => Just(0i32), 1 => any::<i32>()],
        any::<bool>(),
        prop_oneof![3 => Just(1u16), 1 => any::<u16>()],
    );
    prop::collection::vec(sample, 1..60).prop_map(|jumps| {
        let (mut offset, mut dts) = (0, 0);
        jumps
            .into_iter()
            .map(|sample| {
                let (jump, pause, size, duration, composition_offset, sync, description) = sample;
                let sample = Sample {
                    offset: offset + jump,
                    dts: dts + pause,
                    size,
                    duration,
                    composition_offset,
                    sync,
                    description,
                };
                // Now and then a sample lies before the one before it.
                offset = if sync { sample.end() } else { jump };
                dts = sample.dts + i64::from(duration);
                sample
            })
            .collect()
    })
}

fn tracks(is_video: bool) -> impl Strategy<Value = Track> {
    let edit = (0..i64::MAX, 0..i64::MAX, prop::option::of(1..i64::MAX));
    (
        samples(),
        any::<u32>(),
        1..=u32::MAX,
        prop::option::of(edit),
        (any::<[i32; 9]>(), any::<[u32; 2]>()),
        prop::collection::vec(any::<u8>(), 0..8),
        0..3usize,
    )
        .prop_map(move |(samples, id, timescale, edit, shown, extra, more)| {
            let entry = if is_video {
                video_entry(&boxed(b"free", &[&extra]))
            } else {
                sound_entry()
            };
            Track {
                id,
                timescale,
                more_entries: vec![entry.clone(); more],
                edits: EditList {
                    edit: edit.map(|(shown_from, media_from, duration)| Edit {
                        shown_from,
                        media_from,
                        duration,
                    }),
                },
                display: Display {
                    matrix: shown.0,
                    width: shown.1[0],
                    height: shown.1[1],
                },
                unit_bytes: (!is_video && id % 2 == 0).then_some(1),
                ..track(entry, samples)
            }
        })
}

fn indexes() -> impl Strategy<Value = SourceIndex> {
    let mtx = (any::<[u8; 16]>(), any::<u64>(), any::<i64>(), any::<i64>());
    (
        (tracks(true), prop::option::of(tracks(false))),
        any::<[bool; 2]>(),
        any::<[u64; 2]>(),
        prop::option::of(mtx),
        prop::option::of(1..4_000_000_000i64),
    )
        .prop_map(|((video, audio), flags, numbers, mtx, created)| {
            let mut index = SourceIndex {
                container: if flags[0] {
                    Container::FragmentedMp4
                } else {
                    Container::Mp4
                },
                size_bytes: numbers[0] >> (numbers[1] % 64),
                video,
                audio,
                mtx: mtx.map(|(stream_id, segment_number, dts_ns, ntp_ns)| MtxInfo {
                    stream_id,
                    segment_number,
                    dts_ns,
                    ntp_ns,
                }),
                creation_time: created.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                declared_duration_us: numbers[1],
                truncated: flags[1],
            };
            let size_bytes = index.size_bytes;
            for track in [Some(&mut index.video), index.audio.as_mut()]
                .into_iter()
                .flatten()
            {
                let whole = track.samples.iter().take_while(|s| s.end() <= size_bytes);
                track.whole_samples = whole.count();
            }
            index
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_an_index_holds_comes_back_equal(index in indexes()) {
        prop_assert_eq!(SourceIndex::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn no_bytes_do_harm_even_with_a_checksum_that_fits(
        index in indexes(),
        changes in prop::collection::vec((any::<sample::Index>(), any::<u8>()), 1..8),
        kept in any::<sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut body = index.encode();
        body.truncate(body.len() - CHECK_BYTES);
        for (at, value) in changes {
            let at = at.index(body.len());
            body[at] = value;
        }
        if cut {
            body.truncate(kept.index(body.len()));
        }
        if let Ok(index) = decode_sealed(&body) {
            let tracks = [Some(&index.video), index.audio.as_ref()];
            for track in tracks.into_iter().flatten() {
                prop_assert!(track.samples.len() <= body.len());
                for sample in &track.samples[..track.whole_samples] {
                    prop_assert!(sample.size > 0 && sample.end() <= index.size_bytes);
                }
                // Whoever plans with it has the same certainty as with what was read from a file.
                FrameTimes::of(track);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_sealed(&[&[VERSION], bytes.as_slice()].concat());
        let _ = SourceIndex::decode(&bytes);
    }
}
