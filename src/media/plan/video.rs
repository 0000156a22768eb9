//! The video track of the clip: one media timeline for all pieces, and the edits that show the window.

use super::{
    Footage, Nanos, OutputEdit, OutputSample, OutputTrack, Segment, nanos_to_ticks, rescale,
    ticks_to_nanos, times::FrameTimes, walk::WalkedPiece,
};
use crate::media::mp4::{Sample, SampleEntry, Track};

/// Ticks a second of the clip's video, chosen so that the times of every piece are whole ticks.
#[derive(Clone, Copy)]
pub(super) struct Clock(pub(super) u32);

/// A finer clock than this gains nothing: it divides the microsecond.
const FINEST_CLOCK: u64 = 10_000_000;
/// For clocks without a useful common multiple, the finest that suits first.
const COMMON_CLOCKS: [u32; 4] = [1_000_000, 540_000, 90_000, 1_000];

impl Clock {
    /// A picture that stays for `longest_kept_ns` must fit in what readers take as the length of one sample.
    pub(super) fn for_pieces(
        segments: &[Segment],
        pieces: &[WalkedPiece],
        longest_kept_ns: Nanos,
    ) -> Self {
        let seconds = u64::try_from(longest_kept_ns / 1_000_000_000).unwrap_or(u64::MAX);
        let finest = (i32::MAX as u64 / seconds.saturating_add(2)).min(FINEST_CLOCK);
        let otherwise = COMMON_CLOCKS
            .into_iter()
            .find(|clock| u64::from(*clock) <= finest)
            .unwrap_or(1);
        let mut common: u64 = 1;
        for piece in pieces {
            if let Footage::Indexed(index) = &segments[piece.segment].footage {
                common = least_common_multiple(common, u64::from(index.video.timescale));
            }
            if common > finest {
                return Self(otherwise);
            }
        }
        Self(u32::try_from(common).unwrap_or(otherwise))
    }
}

impl Clock {
    /// The length in ticks of a clip that ends there.
    pub(super) fn length_of(self, clip_end: Nanos) -> i64 {
        nanos_to_ticks(clip_end, self.0).max(1)
    }
}

fn least_common_multiple(left: u64, right: u64) -> u64 {
    let (mut a, mut b) = (left, right);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (left / a.max(1)).saturating_mul(right)
}

pub(super) struct Video {
    pub(super) track: OutputTrack,
    pub(super) frame_count: u64,
    pub(super) hidden_lead_ns: Nanos,
    /// Length of the clip in ticks.
    pub(super) length: i64,
}

/// `None` when no piece has samples.
pub(super) fn build(
    segments: &[Segment],
    footage: &[Option<FrameTimes>],
    pieces: &[WalkedPiece],
    first_shown: Nanos,
    length: i64,
    clock: Clock,
) -> Option<Video> {
    let Clock(timescale) = clock;
    // Room for all of them from the start: memory that grows is copied to new pages each time.
    let count = pieces.iter().map(|piece| piece.samples.len()).sum();
    let mut layout = Layout {
        samples: Vec::with_capacity(count),
        piece_bytes: vec![0; pieces.len()],
        ..Layout::default()
    };
    let mut first = None;
    for (number, piece) in pieces.iter().enumerate() {
        let (Footage::Indexed(index), Some(times)) =
            (&segments[piece.segment].footage, &footage[piece.segment])
        else {
            continue;
        };
        first.get_or_insert(&index.video);
        layout.add(
            number,
            piece,
            times,
            &index.video,
            |wall| nanos_to_ticks(wall - first_shown - piece.closed_up_ns, timescale),
            timescale,
        );
    }
    let first = first?;
    let Layout {
        mut samples,
        piece_bytes,
        entries,
        earliest,
        stretches,
        last_duration,
        ..
    } = layout;
    let media_start = assign_times(&mut samples);
    assign_need(&mut samples, length);
    let edits = stretches
        .iter()
        .enumerate()
        .map(|(at, (clip, media))| {
            let until = stretches.get(at + 1).map_or(length, |next| next.0);
            OutputEdit {
                media_time: Some(media.saturating_sub(media_start)),
                duration: u64::try_from(until.saturating_sub(*clip)).unwrap_or(0),
            }
        })
        .collect();
    let mut entries = entries.0.into_iter();
    let shown = pieces.iter().filter_map(|piece| piece.shown);
    Some(Video {
        frame_count: shown.map(|shown| shown.count).sum(),
        hidden_lead_ns: ticks_to_nanos(earliest.saturating_neg(), timescale),
        length,
        track: OutputTrack {
            timescale,
            entry: entries.next()?,
            more_entries: entries.collect(),
            display: first.display,
            unit_bytes: None,
            samples,
            piece_bytes,
            last_duration,
            edits,
        },
    })
}

/// The sample entries of the track as they are come across.
#[derive(Default)]
struct Entries(Vec<SampleEntry>);

