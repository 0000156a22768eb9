//! What is to be cut of a part: recordings that the window cuts through, and a clip for each started hour.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::clip::LONGEST_CLIP;
use crate::domain::coverage::{GAP_TOLERANCE, Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::media::CutOutcome;
use crate::work::archive::outline::Part;

/// Something to be cut.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) part: usize,
    pub(super) window: TimeRange,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A recording, and where it is taken to start.
    Recording {
        number: usize,
        start: DateTime<Utc>,
        start_accuracy: TimeDelta,
    },
    /// A clip, and the time of which the clips after it are cut.
    Clip { then: Option<TimeRange> },
}

impl Order {
    /// The first clip of a part that has footage and lies in what is `left` of its window.
    pub(super) fn next_clip(at: usize, part: &Part, left: TimeRange) -> Option<Self> {
        let first = part
            .segments
            .iter()
            .filter(|segment| segment.range().is_some_and(|range| range.overlaps(&left)))
            .map(|segment| segment.start_time.max(left.start()))
            .min()?;
        let window = clip_at(part.clip?, first);
        Some(Self {
            part: at,
            window,
            what: What::Clip {
                then: TimeRange::new(window.end(), left.end()),
            },
        })
    }

    /// Number of the recording that is cut.
    pub(super) fn number(&self) -> Option<usize> {
        match self.what {
            What::Recording { number, .. } => Some(number),
            What::Clip { .. } => None,
        }
    }

    /// Whether another clip follows.
    pub(super) fn is_followed(&self) -> bool {
        matches!(self.what, What::Clip { then: Some(_) })
    }

    /// One file has one set of parameters; what the others cover becomes clips of its own. Each of these windows is
    /// shorter than this one, so there is an end to them.
    pub(super) fn others(&self, outcome: &CutOutcome) -> Vec<Self> {
        let is_other = |gap: &&Gap| {
            self.number().is_none()
                && gap.reason == GapReason::CodecChange
                && gap.range.duration() > GAP_TOLERANCE
                && gap.range != self.window
        };
        outcome
            .gaps
            .iter()
            .filter(is_other)
            .map(|gap| Self {
                part: self.part,
                window: gap.range,
                what: What::Clip { then: None },
            })
            .collect()
    }
}

/// The windows of the clips of a part that have footage, as far as is known before they are cut.
pub(in crate::work::archive) fn clip_windows(part: &Part) -> Vec<TimeRange> {
    let Some(clip) = part.clip else {
        return Vec::new();
    };
    let mut windows: Vec<TimeRange> = Vec::new();
    for (number, segment) in part.segments.iter().enumerate() {
        let shown = segment.range().filter(|_| part.held.has(number));
        let Some(mut left) = shown.and_then(|range| range.intersect(&clip)) else {
            continue;
        };
        loop {
            let window = clip_at(clip, left.start());
            windows.push(window);
            match TimeRange::new(window.end(), left.end()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        windows.dedup();
    }
    windows.sort_by_key(TimeRange::start);
    windows.dedup();
    windows
}

/// The window of the clip that shows an instant of `whole`. Clips are as long as CreateClip makes them at most, counted
/// from the start of the whole, because the samples of all of a clip are in memory while it is cut.
fn clip_at(whole: TimeRange, at: DateTime<Utc>) -> TimeRange {
    let us = |duration: TimeDelta| duration.num_microseconds().unwrap_or(i64::MAX);
    let before_us = us(at - whole.start()) / us(LONGEST_CLIP) * us(LONGEST_CLIP);
    let start = whole.start() + TimeDelta::microseconds(before_us);
    let end = whole.end().min(start + LONGEST_CLIP);
    TimeRange::new(start, end).unwrap_or(whole)
}

/// Whether one clip of a part ends at this instant and the next begins.
pub(in crate::work::archive) fn is_seam(part: &Part, at: DateTime<Utc>) -> bool {
    part.clip
        .is_some_and(|clip| at > clip.start() && at < clip.end() && clip_at(clip, at).start() == at)
}
