//! Recordings and a window: whatever they are, there is a clip that holds what was planned, or an error that says why not.
//!
//! The form of an input, all numbers big-endian:
//!
//! ```text
//! window      from (i32) and length (u32) in µs, each times 2^shift; shift, gap tolerance in ms, gap mode (even: closed up),
//!             parameters (even: several), a byte each
//! recording   the four bytes of SEPARATOR, start (i32) and expected length (u32, 0: unknown) in µs, accuracy of the start in
//!             units of 10 ms (a byte), then the file
//! recording   …
//! ```
//!
//! What is missing at the end counts as zeros. Recordings need not be in order; they are sorted, as the catalog does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::domain::catalog::Container;
use crate::domain::clip::GapMode;
use crate::domain::coverage::GapReason;
use crate::domain::time::TimeRange;
use crate::media::mp4::{SourceIndex, Track, sniff};
use crate::media::plan::{OutputTrack, Parameters, Plan, Wanted};
use crate::media::{
    CutError, CutOrder, CutOutcome, Engine, EngineChoice, LaidOut, Prepared, Source,
    container_obstacle,
};
use crate::{file_of, index, memory};

/// Stands in front of each recording.
pub(crate) const SEPARATOR: [u8; 4] = *b"\xffREC";
/// Length of the window.
pub(crate) const WINDOW_BYTES: usize = 12;
/// Length of what stands between a separator and its file.
pub(crate) const RECORDING_BYTES: usize = 9;
/// More recordings than this show nothing new.
const MOST_RECORDINGS: usize = 16;

/// Memory for what does not grow with the input: the buffers of a copy, and the thread that hashes.
const FIXED_BYTES: usize = 4 << 20;
/// Memory for each byte of input: a sample costs 8 bytes of file, and a plan keeps some 400 bytes for each.
const BYTES_PER_BYTE: usize = 256;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.expect("the system gives threads")
});

/// Cuts what the bytes say. False for bytes that only ffmpeg could open.
pub fn cut(bytes: &[u8]) -> bool {
    let Some(input) = Input::read(bytes) else {
        return false;
    };
    // What is made once must not be counted.
    LazyLock::force(&RUNTIME);
    memory::within(FIXED_BYTES + BYTES_PER_BYTE * bytes.len(), || check(&input));
    true
}

struct Input {
    wanted: Wanted,
    sources: Vec<Source>,
}

impl Input {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut parts = split(bytes).into_iter();
        let mut window = Numbers(parts.next().unwrap_or_default());
        let (from, length) = (window.i32(), window.u32());
        let shift = window.u8() % 16;
        let tolerance_ms = window.u8();
        let (gap_mode, parameters) = (window.u8(), window.u8());
        let mut wanted = wanted(
            i64::from(from) << shift,
            (i64::from(length) << shift).max(1),
        );
        wanted.gap_tolerance = TimeDelta::milliseconds(tolerance_ms.into());
        if gap_mode % 2 == 1 {
            wanted.gap_mode = GapMode::Keep;
        }
        if parameters % 2 == 1 {
            wanted.parameters = Parameters::One;
        }
        let mut sources = Vec::new();
        for (number, part) in parts.take(MOST_RECORDINGS).enumerate() {
            let mut numbers = Numbers(part);
            let (start_us, length_us, accuracy) = (numbers.i32(), numbers.u32(), numbers.u8());
            let file = file_of(numbers.0);
            if sniff(&file).is_ok_and(|container| container_obstacle(container).is_some()) {
                return None;
            }
            let mut source = source(
                &format!("recording {number}"),
                start_us.into(),
                Ok(Arc::new(file)),
            );
            source.start_accuracy = TimeDelta::milliseconds(i64::from(accuracy) * 10);
            source.expected_end =
                (length_us > 0).then(|| source.start + TimeDelta::microseconds(length_us.into()));
            if numbers.0.is_empty() {
                source.file = Err(GapReason::FileMissing);
            }
            sources.push(source);
        }
        sources.sort_by_key(|source| source.start);
        Some(Self { wanted, sources })
    }
}

