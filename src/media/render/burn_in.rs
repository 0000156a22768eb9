//! Text written into the picture: a script in the format of Advanced SubStation Alpha, which libass draws.
//!
//! A script and not an argument: it may be as long as it must, and a name in it can say nothing to ffmpeg. Its times have
//! steps of 10 ms, too coarse to tell neighbouring frames apart for certain; so the picture passes libass with its time
//! stretched a thousandfold, see [`STRETCH`].

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;

use crate::domain::clip::{GapMode, RenderOptions};
use crate::media::order::CutOutcome;

/// How many times slower the picture passes the script: a step of 10 ms is one of 10 µs then.
pub(super) const STRETCH: u32 = 1000;

/// DejaVu Sans Mono, which ffmpeg's own dependencies bring on Debian; fontconfig puts another in its place where it is
/// missing.
const FONT: &str = "DejaVu Sans Mono";
const SMALLEST_FONT_PX: u32 = 8;
/// So many characters of a name fit beside the time, and alone.
const NAME_BESIDE_TIME_CHARS: usize = 56;
const NAME_ALONE_CHARS: usize = 84;

/// What the script is about.
pub(super) struct BurnIn<'a> {
    pub(super) options: &'a RenderOptions,
    pub(super) camera_name: &'a str,
    pub(super) footage: &'a CutOutcome,
    pub(super) gap_mode: GapMode,
    /// Ticks a second of the footage: its frames stand up to half of one beside their true times.
    pub(super) timescale: u32,
    /// Size of the picture that is written into.
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A stretch of the clip without a gap. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    clip_us: i64,
    wall_us: i64,
    /// Length in the clip.
    length_us: i64,
}

