//! What the catalog keeps of a recorded file, taken from the file itself.

use std::fs::File;

use chrono::{DateTime, TimeDelta, Utc};

use super::mp4::{MtxInfo, ReadError, SourceIndex};
use super::open::OpenFootage;
use super::plan::FrameTimes;
use crate::domain::catalog::{AudioFormat, Container, MediaFacts, VideoFormat};

/// The largest index that is kept: that of two hours of footage with sound. A longer file is rather read again than
/// burdens the catalog.
const LARGEST_INDEX_BYTES: usize = 1 << 20;

/// A recorded file as it describes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct FileFacts {
    /// What the catalog keeps.
    pub media: MediaFacts,
    /// Size when it was read, in bytes.
    pub size_bytes: u64,
    /// Wall-clock start that the recorder wrote into the file to the nanosecond (MediaMTX).
    pub time_inside: Option<DateTime<Utc>>,
    /// Creation time of the movie header, to the second. Some recorders set it to the start, some to the
    /// end of the recording, some not at all.
    pub creation_time: Option<DateTime<Utc>>,
    /// Whether the header declares no duration, which in MediaMTX files means that the file is not closed.
    pub declares_no_duration: bool,
}

/// Reads the facts of an MP4 from its headers. Blocks, but briefly: the media is not read.
///
/// # Errors
/// [`ReadError`]; files of other containers are [`ReadError::NotMp4`], see [`super::open_footage`] for those.
pub fn read_facts(file: &File) -> Result<FileFacts, ReadError> {
    let index = SourceIndex::read(file)?;
    facts_of(&index, index.container, index.size_bytes)
}

/// The facts of footage already opened.
///
/// # Errors
/// [`ReadError::NoVideo`] when nothing is shown, [`ReadError::Io`].
pub fn facts_of_open(recorded: &File, footage: &OpenFootage) -> Result<FileFacts, ReadError> {
    facts_of(
        &footage.index,
        footage.container,
        recorded.metadata()?.len(),
    )
}

fn facts_of(
    index: &SourceIndex,
    container: Container,
    size_bytes: u64,
) -> Result<FileFacts, ReadError> {
    let video = &index.video;
    let times = FrameTimes::of(video).ok_or(ReadError::NoVideo)?;
    let whole = &video.samples[..video.whole_samples];
    let mut key_frames: Vec<TimeDelta> = whole
        .iter()
        .enumerate()
        .filter(|(_, sample)| sample.sync)
        .map(|(at, _)| times.offset(at))
        .filter(|offset| *offset >= TimeDelta::zero())
        .collect();
    key_frames.sort_unstable();
    let entry = &video.entry;
    Ok(FileFacts {
        media: MediaFacts {
            container,
            duration: times.duration(),
            video: VideoFormat {
                codec: entry.codec.clone(),
                width: u32::from(entry.width),
                height: u32::from(entry.height),
                frame_count: times.visible_count(),
            },
            video_fingerprint: entry.fingerprint.to_hex(),
            audio: index.audio.as_ref().map(|track| {
                let format = AudioFormat {
                    codec: track.entry.codec.clone(),
                    sample_rate_hz: track.entry.sample_rate_hz,
                    channels: u32::from(track.entry.channels),
                };
                (format, track.entry.fingerprint.to_hex())
            }),
            key_frames,
            sample_index: sample_index(index, container),
            truncated: index.truncated,
        },
        size_bytes,
        time_inside: index.mtx.as_ref().map(MtxInfo::time),
        creation_time: index.creation_time,
        declares_no_duration: index.declared_duration_us == 0,
    })
}

/// The index of the recorded file itself; that of a repacked copy says nothing about it.
fn sample_index(index: &SourceIndex, container: Container) -> Option<Vec<u8>> {
    match container {
        Container::Mp4 | Container::FragmentedMp4 => Some(index.encode()),
        Container::MpegTs | Container::Matroska => None,
    }
    .filter(|bytes| bytes.len() <= LARGEST_INDEX_BYTES)
}
