//! The movie header (`moov`) of a clip, for given positions of its samples.
//!
//! It is written twice in the life of a clip: in front of the stream that ffmpeg reads, with the times in
//! which the samples are needed, and into the finished file, with the times and edits of the plan.

mod label;
mod tables;

use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    DinfBox, EdtsBox, ElstBox, ElstEntry, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MinfBox, MoovBox,
    MvhdBox, SampleEntry, SmhdBox, StblBox, StscBox, StsdBox, StssBox, StszBox, SttsBox, TkhdBox,
    TrakBox, UnknownBox, VmhdBox,
};
use shiguredo_mp4::{
    BoxSize, BoxType, Encode, ErrorKind, FixedPointNumber, LanguageCode, Mp4FileTime,
};

pub(crate) use self::label::Label;
use self::label::{mp4_time, start_box, user_data};
use self::tables::{Chunks, Deltas, composition_offsets, move_back};
use super::plan::{OutputEdit, OutputSample, OutputTrack};

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
    let mut header = room_for(tracks);
    let size_bytes = write(&movie_box(tracks, times, label)?, &mut header, 0)?;
    header.truncate(size_bytes);
    header.extend(label.into_iter().flat_map(|label| start_box(label, tracks)));
    Ok(header)
}

/// Everything in front of the media of a file: its type, the header that [`encode`] would give, and the header of the box
/// that holds the media. Positions are counted from the first byte of the media, and become those in the file.
pub(crate) fn encode_head(
    file_type: &[u8],
    tracks: &[PlacedTrack<'_>],
    times: Times,
    label: Option<&Label>,
    data_header: &[u8],
) -> Result<Vec<u8>, MovieError> {
    let mut moov = movie_box(tracks, times, label)?;
    let behind = [
        label.map_or(Vec::new(), |label| start_box(label, tracks)),
        data_header.to_vec(),
    ]
    .concat();
    let mut head = room_for(tracks);
    let mut media_start = 0;
    let mut moov_end = file_type.len() + encoded_bytes(&mut moov, &mut head)?;
    // The header's length depends on the positions, and they on its length: they may need 64 bits. Its length never
    // shrinks as they grow, so this ends.
    loop {
        let next_start = (moov_end + behind.len()) as u64;
        if next_start == media_start {
            break;
        }
        for trak in &mut moov.trak_boxes {
            let table = &mut trak.mdia_box.minf_box.stbl_box.stco_or_co64_box;
            move_back(table, next_start - media_start);
        }
        media_start = next_start;
        moov_end = write(&moov, &mut head, file_type.len())?;
    }
    head[..file_type.len()].copy_from_slice(file_type);
    head.truncate(moov_end);
    head.extend(behind);
    head.shrink_to_fit();
    Ok(head)
}

/// How many bytes the box has. The sizes of the samples, which are most of them, are counted and not written. `room` is
/// written over.
fn encoded_bytes(moov: &mut MoovBox, room: &mut Vec<u8>) -> Result<usize, MovieError> {
    let tables = moov.trak_boxes.iter_mut().filter_map(sample_sizes);
    let sizes: Vec<Vec<u32>> = tables.map(std::mem::take).collect();
    let without = write(moov, room, 0)?;
    let counts = sizes.iter().map(Vec::len);
    let size_bytes = without + counts.sum::<usize>() * size_of::<u32>();
    let tables = moov.trak_boxes.iter_mut().filter_map(sample_sizes);
    for (table, sizes) in tables.zip(sizes) {
        *table = sizes;
    }
    Ok(size_bytes)
}

/// The table of sizes of a track whose samples have sizes of their own.
fn sample_sizes(trak: &mut TrakBox) -> Option<&mut Vec<u32>> {
    match &mut trak.mdia_box.minf_box.stbl_box.stsz_box {
        StszBox::Variable { entry_sizes } => Some(entry_sizes),
        StszBox::Fixed { .. } => None,
    }
}

fn movie_box(
    tracks: &[PlacedTrack<'_>],
    times: Times,
    label: Option<&Label>,
) -> Result<MoovBox, MovieError> {
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
    Ok(MoovBox {
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
    })
}

/// Room for all of a header but what its samples take.
const FIRST_ROOM_BYTES: usize = 64 << 10;

/// Zeros that will nearly always do for the header of these tracks. Memory of which only zeros were asked costs nothing
/// before something is written to it.
fn room_for(tracks: &[PlacedTrack<'_>]) -> Vec<u8> {
    let samples = tracks.iter().map(|placed| placed.track.samples.len());
    vec![0; FIRST_ROOM_BYTES + 8 * samples.sum::<usize>()]
}

/// Writes the box into `header` from `begin` on, and answers where it ends. `encode_to_vec` does the same, but begins with
/// room for 256 bytes and encodes all anew whenever it has doubled that, which for the header of an hour is a dozen times.
fn write(moov: &MoovBox, header: &mut Vec<u8>, begin: usize) -> Result<usize, MovieError> {
    loop {
        match moov.encode(&mut header[begin..]) {
            Ok(size_bytes) => return Ok(begin + size_bytes),
            Err(error) if error.kind == ErrorKind::InsufficientBuffer => {
                header.resize(header.len() * 2, 0);
            }
            Err(error) => return Err(MovieError(error.to_string())),
        }
    }
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
                Times::Shown => composition_offsets(&track.samples),
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
