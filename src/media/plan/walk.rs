//! Which frames are shown, what is missing and why: one walk over the segments with a cursor that never
//! goes back, so that footage which overlaps is never shown or counted twice.

use std::ops::Range;

use super::{
    CutWarning, Footage, Nanos, Segment, Wanted, WarningKind,
    chains::Placed,
    delta, from_nanos, ticks_to_nanos,
    times::FrameTimes,
    to_micros, to_nanos,
    visible::{Decodable, Shown, Visible},
};
use crate::domain::clip::GapMode;
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::time::TimeRange;
use crate::media::mp4::Sample;

/// A run of samples of one segment, in decode order.
pub(super) struct WalkedPiece {
    pub(super) segment: usize,
    /// Wall clock of the segment's time 0.
    pub(super) start_ns: Nanos,
    /// Which samples of the video track.
    pub(super) samples: Range<usize>,
    pub(super) visible: Visible,
    /// What is shown of the samples; `None` when none is.
    pub(super) shown: Option<Shown>,
    /// Whether decoding runs on from the piece before.
    pub(super) continues: bool,
    /// Wall-clock time taken out before this piece, in all.
    pub(super) closed_up_ns: Nanos,
}

pub(super) struct Walked {
    pub(super) pieces: Vec<WalkedPiece>,
    /// Wall clock of the first frame shown.
    pub(super) first_shown_ns: Option<Nanos>,
    /// Wall clock at which the last frame shown ends.
    pub(super) cursor_ns: Nanos,
    /// Length of the clip.
    pub(super) clip_end_ns: Nanos,
    /// Time of the clip that gaps take up which are kept, and the longest of them.
    pub(super) kept_ns: Nanos,
    pub(super) longest_kept_ns: Nanos,
    pub(super) gaps: Vec<Gap>,
    pub(super) warnings: Vec<CutWarning>,
}

/// Why a stretch may be missing. Only what the walk then really misses becomes a gap.
struct Excuse {
    from: Nanos,
    to: Nanos,
    reason: GapReason,
    segment: usize,
}

struct Hole {
    from: Nanos,
    to: Nanos,
    clip_offset: Nanos,
}

struct Walker<'a> {
    segments: &'a [Segment],
    footage: &'a [Option<FrameTimes>],
    from: Nanos,
    to: Nanos,
    tolerance: Nanos,
    gap_mode: GapMode,
    cursor: Nanos,
    first_shown: Option<Nanos>,
    closed_up: Nanos,
    kept: Nanos,
    longest_kept: Nanos,
    pieces: Vec<WalkedPiece>,
    holes: Vec<Hole>,
    excuses: Vec<Excuse>,
}

pub(super) fn walk(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    placed: &[Placed],
    wanted: &Wanted,
) -> Walked {
    let requested = wanted.requested;
    let (from, to) = (to_nanos(requested.start()), to_nanos(requested.end()));
    let mut walker = Walker {
        segments,
        footage,
        from,
        to,
        tolerance: Nanos::from(wanted.gap_tolerance.num_microseconds().unwrap_or(0)) * 1000,
        gap_mode: wanted.gap_mode,
        cursor: from,
        first_shown: None,
        closed_up: 0,
        kept: 0,
        longest_kept: 0,
        pieces: Vec::new(),
        holes: Vec::new(),
        excuses: Vec::new(),
    };
    for (segment, place) in placed.iter().enumerate() {
        match *place {
            Placed::Not(reason) => walker.excuse(segment, reason),
            Placed::At {
                start_ns,
                continues,
            } => {
                let before = match placed.get(segment.wrapping_sub(1)) {
                    Some(Placed::At { start_ns, .. }) if continues => Some(*start_ns),
                    _ => None,
                };
                walker.visit(segment, start_ns, before);
            }
        }
    }
    walker.finish()
}

