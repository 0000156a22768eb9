//! Files that lie (`SourceIndex` must refuse them, briefly and without much memory) and files that do not.

use std::fs::File;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::Container;

pub(super) fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    [
        (payload.len() as u32 + 8).to_be_bytes().as_slice(),
        kind,
        &payload,
    ]
    .concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    file
}

pub(super) fn read(bytes: &[u8]) -> Result<SourceIndex, ReadError> {
    SourceIndex::read(&file_with(bytes))
}

/// What a test changes in an otherwise sound file.
pub(super) struct Shape {
    movie_timescale: u32,
    track_timescale: u32,
    stts: Vec<u32>,
    stsc: Vec<u32>,
    stsz: Vec<u32>,
    stco: Vec<u32>,
    fragments: Vec<u8>,
    user_data: Vec<u8>,
}

impl Default for Shape {
    /// Four samples of 10 bytes at 25 frames a second, the first of them a key frame.
    fn default() -> Self {
        Self {
            movie_timescale: 1000,
            track_timescale: 25,
            stts: vec![0, 1, 4, 1],
            stsc: vec![0, 1, 1, 4, 1],
            stsz: vec![0, 0, 4, 10, 10, 10, 10],
            stco: vec![0, 1, 28],
            fragments: Vec::new(),
            user_data: Vec::new(),
        }
    }
}

impl Shape {
    /// `ftyp`, `mdat` with 40 bytes at position 28, `moov`, fragments.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let file_type = boxed(b"ftyp", &[b"isom\0\0\0\0isom"]);
        let media = boxed(b"mdat", &[&[0; 40]]);
        assert_eq!(file_type.len() + 8, 28);
        let movie_header = [words(&[0, 0, 0, self.movie_timescale, 160]), vec![0; 80]].concat();
        let track_header = [words(&[3, 0, 0, 1, 0, 160, 0, 0, 0, 0]), vec![0; 44]].concat();
        let entry = boxed(
            b"avc1",
            &[
                &[0, 0, 0, 0, 0, 0, 0, 1],
                &[0; 16],
                &[0, 64, 0, 48],
                &[0; 50],
            ],
        );
        let table = |kind, values: &Vec<u32>| boxed(kind, &[&words(values)]);
        let tables = boxed(
            b"stbl",
            &[
                &boxed(b"stsd", &[&words(&[0, 1]), &entry]),
                &table(b"stts", &self.stts),
                &table(b"stss", &vec![0, 1, 1]),
                &table(b"stsc", &self.stsc),
                &table(b"stsz", &self.stsz),
                &table(b"stco", &self.stco),
            ],
        );
        let media_header = words(&[0, 0, 0, self.track_timescale, 4, 0]);
        let track = boxed(
            b"trak",
            &[
                &boxed(b"tkhd", &[&track_header]),
                &boxed(
                    b"mdia",
                    &[
                        &boxed(b"mdhd", &[&media_header]),
                        &boxed(b"hdlr", &[&words(&[0, 0]), b"vide", &[0; 13]]),
                        &boxed(b"minf", &[&tables]),
                    ],
                ),
            ],
        );
        let defaults = boxed(b"mvex", &[&boxed(b"trex", &[&words(&[0, 1, 1, 1, 10, 0])])]);
        let extends: &[u8] = if self.fragments.is_empty() {
            &[]
        } else {
            &defaults
        };
        let movie = boxed(
            b"moov",
            &[
                &boxed(b"mvhd", &[&movie_header]),
                &track,
                extends,
                &self.user_data,
            ],
        );
        [file_type, media, movie, self.fragments.clone()].concat()
    }

    /// The same footage in one fragment of four samples.
    pub(super) fn fragmented(run: &[u32]) -> Self {
        let header = boxed(b"tfhd", &[&words(&[0x02_0000, 1])]);
        let time = boxed(b"tfdt", &[&words(&[0, 100])]);
        let track = boxed(b"traf", &[&header, &time, &boxed(b"trun", &[&words(run)])]);
        let fragment = boxed(b"moof", &[&boxed(b"mfhd", &[&words(&[0, 1])]), &track]);
        Self {
            stts: vec![0, 0],
            stsc: vec![0, 0],
            stsz: vec![0, 0, 0],
            stco: vec![0, 0],
            fragments: [fragment, boxed(b"mdat", &[&[0; 40]])].concat(),
            ..Self::default()
        }
    }
}

