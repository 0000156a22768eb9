//! Which frames of a segment are shown: those that lie in the window and that a decoder can show.

use std::ops::Range;

use super::{Nanos, times::FrameTimes};
use crate::media::mp4::Sample;

/// Which samples of a segment are shown.
pub(super) struct Visible {
    /// The ticks of the segment's clock that lie in what is left of the window.
    pub(super) within: Range<i64>,
    pub(super) decodable: Decodable,
}

impl Visible {
    /// Whether the sample with this number, which is shown at `at` or never, is shown.
    pub(super) fn shows(&self, number: usize, at: i64, sample: &Sample) -> bool {
        self.within.contains(&at) && self.decodable.can_show(number, sample)
    }
}

/// What is shown of a run of samples.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    pub(super) count: u64,
    /// When the first of them is shown, in ticks of the segment's clock from its time 0.
    pub(super) begin: i64,
    /// When the last of them ends.
    pub(super) end: i64,
    /// Composition time of the first.
    pub(super) first_pts: i64,
    /// The last of them in decode order.
    pub(super) last_sample: usize,
}

impl Shown {
    /// `None` when nothing is.
    pub(super) fn of(
        samples: &[Sample],
        times: &FrameTimes,
        run: Range<usize>,
        visible: &Visible,
    ) -> Option<Self> {
        let mut shown: Option<Self> = None;
        for number in run {
            let (sample, at) = (&samples[number], times.shown_at[number]);
            if !visible.shows(number, at, sample) {
                continue;
            }
            let end = at.saturating_add(i64::from(sample.duration));
            let known = shown.get_or_insert(Self {
                count: 0,
                begin: at,
                end,
                first_pts: sample.pts(),
                last_sample: number,
            });
            if at < known.begin {
                (known.begin, known.first_pts) = (at, sample.pts());
            }
            known.count += 1;
            known.end = known.end.max(end);
            known.last_sample = number;
        }
        shown
    }
}

/// What of a segment a decoder can show.
#[derive(Clone, Copy)]
pub(super) enum Decodable {
    /// Every frame, because decoding runs on from the segment before.
    All,
    /// From the first key frame on, with this number, what is shown no earlier than it is.
    FromKey { number: usize, pts: i64 },
    /// Nothing, without a key frame.
    Nothing,
}

impl Decodable {
    pub(super) fn of(samples: &[Sample], from_start: bool) -> Self {
        if from_start {
            return Self::All;
        }
        let first_key = samples.iter().position(|sample| sample.sync);
        first_key.map_or(Self::Nothing, |number| Self::FromKey {
            number,
            pts: samples[number].pts(),
        })
    }

    fn can_show(self, at: usize, sample: &Sample) -> bool {
        match self {
            Self::All => true,
            Self::FromKey { number, pts } => at >= number && sample.pts() >= pts,
            Self::Nothing => false,
        }
    }

    /// When the first key frame is shown, if frames before it cannot be.
    pub(super) fn begins_at_ns(self, times: &FrameTimes) -> Option<Nanos> {
        match self {
            Self::All => None,
            Self::FromKey { number: 0, .. } if times.lead_ns == 0 => None,
            Self::FromKey { number, .. } => Some(times.at_ns(number)),
            Self::Nothing => Some(times.end_ns),
        }
    }
}