impl Walker<'_> {
    fn excuse(&mut self, segment: usize, reason: GapReason) {
        let known = &self.segments[segment];
        let from = to_nanos(known.start);
        let by_frames = self.footage[segment]
            .as_ref()
            .map(|times| from + times.end_ns);
        let next_start = self
            .segments
            .get(segment + 1)
            .map(|next| to_nanos(next.start));
        let to = known
            .expected_end
            .map(to_nanos)
            .or(by_frames)
            .or(next_start)
            .unwrap_or(self.to);
        self.excuses.push(Excuse {
            from,
            to,
            reason,
            segment,
        });
    }

    /// Takes what the window needs of a segment that starts at `start`. `before` is the start of the
    /// segment before when this one runs on from it.
    fn visit(&mut self, segment: usize, start: Nanos, before: Option<Nanos>) {
        let Some(times) = &self.footage[segment] else {
            return;
        };
        let Footage::Indexed(index) = &self.segments[segment].footage else {
            return;
        };
        let samples = &index.video.samples[..times.shown_at.len()];
        self.excuse_damage(segment, start, times);
        let follows_piece = before.is_some()
            && self
                .pieces
                .last()
                .is_some_and(|piece| piece.segment + 1 == segment && self.reaches_end(piece));
        let within = self.ticks_within(times, start);
        let look = |decodable| {
            let visible = Visible {
                within: within.clone(),
                decodable,
            };
            let shown = Shown::of(samples, times, 0..samples.len(), &visible);
            (visible, shown)
        };
        let (mut visible, mut shown) = look(Decodable::of(samples, follows_piece));
        if before.is_some() && !follows_piece {
            // The frames before the first key frame need the segment before, of which nothing is shown.
            let with_lead = look(Decodable::All);
            let count = |shown: &Option<Shown>| shown.map_or(0, |shown| shown.count);
            if count(&with_lead.1) > count(&shown) && self.lead_in(segment - 1, before) {
                (visible, shown) = with_lead;
            }
        }
        if let Some(key) = visible.decodable.begins_at_ns(times) {
            let (from, to) = (start - times.lead_ns, start + key);
            self.excuses.push(Excuse {
                from,
                to,
                reason: GapReason::NoKeyFrame,
                segment,
            });
        }
        let Some(shown) = shown else { return };
        let first = start + ticks_to_nanos(shown.begin, times.timescale);
        if first - self.cursor > self.tolerance {
            self.holes.push(Hole {
                from: self.cursor,
                to: first,
                clip_offset: self.clip_time(self.cursor),
            });
            if self.first_shown.is_some() {
                let length = first - self.cursor;
                match self.gap_mode {
                    GapMode::Close => self.closed_up += length,
                    GapMode::Keep => {
                        self.kept += length;
                        self.longest_kept = self.longest_kept.max(length);
                    }
                }
            }
        }
        self.first_shown.get_or_insert(first);
        // A piece that only leads in stands before this one, on this side of the gap.
        if let Some(lead_in) = self.pieces.last_mut()
            && lead_in.shown.is_none()
        {
            lead_in.closed_up_ns = self.closed_up;
        }
        let continues = self
            .pieces
            .last()
            .is_some_and(|piece| piece.segment + 1 == segment)
            && matches!(visible.decodable, Decodable::All);
        let begin = if continues {
            0
        } else {
            decode_start(samples, shown.first_pts)
        };
        // Tables that lie may have decoding begin behind what is shown.
        let run = begin..begin.max(shown.last_sample + 1);
        self.pieces.push(WalkedPiece {
            segment,
            start_ns: start,
            shown: Shown::of(samples, times, run.clone(), &visible),
            samples: run,
            visible,
            continues,
            closed_up_ns: self.closed_up,
        });
        let end = start + ticks_to_nanos(shown.end, times.timescale);
        self.cursor = end.min(self.to).max(self.cursor);
    }

    /// Adds a segment of which nothing is shown, from its last key frame on. False when there is none.
    fn lead_in(&mut self, segment: usize, start: Option<Nanos>) -> bool {
        let (Some(times), Footage::Indexed(index), Some(start_ns)) = (
            &self.footage[segment],
            &self.segments[segment].footage,
            start,
        ) else {
            return false;
        };
        let samples = &index.video.samples[..times.shown_at.len()];
        let Some(begin) = samples.iter().rposition(|sample| sample.sync) else {
            return false;
        };
        self.pieces.push(WalkedPiece {
            segment,
            start_ns,
            samples: begin..samples.len(),
            visible: Visible {
                within: 0..0,
                decodable: Decodable::Nothing,
            },
            shown: None,
            continues: false,
            closed_up_ns: self.closed_up,
        });
        true
    }

    fn reaches_end(&self, piece: &WalkedPiece) -> bool {
        self.footage[piece.segment]
            .as_ref()
            .is_some_and(|times| piece.samples.end == times.shown_at.len())
    }

    /// A file that ends before its tables or the catalog say is damaged from there on, unless its parameters change.
    fn excuse_damage(&mut self, segment: usize, start: Nanos, times: &FrameTimes) {
        let expected = self.segments[segment].expected_end.map_or(0, |end| {
            to_nanos(end) - to_nanos(self.segments[segment].start)
        });
        let promised = times.promised_end_ns.max(expected);
        let has_more = matches!(&self.segments[segment].footage, Footage::Indexed(index)
            if index.video.whole_samples > times.shown_at.len());
        if promised > times.end_ns {
            self.excuses.push(Excuse {
                from: start + times.end_ns,
                to: start + promised,
                reason: if has_more {
                    GapReason::CodecChange
                } else {
                    GapReason::FileDamaged
                },
                segment,
            });
        }
    }

    /// The ticks of a segment that starts at `start` which lie in what is left of the window: those whose wall-clock
    /// microsecond does, less the time before the segment's own start, which belongs to it only as leading pictures.
    fn ticks_within(&self, times: &FrameTimes, start: Nanos) -> Range<i64> {
        // The first nanosecond that is rounded to the microsecond of `wall`.
        let first_of = |wall| to_micros(wall) * 1000 - 500;
        let from = (first_of(self.cursor) - start).max(-times.lead_ns);
        let until = times.first_tick_at(first_of(self.to) - start);
        times.first_tick_at(from)..until.min(times.hidden_from)
    }

    /// Clip time of a wall-clock time that the clip has reached.
    fn clip_time(&self, wall: Nanos) -> Nanos {
        self.first_shown
            .map_or(0, |first| wall - first - self.closed_up)
    }

    fn finish(mut self) -> Walked {
        let clip_end_ns = self.clip_time(self.cursor);
        if self.to - self.cursor > self.tolerance {
            self.holes.push(Hole {
                from: self.cursor,
                to: self.to,
                clip_offset: clip_end_ns,
            });
        }
        let gaps: Vec<Gap> = self
            .holes
            .iter()
            .flat_map(|hole| self.explain(hole))
            .collect();
        let warnings = self.warn(&gaps);
        Walked {
            pieces: self.pieces,
            first_shown_ns: self.first_shown,
            cursor_ns: self.cursor,
            clip_end_ns,
            kept_ns: self.kept,
            longest_kept_ns: self.longest_kept,
            gaps,
            warnings,
        }
    }

    /// Splits a hole by reason. A stretch without an excuse that is no longer than the tolerance goes to
    /// its neighbour: names to the second leave such slivers.
    fn explain(&self, hole: &Hole) -> Vec<Gap> {
        let mut parts: Vec<(Nanos, Nanos, GapReason, Vec<String>)> = Vec::new();
        let mut at = hole.from;
        let mut excuses: Vec<&Excuse> = self
            .excuses
            .iter()
            .filter(|excuse| excuse.to > hole.from && excuse.from < hole.to)
            .collect();
        excuses.sort_by_key(|excuse| excuse.from);
        for excuse in excuses {
            let (from, to) = (excuse.from.max(at), excuse.to.min(hole.to));
            if to <= from {
                continue;
            }
            if from - at > self.tolerance {
                parts.push((at, from, GapReason::NotRecorded, Vec::new()));
                at = from;
            }
            let id = self.segments[excuse.segment].id.clone();
            parts.push((at, to, excuse.reason, vec![id]));
            at = to;
        }
        match parts.last_mut() {
            Some(last) if hole.to - at <= self.tolerance => last.1 = hole.to,
            _ if hole.to > at => parts.push((at, hole.to, GapReason::NotRecorded, Vec::new())),
            _ => {}
        }
        parts.dedup_by(|next, kept| {
            let same = next.2 == kept.2;
            if same {
                kept.1 = next.1;
                kept.3.append(&mut next.3);
            }
            same
        });
        parts
            .into_iter()
            .filter_map(|(from, to, reason, segment_ids)| {
                Some(Gap {
                    range: TimeRange::new(from_nanos(from), from_nanos(to))?,
                    reason,
                    clip_offset: Some(delta(hole.clip_offset + self.depth_of(hole, from))),
                    segment_ids,
                })
            })
            .collect()
    }

    /// How far into a hole a gap begins, in the time of the clip: one that is closed up has no inside, and none has what
    /// lies in front of the first frame.
    fn depth_of(&self, hole: &Hole, from: Nanos) -> Nanos {
        match (self.gap_mode, self.first_shown) {
            (GapMode::Keep, Some(first)) if hole.from >= first => from - hole.from,
            _ => 0,
        }
    }

    fn warn(&self, gaps: &[Gap]) -> Vec<CutWarning> {
        let mut warnings: Vec<CutWarning> = Vec::new();
        for excuse in &self.excuses {
            let (from, to) = (excuse.from.max(self.from), excuse.to.min(self.to));
            let Some(range) = TimeRange::new(from_nanos(from), from_nanos(to)) else {
                continue;
            };
            if !gaps
                .iter()
                .any(|gap| gap.reason == excuse.reason && gap.range.overlaps(&range))
            {
                continue;
            }
            let name = &self.segments[excuse.segment].name;
            let (kind, what) = match excuse.reason {
                GapReason::NotRecorded => continue,
                GapReason::FileMissing => (WarningKind::FileMissing, "its file is gone"),
                GapReason::FileDamaged => (WarningKind::FileDamaged, "its file is damaged there"),
                GapReason::CodecChange => (
                    WarningKind::CodecChange,
                    "its video has other codec parameters than the rest of the clip; cut another clip for it",
                ),
                GapReason::NoKeyFrame => (
                    WarningKind::NoKeyFrame,
                    "the key frame that decoding begins at is not there",
                ),
            };
            warnings.push(CutWarning {
                kind,
                range: Some(range),
                message: format!(
                    "{name} is left out from {} to {}: {what}",
                    range.start().format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                    range.end().format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                ),
            });
        }
        warnings
    }
}

/// Where decoding must begin for a frame to be right: the last key frame shown no later than it.
fn decode_start(samples: &[Sample], first_pts: i64) -> usize {
    samples
        .iter()
        .rposition(|sample| sample.sync && sample.pts() <= first_pts)
        .unwrap_or(0)
}
