//! In which order the samples of a clip lie in its file, and where.
//!
//! A player reads a file from its beginning, so picture and sound lie side by side as they are needed. ffmpeg writes them
//! in the same order, which is how a clip's header can be known before ffmpeg has written the clip.

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
    [Some(&plan.video), sound_of(plan, with_sound)]
        .into_iter()
        .flatten()
        .flat_map(|track| &track.samples)
        .map(|sample| u64::from(sample.size))
        .sum()
}

/// All samples in the order of the file: by the time at which they are needed, the picture first where both are equal.
pub(super) fn in_file_order(plan: &Plan, with_sound: bool) -> impl Iterator<Item = Turn<'_>> {
    let video = TrackTurns::of(&plan.video, true);
    let sound = sound_of(plan, with_sound).map(|track| TrackTurns::of(track, false));
    let mut tracks = (video, sound);
    std::iter::from_fn(move || {
        let (video, sound) = &mut tracks;
        let sound_at = sound.as_ref().and_then(TrackTurns::next_at);
        let video_first = match (video.next_at(), sound_at) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((video_at, video_clock)), Some((sound_at, sound_clock))) => {
                i128::from(video_at) * i128::from(sound_clock)
                    <= i128::from(sound_at) * i128::from(video_clock)
            }
        };
        let turns = if video_first {
            Some(video)
        } else {
            sound.as_mut()
        };
        turns.and_then(|turns| turns.take(!video_first))
    })
}

/// Where each sample of the picture and of the sound is when the first lies at `media_start`.
pub(super) fn positions(plan: &Plan, with_sound: bool, media_start: u64) -> (Vec<u64>, Vec<u64>) {
    let mut positions = (Vec::new(), Vec::new());
    let mut at = media_start;
    for Turn { is_sound, sample } in in_file_order(plan, with_sound) {
        if is_sound {
            positions.1.push(at);
        } else {
            positions.0.push(at);
        }
        at += u64::from(sample.size);
    }
    positions
}

/// What is left of a track.
struct TrackTurns<'a> {
    samples: &'a [OutputSample],
    clock: u32,
    times: Vec<i64>,
    next: usize,
}

impl<'a> TrackTurns<'a> {
    fn of(track: &'a OutputTrack, is_video: bool) -> Self {
        let placed = PlacedTrack {
            track,
            is_video,
            positions: &[],
        };
        let (clock, times) = placed.needed_times();
        Self {
            samples: &track.samples,
            clock,
            times,
            next: 0,
        }
    }

    /// When the next sample is needed, in ticks, and how many ticks a second has.
    fn next_at(&self) -> Option<(i64, u32)> {
        Some((*self.times.get(self.next)?, self.clock))
    }

    fn take(&mut self, is_sound: bool) -> Option<Turn<'a>> {
        let sample = self.samples.get(self.next)?;
        self.next += 1;
        Some(Turn { is_sound, sample })
    }
}
