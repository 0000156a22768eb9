//! [`SourceIndex`]: every sample of a file, without reading the samples.

use std::fs::File;

use chrono::{DateTime, TimeDelta, Utc};

use super::bytes::{Child, Children, malformed};
use super::edits::EditList;
use super::entry::SampleEntry;
use super::fragments::{FragmentedTrack, TrackDefaults, read_fragment};
use super::tables::read_samples;
use super::top_level::{ReadError, TopBoxes, sniff};
use crate::domain::catalog::Container;
use crate::media::portion::Portion;

/// One coded picture, or a stretch of coded sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Decode time in ticks of the track.
    pub dts: i64,
    /// Length in bytes, never 0.
    pub size: u32,
    /// Ticks until the next sample is decoded.
    pub duration: u32,
    /// Composition time less decode time, in ticks.
    pub composition_offset: i32,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// Which sample entry it needs, from 1; see [`entry_number`].
    pub(crate) description: u16,
}

impl Sample {
    /// Composition time in ticks: when the sample is shown, but for the edit list.
    pub fn pts(&self) -> i64 {
        self.dts + i64::from(self.composition_offset)
    }

    /// The first byte after the sample.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.size))
    }
}

/// The number of a sample entry as [`Sample`] keeps it. No track keeps as many entries as 16 bits count, so that a number
/// beyond them names none either way.
pub(super) fn entry_number(description: u32) -> u16 {
    u16::try_from(description).unwrap_or(u16::MAX)
}

/// A video or sound track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Track id in its file.
    pub id: u32,
    /// Ticks a second, never 0.
    pub timescale: u32,
    /// Codec and its configuration: the first sample entry.
    pub entry: SampleEntry,
    /// Further sample entries of a video track, for samples whose description is 2 and so on.
    pub more_entries: Vec<SampleEntry>,
    /// Samples in decode order.
    pub samples: Portion<Sample>,
    /// How many samples from the start lie wholly inside the file. Less than all of them in a file that
    /// was cut short.
    pub whole_samples: usize,
    /// What of the media is shown, and when.
    pub edits: EditList,
    /// How the picture is turned and how large it is shown.
    pub display: Display,
    /// For sound of constant sample size the bytes of one sample of all channels; [`Self::samples`] are
    /// then blocks of many.
    pub unit_bytes: Option<u32>,
}

impl Track {
    /// What the decoder of that sample must be told.
    pub(crate) fn entry_of(&self, sample: &Sample) -> Option<&SampleEntry> {
        match sample.description.checked_sub(2) {
            // Some recorders count from 0.
            None => Some(&self.entry),
            Some(further) => self.more_entries.get(usize::from(further)),
        }
    }
}

/// The end of `tkhd` (8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    /// Transformation of the picture, 16.16 and 2.30 fixed point.
    pub matrix: [i32; 9],
    /// Shown width in pixels, 16.16 fixed point.
    pub width: u32,
    /// Shown height in pixels, 16.16 fixed point.
    pub height: u32,
}

/// The `mtxi` box of MediaMTX (`internal/recordstore/mp4_boxes.go` in its sources): a full box with stream
/// id, segment number, decode time and wall clock of the segment's first sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtxInfo {
    /// Names the run of the recorder; segments of one run follow each other without a break.
    pub stream_id: [u8; 16],
    /// Counts the segments of the run.
    pub segment_number: u64,
    /// Decode time since the start of the run, in nanoseconds.
    pub dts_ns: i64,
    /// Wall clock of the segment's start, in nanoseconds since 1970.
    pub ntp_ns: i64,
}

impl MtxInfo {
    /// The wall clock of the segment's start.
    pub fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.ntp_ns)
    }
}

/// Everything about an MP4 that cutting needs, read from its headers alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceIndex {
    /// Progressive or fragmented.
    pub container: Container,
    /// Size of the file in bytes when it was read.
    pub size_bytes: u64,
    /// The first video track that has samples.
    pub video: Track,
    /// The first sound track that has samples.
    pub audio: Option<Track>,
    /// What MediaMTX says of the segment.
    pub mtx: Option<MtxInfo>,
    /// Creation time of `mvhd`, when it is set.
    pub creation_time: Option<DateTime<Utc>>,
    /// Length that `mvhd` or `mehd` declares, in microseconds; 0 in a fragmented file that was not closed.
    pub declared_duration_us: u64,
    /// Whether samples are missing that the file's own tables promise.
    pub truncated: bool,
}