impl Entries {
    /// The number of the entry with the parameters of that sample, from 1.
    fn number_of(&mut self, track: &Track, sample: &Sample) -> u16 {
        let entry = track.entry_of(sample).unwrap_or(&track.entry);
        let known = self
            .0
            .iter()
            .position(|known| known.fingerprint == entry.fingerprint);
        let at = known.unwrap_or_else(|| {
            self.0.push(entry.clone());
            self.0.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(u16::MAX)
    }
}

/// The media timeline as it grows. Shown frames stand on it as in the clip, moved by `shift`; frames that
/// must not be shown get a stretch of it that no edit covers.
#[derive(Default)]
struct Layout {
    /// On the way into the track: `dts` is the media time at which the sample is shown, `needed_at` the clip time, or
    /// [`NEVER`].
    samples: Vec<OutputSample>,
    piece_bytes: Vec<u64>,
    entries: Entries,
    /// Clip time of the earliest frame, or 0 if all come later.
    earliest: i64,
    /// Clip time and media time at which each edit begins.
    stretches: Vec<(i64, i64)>,
    shift: i64,
    media_end: Option<i64>,
    /// Whether hidden frames have begun that lead in to the next edit.
    leads_in: bool,
    /// Whether the last piece ends with frames that are not shown.
    hides_tail: bool,
    last_duration: u32,
}

/// When a hidden frame is shown.
const NEVER: i64 = i64::MAX;

impl Layout {
    fn add(
        &mut self,
        number: usize,
        piece: &WalkedPiece,
        times: &FrameTimes,
        track: &Track,
        clip_time: impl Fn(Nanos) -> i64,
        timescale: u32,
    ) {
        let to_clock = |ticks| rescale(ticks, times.timescale, timescale);
        // One frame ties the piece to the clip and the others keep their exact distance from it.
        let anchor = piece.shown.map(|shown| shown.begin);
        let anchor_at = anchor.unwrap_or(0);
        let anchor_clip = clip_time(piece.start_ns + ticks_to_nanos(anchor_at, times.timescale));
        let anchor_ticks = to_clock(anchor_at);
        // A file may place a picture anywhere, also where no clip can show it.
        let clip_at = |ticks: i64| {
            let distance = to_clock(ticks).saturating_sub(anchor_ticks);
            anchor_clip.saturating_add(distance)
        };
        let ticks = &times.shown_at[piece.samples.clone()];
        let earliest = ticks.iter().min().map_or(anchor_clip, |at| clip_at(*at));
        self.earliest = self.earliest.min(earliest);
        let hides_lead = earliest < anchor_clip || anchor.is_none();
        if !self.stretches.is_empty() && !self.leads_in && (hides_lead || self.hides_tail) {
            let anchor_media = anchor_clip.saturating_add(self.shift);
            let free = self.media_end.unwrap_or(0).max(anchor_media);
            self.shift = free.saturating_sub(earliest);
            self.leads_in = true;
        }
        if anchor.is_some() && (self.stretches.is_empty() || self.leads_in) {
            self.stretches
                .push((anchor_clip, anchor_clip.saturating_add(self.shift)));
            self.leads_in = false;
        }
        let mut last_shown = i64::MIN;
        let mut last_hidden = i64::MIN;
        let mut bytes = 0;
        // What the sample before gave, which is nearly always right for this one: its entry and its duration.
        let mut entry = (None, 0);
        let mut duration = (None, 0);
        for (sample_number, at) in piece.samples.clone().zip(ticks) {
            let sample = &track.samples[sample_number];
            let clip = clip_at(*at);
            let is_shown = piece.visible.shows(sample_number, *at, sample);
            let last = if is_shown {
                &mut last_shown
            } else {
                &mut last_hidden
            };
            *last = (*last).max(clip);
            if duration.0 != Some(sample.duration) {
                let ticks = to_clock(i64::from(sample.duration)).max(1);
                duration = (Some(sample.duration), ticks);
            }
            if entry.0 != Some(sample.description) {
                let number = self.entries.number_of(track, sample);
                entry = (Some(sample.description), number);
            }
            let media = clip.saturating_add(self.shift);
            let end = media.saturating_add(duration.1);
            self.media_end = Some(self.media_end.map_or(end, |known| known.max(end)));
            self.last_duration = u32::try_from(duration.1).unwrap_or(u32::MAX);
            bytes += u64::from(sample.size);
            self.samples.push(OutputSample {
                piece: number as u32,
                offset: sample.offset,
                size: sample.size,
                sync: sample.sync,
                entry: entry.1,
                dts: media,
                composition_offset: 0,
                needed_at: if is_shown { clip } else { NEVER },
            });
        }
        self.piece_bytes[number] = bytes;
        self.hides_tail = anchor.is_some() && last_hidden > last_shown;
    }
}

/// Gives every sample its decode and composition time. Answers the media time that became 0.
///
/// Decode times are the composition times in rising order, moved back as far as the most reordered frame
/// needs: they rise strictly whatever the sources said, and no frame is shown before it is decoded.
fn assign_times(samples: &mut [OutputSample]) -> i64 {
    let mut rising: Vec<i64> = samples.iter().map(|sample| sample.dts).collect();
    // Nearly in order, or altogether without reordered frames; a stable sort makes use of that.
    rising.sort();
    for at in 1..rising.len() {
        rising[at] = rising[at].max(rising[at - 1].saturating_add(1));
    }
    let delay = rising
        .iter()
        .zip(&*samples)
        .map(|(dts, sample)| dts.saturating_sub(sample.dts))
        .max()
        .unwrap_or(0);
    let start = rising
        .first()
        .map_or(0, |first| first.saturating_sub(delay));
    for (sample, dts) in samples.iter_mut().zip(&rising) {
        let pts = sample.dts.saturating_sub(start);
        sample.dts = dts.saturating_sub(delay).saturating_sub(start);
        let offset = pts.saturating_sub(sample.dts);
        sample.composition_offset = u32::try_from(offset).unwrap_or(u32::MAX);
    }
    start
}

/// A sample is needed when the first frame is shown that comes no earlier in decode order.
fn assign_need(samples: &mut [OutputSample], length: i64) {
    let mut soonest = length;
    for sample in samples.iter_mut().rev() {
        soonest = soonest.min(sample.needed_at);
        sample.needed_at = soonest.max(0);
    }
    let mut last = -1;
    for sample in samples {
        sample.needed_at = sample.needed_at.max(last + 1);
        last = sample.needed_at;
    }
}
