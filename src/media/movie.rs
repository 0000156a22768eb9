//! The movie header (`moov`) of a clip, for given positions of its samples.
//!
//! It is written twice in the life of a clip: in front of the stream that ffmpeg reads, with the times in
//! which the samples are needed, and into the finished file, with the times and edits of the plan.

use std::num::{NonZeroU16, NonZeroU32};

use chrono::{DateTime, SecondsFormat, Utc};
use shiguredo_mp4::boxes::{
    Co64Box, CttsBox, CttsEntry, DinfBox, EdtsBox, ElstBox, ElstEntry, HdlrBox, MdhdBox, MdiaBox,
    MediaHeader, MinfBox, MoovBox, MvhdBox, SampleEntry, SmhdBox, StblBox, StcoBox, StscBox,
    StscEntry, StsdBox, StssBox, StszBox, SttsBox, SttsEntry, TkhdBox, TrakBox, UnknownBox,
    VmhdBox,
};
use shiguredo_mp4::{
    BoxSize, BoxType, Either, Encode, FixedPointNumber, LanguageCode, Mp4FileTime,
};

use super::plan::{OutputEdit, OutputSample, OutputTrack};

/// The longest chunk: players read a chunk at a time.
const LONGEST_CHUNK_BYTES: u64 = 1 << 20;

/// The header could not be encoded: a value does not fit its field.
#[derive(Debug, thiserror::Error)]
#[error("the movie header cannot be written: {0}")]
pub(crate) struct MovieError(String);

/// Which times of the plan the header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// When each sample is needed; nothing is hidden. For the stream to ffmpeg.
    Needed,
    /// When each sample is decoded and shown, with edit lists. For the clip.
    Shown,
}

/// What the header says besides the samples.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// Wall-clock time of the first frame shown.
    pub(crate) start: DateTime<Utc>,
    /// A name for people.
    pub(crate) title: String,
    /// What the clip was made from.
    pub(crate) comment: String,
}

/// A track and where its samples are in the file, in the order of its samples.
pub(crate) struct PlacedTrack<'a> {
    pub(crate) track: &'a OutputTrack,
    pub(crate) is_video: bool,
    pub(crate) positions: &'a [u64],
}

impl PlacedTrack<'_> {
    /// Ticks a second and the time of each sample in a [`Times::Needed`] header.
    pub(crate) fn needed_times(&self) -> (u32, Vec<i64>) {
        let track = self.track;
        let Some(unit_bytes) = track.unit_bytes else {
            let times = track
                .samples
                .iter()
                .map(|sample| sample.needed_at)
                .collect();
            return (track.timescale, times);
        };
        let rate_hz = track.entry.sample_rate_hz.max(1);
        let begins = track.samples.first().map_or(0, |sample| sample.needed_at);
        let mut at = begins.saturating_mul(i64::from(rate_hz)) / i64::from(track.timescale);
        let times = track
            .samples
            .iter()
            .map(|sample| {
                let time = at;
                at += i64::from(sample.size / unit_bytes.max(1));
                time
            })
            .collect();
        (rate_hz, times)
    }
}

