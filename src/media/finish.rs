//! A written file is measured against the plan. What ffmpeg wrote also gets its true movie header, is hashed and put on
//! disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::feed::placed;
use super::interleave::{Places, sound_of};
use super::movie::{self, Label, MovieError, Times};
use super::mp4::{ReadError, SourceIndex, Track, top_level};
use super::plan::{OutputTrack, Plan};
use crate::hashing::{Sha256, hash_of};

/// Why a finished file cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum FinishError {
    /// The room in front of the media is too small for the header: cut again with more.
    #[error("the movie header needs {needed_bytes} bytes")]
    HeaderTooLarge { needed_bytes: usize },
    /// The file does not hold the samples of the plan.
    #[error("the file has other samples than were planned: {0}")]
    OtherSamples(String),
    #[error("the file cannot be read")]
    Unreadable(#[from] ReadError),
    #[error(transparent)]
    Movie(#[from] MovieError),
    #[error("the clip cannot be finished")]
    Io(#[from] io::Error),
}

/// A file that is complete, but for its hash.
pub(super) struct Sealed {
    pub(super) size_bytes: u64,
    /// Everything in front of the media, read back.
    pub(super) head: Vec<u8>,
}

/// Measures the file that ffmpeg wrote, gives it its header and, if it is to be durable, puts it on disk. Blocks.
pub(super) fn seal(
    path: &Path,
    plan: &Plan,
    with_sound: bool,
    label: &Label,
    is_durable: bool,
) -> Result<Sealed, FinishError> {
    let file = File::options().read(true).write(true).open(path)?;
    let written = SourceIndex::read(&file)?;
    let (video, sound) = places_of(plan, with_sound, &written)?;
    let tracks = placed(plan, with_sound, &video, &sound);
    let moov = movie::encode(&tracks, Times::Shown, Some(label))?;
    replace_header(&file, moov)?;
    if is_durable {
        file.sync_data()?;
    }
    let media_start = video.iter().chain(&sound).copied().min().unwrap_or(0);
    let mut head = vec![0; usize::try_from(media_start).unwrap_or(0)];
    file.read_exact_at(&mut head, 0)?;
    Ok(Sealed {
        size_bytes: file.metadata()?.len(),
        head,
    })
}

/// Compares the tables of a file that is complete with the plan, and with the places that its samples were given. Blocks.
pub(super) fn check(
    file: &File,
    plan: &Plan,
    with_sound: bool,
    places: &Places,
) -> Result<(), FinishError> {
    let written = SourceIndex::read(file)?;
    let (video, sound) = places_of(plan, with_sound, &written)?;
    if video != places.video || sound != places.sound {
        return Err(FinishError::OtherSamples("they lie elsewhere".to_owned()));
    }
    let tracks = [
        (Some(&plan.video), Some(&written.video)),
        (sound_of(plan, with_sound), written.audio.as_ref()),
    ];
    for (planned, found) in tracks {
        let (Some(planned), Some(found)) = (planned, found) else {
            continue;
        };
        // Sound in blocks is read back as if it had no holes.
        if planned.unit_bytes.is_some() {
            continue;
        }
        let mut pairs = planned.samples.iter().zip(&found.samples);
        if planned.timescale != found.timescale
            || pairs
                .any(|(planned, found)| (planned.dts, planned.pts()) != (found.dts, found.pts()))
        {
            return Err(FinishError::OtherSamples(
                "they have other times".to_owned(),
            ));
        }
    }
    let mut pairs = plan.video.samples.iter().zip(&written.video.samples);
    if pairs.any(|(planned, found)| planned.sync != found.sync) {
        return Err(FinishError::OtherSamples("other key frames".to_owned()));
    }
    let mut pairs = plan.video.samples.iter().zip(&written.video.samples);
    if pairs.any(|(planned, found)| planned.entry != found.description) {
        return Err(FinishError::OtherSamples(
            "they need other parameters".to_owned(),
        ));
    }
    Ok(())
}

/// Where each planned sample of the picture and of the sound is in the file.
fn places_of(
    plan: &Plan,
    with_sound: bool,
    written: &SourceIndex,
) -> Result<(Vec<u64>, Vec<u64>), FinishError> {
    let video = positions_of(&plan.video, &written.video, "video")?;
    let sound = match (sound_of(plan, with_sound), &written.audio) {
        (None, None) => Vec::new(),
        (Some(planned), Some(found)) => positions_of(planned, found, "sound")?,
        (Some(_), None) => {
            return Err(FinishError::OtherSamples("the sound is missing".to_owned()));
        }
        (None, Some(_)) => return Err(FinishError::OtherSamples("there is sound".to_owned())),
    };
    Ok((video, sound))
}

/// Where each planned sample is in the file: the sizes must agree one by one.
fn positions_of(planned: &OutputTrack, found: &Track, kind: &str) -> Result<Vec<u64>, FinishError> {
    if planned.unit_bytes.is_some() {
        return unit_positions(planned, found, kind);
    }
    if found.whole_samples != planned.samples.len() || found.samples.len() != planned.samples.len()
    {
        return Err(FinishError::OtherSamples(format!(
            "{} {kind} samples where {} were due",
            found.whole_samples,
            planned.samples.len()
        )));
    }
    planned
        .samples
        .iter()
        .zip(&found.samples)
        .enumerate()
        .map(|(at, (planned, found))| {
            if planned.size == found.size {
                Ok(found.offset)
            } else {
                Err(FinishError::OtherSamples(format!(
                    "{kind} sample {at} has {} bytes where {} were due",
                    found.size, planned.size
                )))
            }
        })
        .collect()
}

/// The same for sound in blocks: ffmpeg may cut the blocks anew, their bytes must be as many.
fn unit_positions(
    planned: &OutputTrack,
    found: &Track,
    kind: &str,
) -> Result<Vec<u64>, FinishError> {
    let mut blocks = found.samples.iter().map(|block| (block.offset, block.size));
    let mut current = (0u64, 0u32);
    let mut positions = Vec::with_capacity(planned.samples.len());
    for sample in &planned.samples {
        if current.1 == 0 {
            current = blocks.next().unwrap_or_default();
        }
        // A block of the plan that ffmpeg wrote in two places cannot be named by one position.
        while current.1 < sample.size {
            match blocks.next() {
                Some((offset, size)) if offset == current.0 + u64::from(current.1) => {
                    current.1 += size;
                }
                _ => {
                    return Err(FinishError::OtherSamples(format!(
                        "the {kind} is cut in other places"
                    )));
                }
            }
        }
        positions.push(current.0);
        current.0 += u64::from(sample.size);
        current.1 -= sample.size;
    }
    Ok(positions)
}

/// Puts `moov` where ffmpeg's is, followed by free space up to the media.
fn replace_header(file: &File, moov: Vec<u8>) -> Result<(), FinishError> {
    let (start, end) = top_level::header_room(file)?;
    let needed_bytes = moov.len() + 8;
    let room = usize::try_from(end - start).unwrap_or(0);
    let header = padded(moov, room).ok_or(FinishError::HeaderTooLarge { needed_bytes })?;
    file.write_all_at(&header, start)?;
    Ok(())
}

/// Fills `room` bytes with `moov` and a free box (ISO/IEC 14496-12 section 8.1.2). `None` when it is too
/// small: a box needs eight bytes, so one to seven bytes cannot be filled.
pub(super) fn padded(mut moov: Vec<u8>, room: usize) -> Option<Vec<u8>> {
    match room.checked_sub(moov.len())? {
        0 => {}
        1..8 => return None,
        left => {
            let size = u32::try_from(left).ok()?;
            moov.extend_from_slice(&size.to_be_bytes());
            moov.extend_from_slice(b"free");
            moov.resize(room, 0);
        }
    }
    Some(moov)
}

/// SHA-256 of a whole file. Blocks.
pub(super) fn hash(path: &Path) -> io::Result<Sha256> {
    hash_of(File::open(path)?)
}
