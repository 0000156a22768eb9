//! Sources of which no clip can be made, although their tables can be read: nothing is copied from them.

use super::Prepared;
use crate::media::plan::{OutputSample, OutputTrack, Plan};

/// A segment of which no clip can be made, whatever its tables say.
pub(super) fn unfit(prepared: &Prepared, plan: &Plan) -> Option<usize> {
    let (piece, why) = overstated(prepared, plan)
        .map(|piece| (piece, "it names bytes of its file twice"))
        .or_else(|| out_of_time(plan).map(|piece| (piece, "its pictures lie too far apart")))?;
    let segment = plan.pieces[piece].segment;
    let name = &prepared.segments[segment].name;
    tracing::warn!(source = name, why, "a source is left out of a clip");
    Some(segment)
}

fn tracks_of(plan: &Plan) -> impl Iterator<Item = &OutputTrack> {
    std::iter::once(&plan.video).chain(&plan.sound)
}

/// A piece of which more would be copied than its file has: its tables name the same bytes again and again, and a small
/// file could fill the disk.
fn overstated(prepared: &Prepared, plan: &Plan) -> Option<usize> {
    let mut opened = prepared.opened_of(plan).enumerate();
    let overstated = opened.find(|(piece, opened)| {
        let wanted_bytes: u64 = tracks_of(plan).map(|track| track.piece_bytes[*piece]).sum();
        wanted_bytes > opened.index.size_bytes
    });
    overstated.map(|(piece, _)| piece)
}

/// A piece with a sample that lasts, or is shown after it was decoded, longer than readers take.
fn out_of_time(plan: &Plan) -> Option<usize> {
    const LONGEST_TICKS: i64 = i32::MAX as i64;
    let lasts_too_long = |sample: &OutputSample, until: i64| {
        until.saturating_sub(sample.dts) > LONGEST_TICKS
            || i64::from(sample.composition_offset) > LONGEST_TICKS
    };
    tracks_of(plan).find_map(|track| {
        let mut pairs = track.samples.windows(2);
        let found = pairs.find(|pair| lasts_too_long(&pair[0], pair[1].dts));
        let sample = found.map(|pair| &pair[0]).or_else(|| {
            let last = track.samples.last()?;
            let end = last.dts.saturating_add(track.last_duration.into());
            lasts_too_long(last, end).then_some(last)
        })?;
        Some(sample.piece as usize)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::mp4::SourceIndex;
    use crate::media::open::OpenFootage;
    use crate::media::plan::tests::{plain, wanted};
    use crate::media::plan::{Footage, Segment};

    /// Two segments of ten seconds, the index of the second changed.
    fn unfit_of(change: impl FnOnce(&mut SourceIndex)) -> Option<usize> {
        let mut segments: Vec<Segment> = (0..2)
            .map(|number| plain(number * 10, 10).segment(number as usize))
            .collect();
        let Footage::Indexed(index) = &mut segments[1].footage else {
            unreachable!("the segments are made with footage");
        };
        change(Arc::get_mut(index).expect("not shared"));
        let opened = segments
            .iter()
            .map(|segment| match &segment.footage {
                Footage::Indexed(index) => Some(OpenFootage {
                    file: Arc::new(tempfile::tempfile().expect("a temporary file")),
                    index: Arc::clone(index),
                    container: index.container,
                }),
                Footage::Unusable(_) => None,
            })
            .collect();
        let prepared = Prepared { segments, opened };
        let plan = prepared.plan(&wanted(0, 20_000));
        unfit(&prepared, &plan.expect("footage"))
    }

    #[test]
    fn a_source_whose_tables_name_more_bytes_than_it_has_is_found_out() {
        // 250 frames of 100 bytes.
        assert_eq!(unfit_of(|index| index.size_bytes = 25_000), None);
        assert_eq!(unfit_of(|index| index.size_bytes = 24_999), Some(1));
    }

    #[test]
    fn a_source_with_a_picture_that_no_header_can_place_is_found_out() {
        // A picture that is needed to decode the next one is itself shown in days, or in years: found by fuzzing.
        for (offset, found) in [(1_000_000, None), (i32::MAX, Some(1))] {
            let moved = unfit_of(|index| index.video.samples[100].composition_offset = offset);
            assert_eq!(moved, found, "{offset} ticks");
        }
    }
}
