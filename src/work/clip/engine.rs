//! What will make a clip, as far as the catalog tells: enough to refuse a request that no attempt could serve.

use crate::domain::catalog::{MediaFacts, Segment, SegmentState};
use crate::media::{container_obstacle, picture_obstacle, sound_obstacle};

/// Why the footage cannot be cut without ffmpeg, where that is known before a file is opened. `None` is no promise: the
/// files' own tables decide.
pub(super) fn known_obstacle(segments: &[Segment]) -> Option<String> {
    let media: Vec<&MediaFacts> = segments
        .iter()
        .filter(|segment| segment.state == SegmentState::Available)
        .map(|segment| &segment.file.facts)
        .collect();
    let containers = media.iter().map(|media| media.container);
    let pictures = media.iter().map(|media| media.video.codec.as_str());
    let sounds = media
        .iter()
        .filter_map(|media| Some(media.audio.as_ref()?.0.codec.as_str()));
    containers
        .into_iter()
        .find_map(container_obstacle)
        .or_else(|| of_all(pictures, picture_obstacle))
        .or_else(|| of_all(sounds, sound_obstacle))
}

/// What is in the way with every one of `codecs`. Where it is not with some, it depends on which of them the clip gets.
fn of_all<'a>(
    codecs: impl Iterator<Item = &'a str>,
    obstacle: fn(&str) -> Option<String>,
) -> Option<String> {
    let obstacles: Option<Vec<String>> = codecs.map(obstacle).collect();
    obstacles?.into_iter().next()
}
