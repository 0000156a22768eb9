//! Which footage is cut without ffmpeg, and what is in the way with other footage, in words for people.

use super::interleave::sound_of;
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
    let is_known = codec == "aac";
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
    let picture = &plan.video.entry;
    if !PICTURES.contains(&&picture.four_cc) || picture.nal_length_bytes.is_none() {
        return Some(format!("the picture is {}", spoken(&picture.codec)));
    }
    let sound = sound_of(plan, with_sound)?;
    sound_obstacle(&sound.entry.codec).or_else(|| {
        let is_as_in_mp4 = &sound.entry.four_cc == b"mp4a"
            && sound.unit_bytes.is_none()
            && !sound.entry.quicktime_sound;
        (!is_as_in_mp4).then(|| "the sound is stored as QuickTime does".to_owned())
    })
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
