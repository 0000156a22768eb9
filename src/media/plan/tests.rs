//! The plan against a slow, obvious model of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::Container;
use crate::media::mp4::{Display, EditList, Sample, SampleEntry, Track};

const FRAME_MS: i64 = 40;

/// A segment whose samples are named by their offset: segment × 1,000,000 + frame in the order shown.
#[derive(Clone, Debug)]
pub(in crate::media) struct Made {
    start_ms: i64,
    pub(in crate::media) frames: i64,
    gop: i64,
    reordered: bool,
    starts_with_key: bool,
    timescale: u32,
}

fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn at_ms(milliseconds: i64) -> DateTime<Utc> {
    epoch() + TimeDelta::milliseconds(milliseconds)
}

pub(in crate::media) fn window(from_ms: i64, to_ms: i64) -> TimeRange {
    TimeRange::new(at_ms(from_ms), at_ms(to_ms)).expect("from before to")
}

/// That window, with gaps of more than a second closed up.
pub(in crate::media) fn wanted(from_ms: i64, to_ms: i64) -> Wanted {
    Wanted {
        requested: window(from_ms, to_ms),
        gap_tolerance: TimeDelta::seconds(1),
        gap_mode: GapMode::Close,
        parameters: Parameters::One,
    }
}

impl Made {
    /// Frames in decode order: with reordering, each two frames after a key frame change places.
    fn decode_order(&self) -> Vec<i64> {
        let mut order: Vec<i64> = (0..self.frames).collect();
        if self.reordered {
            let mut at = 0;
            while at + 2 < order.len() {
                let in_gop = order[at] % self.gop;
                if in_gop + 2 < self.gop {
                    order.swap(at + 1, at + 2);
                    at += 2;
                } else {
                    at += 1;
                }
            }
        }
        order
    }

    fn is_key(&self, frame: i64) -> bool {
        frame % self.gop == 0 && (frame > 0 || self.starts_with_key)
    }

    pub(in crate::media) fn segment(&self, number: usize) -> Segment {
        let ticks = FRAME_MS * i64::from(self.timescale) / 1000;
        let samples: Vec<Sample> = self
            .decode_order()
            .into_iter()
            .enumerate()
            .map(|(at, frame)| Sample {
                offset: number as u64 * 1_000_000 + frame as u64,
                dts: at as i64 * ticks,
                size: 100,
                duration: ticks as u32,
                composition_offset: ((frame - at as i64 + 1) * ticks) as i32,
                sync: self.is_key(frame),
                description: 1,
            })
            .collect();
        let track = Track {
            id: 1,
            timescale: self.timescale,
            entry: entry(),
            more_entries: Vec::new(),
            whole_samples: samples.len(),
            samples: samples.into(),
            edits: EditList::default(),
            display: Display {
                matrix: [0; 9],
                width: 0,
                height: 0,
            },
            unit_bytes: None,
        };
        Segment {
            id: format!("seg_{number}"),
            name: format!("{number}.mp4"),
            start: at_ms(self.start_ms),
            start_accuracy: TimeDelta::zero(),
            expected_end: None,
            footage: Footage::Indexed(Arc::new(SourceIndex {
                container: Container::Mp4,
                size_bytes: 1 << 40,
                video: track,
                audio: None,
                mtx: None,
                creation_time: None,
                declared_duration_us: 0,
                truncated: false,
            })),
        }
    }
}

fn entry() -> SampleEntry {
    SampleEntry {
        four_cc: *b"avc1",
        codec: "h264".to_owned(),
        fingerprint: Fingerprint::of(&[b"test"]),
        width: 16,
        height: 16,
        sample_rate_hz: 0,
        channels: 0,
        nal_length_bytes: Some(4),
        // A box whose fixed fields are all there.
        bytes: [b"\0\0\0\x56avc1".as_slice(), &[0; 78]].concat(),
        quicktime_sound: false,
    }
}

