//! Where segments really start.
//!
//! Names that give the second say only that a segment starts within that second. Segments that one recorder
//! wrote one after another follow each other without a break, so each next name narrows down where the
//! whole chain lies. A chain holds as long as one shift satisfies all its names.

use std::collections::HashMap;

use super::{Footage, Nanos, Segment, times::FrameTimes, to_nanos};
use crate::domain::coverage::GapReason;
use crate::domain::time::TimeRange;
use crate::media::mp4::{Fingerprint, MtxInfo};

/// Segments of one MediaMTX run are known to follow each other; its wall clock may be off by this much.
const RECORDER_CLOCK_SLACK_NS: Nanos = 1_000_000_000;

/// A segment's place on the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placed {
    /// It can be shown.
    At {
        /// Wall clock of the segment's time 0.
        start_ns: Nanos,
        /// Whether its first sample is decoded right after the last of the segment before.
        continues: bool,
    },
    /// It cannot.
    Not(GapReason),
}

/// Places every segment whose video has the parameters that cover most of the window.
pub(super) fn place(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    requested: TimeRange,
) -> Vec<Placed> {
    let chosen = choose_parameters(segments, footage, requested);
    let mut placed = Vec::with_capacity(segments.len());
    let mut chain: Option<Chain> = None;
    for (at, (segment, times)) in segments.iter().zip(footage).enumerate() {
        let usable = match (&segment.footage, times) {
            (Footage::Unusable(reason), _) => Err(*reason),
            (Footage::Indexed(_), None) => Err(GapReason::FileDamaged),
            (Footage::Indexed(index), Some(times)) => {
                if chosen.is_some_and(|chosen| chosen != index.video.entry.fingerprint) {
                    Err(GapReason::CodecChange)
                } else {
                    Ok((index.as_ref(), times))
                }
            }
        };
        let (index, times) = match usable {
            Ok(usable) => usable,
            Err(reason) => {
                settle(chain.take(), &mut placed);
                placed.push(Placed::Not(reason));
                continue;
            }
        };
        let joined = chain
            .as_ref()
            .and_then(|chain| chain.join(segment, times, index.mtx.as_ref()));
        match (joined, &mut chain) {
            (Some(shifts), Some(chain)) => chain.append(shifts, times, index.mtx),
            _ => {
                settle(chain.take(), &mut placed);
                chain = Some(Chain::starting_at(at, segment, times, index.mtx));
            }
        }
        // A file cut short is not followed by anything without a break.
        if index.truncated {
            settle(chain.take(), &mut placed);
        }
    }
    settle(chain, &mut placed);
    placed
}

/// The video parameters that cover most of the window; the earlier of equals.
fn choose_parameters(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    requested: TimeRange,
) -> Option<Fingerprint> {
    let (from, to) = (to_nanos(requested.start()), to_nanos(requested.end()));
    let mut cursor = from;
    let mut order = Vec::new();
    let mut covered: HashMap<Fingerprint, Nanos> = HashMap::new();
    for (segment, times) in segments.iter().zip(footage) {
        let (Footage::Indexed(index), Some(times)) = (&segment.footage, times) else {
            continue;
        };
        let start = to_nanos(segment.start);
        let (begin, end) = (start.max(cursor), (start + times.end_ns).min(to));
        let fingerprint = index.video.entry.fingerprint;
        if end > begin {
            order.push(fingerprint);
            *covered.entry(fingerprint).or_default() += end - begin;
            cursor = end;
        }
    }
    let most = covered.values().copied().max()?;
    order
        .into_iter()
        .find(|fingerprint| covered[fingerprint] == most)
}

/// Shifts that satisfy every name of a chain so far, from the start its first name gives.
#[derive(Clone, Copy)]
struct Shifts {
    least: Nanos,
    most: Nanos,
}

struct Chain {
    first: usize,
    first_start_ns: Nanos,
    offsets: Vec<Nanos>,
    end_offset_ns: Nanos,
    shifts: Shifts,
    mtx: Option<MtxInfo>,
}

impl Chain {
    fn starting_at(
        first: usize,
        segment: &Segment,
        times: &FrameTimes,
        mtx: Option<MtxInfo>,
    ) -> Self {
        Self {
            first,
            first_start_ns: to_nanos(segment.start),
            offsets: vec![0],
            end_offset_ns: times.end_ns,
            shifts: Shifts {
                least: 0,
                most: accuracy_ns(segment),
            },
            mtx,
        }
    }

    /// The shifts left when `segment` follows without a break, `None` when it cannot.
    fn join(&self, segment: &Segment, times: &FrameTimes, mtx: Option<&MtxInfo>) -> Option<Shifts> {
        let consecutive = match (&self.mtx, mtx) {
            (Some(last), Some(next)) => {
                last.stream_id == next.stream_id
                    && last.segment_number.checked_add(1) == Some(next.segment_number)
            }
            _ => false,
        };
        // Half a frame is less than any loss, and more than clocks round.
        let slack = if consecutive {
            RECORDER_CLOCK_SLACK_NS
        } else {
            times.frame_ns / 2
        };
        let named = to_nanos(segment.start);
        let follows = self.first_start_ns + self.end_offset_ns + times.lead_ns;
        let shifts = Shifts {
            least: self.shifts.least.max(named - slack - follows),
            most: self
                .shifts
                .most
                .min(named + accuracy_ns(segment) + slack - follows),
        };
        (shifts.least <= shifts.most).then_some(shifts)
    }

    fn append(&mut self, shifts: Shifts, times: &FrameTimes, mtx: Option<MtxInfo>) {
        let offset = self.end_offset_ns + times.lead_ns;
        self.offsets.push(offset);
        self.end_offset_ns = offset + times.end_ns;
        self.shifts = shifts;
        self.mtx = mtx;
    }
}

/// Places the members of a finished chain, as near to the first one's name as all names allow.
fn settle(chain: Option<Chain>, placed: &mut Vec<Placed>) {
    let Some(chain) = chain else { return };
    debug_assert_eq!(chain.first, placed.len(), "chains are settled in order");
    let shift = chain.shifts.least.max(0).min(chain.shifts.most);
    for (member, offset) in chain.offsets.iter().enumerate() {
        placed.push(Placed::At {
            start_ns: chain.first_start_ns + shift + offset,
            continues: member > 0,
        });
    }
}

/// The last nanosecond that the start may be late.
fn accuracy_ns(segment: &Segment) -> Nanos {
    let accuracy = segment.start_accuracy.num_nanoseconds().unwrap_or(0);
    Nanos::from((accuracy - 1).max(0))
}