impl BurnIn<'_> {
    /// The script, or `None` when nothing is to be written.
    pub(super) fn script(&self) -> Option<String> {
        let options = self.options;
        if !options.burn_in_camera_name && !options.burn_in_time {
            return None;
        }
        let mut script = self.head();
        if options.burn_in_camera_name {
            let most = if options.burn_in_time {
                NAME_BESIDE_TIME_CHARS
            } else {
                NAME_ALONE_CHARS
            };
            let name = plain(self.camera_name, most);
            self.line(&mut script, 0, "Name", 0, self.end_us(), &name);
        }
        if options.burn_in_time {
            let zone = options.time_zone.parse().unwrap_or(Tz::UTC);
            let seconds = self.seconds();
            for (at, (from_us, second)) in seconds.iter().enumerate() {
                let until_us = seconds.get(at + 1).map_or(self.end_us(), |next| next.0);
                self.line(
                    &mut script,
                    1,
                    "Time",
                    *from_us,
                    until_us,
                    &told(*second, zone),
                );
            }
        }
        Some(script)
    }

    fn head(&self) -> String {
        let (width, height) = (self.width, self.height);
        let size = (height / 22).min(width / 48).max(SMALLEST_FONT_PX);
        let (margin, pad) = (size / 2, (size / 5).max(1));
        // White on a box that is mostly black, so that it can be read on every picture. 7 is top left, 9 top right.
        let style = |name: &str, place: u32| {
            format!(
                "Style: {name},{FONT},{size},&H00FFFFFF,&H00FFFFFF,&H40000000,&H40000000,0,0,0,0,100,100,0,0,3,{pad},0,{place},{margin},{margin},{margin},1\n"
            )
        };
        format!(
            "[Script Info]\nScriptType: v4.00+\nPlayResX: {width}\nPlayResY: {height}\nWrapStyle: 2\n\
             ScaledBorderAndShadow: yes\n\n[V4+ Styles]\n\
             Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
             Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
             MarginR, MarginV, Encoding\n{}{}\n[Events]\n\
             Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n",
            style("Name", 7),
            style("Time", 9)
        )
    }

    /// Shows `text` in `[from_us, until_us)` of the clip.
    fn line(
        &self,
        script: &mut String,
        layer: u32,
        style: &str,
        from_us: i64,
        until_us: i64,
        text: &str,
    ) {
        let (from, until) = (self.stamp(from_us), self.stamp(until_us));
        // Writing to a string cannot fail.
        let _ = writeln!(
            script,
            "Dialogue: {layer},{from},{until},{style},,0,0,0,,{text}"
        );
    }

    /// A time of the clip, stretched. It lies a little earlier, so that a frame which the clock of the footage has put
    /// before its true time still is of its second.
    fn stamp(&self, clip_us: i64) -> String {
        let early_us = 500_000 / i64::from(self.timescale.max(1)) + 10;
        let steps = ((clip_us - early_us) / 10).max(0);
        let (seconds, rest) = (steps / 100, steps % 100);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        format!("{hours}:{minutes:02}:{:02}.{rest:02}", seconds % 60)
    }

    /// A moment after the last frame.
    fn end_us(&self) -> i64 {
        microseconds(self.footage.duration_shown + TimeDelta::seconds(10))
    }

    /// Every second of wall-clock time that the clip shows a part of, with the clip time at which it begins.
    fn seconds(&self) -> Vec<(i64, i64)> {
        let mut seconds = Vec::new();
        for stretch in self.stretches() {
            let Stretch {
                clip_us,
                wall_us,
                length_us,
            } = stretch;
            let last = (wall_us + length_us - 1).div_euclid(1_000_000);
            for second in wall_us.div_euclid(1_000_000)..=last {
                let into_us = (second * 1_000_000 - wall_us).max(0);
                seconds.push((clip_us + into_us, second));
            }
        }
        seconds
    }

    fn stretches(&self) -> Vec<Stretch> {
        let (shown, delivered) = (self.footage.duration_shown, self.footage.delivered);
        let start_us = delivered.start().timestamp_micros();
        let mut starts = vec![(0, start_us)];
        let mut closed_us = 0;
        for gap in &self.footage.gaps {
            let inside =
                gap.range.start() >= delivered.start() && gap.range.end() <= delivered.end();
            let Some(offset) = gap
                .clip_offset
                .filter(|_| inside && self.gap_mode == GapMode::Close)
            else {
                continue;
            };
            closed_us += microseconds(gap.range.duration());
            let clip_us = microseconds(offset);
            let next = (clip_us, start_us + clip_us + closed_us);
            match starts.last_mut() {
                // One hole may be several gaps, each with its reason.
                Some(last) if last.0 == clip_us => *last = next,
                _ => starts.push(next),
            }
        }
        let ends = starts.iter().skip(1).map(|start| start.0);
        let ends: Vec<i64> = ends.chain([microseconds(shown)]).collect();
        starts
            .into_iter()
            .zip(ends)
            .map(|((clip_us, wall_us), end_us)| Stretch {
                clip_us,
                wall_us,
                length_us: (end_us - clip_us).max(1),
            })
            .collect()
    }
}

/// A second of wall-clock time as people of that zone read it. The offset tells the two hours apart that a clock which is
/// put back shows twice.
fn told(second: i64, zone: Tz) -> String {
    let time = DateTime::from_timestamp(second, 0).unwrap_or_default();
    if zone == Tz::UTC {
        time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
    } else {
        time.with_timezone(&zone)
            .format("%Y-%m-%d %H:%M:%S %:z")
            .to_string()
    }
}

/// A name of which libass takes every character for itself: braces begin no override, a backslash no escape, and there is
/// only one line.
fn plain(name: &str, most_chars: usize) -> String {
    const WORD_JOINER: char = '\u{2060}';
    let mut text = String::new();
    let is_longer = name.chars().count() > most_chars;
    for character in name.chars().take(most_chars - usize::from(is_longer)) {
        match character {
            '{' => text.push_str("\\{"),
            '}' => text.push_str("\\}"),
            // An escape is a backslash with a letter; this one is followed by something else.
            '\\' => text.extend(['\\', WORD_JOINER]),
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                text.push(' ')
            }
            other => text.push(other),
        }
    }
    if is_longer {
        text.push('…');
    }
    text
}

fn microseconds(length: TimeDelta) -> i64 {
    length.num_microseconds().unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
#[path = "burn_in_tests.rs"]
mod tests;
