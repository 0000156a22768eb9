//! The bytes of a clip, which change only on purpose.

use super::*;

/// Two segments with sound and ten seconds between them.
fn two_with_a_gap() -> Vec<Segment> {
    segments(&[plain(0, 10), plain(20, 10)], true)
}

/// A clip from 4.4 s to 26.2 s, as bytes.
pub(super) fn clip_of(segments: &[Segment], gap_mode: GapMode, parameters: Parameters) -> Vec<u8> {
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
pub(super) fn with_other_parameters() -> Vec<Segment> {
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
        track.samples = track.samples[..78].to_vec().into();
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
        let digest = digest(&SHA256, &bytes);
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
