//! How ffmpeg is called to encode a clip anew.

use std::ffi::OsString;
use std::path::Path;

use super::burn_in::STRETCH;
use crate::domain::clip::RenderOptions;

/// Ticks a second of clips whose speed is changed: fine enough that no two frames fall together.
const FINE_CLOCK: u32 = 90_000;
/// Sound of other rates is brought to this one, at which the run-in of an AAC encoder is only 21 ms long: a player that
/// ignores edit lists plays the sound late by that.
const SOUND_RATE_HZ: u32 = 48_000;
const SOUND_BITS_PER_CHANNEL: u32 = 64_000;

/// What is encoded.
pub(super) struct Encoding<'a> {
    pub(super) options: &'a RenderOptions,
    /// Ticks a second of the footage.
    pub(super) timescale: u32,
    /// Size of the picture, whatever sizes the footage has.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Frames of the footage.
    pub(super) frame_count: u64,
    /// Length of the footage in seconds.
    pub(super) length_s: f64,
    /// Channels of the sound; `None` is no sound.
    pub(super) sound_channels: Option<u32>,
    /// The script of what is written into the picture.
    pub(super) script: Option<&'a Path>,
    /// Tags of the file.
    pub(super) tags: &'a [(&'static str, String)],
}

impl Encoding<'_> {
    /// Encodes the MP4 on its input. No frame is doubled, and none is dropped but by the filters.
    pub(super) fn arguments(&self, output: &Path) -> Vec<OsString> {
        let clock = self.clock();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |more: &[&str]| arguments.extend(more.iter().map(OsString::from));
        add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-nostats"]);
        add(&["-progress", "pipe:1", "-stats_period", "0.1", "-y"]);
        add(&["-protocol_whitelist", "pipe", "-format_whitelist", "mov"]);
        add(&["-f", "mov", "-i", "pipe:0", "-map", "0:v:0"]);
        if self.sound_channels.is_some() {
            add(&["-map", "0:a:0"]);
        }
        add(&["-map_metadata", "-1", "-map_chapters", "-1"]);
        // Without B-frames every frame is decoded when it is shown, so that no edit list has to move the picture.
        add(&[
            "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-pix_fmt", "yuv420p",
        ]);
        add(&["-crf", &self.options.crf.to_string()]);
        add(&[
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            &format!("1/{clock}"),
        ]);
        add(&["-video_track_timescale", &clock.to_string()]);
        if let Some(channels) = self.sound_channels {
            let channels = channels.clamp(1, 2);
            // Sound that begins late or is missing for a while is silence, so that it stays with the picture.
            let filters = format!(
                "aresample={SOUND_RATE_HZ}:async=1:first_pts=0,atrim=end={:.6}",
                self.length_s
            );
            add(&["-af", &filters, "-c:a", "aac", "-ac", &channels.to_string()]);
            add(&["-b:a", &(channels * SOUND_BITS_PER_CHANNEL).to_string()]);
        }
        for (name, text) in self.tags {
            add(&["-metadata", &format!("{name}={text}")]);
        }
        add(&["-movflags", "+faststart", "-f", "mp4", "-vf"]);
        arguments.push(self.filters());
        let mut target = OsString::from("file:");
        target.push(output);
        arguments.push(target);
        arguments
    }

    /// Ticks a second of the clip.
    fn clock(&self) -> u32 {
        if self.options.speed_milli == 1000 {
            self.timescale
        } else {
            FINE_CLOCK
        }
    }

    fn filters(&self) -> OsString {
        let options = self.options;
        let mut filters: Vec<OsString> = vec![format!("settb=1/{}", self.clock()).into()];
        if options.speed_milli > 1000 {
            // As many slots in a second as there were frames; the first frame of each slot is shown.
            let slots = self.frame_count as f64 * 1000.0
                / (self.length_s.max(1e-6) * f64::from(options.speed_milli));
            let slot = |time: &str| format!("floor({time}*{slots:.9}+0.001)");
            let (now, last) = (slot("t"), slot("prev_selected_t"));
            filters.push(format!("select='isnan(prev_selected_t)+gt({now},{last})'").into());
        }
        // In numbers: an encoder cannot change its size where that of the footage changes.
        filters.push(format!("scale={}:{}", self.width, self.height).into());
        let speed_milli = options.speed_milli;
        match self.script {
            Some(script) => {
                filters.push(format!("setpts=PTS*{STRETCH}").into());
                let mut draw = OsString::from("ass=filename=");
                draw.push(escaped(script));
                filters.push(draw);
                filters.push(format!("setpts=PTS*1000/({STRETCH}*{speed_milli})").into());
            }
            None if speed_milli != 1000 => {
                filters.push(format!("setpts=PTS*1000/{speed_milli}").into());
            }
            None => {}
        }
        filters.join(OsString::from(",").as_os_str())
    }
}