/// More sample entries than any recorder writes; what needs further ones is not shown.
const MOST_ENTRIES: usize = 1_000;

/// More tracks of video and sound than any recorder writes; each is looked for in every fragment.
const MOST_TRACKS: usize = 64;

/// How many samples a file may describe: each costs memory here, so each must be justified by bytes there.
pub(super) struct SampleBudget {
    left: u64,
}

impl SampleBudget {
    fn for_file(size_bytes: u64) -> Self {
        const MOST_SAMPLES: u64 = 8_000_000;
        Self {
            left: (size_bytes / 8).min(MOST_SAMPLES),
        }
    }

    pub(super) fn spend(&mut self) -> Result<(), ReadError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            ReadError::Malformed("more samples than a file of this size can hold".to_owned())
        })?;
        Ok(())
    }
}

impl SourceIndex {
    /// Reads the headers of an open MP4 or MOV by position; the file's own cursor is not moved. Blocks.
    ///
    /// # Errors
    /// [`ReadError`], see there. A file that ends inside its media is no error: [`Self::truncated`].
    pub fn read(file: &File) -> Result<Self, ReadError> {
        if sniff(file)? != Container::Mp4 {
            return Err(ReadError::NotMp4);
        }
        let size_bytes = file.metadata()?.len();
        let mut budget = SampleBudget::for_file(size_bytes);
        let mut movie: Option<Movie> = None;
        let mut truncated = false;
        let mut fragments = 0usize;
        let mut top = TopBoxes::new(file, size_bytes);
        while let Some(found) = top.next_box()? {
            let fits = found.end() <= size_bytes;
            match &found.kind {
                b"moov" if movie.is_none() => {
                    if !fits {
                        return Err(ReadError::Truncated);
                    }
                    movie = Some(Movie::read(&found.read_payload(file)?, &mut budget)?);
                }
                b"moof" if fits => {
                    let Some(movie) = &mut movie else {
                        return Err(ReadError::Unfinished);
                    };
                    let payload = found.read_payload(file)?;
                    read_fragment(&payload, found.offset, &mut movie.fragmented, &mut budget)?;
                    fragments += 1;
                }
                _ => {}
            }
            if !fits {
                truncated = true;
                break;
            }
        }
        let movie = movie.ok_or(ReadError::Unfinished)?;
        movie.finish(size_bytes, fragments > 0, truncated)
    }
}

struct Movie {
    timescale: u32,
    duration: u64,
    creation_time: Option<DateTime<Utc>>,
    mtx: Option<MtxInfo>,
    tracks: Vec<MovieTrack>,
    fragmented: Vec<FragmentedTrack>,
    expects_fragments: bool,
}

struct MovieTrack {
    is_video: bool,
    /// But for its samples.
    track: Track,
    samples: Vec<Sample>,
}

