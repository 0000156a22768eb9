//! Coverage: which part of a window has footage, and which gaps are left.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::id;
use super::series::{Differs, Reading, Writing};
use super::time::TimeRange;

/// A jump between two segments of up to this long is a seam, not a gap.
pub const GAP_TOLERANCE: TimeDelta = TimeDelta::milliseconds(1000);

/// Why a stretch of a window has no footage in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GapReason {
    /// The catalog knows of no recording.
    NotRecorded,
    /// The recording's file is no longer there.
    FileMissing,
    /// The recording's file cannot be read, or ends too early.
    FileDamaged,
    /// Codec, picture size or coding parameters differ from the rest.
    CodecChange,
    /// No key frame at or before the stretch: its pictures cannot be decoded.
    NoKeyFrame,
}

/// A stretch of a window without footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where, in wall-clock time.
    pub range: TimeRange,
    /// Why.
    pub reason: GapReason,
    /// Where in the clip, from its first shown frame, the gap was closed up; `None` outside of clips.
    pub clip_offset: Option<TimeDelta>,
    /// The segments that could not be used, where the reason is one of theirs.
    pub segment_ids: Vec<String>,
}

impl GapReason {
    const ALL: [Self; 5] = [
        Self::NotRecorded,
        Self::FileMissing,
        Self::FileDamaged,
        Self::CodecChange,
        Self::NoKeyFrame,
    ];
}

/// What is remembered is the end.
impl Differs for Gap {
    type Before = DateTime<Utc>;

    fn write(&self, before: &mut DateTime<Utc>, to: &mut Writing) {
        to.byte(self.reason as u8);
        to.time(self.range.start(), before);
        to.time(self.range.end(), before);
        to.byte(u8::from(self.clip_offset.is_some()));
        to.duration(self.clip_offset.unwrap_or_default());
        to.count(self.segment_ids.len() as u64);
        for id in &self.segment_ids {
            to.id(id, id::SEGMENT);
        }
    }

    fn read(before: &mut DateTime<Utc>, from: &mut Reading<'_>) -> Self {
        let reason = usize::from(from.byte());
        let (start, end) = (from.time(before), from.time(before));
        let has_offset = from.byte() != 0;
        let offset = from.duration();
        let ids = from.count();
        Self {
            range: TimeRange::at_least(start, end),
            reason: GapReason::ALL
                .get(reason)
                .copied()
                .unwrap_or(GapReason::NotRecorded),
            clip_offset: has_offset.then_some(offset),
            segment_ids: (0..ids).map(|_| from.id(id::SEGMENT)).collect(),
        }
    }
}

/// The ranges of `window` that `recorded` leaves uncovered by more than `tolerance`.
///
/// `recorded` is ordered by start; ranges may overlap, and nothing counts twice. The rule: a cursor walks from the
/// start of the window; a range that starts more than the tolerance after it leaves a gap, and so does a window
/// that ends more than the tolerance after the last range.
pub fn gaps(
    window: TimeRange,
    recorded: impl IntoIterator<Item = TimeRange>,
    tolerance: TimeDelta,
) -> Vec<TimeRange> {
    let mut found = Vec::new();
    let mut cursor = window.start();
    let mut leave_gap = |cursor: DateTime<Utc>, until: DateTime<Utc>| {
        if until - cursor > tolerance
            && let Some(gap) = TimeRange::new(cursor, until)
        {
            found.push(gap);
        }
    };
    for range in recorded {
        let Some(range) = range.intersect(&window) else {
            continue;
        };
        leave_gap(cursor, range.start());
        cursor = cursor.max(range.end());
    }
    leave_gap(cursor, window.end());
    found
}

/// The parts of `gap` with the reason of each: what lies in `missing` was recorded and its file is gone, the rest was
/// never recorded. A jump of up to the tolerance is no part of its own, it belongs to the part beside it.
///
/// `missing` is ordered and its ranges do not overlap, so that what lies before the gap need not be looked at.
pub fn explained(gap: TimeRange, missing: &[TimeRange]) -> Vec<(TimeRange, GapReason)> {
    let mut parts: Vec<(TimeRange, GapReason)> = Vec::new();
    let mut cursor = gap.start();
    let first = missing.partition_point(|range| range.end() <= gap.start());
    let within = missing[first..].iter();
    for range in within.map_while(|range| range.intersect(&gap)) {
        if range.start() - cursor > GAP_TOLERANCE
            && let Some(before) = TimeRange::new(cursor, range.start())
        {
            parts.push((before, GapReason::NotRecorded));
            cursor = range.start();
        }
        let end = if gap.end() - range.end() > GAP_TOLERANCE {
            range.end()
        } else {
            gap.end()
        };
        parts.extend(TimeRange::new(cursor, end).map(|part| (part, GapReason::FileMissing)));
        cursor = cursor.max(end);
    }
    parts.extend(TimeRange::new(cursor, gap.end()).map(|rest| (rest, GapReason::NotRecorded)));
    parts
}

