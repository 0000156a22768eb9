//! Where segments really start.
//!
//! Names that give the second say only that a segment starts within that second. Segments that one recorder
//! wrote one after another follow each other without a break, so each next name narrows down where the
//! whole chain lies. A chain holds as long as one shift satisfies all its names.

use super::{Footage, Nanos, Parameters, Segment, Wanted, times::FrameTimes, to_nanos};
use crate::domain::coverage::GapReason;
use crate::media::mp4::{Fingerprint, MtxInfo, SampleEntry, SourceIndex, Track};

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

/// How many of a track's whole samples can go into one clip, from the first on.
pub(super) fn usable(track: &Track, wanted: &Wanted) -> usize {
    let whole = &track.samples[..track.whole_samples];
    let first = whole.first().and_then(|first| track.entry_of(first));
    whole
        .iter()
        .take_while(|sample| {
            let pair = first.zip(track.entry_of(sample));
            // Nearly always it is the very same entry.
            pair.is_some_and(|(first, entry)| {
                std::ptr::eq(first, entry) || are_together(first, entry, wanted.parameters)
            })
        })
        .count()
}

/// Whether the samples of two entries can be in one clip.
fn are_together(one: &SampleEntry, other: &SampleEntry, parameters: Parameters) -> bool {
    match parameters {
        Parameters::One => one.fingerprint == other.fingerprint,
        Parameters::Several => one.four_cc == other.four_cc,
    }
}

/// Places every segment whose video has the parameters that cover most of the window.
pub(super) fn place(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    wanted: &Wanted,
) -> Vec<Placed> {
    let chosen = choose_parameters(segments, footage, wanted);
    let mut placed = Vec::with_capacity(segments.len());
    let mut chain: Option<Chain> = None;
    for (at, (segment, times)) in segments.iter().zip(footage).enumerate() {
        let usable = match (&segment.footage, times) {
            (Footage::Unusable(reason), _) => Err(*reason),
            (Footage::Indexed(_), None) => Err(GapReason::FileDamaged),
            (Footage::Indexed(index), Some(times)) => {
                let entry = first_entry(&index.video);
                if chosen.is_some_and(|chosen| !are_together(chosen, entry, wanted.parameters)) {
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
            (Some(shifts), Some(chain)) => chain.append(shifts, times, index),
            _ => {
                settle(chain.take(), &mut placed);
                chain = Some(Chain::starting_at(at, segment, times, index));
            }
        }
        // A file cut short is not followed by anything without a break.
        if index.truncated || times.shown_at.len() < index.video.whole_samples {
            settle(chain.take(), &mut placed);
        }
    }
    settle(chain, &mut placed);
    placed
}

/// The entry of the first sample; the first of all in a track without samples.
fn first_entry(track: &Track) -> &SampleEntry {
    let of_first = track.samples.first();
    of_first
        .and_then(|first| track.entry_of(first))
        .unwrap_or(&track.entry)
}

/// An entry with the video parameters that cover most of the window; the earlier of equals.
fn choose_parameters<'a>(
    segments: &'a [Segment],
    footage: &[Option<FrameTimes>],
    wanted: &Wanted,
) -> Option<&'a SampleEntry> {
    let requested = wanted.requested;
    let (from, to) = (to_nanos(requested.start()), to_nanos(requested.end()));
    let mut cursor = from;
    let mut order: Vec<(&SampleEntry, Nanos)> = Vec::new();
    for (segment, times) in segments.iter().zip(footage) {
        let (Footage::Indexed(index), Some(times)) = (&segment.footage, times) else {
            continue;
        };
        let start = to_nanos(segment.start);
        let (begin, end) = (start.max(cursor), (start + times.end_ns).min(to));
        let entry = first_entry(&index.video);
        if end > begin {
            let known = order
                .iter_mut()
                .find(|(known, _)| are_together(known, entry, wanted.parameters));
            match known {
                Some((_, covered)) => *covered += end - begin,
                None => order.push((entry, end - begin)),
            }
            cursor = end;
        }
    }
    let most = order.iter().map(|(_, covered)| *covered).max()?;
    let (entry, _) = order.into_iter().find(|(_, covered)| *covered == most)?;
    Some(entry)
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
    /// From the start of the first member, and whether decoding runs on from the member before.
    members: Vec<(Nanos, bool)>,
    end_offset_ns: Nanos,
    shifts: Shifts,
    last: Last,
}

/// What is remembered of the last member of a chain.
struct Last {
    mtx: Option<MtxInfo>,
    parameters: Fingerprint,
}

impl Last {
    fn of(index: &SourceIndex) -> Self {
        let video = &index.video;
        let last = video.samples.last().and_then(|last| video.entry_of(last));
        Self {
            mtx: index.mtx,
            parameters: last.unwrap_or(&video.entry).fingerprint,
        }
    }
}

impl Chain {
    fn starting_at(
        first: usize,
        segment: &Segment,
        times: &FrameTimes,
        index: &SourceIndex,
    ) -> Self {
        Self {
            first,
            first_start_ns: to_nanos(segment.start),
            members: vec![(0, false)],
            end_offset_ns: times.end_ns,
            shifts: Shifts {
                least: 0,
                most: accuracy_ns(segment),
            },
            last: Last::of(index),
        }
    }

    /// The shifts left when `segment` follows without a break, `None` when it cannot.
    fn join(&self, segment: &Segment, times: &FrameTimes, mtx: Option<&MtxInfo>) -> Option<Shifts> {
        let consecutive = match (&self.last.mtx, mtx) {
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

    fn append(&mut self, shifts: Shifts, times: &FrameTimes, index: &SourceIndex) {
        let offset = self.end_offset_ns + times.lead_ns;
        // New parameters begin anew at a key frame.
        let runs_on = first_entry(&index.video).fingerprint == self.last.parameters;
        self.members.push((offset, runs_on));
        self.end_offset_ns = offset + times.end_ns;
        self.shifts = shifts;
        self.last = Last::of(index);
    }
}

/// Places the members of a finished chain, as near to the first one's name as all names allow.
fn settle(chain: Option<Chain>, placed: &mut Vec<Placed>) {
    let Some(chain) = chain else { return };
    debug_assert_eq!(chain.first, placed.len(), "chains are settled in order");
    let shift = chain.shifts.least.max(0).min(chain.shifts.most);
    for (offset, continues) in chain.members {
        placed.push(Placed::At {
            start_ns: chain.first_start_ns + shift + offset,
            continues,
        });
    }
}

/// The last nanosecond that the start may be late.
fn accuracy_ns(segment: &Segment) -> Nanos {
    let accuracy = segment.start_accuracy.num_nanoseconds().unwrap_or(0);
    Nanos::from((accuracy - 1).max(0))
}
