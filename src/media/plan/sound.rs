//! The sound track of the clip.
//!
//! Sound stands at its time relative to the picture of its own segment. Unlike video it needs no hidden
//! stretches but one frame at the very start, so one edit shows it all; where pieces meet, frames may be up
//! to half a frame closer together or further apart than they were recorded.

use std::collections::HashMap;

use super::{
    CutWarning, Footage, Nanos, OutputEdit, OutputSample, OutputTrack, Segment, WarningKind,
    from_nanos, nanos_to_ticks, ticks_to_nanos, times::FrameTimes, video::Clock, visible::Shown,
    walk::WalkedPiece,
};
use crate::domain::time::TimeRange;
use crate::media::mp4::{Fingerprint, Track};

/// Where pieces run on without a break, sound that ends a little after or begins a little before the
/// picture belongs to the clip.
const SEAM_SLACK_NS: Nanos = 250_000_000;

pub(super) fn build(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    pieces: &[WalkedPiece],
    first_shown: Nanos,
    (clock, length): (Clock, i64),
    warnings: &mut Vec<CutWarning>,
) -> Option<OutputTrack> {
    let spans = spans(segments, footage, pieces, first_shown);
    let chosen = choose(&spans)?;
    let most = spans.iter().filter_map(|span| span.track);
    let mut sound = Sound {
        timescale: chosen.timescale,
        samples: Vec::with_capacity(most.map(|track| track.whole_samples).sum()),
        piece_bytes: vec![0; pieces.len()],
        end: None,
        frame_ticks: 1,
        unit_bytes: chosen.unit_bytes,
    };
    for (at, span) in spans.iter().enumerate() {
        let Some(track) = span.track.filter(|track| kind_of(track) == kind_of(chosen)) else {
            warn_partly(span, warnings);
            continue;
        };
        let joins_next = spans.get(at + 1).is_some_and(|next| next.joins_before);
        sound.add(span, track, joins_next);
    }
    sound.finish(chosen, clock, length)
}

/// What one piece shows, in nanoseconds of the clip.
struct Span<'a> {
    piece: u32,
    from: Nanos,
    to: Nanos,
    /// What to add to a presentation time of the segment's file.
    file_to_clip: Nanos,
    wall: Nanos,
    joins_before: bool,
    track: Option<&'a Track>,
    name: &'a str,
}

fn spans<'a>(
    segments: &'a [Segment],
    footage: &'a [Option<FrameTimes>],
    pieces: &[WalkedPiece],
    first_shown: Nanos,
) -> Vec<Span<'a>> {
    let mut spans: Vec<Span<'a>> = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let segment = &segments[piece.segment];
        let (Footage::Indexed(index), Some(times)) = (&segment.footage, &footage[piece.segment])
        else {
            continue;
        };
        let Some(Shown { begin, end, .. }) = piece.shown else {
            continue;
        };
        let wall = piece.start_ns + ticks_to_nanos(begin, times.timescale);
        let start_in_clip = piece.start_ns - first_shown - piece.closed_up_ns;
        spans.push(Span {
            piece: number as u32,
            from: start_in_clip + ticks_to_nanos(begin, times.timescale),
            to: start_in_clip + ticks_to_nanos(end, times.timescale),
            file_to_clip: start_in_clip - times.zero_ns,
            wall,
            joins_before: piece.continues && !spans.is_empty(),
            track: index.audio.as_ref(),
            name: &segment.name,
        });
    }
    spans
}

/// The sound that most of the clip has.
fn choose<'a>(spans: &[Span<'a>]) -> Option<&'a Track> {
    let mut heard: HashMap<Kind, Nanos> = HashMap::new();
    for span in spans {
        if let Some(track) = span.track {
            *heard.entry(kind_of(track)).or_default() += span.to - span.from;
        }
    }
    let most = heard.values().copied().max()?;
    spans
        .iter()
        .filter_map(|span| span.track)
        .find(|track| heard[&kind_of(track)] == most)
}

/// What must be equal for the sound of two recordings to be in one clip: also whether it lies in samples or in blocks of
/// units, and how large a unit is, because a table of sizes has one unit for all.
type Kind = (Fingerprint, Option<u32>);

fn kind_of(track: &Track) -> Kind {
    (track.entry.fingerprint, track.unit_bytes)
}

