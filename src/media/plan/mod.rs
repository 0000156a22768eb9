//! What a clip will show, worked out from the indexes alone: no file is touched here.
//!
//! [`plan`] goes in steps, each in a file of its own:
//! 1. `times`: when each frame of a segment is shown, from the segment's own start.
//! 2. `chains`: where each segment really starts, for recorders whose names say it to the second.
//! 3. `walk`, `visible`: which frames of which segment are shown, what is missing and why.
//! 4. `video`, `sound`: the tracks of the clip, sample by sample, with their edit lists.
//!
//! A frame is shown when the wall-clock microsecond at which it begins lies in the window. Wall-clock time
//! is counted in nanoseconds since 1970, in `i128` so that no time that the catalog can hold overflows.

mod chains;
mod sound;
#[cfg(test)]
pub(super) mod tests;
mod times;
mod video;
mod visible;
mod walk;

use std::panic::resume_unwind;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub(crate) use times::FrameTimes;

use super::mp4::{Display, Fingerprint, SampleEntry, SourceIndex, Track};
use crate::domain::clip::GapMode;
use crate::domain::coverage::{Gap, GapReason};
use crate::domain::time::TimeRange;

/// Nanoseconds since 1970, or a length in nanoseconds.
type Nanos = i128;

/// One recorded file that touches the window.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its id in the catalog.
    pub id: String,
    /// What messages call it: a path below its source, never of the server.
    pub name: String,
    /// Wall-clock time of its first frame, as the catalog has it.
    pub start: DateTime<Utc>,
    /// The true start lies in `[start, start + start_accuracy)`: one second for names that give the second,
    /// zero where the time is exact.
    pub start_accuracy: TimeDelta,
    /// Where the catalog says that it ends. Footage that ends much earlier counts as damaged.
    pub expected_end: Option<DateTime<Utc>>,
    /// Its samples, or why there are none.
    pub footage: Footage,
}

/// What a segment's file gave when it was opened.
#[derive(Clone, Debug)]
pub enum Footage {
    /// The file's samples.
    Indexed(Arc<SourceIndex>),
    /// The file cannot be used; its stretch becomes a gap with this reason.
    Unusable(GapReason),
}

/// Something a user should know about the clip, besides its gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutWarning {
    /// What kind of thing it is.
    pub kind: WarningKind,
    /// The wall-clock stretch it is about.
    pub range: Option<TimeRange>,
    /// One sentence for people.
    pub message: String,
}

/// Kinds of [`CutWarning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WarningKind {
    /// A file of the window is gone.
    FileMissing,
    /// A file of the window cannot be read, or not to its end.
    FileDamaged,
    /// Codec parameters change inside the window; one side is left out.
    CodecChange,
    /// Frames are left out because the key frame before them is not there.
    NoKeyFrame,
    /// A stretch of the clip has no sound although the rest has.
    SoundPartlyMissing,
    /// The clip has no sound although the footage has.
    SoundLeftOut,
}

/// Why nothing can be cut.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No frame that can be decoded lies in the window. The gaps and warnings say why.
    #[error("no recorded footage in the requested range")]
    NoFootage {
        /// The window, by reason.
        gaps: Vec<Gap>,
        /// One for each file that could not be used.
        warnings: Vec<CutWarning>,
    },
}

/// What is wanted of the footage.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The window.
    pub requested: TimeRange,
    /// Gaps up to this long are none.
    pub gap_tolerance: TimeDelta,
    /// What becomes of gaps.
    pub gap_mode: GapMode,
    /// Which codec parameters the clip may have.
    pub parameters: Parameters,
}

/// Which codec parameters the video of a clip may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// One set: those that cover most of the window. All else becomes a gap.
    One,
    /// Any number of sets, each with a sample entry of its own, as long as they are of one kind of sample entry: that
    /// which covers most of the window.
    Several,
}

/// A run of samples of one segment that goes into the clip.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Index of its segment in the list given to [`plan`].
    pub segment: usize,
    /// Wall-clock time that the segment's first frame is taken to have.
    pub effective_start: DateTime<Utc>,
    /// How many of its frames are shown.
    pub shown_frames: u64,
}

