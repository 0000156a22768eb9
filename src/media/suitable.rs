//! Which footage is cut without ffmpeg, what is in the way with other footage, in words for people, and which format a
//! clip has.

use super::ffmpeg::Format;
use super::interleave::sound_of;
use super::mp4::SampleEntry;
use super::open::OpenFootage;
use super::plan::Plan;
use crate::domain::catalog::Container;

/// Sample entries of H.264 and H.265 as recorders write them. Their samples mean the same in every file.
const PICTURES: [&[u8; 4]; 4] = [b"avc1", b"avc3", b"hvc1", b"hev1"];

/// What is in the way when a recording has this container: only MP4 is read as it was recorded.
pub fn container_obstacle(container: Container) -> Option<String> {
    match container {
        Container::Mp4 | Container::FragmentedMp4 => None,
        other => Some(format!("a recording is {}", other.name())),
    }
}

/// What is in the way when the picture has this codec, in ffmpeg's spelling.
pub fn picture_obstacle(codec: &str) -> Option<String> {
    let is_known = matches!(codec, "h264" | "hevc");
    (!is_known).then(|| format!("the picture is {}", spoken(codec)))
}

/// What is in the way when the sound has this codec, in ffmpeg's spelling.
pub fn sound_obstacle(codec: &str) -> Option<String> {
    let is_known = matches!(codec, "aac" | "pcm_alaw" | "pcm_mulaw");
    (!is_known).then(|| format!("the sound is {}", spoken(codec)))
}

/// What is in the way of copying the samples of a plan without ffmpeg. `opened` is what its pieces come from.
pub(super) fn obstacle<'a>(
    plan: &Plan,
    with_sound: bool,
    opened: impl IntoIterator<Item = &'a OpenFootage>,
) -> Option<String> {
    let mut containers = opened.into_iter().map(|opened| opened.container);
    if let Some(obstacle) = containers.find_map(container_obstacle) {
        return Some(obstacle);
    }
    let is_known = |entry: &&SampleEntry| {
        PICTURES.contains(&&entry.four_cc) && entry.nal_length_bytes.is_some()
    };
    let mut pictures = std::iter::once(&plan.video.entry).chain(&plan.video.more_entries);
    if let Some(other) = pictures.find(|entry| !is_known(entry)) {
        return Some(format!("the picture is {}", spoken(&other.codec)));
    }
    let sound = sound_of(plan, with_sound)?;
    sound_obstacle(&sound.entry.codec).or_else(|| {
        // AAC comes in samples, G.711 as a stream of bytes that all have the same length.
        let is_known = match (&sound.entry.four_cc, sound.unit_bytes) {
            (b"mp4a", None) => !sound.entry.quicktime_sound,
            (b"alaw" | b"ulaw", Some(_)) => true,
            _ => false,
        };
        (!is_known).then(|| "the sound is stored in an unusual way".to_owned())
    })
}

/// MP4 wherever its registry (mp4ra.org) has the codecs.
pub(super) fn format_of(plan: &Plan, with_sound: bool) -> Format {
    const VIDEO: [&[u8; 4]; 9] = [
        b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp08", b"vp09", b"mp4v", b"dvh1",
    ];
    const SOUND: [&[u8; 4]; 5] = [b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3"];
    let sound = sound_of(plan, with_sound);
    let fits = VIDEO.contains(&&plan.video.entry.four_cc)
        && sound.is_none_or(|track| {
            SOUND.contains(&&track.entry.four_cc) && !track.entry.quicktime_sound
        });
    if fits { Format::Mp4 } else { Format::QuickTime }
}

/// A codec as people call it.
fn spoken(codec: &str) -> &str {
    match codec {
        "opus" => "Opus",
        "flac" => "FLAC",
        "mp3" => "MP3",
        "ac3" => "AC-3",
        "eac3" => "E-AC-3",
        "vorbis" => "Vorbis",
        "pcm_alaw" => "G.711 A-law",
        "pcm_mulaw" => "G.711 µ-law",
        "mjpeg" => "Motion JPEG",
        "mpeg4" => "MPEG-4 part 2",
        "av1" => "AV1",
        "vp8" => "VP8",
        "vp9" => "VP9",
        other => other,
    }
}