/// A run of four samples with the media right after the fragment, whose own size is 84 bytes.
pub(super) const SOUND_RUN: [u32; 3] = [0x1, 4, 92];

#[test]
fn a_progressive_file_is_indexed() {
    let index = read(&Shape::default().bytes()).expect("a sound file");
    assert_eq!(index.container, Container::Mp4);
    assert_eq!(
        (index.video.entry.width, index.video.entry.height),
        (64, 48)
    );
    assert_eq!(index.video.entry.codec, "h264");
    let offsets: Vec<u64> = index
        .video
        .samples
        .iter()
        .map(|sample| sample.offset)
        .collect();
    assert_eq!(offsets, [28, 38, 48, 58]);
    let keys: Vec<bool> = index
        .video
        .samples
        .iter()
        .map(|sample| sample.sync)
        .collect();
    assert_eq!(keys, [true, false, false, false]);
    assert!(!index.truncated);
}

#[test]
fn a_fragmented_file_is_indexed() {
    let bytes = Shape::fragmented(&SOUND_RUN).bytes();
    let index = read(&bytes).expect("a sound file");
    assert_eq!(index.container, Container::FragmentedMp4);
    let times: Vec<i64> = index.video.samples.iter().map(Sample::pts).collect();
    assert_eq!(times, [100, 101, 102, 103]);
    assert!(!index.truncated, "{:?}", index.video.samples);
    assert_eq!(
        index.video.samples.last().map(Sample::end),
        Some(bytes.len() as u64)
    );
}

/// The track of a file.
fn track_in(bytes: &[u8]) -> Vec<u8> {
    let kind = bytes.windows(4).position(|kind| kind == b"trak");
    let at = kind.expect("a track") - 4;
    let size = u32::from_be_bytes(*bytes[at..].first_chunk().expect("a size"));
    bytes[at..at + size as usize].to_vec()
}

#[test]
fn sound_of_one_sample_size_whose_samples_come_in_fragments_is_not_taken_for_blocks() {
    let mut sound = track_in(
        &Shape {
            stsz: vec![0, 8, 0],
            ..Shape::fragmented(&SOUND_RUN)
        }
        .bytes(),
    );
    for (from, to) in [(b"vide", b"soun"), (&[0, 0, 0, 1], &[0, 0, 0, 2])] {
        // The first number 1 is the id of the track.
        let at = sound.windows(4).position(|word| word == from);
        sound[at.expect("it is there")..][..4].copy_from_slice(to);
    }
    let run = words(&[0x201, 4, 108, 10, 10, 10, 10]);
    let header = boxed(b"tfhd", &[&words(&[0x02_0000, 2])]);
    let track = boxed(b"traf", &[&header, &boxed(b"trun", &[&run])]);
    let fragment = boxed(b"moof", &[&boxed(b"mfhd", &[&words(&[0, 1])]), &track]);
    let shape = Shape {
        user_data: sound,
        fragments: [fragment, boxed(b"mdat", &[&[0; 40]])].concat(),
        ..Shape::default()
    };
    let index = read(&shape.bytes()).expect("a sound file");
    let sound = index.audio.as_ref().expect("sound");
    assert_eq!((sound.samples.len(), sound.unit_bytes), (4, None));
    assert_eq!(SourceIndex::decode(&index.encode()), Ok(index));
}

#[test]
fn more_tracks_than_any_recorder_writes_are_refused() {
    let with_more = |count| Shape {
        user_data: track_in(&Shape::default().bytes()).repeat(count),
        ..Shape::default()
    };
    assert!(read(&with_more(63).bytes()).is_ok());
    let refused = read(&with_more(64).bytes());
    assert!(matches!(refused, Err(ReadError::Malformed(_))));
}