/// Something that an ffmpeg may have been built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// An encoder.
    Encoder(&'static str),
    /// A filter.
    Filter(&'static str),
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encoder(name) => write!(formatter, "encoder {name}"),
            Self::Filter(name) => write!(formatter, "filter {name}"),
        }
    }
}

/// What ffmpeg needs to encode footage, with its sound or without.
pub fn needed_parts(options: &RenderOptions, with_sound: bool) -> Vec<Part> {
    let mut parts = vec![
        Part::Encoder("libx264"),
        Part::Filter("settb"),
        Part::Filter("scale"),
    ];
    if with_sound && options.has_sound() {
        parts.extend([
            Part::Encoder("aac"),
            Part::Filter("aresample"),
            Part::Filter("atrim"),
        ]);
    }
    if options.burn_in_camera_name || options.burn_in_time {
        parts.extend([Part::Filter("ass"), Part::Filter("setpts")]);
    }
    if options.speed_milli != 1000 {
        parts.push(Part::Filter("setpts"));
    }
    if options.speed_milli > 1000 {
        parts.push(Part::Filter("select"));
    }
    parts
}

/// The size of the picture, from that of the footage as it is shown. The chroma of 4:2:0 needs even sides.
pub fn picture_size(options: &RenderOptions, width: u32, height: u32) -> (u32, u32) {
    let (width, height) = (width.max(2), height.max(2));
    let even = |side: u64| {
        u32::try_from(side.div_ceil(2) * 2)
            .unwrap_or(u32::MAX - 1)
            .max(2)
    };
    let (wide, high) = (u64::from(width), u64::from(height));
    match (options.width, options.height) {
        (Some(width), Some(height)) => (width, height),
        (Some(width), None) => (width, even(u64::from(width) * high / wide)),
        (None, Some(height)) => (even(u64::from(height) * wide / high), height),
        (None, None) => (width / 2 * 2, height / 2 * 2),
    }
}

/// A path as the value of an option in a graph of filters: once for the option, and once more for the graph ("Notes on
/// filtergraph escaping" of ffmpeg's manual).
pub(super) fn escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let escape = |text: &[u8], special: &[u8]| -> Vec<u8> {
        let mut escaped = Vec::with_capacity(text.len());
        for byte in text {
            if special.contains(byte) {
                escaped.push(b'\\');
            }
            escaped.push(*byte);
        }
        escaped
    };
    let value = escape(path.as_os_str().as_bytes(), b"\\':");
    OsString::from_vec(escape(&value, b"\\'[],;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(options: &RenderOptions, script: Option<&str>) -> String {
        let encoding = Encoding {
            options,
            timescale: 12_800,
            width: 64,
            height: 48,
            frame_count: 250,
            length_s: 10.0,
            sound_channels: None,
            script: script.map(Path::new),
            tags: &[],
        };
        encoding.filters().into_string().expect("text")
    }

    #[test]
    fn a_path_cannot_end_its_option_or_its_filter() {
        assert_eq!(
            filters(&RenderOptions::default(), Some("/it's [a],b;c:d\\e")),
            "settb=1/12800,scale=64:48,setpts=PTS*1000,\
             ass=filename=/it\\\\\\'s \\[a\\]\\,b\\;c\\\\:d\\\\\\\\e,setpts=PTS*1000/(1000*1000)"
        );
    }

    #[test]
    fn a_faster_clip_keeps_one_frame_of_each_slot() {
        let options = RenderOptions {
            speed_milli: 4000,
            ..RenderOptions::default()
        };
        assert_eq!(
            filters(&options, None),
            "settb=1/90000,select='isnan(prev_selected_t)+gt(floor(t*6.250000000+0.001),\
             floor(prev_selected_t*6.250000000+0.001))',scale=64:48,setpts=PTS*1000/4000"
        );
    }

    #[test]
    fn the_picture_keeps_its_proportion_and_even_sides() {
        let size = |width, height| {
            let options = RenderOptions {
                width,
                height,
                ..RenderOptions::default()
            };
            picture_size(&options, 1921, 1081)
        };
        assert_eq!(size(None, None), (1920, 1080));
        assert_eq!(size(Some(640), None), (640, 360));
        assert_eq!(size(None, Some(540)), (960, 540));
        assert_eq!(size(Some(100), Some(100)), (100, 100));
    }
}
