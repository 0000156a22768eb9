//! From the time that a name states to a moment in UTC.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The zone in which a source's names state local time. It is always given, never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceZone {
    /// Coordinated universal time.
    Utc,
    /// A constant offset that knows no clock changes.
    Fixed(FixedOffset),
    /// A zone of the IANA time zone database, with its clock changes.
    Named(Tz),
}

/// Why a text names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// No zone was given.
    #[error(
        "a time zone is needed: `UTC`, an offset such as `+01:00`, or a name such as `Europe/Zurich`"
    )]
    Empty,
    /// `local` would depend on the machine that reads the footage, not on the one that wrote it.
    #[error("`local` is no time zone: name the zone the recorder ran in, such as `Europe/Zurich`")]
    Local,
    /// Neither `UTC` nor an offset nor a name of the time zone database.
    #[error(
        "unknown time zone {0:?}: use `UTC`, an offset such as `+01:00`, or a name such as `Europe/Zurich`"
    )]
    Unknown(String),
}

/// The time that a name states, with the accuracy of its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameTime {
    /// The name counts from the Unix epoch or states its offset, so no zone is needed.
    Absolute {
        /// The moment that the name states.
        time: DateTime<Utc>,
        /// How far the true start may lie after `time`, in microseconds.
        accuracy_us: i64,
    },
    /// The name states a local time, which needs the zone of the source.
    Local {
        /// What the clock on the recorder's wall showed.
        time: NaiveDateTime,
        /// How far the true start may lie after `time`, in microseconds.
        accuracy_us: i64,
    },
}

/// The start of a segment as its name gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTime {
    /// Start of the segment.
    pub start_time: DateTime<Utc>,
    /// How far the true start may lie after `start_time`, in microseconds: 1,000,000 for names that
    /// state whole seconds, 0 for names that state microseconds.
    pub accuracy_us: i64,
}

/// Why the time in a name is no moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The name states a local time and the source has no zone.
    #[error(
        "the name states local time {local}, and the source has no time zone: give the zone the recorder ran in"
    )]
    NoZone {
        /// The local time of the name.
        local: NaiveDateTime,
    },
    /// The clocks went back and showed this local time twice.
    #[error(
        "local time {local} happened twice in {zone}, at {first} and at {second}, and no time inside the file says which",
        first = first.format("%Y-%m-%dT%H:%M:%SZ"),
        second = second.format("%Y-%m-%dT%H:%M:%SZ")
    )]
    Ambiguous {
        /// The local time of the name.
        local: NaiveDateTime,
        /// The zone of the source.
        zone: SourceZone,
        /// The earlier of the two moments.
        first: DateTime<Utc>,
        /// The later of the two moments.
        second: DateTime<Utc>,
    },
    /// The clocks went forward and never showed this local time.
    #[error(
        "local time {local} never happened in {zone}: the clocks went forward over it; is the zone of the source right?"
    )]
    NeverHappened {
        /// The local time of the name.
        local: NaiveDateTime,
        /// The zone of the source.
        zone: SourceZone,
    },
}

impl NameTime {
    /// The moment in UTC, given the zone of the source.
    ///
    /// `time_inside` is a time found inside the file. It is used for one thing only: to choose
    /// between the two moments of a local time that happened twice. It must lie within a quarter
    /// of their distance from one of them (15 minutes at the usual change of one hour), otherwise
    /// it contradicts the name and settles nothing.
    pub fn resolve(
        &self,
        zone: Option<SourceZone>,
        time_inside: Option<DateTime<Utc>>,
    ) -> Result<SourceTime, TimeError> {
        let (local, accuracy_us) = match *self {
            Self::Absolute { time, accuracy_us } => {
                return Ok(SourceTime {
                    start_time: time,
                    accuracy_us,
                });
            }
            Self::Local { time, accuracy_us } => (time, accuracy_us),
        };
        let zone = zone.ok_or(TimeError::NoZone { local })?;
        let start_time = match zone.moments_of(local) {
            LocalResult::Single(time) => time,
            LocalResult::None => return Err(TimeError::NeverHappened { local, zone }),
            LocalResult::Ambiguous(first, second) => {
                let reach = (second - first) / 4;
                let near = |moment: DateTime<Utc>| {
                    time_inside.is_some_and(|inside| (inside - moment).abs() <= reach)
                };
                if near(first) {
                    first
                } else if near(second) {
                    second
                } else {
                    return Err(TimeError::Ambiguous {
                        local,
                        zone,
                        first,
                        second,
                    });
                }
            }
        };
        Ok(SourceTime {
            start_time,
            accuracy_us,
        })
    }
}