/// Name and wall-clock time of the frames that the window must show. A segment without a key frame at its
/// start runs on from the one before if that ends where it begins, and can be decoded to its end.
fn model(made: &[Made], from_ms: i64, to_ms: i64) -> BTreeMap<u64, i64> {
    let mut shown = BTreeMap::new();
    let mut cursor = from_ms;
    let mut ended_at = None;
    let mut can_run_on = false;
    for (number, segment) in made.iter().enumerate() {
        let runs_on = can_run_on && ended_at == Some(segment.start_ms);
        let mut any = false;
        for frame in 0..segment.frames {
            let wall = segment.start_ms + frame * FRAME_MS;
            let decodable = runs_on || segment.starts_with_key || frame >= segment.gop;
            if decodable && wall >= cursor && wall < to_ms {
                shown.insert(number as u64 * 1_000_000 + frame as u64, wall);
                any = true;
            }
        }
        if any {
            let end = segment.start_ms + segment.frames * FRAME_MS;
            cursor = cursor.max(end.min(to_ms));
        }
        ended_at = Some(segment.start_ms + segment.frames * FRAME_MS);
        can_run_on = any || (0..segment.frames).any(|frame| segment.is_key(frame));
    }
    shown
}

/// What a player shows: the name of each frame and its time in the clip, in ticks.
fn played(plan: &Plan) -> Vec<(u64, i64)> {
    let track = &plan.video;
    let mut shown = Vec::new();
    let mut clip = 0i64;
    for edit in &track.edits {
        let from = edit.media_time.expect("video is never delayed");
        let length = edit.duration as i64;
        for sample in &track.samples {
            if sample.pts() >= from && sample.pts() < from + length {
                shown.push((sample.offset, clip + sample.pts() - from));
            }
        }
        clip += length;
    }
    shown.sort_by_key(|(_, at)| *at);
    shown
}

fn check(made: &[Made], from_ms: i64, to_ms: i64, gap_mode: GapMode) -> Result<(), TestCaseError> {
    let segments: Vec<Segment> = made
        .iter()
        .enumerate()
        .map(|(number, made)| made.segment(number))
        .collect();
    let expected = model(made, from_ms, to_ms);
    let requested = window(from_ms, to_ms);
    let wanted = Wanted {
        gap_mode,
        ..wanted(from_ms, to_ms)
    };
    let plan = match plan(&segments, &wanted) {
        Ok(plan) => plan,
        Err(PlanError::NoFootage { .. }) => {
            prop_assert!(expected.is_empty(), "{} frames were due", expected.len());
            return Ok(());
        }
    };
    let shown = played(&plan);
    let mut names: Vec<u64> = shown.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    prop_assert_eq!(&names, &expected.keys().copied().collect::<Vec<_>>());
    prop_assert_eq!(plan.frame_count, expected.len() as u64);

    // Every frame stands at its wall-clock time less the gaps closed up before it.
    let is_closed = gap_mode == GapMode::Close;
    let first_ms = *expected.values().min().expect("some frame is shown");
    prop_assert_eq!(plan.delivered.start(), at_ms(first_ms));
    for (name, ticks) in &shown {
        let wall = at_ms(expected[name]);
        let closed: TimeDelta = plan
            .gaps
            .iter()
            .filter(|gap| {
                is_closed && gap.range.start() >= plan.delivered.start() && gap.range.end() <= wall
            })
            .map(|gap| gap.range.duration())
            .sum();
        let due = wall - plan.delivered.start() - closed;
        let stands = TimeDelta::microseconds(ticks * 1_000_000 / i64::from(plan.video.timescale));
        prop_assert_eq!(stands, due, "frame {}", name);
    }

    // The sums agree.
    let edits: u64 = plan.video.edits.iter().map(|edit| edit.duration).sum();
    prop_assert_eq!(
        plan.duration_shown,
        delta(ticks_to_nanos(edits as i64, plan.video.timescale))
    );
    let lasts = plan.delivered.duration() - plan.duration_shown;
    let inside: TimeDelta = plan
        .gaps
        .iter()
        .filter_map(|gap| Some(gap.range.intersect(&plan.delivered)?.duration()))
        .sum();
    let kept = plan.duration_shown - plan.footage_shown;
    prop_assert!((lasts + kept - inside).abs() <= TimeDelta::milliseconds(1));
    let closed_up = if is_closed { kept } else { lasts };
    prop_assert!(closed_up.abs() <= TimeDelta::milliseconds(1));
    for gap in plan
        .gaps
        .iter()
        .filter(|gap| gap.range.start() >= plan.delivered.start())
    {
        let offset = gap.clip_offset.expect("a place in the clip");
        if !is_closed {
            prop_assert_eq!(offset, gap.range.start() - plan.delivered.start());
        }
    }
    let missing: TimeDelta = plan.gaps.iter().map(|gap| gap.range.duration()).sum();
    prop_assert_eq!(plan.covered + missing, requested.duration());
    prop_assert!(
        plan.gaps
            .is_sorted_by(|a, b| a.range.end() <= b.range.start())
    );
    // A hole may be split by reason; as a whole it is longer than the tolerance.
    for hole in plan.gaps.chunk_by(|a, b| a.range.end() == b.range.start()) {
        let length: TimeDelta = hole.iter().map(|gap| gap.range.duration()).sum();
        prop_assert!(length > TimeDelta::seconds(1));
    }

    // A decoder can follow: it begins at a key frame, decode times rise, nothing is shown before it is
    // decoded.
    let samples = &plan.video.samples;
    prop_assert!(samples[0].sync);
    prop_assert!(samples.is_sorted_by(|a, b| a.dts < b.dts));
    prop_assert!(samples.is_sorted_by(|a, b| a.needed_at < b.needed_at));
    // One that was shown before it is decoded would have the longest offset there is.
    prop_assert!(
        samples
            .iter()
            .all(|sample| sample.composition_offset <= i32::MAX as u32)
    );
    prop_assert_eq!(samples[0].dts, 0);
    Ok(())
}

