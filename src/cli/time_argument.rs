//! Moments and lengths of time on the command line.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Reads a moment: RFC 3339 with its offset from UTC. A zone is never guessed.
///
/// # Errors
/// What to write instead.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    let looks_local = text.len() >= 10
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_digit())
        && text.as_bytes().get(4) == Some(&b'-');
    if !looks_local {
        return Err("write a time with its zone, for example 2026-11-22T10:00:00Z or 2026-11-22T11:00:00+01:00".into());
    }
    let joined = text.trim_end_matches([' ', 'Z', 'z']).replacen(' ', "T", 1);
    let whole = match joined.len() {
        10 => format!("{joined}T00:00:00"),
        16 => format!("{joined}:00"),
        _ => joined,
    };
    Err(match DateTime::parse_from_rfc3339(&format!("{whole}Z")) {
        Ok(_) => format!(
            "this time has no zone, and none is guessed: write {whole}Z for UTC, or, for example, {whole}+01:00"
        ),
        Err(_) => "there is no such time; write, for example, 2026-11-22T10:00:00Z".into(),
    })
}

/// Reads a length of time: a number and `ms`, `s`, `m`, `h` or `d`, also several of them: `90s`, `1m`, `1h30m`.
///
/// # Errors
/// What to write instead.
pub fn length(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with its unit, for example 90s, 1m or 1h30m".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit_ms: u64 = match rest[..end].trim() {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let more = number.checked_mul(unit_ms).map(Duration::from_millis);
        total = more
            .and_then(|more| total.checked_add(more))
            .ok_or_else(|| "this is too long".to_owned())?;
        rest = &rest[end..];
    }
    if total.is_zero() {
        Err("this is no time at all".to_owned())
    } else {
        Ok(total)
    }
}

/// Reads how long something is to be kept: a length of time, or `forever`, which is a length of zero as on the wire.
///
/// # Errors
/// What to write instead.
pub fn keep_for(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "forever" => Ok(Duration::ZERO),
        text => length(text).map_err(|reason| format!("{reason}, or `forever`")),
    }
}

/// A moment as it goes over the wire.
pub fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(999_999_999),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{keep_for, length, moment};

    #[test]
    fn times_with_a_zone_are_read() {
        let noon = moment("2026-11-22T12:00:00.25Z").unwrap();
        assert_eq!(moment("2026-11-22T13:00:00.25+01:00").unwrap(), noon);
        assert_eq!(moment("2026-11-22 12:00:00.25Z").unwrap(), noon);
    }

    #[test]
    fn a_time_without_a_zone_is_refused_with_what_to_write() {
        for text in [
            "2026-11-22 10:00:00",
            "2026-11-22T10:00",
            "2026-11-22T10:00:00",
        ] {
            let reason = moment(text).unwrap_err();
            assert!(
                reason.contains("2026-11-22T10:00:00Z for UTC"),
                "{text}: {reason}"
            );
        }
        assert!(
            moment("2026-11-22")
                .unwrap_err()
                .contains("2026-11-22T00:00:00Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "10:00",
            "2026-13-01T00:00:00Z",
            "2026-02-30 10:00:00",
            "2026-11-22Ü10",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_for_ever_is_said_in_words() {
        assert_eq!(keep_for("forever"), Ok(Duration::ZERO));
        assert_eq!(keep_for("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "0s", "for ever", "ever"] {
            assert!(keep_for(wrong).unwrap_err().contains("forever"), "{wrong}");
        }
    }

    #[test]
    fn lengths_are_sums_of_numbers_with_units() {
        assert_eq!(length("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(length("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(length("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "10",
            "s",
            "1.5m",
            "-1s",
            "0s",
            "1w",
            "99999999999999999d",
            "1ü",
        ] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
