//! Numbers, times and names as people read them.

use chrono::{DateTime, SecondsFormat, Utc};
use heldar_footage::proto;

const BYTE_UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];

/// A size with three digits in decimal units: `52.1 MB`.
pub fn bytes(count: i64) -> String {
    let count = count.max(0);
    if count < 1000 {
        return format!("{count} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    // Rounding to three digits must not show 1000 of a unit.
    while value >= 999.5 && unit + 1 < BYTE_UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {}", BYTE_UNITS[unit])
}

/// A number with its digits in groups: `52,123,456`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One thing, or several: `1 file`, `1,200 files`.
pub fn count(number: i64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {one}s", grouped(number))
    }
}

/// Milliseconds of a duration on the wire, cut down.
pub fn milliseconds(duration: &prost_types::Duration) -> i64 {
    duration
        .seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(duration.nanos / 1_000_000))
}

/// A duration in its two largest units: `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`.
pub fn roughly(milliseconds: i64) -> String {
    let s = milliseconds.max(0).saturating_add(500) / 1000;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match s {
        0..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// A position in footage: `3:30`, `1:02:03`.
pub fn position(milliseconds: i64) -> String {
    let s = milliseconds.max(0) / 1000;
    let (h, min, s) = (s / 3600, s % 3600 / 60, s % 60);
    if h > 0 {
        format!("{h}:{min:02}:{s:02}")
    } else {
        format!("{min}:{s:02}")
    }
}

/// Seconds to the millisecond: `210.040 s`.
pub fn seconds(duration: &prost_types::Duration) -> String {
    let ms = milliseconds(duration);
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03} s", ms.abs() / 1000, ms.abs() % 1000)
}

/// A moment in UTC: `2026-11-22T10:00:12.400Z`. As many digits as it needs.
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(moment).map_or_else(
        || "-".to_owned(),
        |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// The moment that a timestamp names, if there is such a one.
pub fn moment(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}

/// A window: `2026-11-22T10:00:12.400Z to 2026-11-22T10:03:42.400Z`.
pub fn window(window: Option<&proto::TimeWindow>) -> String {
    match window {
        Some(window) => format!(
            "{} to {}",
            time(window.start_time.as_ref()),
            time(window.end_time.as_ref())
        ),
        None => "-".to_owned(),
    }
}

/// Text from elsewhere, with what could move the cursor, hide or reorder text on a terminal written out.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let is_bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || is_bidi {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, grouped, plain, position, roughly, seconds};

    #[test]
    fn sizes_have_three_digits() {
        let shown = [
            0,
            999,
            1000,
            52_123_456,
            999_499,
            999_500,
            1_800_000_000,
            i64::MAX,
        ]
        .map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1.00 kB", "52.1 MB", "999 kB", "1.00 MB", "1.80 GB", "9223 PB"
            ]
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 999, 1000, 52_123_456, -1234, 100_000].map(grouped);
        assert_eq!(
            shown,
            ["0", "999", "1,000", "52,123,456", "-1,234", "100,000"]
        );
        assert_eq!(
            (count(1, "file"), count(1200, "file")),
            ("1 file".to_owned(), "1,200 files".to_owned())
        );
    }

    #[test]
    fn durations_have_their_two_largest_units() {
        let shown = [0, 499, 500, 59_499, 60_000, 185_000, 7_800_000, 356_400_000].map(roughly);
        assert_eq!(
            shown,
            [
                "0 s",
                "0 s",
                "1 s",
                "59 s",
                "1 min",
                "3 min 5 s",
                "2 h 10 min",
                "4 d 3 h"
            ]
        );
    }

    #[test]
    fn positions_and_seconds_are_exact() {
        assert_eq!(
            [0, 210_999, 3_723_000].map(position),
            ["0:00", "3:30", "1:02:03"]
        );
        let duration = prost_types::Duration {
            seconds: 210,
            nanos: 40_000_000,
        };
        assert_eq!(seconds(&duration), "210.040 s");
    }

    #[test]
    fn text_from_elsewhere_cannot_act_on_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[2Jb\n\u{202e}c ü"),
            "a\\u{1b}[2Jb\\u{a}\\u{202e}c ü"
        );
    }
}