impl Movie {
    fn read(payload: &[u8], budget: &mut SampleBudget) -> Result<Self, ReadError> {
        let moov = Child {
            kind: *b"moov",
            payload,
            whole: payload,
        };
        let (timescale, duration, creation_time) = read_movie_header(moov.need(b"mvhd")?)?;
        let mut movie = Self {
            timescale,
            duration,
            creation_time,
            mtx: None,
            tracks: Vec::new(),
            fragmented: Vec::new(),
            expects_fragments: false,
        };
        let mut defaults = Vec::new();
        for child in moov.children() {
            let child = child?;
            match &child.kind {
                b"trak" => {
                    movie.tracks.extend(read_track(child, timescale, budget)?);
                    if movie.tracks.len() > MOST_TRACKS {
                        return Err(malformed(moov.kind, "has too many tracks"));
                    }
                }
                b"mvex" => {
                    movie.expects_fragments = true;
                    for inner in child.children() {
                        let inner = inner?;
                        if &inner.kind == b"trex" {
                            defaults.push(TrackDefaults::read(inner)?);
                        }
                    }
                }
                b"mtxi" => movie.mtx = Some(read_mtx(child)?),
                // MediaMTX writes its box as user data.
                b"udta" => {
                    if let Ok(Some(mtxi)) = child.find(b"mtxi") {
                        movie.mtx = Some(read_mtx(mtxi)?);
                    }
                }
                _ => {}
            }
        }
        movie.fragmented = movie
            .tracks
            .iter()
            .map(|MovieTrack { track, samples, .. }| FragmentedTrack {
                id: track.id,
                defaults: defaults
                    .iter()
                    .find(|(id, _)| *id == track.id)
                    .map(|(_, found)| *found)
                    .unwrap_or_default(),
                samples: Vec::new(),
                next_dts: samples
                    .last()
                    .map_or(0, |last| last.dts + i64::from(last.duration)),
            })
            .collect();
        Ok(movie)
    }

    fn finish(
        mut self,
        size_bytes: u64,
        has_fragments: bool,
        mut truncated: bool,
    ) -> Result<SourceIndex, ReadError> {
        for (target, filled) in self.tracks.iter_mut().zip(self.fragmented) {
            let MovieTrack { track, samples, .. } = target;
            if has_fragments {
                track.edits.open_end();
            }
            // What fragments add comes in samples of any size, not in blocks of units.
            if !filled.samples.is_empty() {
                track.unit_bytes = None;
            }
            samples.extend(filled.samples);
            // What cannot be told how to decode ends the track. Sound has one sample entry here.
            let known = samples
                .iter()
                .take_while(|sample| track.entry_of(sample).is_some())
                .count();
            truncated |= known < samples.len();
            samples.truncate(known);
            // ffmpeg takes no longer ones, and no recorder holds a picture for days.
            if let Some(lie) = samples.iter().find(|s| i32::try_from(s.duration).is_err()) {
                return Err(ReadError::Malformed(format!(
                    "a sample that lasts {} ticks",
                    lie.duration
                )));
            }
            track.whole_samples = samples.iter().take_while(|s| s.end() <= size_bytes).count();
            truncated |= track.whole_samples < samples.len();
            track.samples = std::mem::take(samples).into();
        }
        let mut take_first = |video: bool| {
            let at = self
                .tracks
                .iter()
                .position(|found| found.is_video == video && !found.track.samples.is_empty())?;
            Some(self.tracks.swap_remove(at).track)
        };
        let (video, audio) = (take_first(true), take_first(false));
        let nothing_yet = self.expects_fragments && !has_fragments;
        let video = match video {
            Some(video) => video,
            None if nothing_yet => return Err(ReadError::Unfinished),
            None => return Err(ReadError::NoVideo),
        };
        let declared = u128::from(self.duration) * 1_000_000 / u128::from(self.timescale);
        Ok(SourceIndex {
            container: if has_fragments {
                Container::FragmentedMp4
            } else {
                Container::Mp4
            },
            size_bytes,
            video,
            audio,
            mtx: self.mtx,
            creation_time: self.creation_time,
            declared_duration_us: u64::try_from(declared).unwrap_or(u64::MAX),
            truncated,
        })
    }
}

/// Timescale, duration and creation time.
fn read_movie_header(mvhd: Child<'_>) -> Result<(u32, u64, Option<DateTime<Utc>>), ReadError> {
    let mut fields = mvhd.fields();
    let (version, _) = fields.version_and_flags()?;
    let wide = version == 1;
    let created = if wide {
        fields.u64()?
    } else {
        u64::from(fields.u32()?)
    };
    fields.skip(if wide { 8 } else { 4 })?;
    let timescale = fields.u32()?;
    if timescale == 0 {
        return Err(fields.malformed("has a clock of zero ticks a second"));
    }
    let duration = if wide {
        fields.u64()?
    } else {
        u64::from(fields.u32()?)
    };
    // All ones says that the duration is unknown (8.2.2.3).
    let unknown = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let duration = if duration == unknown { 0 } else { duration };
    Ok((timescale, duration, from_mp4_time(created)))
}