/// How much of `window` is covered when these gaps are left in it.
pub fn covered(window: TimeRange, gaps: &[TimeRange]) -> TimeDelta {
    gaps.iter()
        .fold(window.duration(), |left, gap| left - gap.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        let at = |ms| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::milliseconds(ms);
        TimeRange::new(at(start_ms), at(end_ms)).expect("start before end")
    }

    #[test]
    fn a_series_of_gaps_gives_back_each_of_them() {
        let gaps: Vec<Gap> = GapReason::ALL
            .into_iter()
            .zip(0..)
            .map(|(reason, number)| Gap {
                range: TimeRange::new(
                    DateTime::from_timestamp_nanos(number * 7_000_000_001),
                    DateTime::from_timestamp_nanos(number * 7_000_000_001 + 1 + number),
                )
                .expect("start before end"),
                reason,
                clip_offset: (number % 2 == 0).then_some(TimeDelta::nanoseconds(number)),
                segment_ids: (0..number).map(|id| format!("seg_{id:032x}")).collect(),
            })
            .collect();
        let mut series = crate::domain::series::Series::default();
        for gap in &gaps {
            series.push(gap);
        }
        assert_eq!(series.iter().collect::<Vec<_>>(), gaps);
    }

    fn check(window: TimeRange, recorded: &[TimeRange], expected: &[TimeRange], covered_ms: i64) {
        let found = gaps(window, recorded.iter().copied(), GAP_TOLERANCE);
        assert_eq!(found, expected);
        assert_eq!(covered(window, &found), TimeDelta::milliseconds(covered_ms));
    }

    #[test]
    fn a_hole_in_the_middle_and_a_missing_tail_are_gaps() {
        check(
            range(0, 100_000),
            &[range(0, 30_000), range(60_000, 90_000)],
            &[range(30_000, 60_000), range(90_000, 100_000)],
            60_000,
        );
    }

    #[test]
    fn a_seam_within_the_tolerance_is_no_gap() {
        check(
            range(0, 100_000),
            &[range(0, 50_000), range(50_500, 100_000)],
            &[],
            100_000,
        );
        check(
            range(0, 100_000),
            &[range(0, 50_000), range(51_000, 100_000)],
            &[],
            100_000,
        );
        check(
            range(0, 100_000),
            &[range(0, 50_000), range(51_001, 100_000)],
            &[range(50_000, 51_001)],
            98_999,
        );
    }

    #[test]
    fn overlapping_segments_never_count_twice() {
        check(
            range(0, 100_000),
            &[
                range(0, 80_000),
                range(10_000, 20_000),
                range(70_000, 100_000),
            ],
            &[],
            100_000,
        );
    }

    #[test]
    fn a_window_without_footage_is_one_gap() {
        check(
            range(0, 5_000),
            &[range(7_000, 9_000)],
            &[range(0, 5_000)],
            0,
        );
    }

    #[test]
    fn a_gap_says_which_parts_were_recorded_and_are_gone() {
        use GapReason::{FileMissing, NotRecorded};
        let missing = [
            range(0, 10_000),
            range(15_000, 22_000),
            range(30_000, 40_000),
            range(59_500, 70_000),
            range(80_000, 90_000),
        ];
        let check = |gap, expected: &[(TimeRange, GapReason)]| {
            assert_eq!(explained(gap, &missing), expected);
        };
        check(
            range(20_000, 60_000),
            &[
                (range(20_000, 22_000), FileMissing),
                (range(22_000, 30_000), NotRecorded),
                (range(30_000, 40_000), FileMissing),
                (range(40_000, 59_500), NotRecorded),
                (range(59_500, 60_000), FileMissing),
            ],
        );
        check(
            range(10_000, 15_000),
            &[(range(10_000, 15_000), NotRecorded)],
        );
        // A jump within the tolerance belongs to the part beside it.
        check(
            range(29_500, 40_900),
            &[(range(29_500, 40_900), FileMissing)],
        );
    }
}
