//! Wall-clock ranges. All times are UTC; the catalog stores them to the microsecond.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// A half-open range of wall-clock time: `start` is inside, `end` is not.
///
/// Invariant: `start < end`. An empty or reversed range cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl TimeRange {
    /// The range `[start, end)`, or `None` when it would be empty or reversed.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The range from `start` to `end`, or the shortest one from `start` on when that would be empty or reversed.
    pub(super) fn at_least(start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        let shortest = start + TimeDelta::nanoseconds(1);
        Self {
            start,
            end: end.max(shortest),
        }
    }

    /// First instant inside the range.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// First instant after the range.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// Length of the range, always positive.
    pub fn duration(&self) -> TimeDelta {
        self.end - self.start
    }

    /// The part that both ranges share, if any.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Whether the two ranges share at least an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// `time` cut down to the whole microsecond that the catalog can hold.
pub fn to_microseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1))
        .unwrap_or(time)
}