/// What a clip will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The window asked for.
    pub requested: TimeRange,
    /// From the first frame shown to the end of the last.
    pub delivered: TimeRange,
    /// Requested time less the gaps.
    pub covered: TimeDelta,
    /// What is missing, in order.
    pub gaps: Vec<Gap>,
    /// What else to know.
    pub warnings: Vec<CutWarning>,
    /// Segments that contribute, in order.
    pub pieces: Vec<Piece>,
    /// Codec parameters of the clip's video.
    pub video_fingerprint: Fingerprint,
    /// How long the clip plays.
    pub duration_shown: TimeDelta,
    /// How much of that is footage: all, but for gaps that are kept.
    pub footage_shown: TimeDelta,
    /// Frames that a player shows.
    pub frame_count: u64,
    /// Footage carried in front of the first frame shown, because decoding begins at a key frame. Players
    /// that honour edit lists do not show it.
    pub hidden_lead: TimeDelta,
    /// Bytes of samples that will be copied.
    pub expected_bytes: u64,
    pub(crate) video: OutputTrack,
    pub(crate) sound: Option<OutputTrack>,
}

/// A track of the clip.
#[derive(Clone, Debug)]
pub(crate) struct OutputTrack {
    pub(crate) timescale: u32,
    pub(crate) entry: SampleEntry,
    /// Sample entries 2 and so on.
    pub(crate) more_entries: Vec<SampleEntry>,
    pub(crate) display: Display,
    pub(crate) unit_bytes: Option<u32>,
    /// In decode order.
    pub(crate) samples: Vec<OutputSample>,
    /// Bytes of the samples of each piece.
    pub(crate) piece_bytes: Vec<u64>,
    /// Ticks of the last sample.
    pub(crate) last_duration: u32,
    pub(crate) edits: Vec<OutputEdit>,
}

impl OutputTrack {
    /// Bytes of all samples.
    pub(crate) fn bytes(&self) -> u64 {
        self.piece_bytes.iter().sum()
    }
}

/// A sample of the clip and where its bytes come from. Times are in ticks of the track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputSample {
    pub(crate) piece: u32,
    pub(crate) offset: u64,
    pub(crate) size: u32,
    pub(crate) sync: bool,
    /// Which sample entry of the track it needs, from 1.
    pub(crate) entry: u16,
    pub(crate) dts: i64,
    /// How long after it is decoded the sample is shown. What does not fit is the longest, which no clip can have.
    pub(crate) composition_offset: u32,
    /// When in the clip the sample is first needed; rises strictly. Orders the samples in the file.
    pub(crate) needed_at: i64,
}

impl OutputSample {
    /// When the sample is shown.
    pub(crate) fn pts(&self) -> i64 {
        self.dts.saturating_add(self.composition_offset.into())
    }
}

/// An entry of the clip's edit list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputEdit {
    /// Composition time in ticks of the track; `None` shows nothing.
    pub(crate) media_time: Option<i64>,
    /// In ticks of the movie, which are those of the video track.
    pub(crate) duration: u64,
}

/// From so many pieces on picture and sound are planned side by side: for fewer a thread takes longer than it spares.
const PIECES_SIDE_BY_SIDE: usize = 50;

/// Works out the clip that a window gives. `segments` are in order of start and belong to one camera; pass the one
/// before the window too where there is one, it can hold the key frame that the first frames need.
///
/// # Errors
/// [`PlanError::NoFootage`] when nothing in the window can be shown.
pub fn plan(segments: &[Segment], wanted: &Wanted) -> Result<Plan, PlanError> {
    let requested = wanted.requested;
    let footage = times_of(segments, wanted);
    let placed = chains::place(segments, &footage, wanted);
    let walked = walk::walk(segments, &footage, &placed, wanted);
    let Some(first) = walked.first_shown_ns else {
        return Err(PlanError::NoFootage {
            gaps: walked.gaps,
            warnings: walked.warnings,
        });
    };
    let mut warnings = walked.warnings;
    let clock = video::Clock::for_pieces(segments, &walked.pieces, walked.longest_kept_ns);
    let (pieces, length) = (&walked.pieces, clock.length_of(walked.clip_end_ns));
    // Picture and sound need nothing of each other.
    let video = || video::build(segments, &footage, pieces, first, length, clock);
    let mut sound = || {
        let clock = (clock, length);
        sound::build(segments, &footage, pieces, first, clock, &mut warnings)
    };
    let (video, sound) = if pieces.len() < PIECES_SIDE_BY_SIDE {
        (video(), sound())
    } else {
        std::thread::scope(|threads| {
            let sound = threads.spawn(sound);
            let video = video();
            let sound = sound.join();
            (video, sound.unwrap_or_else(|died| resume_unwind(died)))
        })
    };
    let Some(video) = video else {
        return Err(PlanError::NoFootage {
            gaps: walked.gaps,
            warnings,
        });
    };
    let expected_bytes = video.track.bytes() + sound.as_ref().map_or(0, OutputTrack::bytes);
    let missing: TimeDelta = walked.gaps.iter().map(|gap| gap.range.duration()).sum();
    let start = from_nanos(first);
    let end = from_nanos(walked.cursor_ns).max(start + TimeDelta::microseconds(1));
    Ok(Plan {
        requested,
        delivered: TimeRange::new(start, end).unwrap_or(requested),
        covered: (requested.duration() - missing).max(TimeDelta::zero()),
        gaps: walked.gaps,
        warnings,
        pieces: walked
            .pieces
            .iter()
            .map(|piece| Piece {
                segment: piece.segment,
                effective_start: from_nanos(piece.start_ns),
                shown_frames: piece.shown.map_or(0, |shown| shown.count),
            })
            .collect(),
        video_fingerprint: video.track.entry.fingerprint,
        duration_shown: delta(ticks_to_nanos(video.length, video.track.timescale)),
        footage_shown: delta(ticks_to_nanos(video.length, video.track.timescale) - walked.kept_ns),
        frame_count: video.frame_count,
        hidden_lead: delta(video.hidden_lead_ns),
        expected_bytes,
        video: video.track,
        sound,
    })
}

