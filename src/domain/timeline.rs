//! Timelines for drawing: jumps too short to be seen are closed.

use chrono::TimeDelta;

use super::catalog::Timeline;
use super::time::TimeRange;

/// Closes jumps of up to `resolution`, and of as much more as it takes to have no more than `spans_max` spans.
pub fn coarsen(timeline: Timeline, resolution: TimeDelta, spans_max: usize) -> Timeline {
    let mut resolution = resolution.max(timeline.resolution);
    let mut spans = close(&timeline.spans, resolution);
    while spans.len() > spans_max {
        resolution = smallest_that_fits(&spans, spans_max).max(resolution);
        spans = close(&spans, resolution);
    }
    Timeline {
        spans,
        resolution,
        ..timeline
    }
}

fn close(spans: &[TimeRange], resolution: TimeDelta) -> Vec<TimeRange> {
    let mut closed: Vec<TimeRange> = Vec::with_capacity(spans.len());
    for span in spans {
        match closed.last_mut() {
            Some(last) if span.start() - last.end() <= resolution => {
                if let Some(whole) = TimeRange::new(last.start(), last.end().max(span.end())) {
                    *last = whole;
                }
            }
            _ => closed.push(*span),
        }
    }
    closed
}

/// The length of the jump that must be closed, with all shorter ones, for `spans_max` spans to be left.
fn smallest_that_fits(spans: &[TimeRange], spans_max: usize) -> TimeDelta {
    let mut jumps: Vec<_> = spans
        .windows(2)
        .map(|pair| pair[1].start() - pair[0].end())
        .collect();
    jumps.sort_unstable();
    jumps
        .get(spans.len() - spans_max.max(1) - 1)
        .copied()
        .unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::camera::CameraId;
    use chrono::{DateTime, Utc};

    fn timeline(spans_s: &[(i64, i64)]) -> Timeline {
        let at = |s| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(s);
        let range = |start, end| TimeRange::new(at(start), at(end)).unwrap();
        Timeline {
            camera_id: CameraId::parse("gate").unwrap(),
            window: range(0, 1_000_000),
            spans: spans_s
                .iter()
                .map(|(start, end)| range(*start, *end))
                .collect(),
            missing: Vec::new(),
            locks: Vec::new(),
            resolution: TimeDelta::seconds(1),
        }
    }

    #[test]
    fn jumps_up_to_the_resolution_are_closed_and_longer_ones_stay() {
        let coarse = coarsen(
            timeline(&[(0, 10), (15, 20), (26, 30)]),
            TimeDelta::seconds(5),
            100,
        );
        assert_eq!(coarse.spans, timeline(&[(0, 20), (26, 30)]).spans);
        assert_eq!(coarse.resolution, TimeDelta::seconds(5));
    }

    #[test]
    fn too_many_spans_make_the_resolution_coarser_and_it_says_so() {
        let spans: Vec<_> = (0..100).map(|i| (i * 100, i * 100 + 50 + i % 7)).collect();
        let coarse = coarsen(timeline(&spans), TimeDelta::zero(), 10);
        assert!(coarse.spans.len() <= 10, "{}", coarse.spans.len());
        assert!(coarse.resolution >= TimeDelta::seconds(44));
        assert_eq!(
            coarse.spans.first().unwrap().start(),
            timeline(&spans).spans[0].start()
        );
        assert_eq!(
            coarse.spans.last().unwrap().end(),
            timeline(&spans).spans[99].end()
        );
    }

    #[test]
    fn a_timeline_that_fits_is_left_alone() {
        let whole = timeline(&[(0, 10), (20, 30)]);
        assert_eq!(coarsen(whole.clone(), TimeDelta::zero(), 2), whole);
    }
}