#[test]
fn the_time_that_mediamtx_writes_is_found() {
    let ntp_ns: i64 = 1_750_000_000_123_456_789;
    let info = boxed(
        b"mtxi",
        &[
            &words(&[0]),
            &[9; 16],
            &7u64.to_be_bytes(),
            &5i64.to_be_bytes(),
            &ntp_ns.to_be_bytes(),
        ],
    );
    for user_data in [info.clone(), boxed(b"udta", &[&info])] {
        let index = read(
            &Shape {
                user_data,
                ..Shape::default()
            }
            .bytes(),
        )
        .expect("a sound file");
        let found = index.mtx.expect("the box is there");
        assert_eq!(found.segment_number, 7);
        assert_eq!(found.time().timestamp_nanos_opt(), Some(ntp_ns));
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_known_to_be_short() {
    for whole in [
        Shape::default().bytes(),
        Shape::fragmented(&SOUND_RUN).bytes(),
    ] {
        for length in 0..whole.len() {
            match read(&whole[..length]) {
                Ok(index) => {
                    assert!(index.truncated, "{length} of {}", whole.len());
                    assert!(index.video.whole_samples < 4);
                }
                Err(ReadError::Io(error)) => panic!("{length}: {error}"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn a_clock_of_zero_ticks_is_refused() {
    for shape in [
        Shape {
            movie_timescale: 0,
            ..Shape::default()
        },
        Shape {
            track_timescale: 0,
            ..Shape::default()
        },
    ] {
        assert!(matches!(read(&shape.bytes()), Err(ReadError::Malformed(_))));
    }
}

#[test]
fn tables_that_promise_more_than_the_file_holds_are_refused() {
    let huge = u32::MAX;
    for shape in [
        // A count of entries that are not there.
        Shape {
            stsz: vec![0, 0, huge, 10],
            ..Shape::default()
        },
        Shape {
            stco: vec![0, huge, 28],
            ..Shape::default()
        },
        Shape {
            stts: vec![0, huge, 4, 1],
            ..Shape::default()
        },
        // Four thousand million samples of one size in one chunk.
        Shape {
            stsz: vec![0, 10, huge],
            stsc: vec![0, 1, 1, huge, 1],
            ..Shape::default()
        },
        // The same in a run that has no bytes for its samples.
        Shape::fragmented(&[0x1, huge, 92]),
        // A run placed before the file.
        Shape::fragmented(&[0x1, 4, 1 << 31]),
    ] {
        assert!(
            matches!(read(&shape.bytes()), Err(ReadError::Malformed(_))),
            "{:?}",
            shape.stsz
        );
    }
}

#[test]
fn samples_beyond_the_file_are_not_whole() {
    let index = read(
        &Shape {
            stco: vec![0, 1, huge_offset()],
            ..Shape::default()
        }
        .bytes(),
    );
    let index = index.expect("the tables agree with themselves");
    assert!(index.truncated);
    assert_eq!(index.video.whole_samples, 0);
}

fn huge_offset() -> u32 {
    u32::MAX - 5
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let mut stream = vec![0u8; 188 * 3];
    stream.iter_mut().step_by(188).for_each(|byte| *byte = 0x47);
    assert!(matches!(sniff(&file_with(&stream)), Ok(Container::MpegTs)));
    let matroska = file_with(&[0x1a, 0x45, 0xdf, 0xa3, 0, 0]);
    assert!(matches!(sniff(&matroska), Ok(Container::Matroska)));
    assert!(matches!(read(b""), Err(ReadError::Empty)));
    assert!(matches!(
        read(b"#EXTM3U\n#EXT-X-VERSION:3\n"),
        Err(ReadError::NotMp4)
    ));
    assert!(matches!(
        read(&Shape::default().bytes()[..68]),
        Err(ReadError::Unfinished)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_change_of_bytes_makes_the_reader_fail_otherwise_than_by_an_error(
        fragmented in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let shape = if fragmented { Shape::fragmented(&SOUND_RUN) } else { Shape::default() };
        let mut bytes = shape.bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(index) = read(&bytes) {
            prop_assert!(index.video.samples.len() <= bytes.len() / 8);
            for sample in &index.video.samples[..index.video.whole_samples] {
                prop_assert!(sample.end() <= bytes.len() as u64);
            }
        }
    }
}