/// Encodes the header, followed by the absolute start when there is a label. The movie clock is that of the first track,
/// the video.
pub(crate) fn encode(
    tracks: &[PlacedTrack<'_>],
    times: Times,
    label: Option<&Label>,
) -> Result<Vec<u8>, MovieError> {
    let clock = tracks.first().map_or(1, |placed| placed.track.timescale);
    let movie = Movie {
        clock: clock_of(clock)?,
        created: label.map_or(Mp4FileTime::default(), |label| mp4_time(label.start)),
        times,
    };
    let trak_boxes = (1u32..)
        .zip(tracks)
        .map(|(id, placed)| movie.track(id, placed))
        .collect::<Result<Vec<_>, _>>()?;
    let duration = trak_boxes
        .iter()
        .map(|trak| trak.tkhd_box.duration)
        .max()
        .unwrap_or(0);
    let moov = MoovBox {
        mvhd_box: MvhdBox {
            creation_time: movie.created,
            modification_time: movie.created,
            timescale: movie.clock,
            duration,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: tracks.len() as u32 + 1,
        },
        trak_boxes,
        mvex_box: None,
        unknown_boxes: label.map(user_data).into_iter().collect(),
    };
    let mut header = moov
        .encode_to_vec()
        .map_err(|error| MovieError(error.to_string()))?;
    header.extend(label.into_iter().flat_map(|label| start_box(label, tracks)));
    Ok(header)
}

struct Movie {
    clock: NonZeroU32,
    created: Mp4FileTime,
    times: Times,
}

impl Movie {
    fn track(&self, id: u32, placed: &PlacedTrack<'_>) -> Result<TrakBox, MovieError> {
        let track = placed.track;
        let time_of = |sample: &OutputSample| match self.times {
            Times::Needed => sample.needed_at,
            Times::Shown => sample.dts,
        };
        // ffmpeg reads sound of constant sample size block by block only if it has no holes and a tick is
        // a sample; its place among the pictures is then as near as matters.
        let is_steady = self.times == Times::Needed && track.unit_bytes.is_some();
        let (timescale, deltas) = if is_steady {
            (track.entry.sample_rate_hz.max(1), Deltas::steady(track))
        } else {
            (track.timescale, Deltas::of(track, time_of)?)
        };
        let begins = track.samples.first().map_or(0, time_of);
        let media_duration = deltas.total;
        let edits = match self.times {
            Times::Shown => track.edits.clone(),
            Times::Needed if begins > 0 => {
                let to_movie = |ticks: i64| {
                    let scaled = i128::from(ticks) * i128::from(self.clock.get());
                    u64::try_from(scaled / i128::from(track.timescale)).unwrap_or(0)
                };
                vec![
                    OutputEdit {
                        media_time: None,
                        duration: to_movie(begins),
                    },
                    OutputEdit {
                        media_time: Some(0),
                        duration: to_movie(i64::try_from(media_duration).unwrap_or(i64::MAX)) + 1,
                    },
                ]
            }
            Times::Needed => Vec::new(),
        };
        let shown: u64 = if edits.is_empty() {
            u64::try_from(
                u128::from(media_duration) * u128::from(self.clock.get()) / u128::from(timescale),
            )
            .unwrap_or(u64::MAX)
        } else {
            edits.iter().map(|edit| edit.duration).sum()
        };
        let display = track.display;
        let fixed = |value: u32| FixedPointNumber::new((value >> 16) as i16, value as u16);
        Ok(TrakBox {
            tkhd_box: TkhdBox {
                flag_track_enabled: true,
                flag_track_in_movie: true,
                flag_track_in_preview: false,
                flag_track_size_is_aspect_ratio: false,
                creation_time: self.created,
                modification_time: self.created,
                track_id: id,
                duration: shown,
                layer: TkhdBox::DEFAULT_LAYER,
                alternate_group: i16::from(!placed.is_video),
                volume: if placed.is_video {
                    TkhdBox::DEFAULT_VIDEO_VOLUME
                } else {
                    TkhdBox::DEFAULT_AUDIO_VOLUME
                },
                matrix: display.matrix,
                width: fixed(display.width),
                height: fixed(display.height),
            },
            edts_box: (!edits.is_empty()).then(|| edit_box(&edits)),
            mdia_box: MdiaBox {
                mdhd_box: MdhdBox {
                    creation_time: self.created,
                    modification_time: self.created,
                    timescale: clock_of(timescale)?,
                    duration: media_duration,
                    language: LanguageCode::UNDEFINED,
                },
                hdlr_box: handler(placed.is_video),
                minf_box: MinfBox {
                    media_header: Some(media_header(placed.is_video)),
                    dinf_box: DinfBox::LOCAL_FILE,
                    stbl_box: self.tables(placed, deltas)?,
                    unknown_boxes: Vec::new(),
                },
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        })
    }

    fn tables(&self, placed: &PlacedTrack<'_>, deltas: Deltas) -> Result<StblBox, MovieError> {
        let track = placed.track;
        let chunks = Chunks::of(track, placed.positions);
        let stsz_box = match track.unit_bytes.and_then(NonZeroU32::new) {
            Some(sample_size) => StszBox::Fixed {
                sample_size,
                sample_count: chunks.samples,
            },
            None => StszBox::Variable {
                entry_sizes: track.samples.iter().map(|sample| sample.size).collect(),
            },
        };
        let keys: Vec<NonZeroU32> = (1u32..)
            .zip(&track.samples)
            .filter(|(_, sample)| sample.sync)
            .filter_map(|(number, _)| NonZeroU32::new(number))
            .collect();
        let all_sync = keys.len() == track.samples.len();
        Ok(StblBox {
            stsd_box: StsdBox {
                entries: std::iter::once(&track.entry)
                    .chain(&track.more_entries)
                    .map(|entry| sample_entry(&entry.bytes))
                    .collect::<Result<_, _>>()?,
            },
            stts_box: SttsBox {
                entries: deltas.entries,
            },
            ctts_box: match self.times {
                Times::Shown => composition_offsets(&track.samples)?,
                Times::Needed => None,
            },
            cslg_box: None,
            stsc_box: StscBox {
                entries: chunks.runs,
            },
            stsz_box,
            stco_or_co64_box: chunks.positions,
            stss_box: (!all_sync).then_some(StssBox {
                sample_numbers: keys,
            }),
            sdtp_box: None,
            unknown_boxes: Vec::new(),
        })
    }
}

/// Time from each sample to the next, in runs.
struct Deltas {
    entries: Vec<SttsEntry>,
    total: u64,
}

impl Deltas {
    fn of(track: &OutputTrack, time_of: impl Fn(&OutputSample) -> i64) -> Result<Self, MovieError> {
        let mut deltas = Self {
            entries: Vec::new(),
            total: 0,
        };
        for (at, sample) in track.samples.iter().enumerate() {
            let next = track.samples.get(at + 1).map(&time_of);
            let until_next = match next {
                Some(next) => next - time_of(sample),
                None => i64::from(track.last_duration),
            };
            let until_next = u32::try_from(until_next)
                .map_err(|_| MovieError("a sample lasts too long".to_owned()))?;
            match track.unit_bytes {
                // The last unit of a block takes up what is missing before the next.
                Some(unit_bytes) => {
                    let units = (sample.size / unit_bytes.max(1)).max(1);
                    let usual = track.timescale / track.entry.sample_rate_hz.max(1);
                    let each = (until_next / units).min(usual);
                    deltas.push(units - 1, each);
                    deltas.push(1, until_next - each * (units - 1));
                }
                None => deltas.push(1, until_next),
            }
        }
        Ok(deltas)
    }

    /// One tick for each unit.
    fn steady(track: &OutputTrack) -> Self {
        let mut deltas = Self {
            entries: Vec::new(),
            total: 0,
        };
        let unit_bytes = track.unit_bytes.unwrap_or(1).max(1);
        for sample in &track.samples {
            deltas.push(sample.size / unit_bytes, 1);
        }
        deltas
    }

    fn push(&mut self, count: u32, delta: u32) {
        self.total += u64::from(count) * u64::from(delta);
        match self.entries.last_mut() {
            _ if count == 0 => {}
            Some(last) if last.sample_delta == delta => last.sample_count += count,
            _ => self.entries.push(SttsEntry {
                sample_count: count,
                sample_delta: delta,
            }),
        }
    }
}

fn composition_offsets(samples: &[OutputSample]) -> Result<Option<CttsBox>, MovieError> {
    let mut entries: Vec<CttsEntry> = Vec::new();
    for sample in samples {
        let sample_offset = sample.pts - sample.dts;
        if sample_offset < 0 || sample_offset > i64::from(u32::MAX) {
            return Err(MovieError("a sample is reordered too far".to_owned()));
        }
        match entries.last_mut() {
            Some(last) if last.sample_offset == sample_offset => last.sample_count += 1,
            _ => entries.push(CttsEntry {
                sample_count: 1,
                sample_offset,
            }),
        }
    }
    let reordered = entries.iter().any(|entry| entry.sample_offset != 0);
    Ok(reordered.then_some(CttsBox {
        version: 0,
        entries,
    }))
}

/// Samples that follow one another in the file, grouped.
struct Chunks {
    runs: Vec<StscEntry>,
    positions: Either<StcoBox, Co64Box>,
    samples: u32,
}

impl Chunks {
    fn of(track: &OutputTrack, positions: &[u64]) -> Self {
        let mut starts: Vec<u64> = Vec::new();
        // Samples, and the sample entry that they need.
        let mut counts: Vec<(u32, u16)> = Vec::new();
        let mut end = 0u64;
        let mut samples = 0;
        for (sample, position) in track.samples.iter().zip(positions) {
            let size = u64::from(sample.size);
            let units = track.unit_bytes.map_or(1, |unit| sample.size / unit.max(1));
            samples += units;
            // ffmpeg cuts chunks of constant sample size into packets; one block each keeps ours whole.
            let begun = track.unit_bytes.is_none()
                && starts.last().is_some_and(|start| {
                    *position == end && position + size - start <= LONGEST_CHUNK_BYTES
                });
            match counts.last_mut() {
                Some((count, entry)) if begun && *entry == sample.entry => *count += units,
                _ => {
                    starts.push(*position);
                    counts.push((units, sample.entry));
                }
            }
            end = position + size;
        }
        let mut runs: Vec<StscEntry> = Vec::new();
        for (number, (count, entry)) in (1u32..).zip(counts) {
            let run = StscEntry {
                first_chunk: NonZeroU32::MIN.saturating_add(number - 1),
                sample_per_chunk: count,
                sample_description_index: NonZeroU32::new(u32::from(entry))
                    .unwrap_or(NonZeroU32::MIN),
            };
            let is_as_before = |last: &StscEntry| {
                (last.sample_per_chunk, last.sample_description_index)
                    == (run.sample_per_chunk, run.sample_description_index)
            };
            if !runs.last().is_some_and(is_as_before) {
                runs.push(run);
            }
        }
        let narrow: Option<Vec<u32>> = starts
            .iter()
            .map(|start| u32::try_from(*start).ok())
            .collect();
        Self {
            runs,
            positions: match narrow {
                Some(chunk_offsets) => Either::A(StcoBox { chunk_offsets }),
                None => Either::B(Co64Box {
                    chunk_offsets: starts,
                }),
            },
            samples,
        }
    }
}

fn edit_box(edits: &[OutputEdit]) -> EdtsBox {
    EdtsBox {
        elst_box: Some(ElstBox {
            entries: edits
                .iter()
                .map(|edit| ElstEntry {
                    edit_duration: edit.duration,
                    media_time: edit.media_time.unwrap_or(-1),
                    media_rate: FixedPointNumber::new(1, 0),
                })
                .collect(),
        }),
        unknown_boxes: Vec::new(),
    }
}

/// The entry of the source, byte for byte but for the data reference: the clip's data is in the clip.
fn sample_entry(bytes: &[u8]) -> Result<SampleEntry, MovieError> {
    let broken = || MovieError("a sample entry is too short".to_owned());
    let kind = bytes
        .get(4..8)
        .and_then(<[u8]>::first_chunk::<4>)
        .ok_or_else(broken)?;
    let mut payload = bytes.get(8..).ok_or_else(broken)?.to_vec();
    payload
        .get_mut(6..8)
        .ok_or_else(broken)?
        .copy_from_slice(&NonZeroU16::MIN.get().to_be_bytes());
    Ok(SampleEntry::Unknown(UnknownBox {
        box_type: BoxType::Normal(*kind),
        box_size: BoxSize::with_payload_size(BoxType::Normal(*kind), payload.len() as u64),
        payload,
    }))
}

fn handler(is_video: bool) -> HdlrBox {
    let (handler_type, name) = if is_video {
        (HdlrBox::HANDLER_TYPE_VIDE, "VideoHandler\0")
    } else {
        (HdlrBox::HANDLER_TYPE_SOUN, "SoundHandler\0")
    };
    HdlrBox {
        handler_type,
        name: name.as_bytes().to_vec(),
    }
}

fn media_header(is_video: bool) -> MediaHeader {
    if is_video {
        MediaHeader::Vmhd(VmhdBox {
            graphicsmode: VmhdBox::DEFAULT_GRAPHICSMODE,
            opcolor: VmhdBox::DEFAULT_OPCOLOR,
        })
    } else {
        MediaHeader::Smhd(SmhdBox {
            balance: SmhdBox::DEFAULT_BALANCE,
        })
    }
}

/// `udta` with a metadata list as iTunes writes it and players show it: the absolute start to the
/// microsecond, a title and a comment.
fn user_data(label: &Label) -> UnknownBox {
    let start = label.start.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut list = Vec::new();
    for (kind, text) in [
        (b"\xa9nam", label.title.as_str()),
        (b"\xa9day", start.as_str()),
        (b"\xa9cmt", label.comment.as_str()),
    ] {
        // Type 1 is UTF-8; the locale is unset (QuickTime File Format, "Value atom").
        let mut data = vec![0, 0, 0, 1, 0, 0, 0, 0];
        data.extend_from_slice(text.as_bytes());
        list.extend(boxed(kind, &boxed(b"data", &data)));
    }
    let mut meta = vec![0; 4];
    meta.extend(boxed(
        b"hdlr",
        b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0",
    ));
    meta.extend(boxed(b"ilst", &list));
    let payload = boxed(b"meta", &meta);
    let kind = BoxType::Normal(*b"udta");
    UnknownBox {
        box_type: kind,
        box_size: BoxSize::with_payload_size(kind, payload.len() as u64),
        payload,
    }
}

/// A `meta` box at the level of the file with the wall-clock time of each track's start (ONVIF Export File Format
/// Specification, `cstb`: entry count, then track id and units of 100 ns since 1601 in UTC). The start of a track is the
/// movie's time 0, where the edit list shows its first frame.
fn start_box(label: &Label, tracks: &[PlacedTrack<'_>]) -> Vec<u8> {
    let mut starts = Vec::new();
    starts.extend((tracks.len() as u32).to_be_bytes());
    for (id, _) in (1u32..).zip(tracks) {
        starts.extend(id.to_be_bytes());
        starts.extend(since_1601(label.start).to_be_bytes());
    }
    let mut meta = vec![0; 4];
    // No kind of metadata of its own (ISO/IEC 14496-12 section 8.11.1).
    meta.extend(boxed(
        b"hdlr",
        b"\0\0\0\0\0\0\0\0null\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ));
    meta.extend(boxed(b"cstb", &starts));
    boxed(b"meta", &meta)
}

/// Units of 100 ns since 1601; 0 for what lies before.
fn since_1601(time: DateTime<Utc>) -> u64 {
    const FROM_1601_TO_1970_S: i64 = 11_644_473_600;
    let since_1970 = time.timestamp_micros().saturating_mul(10);
    u64::try_from(since_1970.saturating_add(FROM_1601_TO_1970_S * 10_000_000)).unwrap_or(0)
}

/// A small box. What goes in is text of ours, far below four gigabytes.
pub(crate) fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(payload.len() + 8);
    whole.extend_from_slice(&(payload.len() as u32 + 8).to_be_bytes());
    whole.extend_from_slice(kind);
    whole.extend_from_slice(payload);
    whole
}

fn clock_of(timescale: u32) -> Result<NonZeroU32, MovieError> {
    NonZeroU32::new(timescale)
        .ok_or_else(|| MovieError("a clock has zero ticks a second".to_owned()))
}

/// Seconds since 1904; times before 1970 are written as unset.
fn mp4_time(time: DateTime<Utc>) -> Mp4FileTime {
    u64::try_from(time.timestamp()).map_or(Mp4FileTime::default(), |seconds| {
        Mp4FileTime::from_unix_time(std::time::Duration::from_secs(seconds))
    })
}
