//! What the name of a file says about it before anything else is known.

/// Extensions of containers that can hold a segment on their own, in small letters.
pub const VIDEO_EXTENSIONS: [&str; 7] = ["mp4", "m4v", "mov", "mkv", "ts", "mts", "m2ts"];

/// Endings of files that are still being written, or that a copy left half done.
const UNFINISHED_EXTENSIONS: [&str; 4] = ["part", "partial", "tmp", "temp"];

/// How ZoneMinder begins the name of an event that it still records.
const UNFINISHED_PREFIX: &str = "incomplete.";

/// What a file is, judged by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNameKind {
    /// A video that can stand alone.
    Video,
    /// A name that its writer will change when the file is complete.
    Unfinished,
    /// A name that begins with a dot.
    Hidden,
    /// A fragment (`.m4s`) that cannot be played without its `init.mp4`, or that `init.mp4`.
    NeedsInitSegment,
    /// Anything else, such as a thumbnail or a database.
    NotVideo,
}

impl FileNameKind {
    /// The kind of the file called `file_name`, the last step of a path.
    pub fn of(file_name: &str) -> Self {
        let lower = file_name.to_ascii_lowercase();
        let extension = lower
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        if lower.starts_with('.') {
            Self::Hidden
        } else if lower.starts_with(UNFINISHED_PREFIX) || UNFINISHED_EXTENSIONS.contains(&extension)
        {
            Self::Unfinished
        } else if extension == "m4s" || lower == "init.mp4" {
            Self::NeedsInitSegment
        } else if VIDEO_EXTENSIONS.contains(&extension) {
            Self::Video
        } else {
            Self::NotVideo
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_videos_from_unfinished_hidden_and_other_files() {
        for (name, kind) in [
            ("20260101_000000.mp4", FileNameKind::Video),
            ("A.MP4", FileNameKind::Video),
            ("-y.mp4", FileNameKind::Video),
            ("a.ts", FileNameKind::Video),
            ("20260101_000000.mp4.part", FileNameKind::Unfinished),
            ("20260101_000000.MP4.PART", FileNameKind::Unfinished),
            ("incomplete.12-video.mp4", FileNameKind::Unfinished),
            (".mp4", FileNameKind::Hidden),
            (".20260101_000000.mp4", FileNameKind::Hidden),
            ("1700000000.m4s", FileNameKind::NeedsInitSegment),
            ("init.mp4", FileNameKind::NeedsInitSegment),
            ("thumb.jpg", FileNameKind::NotVideo),
            ("mp4", FileNameKind::NotVideo),
            ("a.mp4.", FileNameKind::NotVideo),
            ("", FileNameKind::NotVideo),
        ] {
            assert_eq!(FileNameKind::of(name), kind, "{name:?}");
        }
    }
}