impl SourceZone {
    fn moments_of(self, local: NaiveDateTime) -> LocalResult<DateTime<Utc>> {
        let moments = match self {
            Self::Utc => LocalResult::Single(local.and_utc()),
            Self::Fixed(offset) => offset.from_local_datetime(&local).map(|t| t.to_utc()),
            Self::Named(zone) => zone.from_local_datetime(&local).map(|t| t.to_utc()),
        };
        match moments {
            LocalResult::Ambiguous(a, b) => LocalResult::Ambiguous(a.min(b), a.max(b)),
            other => other,
        }
    }
}

impl FromStr for SourceZone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        if text.is_empty() {
            return Err(ZoneError::Empty);
        }
        if text.eq_ignore_ascii_case("local") {
            return Err(ZoneError::Local);
        }
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Ok(Self::Utc);
        }
        if let Some((offset, "")) = leading_offset(text) {
            return Ok(Self::Fixed(offset));
        }
        Tz::from_str(text)
            .map(Self::Named)
            .map_err(|_| ZoneError::Unknown(text.to_owned()))
    }
}

impl fmt::Display for SourceZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("UTC"),
            Self::Fixed(offset) => write!(f, "{offset}"),
            Self::Named(zone) => f.write_str(zone.name()),
        }
    }
}

/// An offset at the start of `text` (`Z`, `+0100`, `+01:00`; ISO 8601-1:2019, 5.3.4) and what
/// follows it.
pub(super) fn leading_offset(text: &str) -> Option<(FixedOffset, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((FixedOffset::east_opt(0)?, rest));
    }
    let (east, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, rest) = two_digits(rest)?;
    let (minutes, rest) = two_digits(rest.strip_prefix(':').unwrap_or(rest))?;
    // Real offsets reach from -12:00 to +14:00.
    if hours > 14 || minutes > 59 {
        return None;
    }
    Some((
        FixedOffset::east_opt(east * (hours * 3600 + minutes * 60))?,
        rest,
    ))
}

fn two_digits(text: &str) -> Option<(i32, &str)> {
    let digits = text
        .get(..2)
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    Some((digits.parse().ok()?, &text[2..]))
}

