//! In which order the samples of a clip lie in its file, and where.
//!
//! A player reads a file from its beginning, so picture and sound lie side by side as they are needed. ffmpeg writes them
//! sample by sample in that order, which is how a clip's header can be known before ffmpeg has written the clip. Without
//! ffmpeg, what lies together in a source stays together as far as players do not mind, so that it is copied at once.

use std::cmp::Ordering;

use super::movie::PlacedTrack;
use super::plan::{OutputSample, OutputTrack, Plan};

/// A sample in its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub(super) is_sound: bool,
    pub(super) sample: &'a OutputSample,
}

/// The sound of the clip, if it gets any.
pub(super) fn sound_of(plan: &Plan, with_sound: bool) -> Option<&OutputTrack> {
    plan.sound.as_ref().filter(|_| with_sound)
}

/// Bytes of all samples.
pub(super) fn media_bytes(plan: &Plan, with_sound: bool) -> u64 {
    plan.video.bytes() + sound_of(plan, with_sound).map_or(0, OutputTrack::bytes)
}

/// How far picture and sound may be apart in a file that is written without ffmpeg, in milliseconds. Players hold more than
/// this in memory, and it is a little more than the usual fragment of a second.
const FURTHEST_APART_MS: i128 = 1_250;

/// All samples in the order in which ffmpeg writes them: by the time at which they are needed, the picture first where
/// both are equal.
pub(super) fn by_need(plan: &Plan, with_sound: bool) -> impl Iterator<Item = Turn<'_>> {
    let video = TrackTurns::as_ffmpeg_reads(&plan.video, true);
    let sound = sound_of(plan, with_sound).map(|track| TrackTurns::as_ffmpeg_reads(track, false));
    merge(video, sound, |video, sound, _| video.leads(sound) <= 0)
}

/// All samples in the order of a file that is written without ffmpeg: as they lie in their source, unless picture and
/// sound would get too far apart; else by the time at which they are needed.
pub(super) fn in_runs(plan: &Plan, with_sound: bool) -> impl Iterator<Item = Turn<'_>> {
    let video = TrackTurns::of(&plan.video);
    let sound = sound_of(plan, with_sound).map(TrackTurns::of);
    let furthest = sound
        .as_ref()
        .map_or(0, |sound| video.apart(sound, FURTHEST_APART_MS));
    merge(video, sound, move |video, sound, last| {
        // A run that goes on comes before one that begins, and that before what lies behind it.
        let rank = |turns: &TrackTurns<'_>| {
            let next = turns.next_sample()?;
            let runs_on = last.is_some_and(|last| {
                (next.piece, next.offset) == (last.piece, last.offset + u64::from(last.size))
            });
            Some((next.piece, !runs_on, next.offset))
        };
        let is_near =
            |turns: &TrackTurns<'_>, other: &TrackTurns<'_>| turns.leads(other) <= furthest;
        match rank(video).cmp(&rank(sound)) {
            Ordering::Less if is_near(video, sound) => true,
            Ordering::Greater if is_near(sound, video) => false,
            _ => video.leads(sound) <= 0,
        }
    })
}

/// Picture and sound as one sequence. `video_first` is asked while both have samples left, and told which came last.
fn merge<'a>(
    mut video: TrackTurns<'a>,
    mut sound: Option<TrackTurns<'a>>,
    video_first: impl Fn(&TrackTurns<'a>, &TrackTurns<'a>, Option<&'a OutputSample>) -> bool,
) -> impl Iterator<Item = Turn<'a>> {
    let mut last = None;
    std::iter::from_fn(move || {
        let is_video = match &sound {
            Some(sound) if sound.next_sample().is_some() => {
                video.next_sample().is_some() && video_first(&video, sound, last)
            }
            _ => true,
        };
        let turns = if is_video {
            Some(&mut video)
        } else {
            sound.as_mut()
        };
        let turn = turns.and_then(|turns| turns.take(!is_video));
        last = turn.map(|turn| turn.sample);
        turn
    })
}

/// Where each sample of a clip is in its file, counted from the first byte of the media.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) video: Vec<u64>,
    pub(super) sound: Vec<u64>,
}

/// Samples that lie side by side in a source and in the clip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) piece: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Clip time at which the last picture of it is needed, in ticks of the video; 0 when it has none.
    pub(super) needed_at: i64,
}

impl Places {
    /// Those of samples which come in this order, one behind the other, and the stretches that they make up.
    pub(super) fn of<'a>(
        plan: &Plan,
        order: impl Iterator<Item = Turn<'a>>,
    ) -> (Self, Vec<Stretch>) {
        let sound = plan.sound.as_ref().map_or(0, |track| track.samples.len());
        let mut places = Self {
            video: Vec::with_capacity(plan.video.samples.len()),
            sound: Vec::with_capacity(sound),
        };
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut at = 0;
        for Turn { is_sound, sample } in order {
            let size = u64::from(sample.size);
            let needed_at = if is_sound {
                places.sound.push(at);
                0
            } else {
                places.video.push(at);
                sample.needed_at
            };
            at += size;
            match stretches.last_mut() {
                Some(last)
                    if (last.piece, last.offset + last.length) == (sample.piece, sample.offset) =>
                {
                    last.length += size;
                    last.needed_at = last.needed_at.max(needed_at);
                }
                _ => stretches.push(Stretch {
                    piece: sample.piece,
                    offset: sample.offset,
                    length: size,
                    needed_at,
                }),
            }
        }
        (places, stretches)
    }

    /// Puts every sample that much further back.
    pub(super) fn move_back(&mut self, by_bytes: u64) {
        for place in self.video.iter_mut().chain(&mut self.sound) {
            *place += by_bytes;
        }
    }
}

/// What is left of a track.
struct TrackTurns<'a> {
    samples: &'a [OutputSample],
    clock: u32,
    /// When each sample is needed, where that is not what the sample says.
    times: Option<Vec<i64>>,
    next: usize,
}

impl<'a> TrackTurns<'a> {
    fn of(track: &'a OutputTrack) -> Self {
        Self {
            samples: &track.samples,
            clock: track.timescale,
            times: None,
            next: 0,
        }
    }

    fn as_ffmpeg_reads(track: &'a OutputTrack, is_video: bool) -> Self {
        let placed = PlacedTrack {
            track,
            is_video,
            positions: &[],
        };
        let (clock, times) = placed.needed_times();
        Self {
            samples: &track.samples,
            clock,
            times: Some(times),
            next: 0,
        }
    }

    fn next_sample(&self) -> Option<&'a OutputSample> {
        self.samples.get(self.next)
    }

    /// How much later the next sample is needed than the other track's, in a unit of both clocks.
    fn leads(&self, other: &Self) -> i128 {
        let at = |turns: &Self| match (&turns.times, turns.next_sample()) {
            (Some(times), _) => times.get(turns.next).copied().unwrap_or(i64::MAX),
            (None, Some(sample)) => sample.needed_at,
            (None, None) => i64::MAX,
        };
        i128::from(at(self)) * i128::from(other.clock)
            - i128::from(at(other)) * i128::from(self.clock)
    }

    /// Milliseconds in the unit of [`Self::leads`].
    fn apart(&self, other: &Self, milliseconds: i128) -> i128 {
        milliseconds * i128::from(self.clock) * i128::from(other.clock) / 1000
    }

    fn take(&mut self, is_sound: bool) -> Option<Turn<'a>> {
        let sample = self.samples.get(self.next)?;
        self.next += 1;
        Some(Turn { is_sound, sample })
    }
}
