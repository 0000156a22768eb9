//! How ffmpeg is called, and what it says while it works.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Which file format a clip is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// MP4.
    Mp4,
    /// QuickTime, for codecs that MP4 has no place for, such as G.711.
    QuickTime,
}

impl Format {
    /// File extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
        }
    }

    /// Media type (RFC 4337 and the IANA registry).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
        }
    }

    /// ffmpeg's name of the muxer.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
        }
    }
}

/// Copies the stream on its input to `output`. Samples come out as they go in: nothing is probed, parsed or
/// filled in, and edit lists are ours to write.
pub(super) fn copy_arguments(format: Format, header_bytes: usize, output: &Path) -> Vec<OsString> {
    let mut target = OsString::from("file:");
    target.push(output);
    let mut arguments: Vec<OsString> = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostats",
        "-progress",
        "pipe:1",
        "-stats_period",
        "0.1",
        "-y",
        "-protocol_whitelist",
        "pipe",
        "-format_whitelist",
        "mov",
        "-fflags",
        "+nofillin+noparse",
        "-probesize",
        "32",
        "-analyzeduration",
        "0",
        "-f",
        "mov",
        "-i",
        "pipe:0",
        "-map",
        "0",
        "-c",
        "copy",
        "-copyinkf",
        "-map_metadata",
        "-1",
        "-f",
        format.muxer(),
        "-moov_size",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.push(header_bytes.to_string().into());
    arguments.push(target);
    arguments
}

/// The figures of `-progress` output, which comes as `key=value` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Media time written.
    pub(super) media: Duration,
    /// Bytes written.
    pub(super) bytes: u64,
}

impl Progress {
    /// Takes a line in. True when it brought something new.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        let before = *self;
        // `out_time_us` is `N/A` until the first packet, and some versions count slightly below zero.
        match line.split_once('=') {
            Some(("out_time_us", value)) => {
                let media = value.trim().parse().map(Duration::from_micros);
                self.media = media.unwrap_or_default().max(self.media);
            }
            Some(("total_size", value)) => {
                self.bytes = value.trim().parse().unwrap_or(0).max(self.bytes);
            }
            _ => {}
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_never_go_backwards() {
        let mut progress = Progress::default();
        for (line, new) in [
            ("frame=0", false),
            ("out_time_us=N/A", false),
            ("total_size=44", true),
            ("out_time_us=-2000", false),
            ("out_time_us=1500000", true),
            ("out_time_us=1000000", false),
            ("total_size=44", false),
            ("progress=continue", false),
        ] {
            assert_eq!(progress.hear(line), new, "{line}");
        }
        assert_eq!(progress.media, Duration::from_millis(1500));
        assert_eq!(progress.bytes, 44);
    }
}