/// One second, the accuracy of names that state whole seconds, in microseconds.
pub(super) const SECOND_US: i64 = TimeDelta::seconds(1).num_milliseconds() * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn local(y: i32, mo: u32, d: u32, h: u32, mi: u32) -> NameTime {
        let time = NaiveDate::from_ymd_opt(y, mo, d)
            .unwrap()
            .and_hms_opt(h, mi, 0)
            .unwrap();
        NameTime::Local {
            time,
            accuracy_us: SECOND_US,
        }
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn zone(text: &str) -> Option<SourceZone> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_zone_is_utc_an_offset_or_a_name_and_reads_back_as_written() {
        for text in ["UTC", "+01:00", "-03:30", "Europe/Zurich", "Asia/Kolkata"] {
            assert_eq!(text.parse::<SourceZone>().unwrap().to_string(), text);
        }
        assert_eq!("+0530".parse::<SourceZone>().unwrap().to_string(), "+05:30");
        assert_eq!("".parse::<SourceZone>(), Err(ZoneError::Empty));
        assert_eq!("local".parse::<SourceZone>(), Err(ZoneError::Local));
        for bad in [
            "Europe/Atlantis",
            "+25:00",
            "+1",
            "+01:00 ",
            "+aa:bb",
            "é1:00",
            "+é1:00",
        ] {
            assert_eq!(
                bad.parse::<SourceZone>(),
                Err(ZoneError::Unknown(bad.to_owned()))
            );
        }
    }

    #[test]
    fn local_time_is_read_in_the_zone_of_the_source() {
        let summer = local(2026, 7, 1, 12, 0);
        for (name, expected) in [
            ("UTC", "2026-07-01T12:00:00Z"),
            ("+05:30", "2026-07-01T06:30:00Z"),
            ("Europe/Zurich", "2026-07-01T10:00:00Z"),
        ] {
            let found = summer.resolve(zone(name), None).unwrap();
            assert_eq!(found.start_time, utc(expected));
            assert_eq!(found.accuracy_us, 1_000_000);
        }
    }

    #[test]
    fn local_time_without_a_zone_is_refused() {
        let error = local(2026, 7, 1, 12, 0).resolve(None, None).unwrap_err();
        assert!(matches!(error, TimeError::NoZone { .. }));
    }

    #[test]
    fn a_time_that_happened_twice_is_refused_and_the_message_says_when() {
        let twice = local(2026, 10, 25, 2, 30);
        let error = twice.resolve(zone("Europe/Zurich"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "local time 2026-10-25 02:30:00 happened twice in Europe/Zurich, at 2026-10-25T00:30:00Z \
             and at 2026-10-25T01:30:00Z, and no time inside the file says which"
        );
    }

    #[test]
    fn a_time_inside_the_file_settles_which_of_two_moments_it_was() {
        let twice = local(2026, 10, 25, 2, 30);
        let at = |inside| twice.resolve(zone("Europe/Zurich"), Some(utc(inside)));
        assert_eq!(
            at("2026-10-25T00:30:04Z").unwrap().start_time,
            utc("2026-10-25T00:30:00Z")
        );
        assert_eq!(
            at("2026-10-25T01:29:58Z").unwrap().start_time,
            utc("2026-10-25T01:30:00Z")
        );
    }

    #[test]
    fn a_time_inside_the_file_that_contradicts_the_name_settles_nothing() {
        let twice = local(2026, 10, 25, 2, 30);
        for inside in [
            "2026-10-25T01:00:00Z",
            "1970-01-01T00:00:00Z",
            "1904-01-01T00:00:00Z",
        ] {
            let error = twice
                .resolve(zone("Europe/Zurich"), Some(utc(inside)))
                .unwrap_err();
            assert!(matches!(error, TimeError::Ambiguous { .. }), "{inside}");
        }
    }

    #[test]
    fn a_time_that_the_clocks_skipped_is_refused() {
        let skipped = local(2026, 3, 29, 2, 30);
        let error = skipped.resolve(zone("Europe/Zurich"), None).unwrap_err();
        assert!(matches!(error, TimeError::NeverHappened { .. }));
        assert!(skipped.resolve(zone("UTC"), None).is_ok());
    }

    #[test]
    fn a_change_of_half_an_hour_is_settled_too() {
        // Lord Howe Island moves its clocks by 30 minutes.
        let twice = local(2026, 4, 5, 1, 45);
        let first = utc("2026-04-04T14:45:00Z");
        let found = twice
            .resolve(zone("Australia/Lord_Howe"), Some(first))
            .unwrap();
        assert_eq!(found.start_time, first);
    }

    proptest! {
        #[test]
        fn every_moment_comes_back_from_its_local_time_when_the_file_confirms_it(
            seconds in 0_i64..4_000_000_000,
            name in prop::sample::select(vec!["Europe/Zurich", "America/New_York", "Asia/Kolkata", "+03:00", "UTC"]),
        ) {
            let moment = DateTime::from_timestamp(seconds, 0).unwrap();
            let source = name.parse::<SourceZone>().unwrap();
            let wall = match source {
                SourceZone::Utc => moment.naive_utc(),
                SourceZone::Fixed(offset) => moment.with_timezone(&offset).naive_local(),
                SourceZone::Named(zone) => moment.with_timezone(&zone).naive_local(),
            };
            let stated = NameTime::Local { time: wall, accuracy_us: SECOND_US };
            prop_assert_eq!(stated.resolve(Some(source), Some(moment)).unwrap().start_time, moment);
        }
    }
}