/// When the frames of each segment are shown; `None` of one that shows none.
fn times_of(segments: &[Segment], wanted: &Wanted) -> Vec<Option<FrameTimes>> {
    let tracks: Vec<Option<&Track>> = segments
        .iter()
        .map(|segment| match &segment.footage {
            Footage::Indexed(index) => Some(&index.video),
            Footage::Unusable(_) => None,
        })
        .collect();
    let counts = tracks.iter().flatten().map(|track| track.whole_samples);
    let mut shown_at = Vec::with_capacity(counts.sum());
    let mut footage: Vec<Option<FrameTimes>> = tracks
        .into_iter()
        .map(|track| {
            let count = chains::usable(track?, wanted);
            FrameTimes::of_front(track?, count, &mut shown_at)
        })
        .collect();
    let shown_at = Arc::new(shown_at);
    for times in footage.iter_mut().flatten() {
        times.shown_at.lie_in(&shown_at);
    }
    footage
}

fn to_nanos(time: DateTime<Utc>) -> Nanos {
    Nanos::from(time.timestamp()) * 1_000_000_000 + Nanos::from(time.timestamp_subsec_nanos())
}

/// To the nearest microsecond, which is what the catalog and every comparison use.
fn to_micros(nanos: Nanos) -> Nanos {
    // Nearly every time fits in 64 bits, which processors divide by themselves.
    match i64::try_from(nanos + 500) {
        Ok(nanos) => Nanos::from(nanos.div_euclid(1000)),
        Err(_) => (nanos + 500).div_euclid(1000),
    }
}

fn from_nanos(nanos: Nanos) -> DateTime<Utc> {
    i64::try_from(to_micros(nanos))
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn delta(nanos: Nanos) -> TimeDelta {
    TimeDelta::microseconds(i64::try_from(to_micros(nanos)).unwrap_or(i64::MAX / 1_000_000))
}

/// `value` units of `1 / from` s in units of `1 / to` s, to the nearest.
fn rescale(value: i64, from: u32, to: u32) -> i64 {
    if from == to {
        return value;
    }
    saturated(scale(value, from, to))
}

/// Nanoseconds in ticks of `1 / timescale` s, to the nearest.
fn nanos_to_ticks(nanos: Nanos, timescale: u32) -> i64 {
    let ticks = match i64::try_from(nanos) {
        Ok(nanos) => scale(nanos, NANOS_A_SECOND, timescale),
        Err(_) => (nanos * Nanos::from(timescale) + Nanos::from(NANOS_A_SECOND / 2))
            .div_euclid(Nanos::from(NANOS_A_SECOND)),
    };
    saturated(ticks)
}

/// What lies beyond 64 bits is no time of a clip; a segment that has one turns out to be unfit.
fn saturated(ticks: i128) -> i64 {
    ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Ticks of `1 / timescale` s in nanoseconds, to the nearest.
fn ticks_to_nanos(ticks: i64, timescale: u32) -> Nanos {
    scale(ticks, timescale, NANOS_A_SECOND)
}

const NANOS_A_SECOND: u32 = 1_000_000_000;

/// `(value * to + from / 2).div_euclid(from)`, but without a division of 128 bits, of which every sample would need several:
/// the whole seconds and the rest are taken apart, and the rest times `to` fits in 64 bits.
#[inline]
fn scale(value: i64, from: u32, to: u32) -> i128 {
    let (whole, rest) = (
        value.div_euclid(i64::from(from)),
        value.rem_euclid(i64::from(from)),
    );
    let rest = (rest.unsigned_abs() * u64::from(to) + u64::from(from / 2)) / u64::from(from);
    i128::from(whole) * i128::from(to) + i128::from(rest)
}
