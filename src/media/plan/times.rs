//! When each frame of a segment is shown, counted from the segment's start.

use chrono::TimeDelta;

use super::{Nanos, delta, ticks_to_nanos};
use crate::media::mp4::{Sample, Track};
use crate::media::portion::Portion;

/// Show times of a video track's whole samples, or of as many of them as can be used.
///
/// Time 0 is the first frame of the file that can be decoded, which is what a recorder stamps: the first
/// sample, unless the edit list begins later. In an open group of pictures the frames shown before that
/// first sample have negative times; they belong to the footage of the segment before.
pub(crate) struct FrameTimes {
    pub(super) timescale: u32,
    /// Ticks from the segment's start for each whole sample in decode order.
    pub(super) shown_at: Portion<i64>,
    /// Samples from this tick on are hidden by the file's own edit list.
    pub(super) hidden_from: i64,
    /// How far leading pictures reach before time 0.
    pub(super) lead_ns: Nanos,
    /// End of the last frame shown.
    pub(super) end_ns: Nanos,
    /// Usual length of a frame.
    pub(super) frame_ns: Nanos,
    pub(super) visible_count: u64,
    /// What the tables promise, also beyond the end of a file cut short.
    pub(super) promised_end_ns: Nanos,
    /// What to take from a time of the file's presentation to count from the segment's start.
    pub(super) zero_ns: Nanos,
}

impl FrameTimes {
    /// `None` when no sample is shown.
    pub(crate) fn of(track: &Track) -> Option<Self> {
        let mut shown_at = Vec::with_capacity(track.whole_samples);
        let mut times = Self::of_front(track, track.whole_samples, &mut shown_at)?;
        times.shown_at = shown_at.into();
        Some(times)
    }

    /// The same of the first `count` whole samples alone; what comes behind them counts as promised. The show times are put
    /// behind `all`, as a portion of which they are to lie there.
    pub(super) fn of_front(track: &Track, count: usize, all: &mut Vec<i64>) -> Option<Self> {
        let whole = &track.samples[..count.min(track.whole_samples)];
        let first = whole.first()?;
        let begins = track.edits.first_media_time();
        let first_is_shown = begins.is_none_or(|from| first.pts() >= from);
        let zero = if first_is_shown {
            track.edits.place(first.pts())
        } else {
            whole
                .iter()
                .filter(|sample| begins.is_none_or(|from| sample.pts() >= from))
                .map(|sample| track.edits.place(sample.pts()))
                .min()?
        };
        let place = |sample: &Sample| track.edits.place(sample.pts()).saturating_sub(zero);
        // `None` where the file's own edit list hides the sample.
        let end_of = |sample: &Sample, at: i64| {
            let is_visible = !track.edits.hides_after(sample.pts());
            is_visible.then(|| at.saturating_add(i64::from(sample.duration)))
        };
        let begin = all.len();
        let (mut earliest, mut hidden_from, mut end) = (0, i64::MAX, None);
        for sample in whole {
            let at = place(sample);
            all.push(at);
            earliest = earliest.min(at);
            match end_of(sample, at) {
                Some(ends) => end = end.max(Some(ends)),
                None => hidden_from = hidden_from.min(at),
            }
        }
        let behind = &track.samples[whole.len()..];
        let promised_end = behind
            .iter()
            .filter_map(|sample| end_of(sample, place(sample)))
            .max();
        let promised_end = promised_end.max(end)?;
        let end = end?;
        let is_leading = first_is_shown && first.sync;
        let lead = if is_leading { earliest } else { 0 };
        let to_nanos = |ticks| ticks_to_nanos(ticks, track.timescale);
        let count = all[begin..]
            .iter()
            .filter(|at| (lead..hidden_from).contains(*at))
            .count()
            .max(1);
        Some(Self {
            timescale: track.timescale,
            lead_ns: -to_nanos(lead),
            end_ns: to_nanos(end),
            frame_ns: to_nanos(end.saturating_sub(lead)) / count as Nanos,
            visible_count: count as u64,
            promised_end_ns: to_nanos(promised_end),
            zero_ns: to_nanos(zero),
            shown_at: Portion::of(begin..all.len()),
            hidden_from,
        })
    }

    /// Nanoseconds from the segment's start at which that sample is shown, but for hiding.
    pub(super) fn at_ns(&self, sample: usize) -> Nanos {
        ticks_to_nanos(self.shown_at[sample], self.timescale)
    }

    /// The first tick that [`Self::at_ns`] would place at `offset_ns` or later.
    pub(super) fn first_tick_at(&self, offset_ns: Nanos) -> i64 {
        let timescale = Nanos::from(self.timescale);
        let wanted = offset_ns * timescale - timescale / 2;
        let tick = -(-wanted).div_euclid(1_000_000_000);
        i64::try_from(tick).unwrap_or(if tick < 0 { i64::MIN } else { i64::MAX })
    }

    /// [`Self::at_ns`] for the catalog.
    pub(crate) fn offset(&self, sample: usize) -> TimeDelta {
        delta(self.at_ns(sample))
    }

    /// From the segment's start to the end of its last frame.
    pub(crate) fn duration(&self) -> TimeDelta {
        delta(self.end_ns)
    }

    /// Frames that the file shows.
    pub(crate) fn visible_count(&self) -> u64 {
        self.visible_count
    }
}