/// The bytes between separators.
pub(crate) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(&SEPARATOR) {
            parts.push(&bytes[begin..at]);
            at += SEPARATOR.len();
            begin = at;
        } else {
            at += 1;
        }
    }
    parts.push(&bytes[begin..]);
    parts
}

struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (front, rest) = self.0.split_at(self.0.len().min(N));
        array[..front.len()].copy_from_slice(front);
        self.0 = rest;
        array
    }

    fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }
}

/// The moment from which the times of inputs count.
fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

pub(crate) fn wanted(from_us: i64, length_us: i64) -> Wanted {
    let start = epoch() + TimeDelta::microseconds(from_us);
    let end = start + TimeDelta::microseconds(length_us);
    Wanted {
        requested: TimeRange::new(start, end).expect("not empty"),
        gap_tolerance: TimeDelta::milliseconds(100),
        gap_mode: GapMode::Close,
        parameters: Parameters::Several,
    }
}

pub(crate) fn source(name: &str, start_us: i64, file: Result<Arc<File>, GapReason>) -> Source {
    Source {
        id: name.to_owned(),
        name: name.to_owned(),
        start: epoch() + TimeDelta::microseconds(start_us),
        start_accuracy: TimeDelta::zero(),
        expected_end: None,
        file,
        index: None,
    }
}