pub(in crate::media) fn any_segments() -> impl Strategy<Value = Vec<Made>> {
    let one = (
        prop_oneof![3 => Just(0i64), 1 => -30i64..0, 1 => 1i64..20, 1 => 30i64..90],
        20i64..90,
        prop_oneof![Just(5i64), Just(25), Just(50)],
        any::<bool>(),
        prop_oneof![4 => Just(true), 1 => Just(false)],
        prop_oneof![Just(12_800u32), Just(90_000), Just(1_000)],
    );
    prop::collection::vec(one, 1..6).prop_map(|parts| {
        let mut end = 0;
        let mut last_start = 0;
        parts
            .into_iter()
            .map(
                |(jump, frames, gop, reordered, starts_with_key, timescale)| {
                    let start = (end + jump).max(last_start);
                    (last_start, end) = (start, start + frames);
                    Made {
                        start_ms: start * FRAME_MS,
                        frames,
                        gop,
                        reordered,
                        starts_with_key,
                        timescale,
                    }
                },
            )
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Failures are written down as tests of their own, not as seeds in the repository.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_clip_shows_exactly_the_frames_of_the_window_once_and_in_time(
        made in any_segments(),
        from_ms in 0i64..12_000,
        length_ms in 1i64..15_000,
    ) {
        check(&made, from_ms, from_ms + length_ms, GapMode::Close)?;
    }

    #[test]
    fn with_gaps_kept_a_frame_stands_where_it_stood_on_the_wall_clock(
        made in any_segments(),
        from_ms in 0i64..12_000,
        length_ms in 1i64..15_000,
    ) {
        check(&made, from_ms, from_ms + length_ms, GapMode::Keep)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn times_are_scaled_to_the_nearest_as_a_division_of_128_bits_gives_it(
        value in prop_oneof![any::<i64>(), -100_000_000_000i64..100_000_000_000],
        from in prop_oneof![1..=u32::MAX, Just(90_000), Just(1), Just(u32::MAX)],
        to in prop_oneof![1..=u32::MAX, Just(NANOS_A_SECOND), Just(1), Just(u32::MAX)],
    ) {
        let exact = (i128::from(value) * i128::from(to) + i128::from(from / 2))
            .div_euclid(i128::from(from));
        prop_assert_eq!(scale(value, from, to), exact);
        prop_assert_eq!(rescale(value, from, to), saturated(exact));
    }

    #[test]
    fn the_ticks_of_a_window_are_those_whose_microsecond_lies_in_it(
        timescale in prop_oneof![1u32..2_000, Just(12_800), Just(90_000), Just(10_000_000)],
        offset_ns in -10_000_000_000i128..10_000_000_000,
        off_by in -3i64..=3,
    ) {
        let Footage::Indexed(index) = plain(0, 1).segment(1).footage else { unreachable!() };
        let times = FrameTimes { timescale, ..FrameTimes::of(&index.video).expect("frames") };
        let first = times.first_tick_at(offset_ns);
        let tick = first + off_by;
        prop_assert_eq!(ticks_to_nanos(tick, timescale) >= offset_ns, off_by >= 0);
    }
}

pub(in crate::media) fn plain(start_s: i64, length_s: i64) -> Made {
    Made {
        start_ms: start_s * 1000,
        frames: length_s * 25,
        gop: 25,
        reordered: false,
        starts_with_key: true,
        timescale: 12_800,
    }
}

#[test]
fn a_missing_file_gives_its_reason_to_the_gap_and_names_the_segment() {
    let mut segments: Vec<Segment> = (0..3)
        .map(|number| plain(number * 10, 10).segment(number as usize))
        .collect();
    segments[1].footage = Footage::Unusable(GapReason::FileMissing);
    let plan = plan(&segments, &wanted(5_000, 25_000)).expect("a plan");
    let [gap] = &plan.gaps[..] else {
        panic!("{:?}", plan.gaps);
    };
    assert_eq!(gap.range, window(10_000, 20_000));
    assert_eq!(gap.reason, GapReason::FileMissing);
    assert_eq!(gap.segment_ids, ["seg_1"]);
    assert_eq!(gap.clip_offset, Some(TimeDelta::seconds(5)));
    assert_eq!(plan.covered, TimeDelta::seconds(10));
}

#[test]
fn frames_without_their_key_frame_are_a_gap() {
    let keyless = Made {
        gop: 100,
        starts_with_key: false,
        ..plain(20, 10)
    };
    let segments = [plain(0, 10).segment(0), keyless.segment(1)];
    let plan = plan(&segments, &wanted(0, 30_000)).expect("a plan");
    let gaps: Vec<_> = plan
        .gaps
        .iter()
        .map(|gap| (gap.range, gap.reason))
        .collect();
    assert_eq!(
        gaps,
        [
            (window(10_000, 20_000), GapReason::NotRecorded),
            (window(20_000, 24_000), GapReason::NoKeyFrame),
        ]
    );
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(plan.warnings[0].kind, WarningKind::NoKeyFrame);
}

#[test]
fn the_first_frames_are_decoded_from_the_segment_before_the_window() {
    let keyless = Made {
        gop: 100,
        starts_with_key: false,
        ..plain(10, 10)
    };
    let segments = [plain(0, 10).segment(0), keyless.segment(1)];
    let plan = plan(&segments, &wanted(11_000, 12_000)).expect("a plan");
    assert_eq!(plan.frame_count, 25);
    assert_eq!(plan.gaps, []);
    assert_eq!(plan.pieces.len(), 2);
    assert_eq!(plan.pieces[0].shown_frames, 0);
    assert_eq!(plan.hidden_lead, TimeDelta::seconds(2));
}

#[test]
fn segments_of_one_mediamtx_run_follow_each_other_whatever_its_clock_says() {
    let mut segments: Vec<Segment> = (0..3)
        .map(|number| plain(number * 10, 10).segment(number as usize))
        .collect();
    for (number, segment) in segments.iter_mut().enumerate() {
        let jitter_ms = [0, 130, -170][number];
        segment.start += TimeDelta::milliseconds(jitter_ms);
        let Footage::Indexed(index) = &mut segment.footage else {
            unreachable!("the segments are made with footage");
        };
        Arc::get_mut(index).expect("not shared").mtx = Some(crate::media::mp4::MtxInfo {
            stream_id: [7; 16],
            segment_number: number as u64,
            dts_ns: 0,
            ntp_ns: 0,
        });
    }
    let plan = plan(&segments, &wanted(0, 30_000)).expect("a plan");
    assert_eq!(plan.frame_count, 750);
    assert_eq!(plan.gaps, []);
    assert_eq!(plan.duration_shown, TimeDelta::seconds(30));
}