fn warn_partly(span: &Span<'_>, warnings: &mut Vec<CutWarning>) {
    let range = TimeRange::new(
        from_nanos(span.wall),
        from_nanos(span.wall + span.to - span.from),
    );
    let why = match span.track {
        Some(track) => format!(
            "its sound ({}) differs from that of the rest",
            track.entry.codec
        ),
        None => "it has no sound".to_owned(),
    };
    warnings.push(CutWarning {
        kind: WarningKind::SoundPartlyMissing,
        range,
        message: format!("the clip is silent where it shows {}: {why}", span.name),
    });
}

struct Sound {
    timescale: u32,
    /// `dts` holds clip time until [`Sound::finish`].
    samples: Vec<OutputSample>,
    piece_bytes: Vec<u64>,
    /// Clip time at which the last sample ends.
    end: Option<i64>,
    frame_ticks: i64,
    unit_bytes: Option<u32>,
}

impl Sound {
    fn add(&mut self, span: &Span<'_>, track: &Track, joins_next: bool) {
        let slack = |joins| if joins { SEAM_SLACK_NS } else { 0 };
        let from = span.from - slack(span.joins_before);
        let to = span.to + slack(joins_next);
        let first_of_clip = self.samples.is_empty();
        let mut before: Option<OutputSample> = None;
        // The duration of the sample before, which is nearly always that of this one, in nanoseconds and in ticks.
        let mut lasts = (None, 0, 1);
        for sample in &track.samples[..track.whole_samples] {
            let at = ticks_to_nanos(track.edits.place(sample.pts()), track.timescale)
                + span.file_to_clip;
            let clip = nanos_to_ticks(at, self.timescale);
            if lasts.0 != Some(sample.duration) {
                let length = ticks_to_nanos(i64::from(sample.duration), track.timescale);
                let ticks = nanos_to_ticks(length, self.timescale).max(1);
                lasts = (Some(sample.duration), length, ticks);
            }
            let (_, length, ticks) = lasts;
            let output = OutputSample {
                piece: span.piece,
                offset: sample.offset,
                size: sample.size,
                sync: sample.sync,
                entry: 1,
                dts: clip,
                composition_offset: 0,
                needed_at: 0,
            };
            if at + length <= from {
                before = Some(output);
                continue;
            }
            if at >= to {
                break;
            }
            // Sound decoders need the frame before to give the right start of this one.
            if first_of_clip
                && self.samples.is_empty()
                && let Some(before) = before.take()
            {
                self.push(before, ticks);
            }
            if self
                .end
                .is_none_or(|end| clip >= end.saturating_sub(ticks / 2))
            {
                self.push(output, ticks);
            }
        }
    }

    fn push(&mut self, mut sample: OutputSample, ticks: i64) {
        // A clock that rounds must not open a gap of one tick.
        if let Some(end) = self.end
            && sample.dts.abs_diff(end) <= 1
        {
            sample.dts = end;
        }
        if self
            .samples
            .last()
            .is_some_and(|last| last.dts >= sample.dts)
        {
            return;
        }
        self.end = Some(sample.dts.saturating_add(ticks));
        self.frame_ticks = ticks;
        self.piece_bytes[sample.piece as usize] += u64::from(sample.size);
        self.samples.push(sample);
    }

    /// `length` is that of the clip in ticks of the movie's `clock`.
    fn finish(mut self, chosen: &Track, Clock(movie): Clock, length: i64) -> Option<OutputTrack> {
        let first = self.samples.first()?.dts;
        let mut edits = Vec::new();
        let to_movie =
            |ticks: i64| u64::try_from(super::rescale(ticks, self.timescale, movie)).unwrap_or(0);
        let silent_until = first.max(0);
        if silent_until > 0 {
            edits.push(OutputEdit {
                media_time: None,
                duration: to_movie(silent_until),
            });
        }
        let video_length = u64::try_from(length).unwrap_or(0);
        let silence = to_movie(silent_until);
        let heard = to_movie(self.end?)
            .min(video_length)
            .saturating_sub(silence);
        edits.push(OutputEdit {
            media_time: Some(first.saturating_neg().max(0)),
            duration: heard.max(1),
        });
        let mut last_needed = -1i64;
        for sample in &mut self.samples {
            sample.needed_at = sample.dts.max(last_needed.saturating_add(1)).max(0);
            last_needed = sample.needed_at;
            sample.dts = sample.dts.saturating_sub(first);
        }
        Some(OutputTrack {
            timescale: self.timescale,
            entry: chosen.entry.clone(),
            more_entries: Vec::new(),
            display: chosen.display,
            unit_bytes: self.unit_bytes,
            samples: self.samples,
            piece_bytes: self.piece_bytes,
            last_duration: u32::try_from(self.frame_ticks).unwrap_or(1),
            edits,
        })
    }
}