/// Nothing here may need ffmpeg.
pub(crate) fn no_ffmpeg() -> Engine {
    Engine {
        ffmpeg: "/nonexistent/ffmpeg".into(),
        scratch: PathBuf::from("/nonexistent"),
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(work)
}

/// Lays the clip out, cuts it, and compares both with the plan and with the recordings.
fn check(input: &Input) {
    let Input { wanted, sources } = input;
    let cancel = CancellationToken::new();
    let opened = block_on(Prepared::open(&no_ffmpeg(), sources.clone(), &cancel));
    let mut prepared = opened.expect("MP4 needs no ffmpeg");
    let laid_out = prepared.lay_out(wanted, "fuzz");
    // In memory where there is such a place.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.expect("a folder for the clip");
    let output = folder.path().join("clip.mp4");
    let order = CutOrder {
        sources: sources.clone(),
        wanted: *wanted,
        output: output.clone(),
        title: "fuzz".to_owned(),
        engine: EngineChoice::Native,
        deadline: Duration::from_secs(600),
        is_durable: false,
        hashes: true,
    };
    let made = block_on(crate::media::cut(&no_ffmpeg(), order, &cancel, |_| {}));
    let (laid_out, outcome) = match (laid_out, made) {
        (Ok(laid_out), Ok(outcome)) => (laid_out, outcome),
        (Err(without_file), Err(with_file)) => {
            assert_eq!(without_file.to_string(), with_file.to_string());
            check_refusal(&with_file);
            assert!(!output.exists(), "a cut that failed left its file");
            return;
        }
        (laid_out, made) => panic!(
            "without a file: {:?}, with one: {:?}",
            laid_out.err(),
            made.err()
        ),
    };
    check_outcome(&outcome, wanted);
    let file = File::open(&output).expect("the clip is there");
    let (plan, obstacle) = prepared
        .plan_for(EngineChoice::Native, wanted, true)
        .expect("what was cut can be planned");
    assert_eq!(obstacle, None);
    check_bytes(&file, &laid_out, &outcome, sources);
    check_samples(&file, &plan, sources);
}

/// A clip is refused for reasons that lie in the footage.
pub(crate) fn check_refusal(error: &CutError) {
    match error {
        CutError::NoFootage(_) | CutError::Unsuitable { .. } => {}
        other => panic!("{other:?}"),
    }
}

/// What a clip says of itself agrees with itself and with the window.
pub(crate) fn check_outcome(outcome: &CutOutcome, wanted: &Wanted) {
    let requested = wanted.requested;
    let delivered = outcome.delivered;
    assert!(requested.start() <= delivered.start());
    // A window that ends within the last microsecond still has it.
    assert!(
        delivered.end()
            <= requested
                .end()
                .max(delivered.start() + TimeDelta::microseconds(1))
    );
    let mut missing = TimeDelta::zero();
    let mut last_end = requested.start();
    for gap in &outcome.gaps {
        assert!(last_end <= gap.range.start() && gap.range.end() <= requested.end());
        last_end = gap.range.end();
        missing += gap.range.duration();
    }
    assert_eq!(outcome.covered, requested.duration() - missing);
    assert!(outcome.footage_shown <= outcome.duration_shown);
    assert!(outcome.video.frame_count > 0 && !outcome.segment_ids.is_empty());
}

/// The file has the size and the hash that it is said to have, and the bytes that the clip has without a file.
fn check_bytes(file: &File, laid_out: &LaidOut, outcome: &CutOutcome, sources: &[Source]) {
    let size_bytes = file.metadata().expect("an open file").len();
    assert_eq!(outcome.size_bytes, size_bytes);
    let written = bytes_of(file, 0, size_bytes).expect("the clip can be read");
    let digest = ring::digest::digest(&ring::digest::SHA256, &written);
    let made = outcome.sha256.as_ref().map(|made| &made[..]);
    assert_eq!(made, Some(digest.as_ref()));
    let layout = &laid_out.layout;
    assert_eq!(layout.size_bytes(), size_bytes);
    let mut read = vec![0; written.len()];
    let files = layout.sources();
    let done = layout.read(0, &mut read, |piece| open_file(&sources[files[piece]]));
    done.expect("the sources can be read");
    assert!(read == written, "the clip has other bytes without a file");
}

/// The tables of the file name the samples that were planned, and where they say are the bytes of the recordings.
fn check_samples(file: &File, plan: &Plan, sources: &[Source]) {
    let index = SourceIndex::read(file).expect("a clip is an MP4");
    index::check(&index, file.metadata().expect("an open file").len());
    assert!(!index.truncated && index.container == Container::Mp4);
    assert_eq!(index.audio.is_some(), plan.sound.is_some());
    check_track(file, &plan.video, &index.video, plan, sources);
    for (planned, found) in plan.sound.iter().zip(&index.audio) {
        check_track(file, planned, found, plan, sources);
    }
}

fn check_track(file: &File, planned: &OutputTrack, found: &Track, plan: &Plan, sources: &[Source]) {
    let source_of = |piece: u32| open_file(&sources[plan.pieces[piece as usize].segment]);
    let mut media = Vec::new();
    for sample in &planned.samples {
        let bytes = bytes_of(source_of(sample.piece), sample.offset, sample.size.into());
        media.extend(bytes.expect("only whole samples are planned"));
    }
    let mut copied = Vec::with_capacity(media.len());
    for sample in &found.samples {
        let bytes = bytes_of(file, sample.offset, sample.size.into());
        copied.extend(bytes.expect("a clip is whole"));
    }
    assert!(copied == media, "other bytes than those of the recordings");
    let mut before = None;
    for sample in &planned.samples {
        assert!(before < Some(sample.dts), "two samples are decoded at once");
        assert!(
            sample.composition_offset <= i32::MAX as u32,
            "shown too late"
        );
        before = Some(sample.dts);
    }
    // Sound in blocks is read back in other blocks.
    if planned.unit_bytes.is_some() {
        return;
    }
    assert_eq!(planned.timescale, found.timescale);
    assert_eq!(planned.samples.len(), found.samples.len());
    for (planned, found) in planned.samples.iter().zip(&found.samples) {
        assert_eq!(
            (planned.size, planned.dts, planned.pts(), planned.sync),
            (found.size, found.dts, found.pts(), found.sync)
        );
    }
    for (sample, copy) in planned.samples.iter().zip(&found.samples) {
        let entry = match sample.entry {
            0 | 1 => &planned.entry,
            number => &planned.more_entries[usize::from(number) - 2],
        };
        let written = found.entry_of(copy).expect("every sample has an entry");
        assert_eq!(entry.fingerprint, written.fingerprint);
    }
}

fn open_file(source: &Source) -> &File {
    let file = source.file.as_ref();
    file.expect("what is shown was opened")
}

fn bytes_of(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