/// Seconds since 1904; 0 and times before 1970 mean that no one set it.
fn from_mp4_time(seconds: u64) -> Option<DateTime<Utc>> {
    const FROM_1904_TO_1970_S: i64 = 2_082_844_800;
    let unix_s = i64::try_from(seconds)
        .ok()?
        .checked_sub(FROM_1904_TO_1970_S)?;
    let time = DateTime::UNIX_EPOCH.checked_add_signed(TimeDelta::try_seconds(unix_s)?)?;
    (unix_s > 0).then_some(time)
}

fn read_mtx(mtxi: Child<'_>) -> Result<MtxInfo, ReadError> {
    let mut fields = mtxi.fields();
    fields.version_and_flags()?;
    let mut stream_id = [0; 16];
    stream_id.copy_from_slice(fields.take(16)?);
    Ok(MtxInfo {
        stream_id,
        segment_number: fields.u64()?,
        dts_ns: fields.i64()?,
        ntp_ns: fields.i64()?,
    })
}

/// `None` for tracks that are neither video nor sound.
fn read_track(
    trak: Child<'_>,
    movie_timescale: u32,
    budget: &mut SampleBudget,
) -> Result<Option<MovieTrack>, ReadError> {
    let mdia = trak.need(b"mdia")?;
    let mut fields = mdia.need(b"hdlr")?.fields();
    fields.skip(8)?;
    let is_video = match &fields.four_cc()? {
        b"vide" => true,
        b"soun" => false,
        _ => return Ok(None),
    };
    let mut fields = mdia.need(b"mdhd")?.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.skip(if version == 1 { 16 } else { 8 })?;
    let timescale = fields.u32()?;
    if timescale == 0 {
        return Err(fields.malformed("has a clock of zero ticks a second"));
    }
    let mut fields = trak.need(b"tkhd")?.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.skip(if version == 1 { 16 } else { 8 })?;
    let id = fields.u32()?;
    fields.skip(if version == 1 { 28 } else { 24 })?;
    let mut matrix = [0; 9];
    for cell in &mut matrix {
        *cell = fields.i32()?;
    }
    let display = Display {
        matrix,
        width: fields.u32()?,
        height: fields.u32()?,
    };
    let edits = match trak.find(b"edts")? {
        Some(edts) => match edts.find(b"elst")? {
            Some(elst) => EditList::read(elst, movie_timescale, timescale)?,
            None => EditList::default(),
        },
        None => EditList::default(),
    };
    let stbl = mdia.need(b"minf")?.need(b"stbl")?;
    let Some((entry, more_entries)) = read_entries(stbl, is_video)? else {
        return Ok(None);
    };
    let table = read_samples(stbl, is_video, budget)?;
    Ok(Some(MovieTrack {
        is_video,
        track: Track {
            id,
            timescale,
            entry,
            more_entries,
            whole_samples: 0,
            samples: Portion::default(),
            edits,
            display,
            unit_bytes: table.unit_bytes,
        },
        samples: table.samples,
    }))
}

/// The first sample entry, and of a video track the others up to the first that cannot be read.
fn read_entries(
    stbl: Child<'_>,
    is_video: bool,
) -> Result<Option<(SampleEntry, Vec<SampleEntry>)>, ReadError> {
    let stsd = stbl.need(b"stsd")?;
    let boxes = stsd
        .payload
        .get(8..)
        .ok_or_else(|| malformed(stsd.kind, "ends inside a field"))?;
    let mut boxes = Children::new(boxes, stsd.kind);
    let Some(first) = boxes.next() else {
        return Ok(None);
    };
    let first = first?;
    if !is_video {
        return SampleEntry::read_sound(first).map(|entry| Some((entry, Vec::new())));
    }
    let first = SampleEntry::read_video(first)?;
    let more = boxes.map_while(|next| SampleEntry::read_video(next.ok()?).ok());
    Ok(Some((first, more.take(MOST_ENTRIES).collect())))
}
