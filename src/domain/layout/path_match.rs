//! Matching a path with a template.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::file_name::VIDEO_EXTENSIONS;
use super::template::{Field, Open, PATH_MAX_BYTES, PathTemplate, Token};
use super::zone::{NameTime, SECOND_US, leading_offset};

/// What a path says of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatch {
    /// The recorder's own name for the camera, or `None` when the template names none.
    /// [`CameraId::from_recorder_name`](crate::domain::camera::CameraId::from_recorder_name) makes
    /// a camera id of it.
    pub camera_name: Option<String>,
    /// When the segment starts.
    pub time: NameTime,
    /// How long the segment is, in milliseconds, when the name states it. Recorders write 0 while
    /// they record.
    pub duration_ms: Option<u64>,
}

/// Why a path is not the path of a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// The path cannot be used whatever the template.
    #[error(transparent)]
    Unsafe(#[from] UnsafePath),
    /// The path is built in another way than the template says.
    #[error("the path does not fit the template {template}")]
    DoesNotFit {
        /// The template of the source.
        template: String,
    },
    /// The digits stand where a time should, but are none, such as month 13 or second 60.
    #[error("the path states no possible time")]
    NotATime,
    /// A part of the time stands twice in the path, with two values.
    #[error("the path states {field} twice, with different values")]
    PartsDisagree {
        /// The field as the template spells it.
        field: &'static str,
    },
}

/// Why a path is not a plain path beneath a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// The path has no characters.
    #[error("the path is empty")]
    Empty,
    /// The path is longer than [`PATH_MAX_BYTES`].
    #[error("the path is longer than {PATH_MAX_BYTES} bytes")]
    TooLong,
    /// The path begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// The path has an empty, `.` or `..` step.
    #[error("the path has an empty, `.` or `..` step")]
    Steps,
    /// The path holds a line break, a NUL or another control character.
    #[error("the path holds a control character")]
    ControlCharacter,
}

/// Checks that `relative` is a plain path beneath a root: not absolute, no empty, `.` or `..`
/// step, no control character, at most [`PATH_MAX_BYTES`] long.
///
/// This says nothing of symbolic links, which only opening the file can rule out.
pub fn check_relative_path(relative: &str) -> Result<(), UnsafePath> {
    if relative.is_empty() {
        Err(UnsafePath::Empty)
    } else if relative.len() > PATH_MAX_BYTES {
        Err(UnsafePath::TooLong)
    } else if relative.chars().any(char::is_control) {
        Err(UnsafePath::ControlCharacter)
    } else if relative.starts_with('/') {
        Err(UnsafePath::Absolute)
    } else if relative
        .split('/')
        .any(|step| matches!(step, "" | "." | ".."))
    {
        Err(UnsafePath::Steps)
    } else {
        Ok(())
    }
}

impl PathTemplate {
    /// What `relative`, a path relative to the root of the source, says of its segment.
    pub fn match_path(&self, relative: &str) -> Result<PathMatch, WhyNot> {
        check_relative_path(relative)?;
        for tokens in &self.alternatives {
            let mut found = Found::default();
            if found.fits(tokens, 0, relative, 0, &mut HashSet::new()) {
                return found.into_match();
            }
        }
        Err(WhyNot::DoesNotFit {
            template: self.to_string(),
        })
    }
}

/// What was read on the way through a path.
#[derive(Default)]
struct Found<'p> {
    camera_name: Option<&'p str>,
    values: Vec<(Field, i64)>,
}

impl<'p> Found<'p> {
    /// Whether `tokens` from number `at` fit `path` from byte `from` to its end.
    ///
    /// `dead` holds the pairs of a token of open length and a byte from which nothing fits. Each
    /// pair is tried once, which bounds the work by the product of the two lengths: a hostile
    /// name cannot make the search explode. Whether a pair fits does not depend on what was read
    /// before, because values that stand twice are compared only after the whole path fits.
    fn fits(
        &mut self,
        tokens: &[Token],
        at: usize,
        path: &'p str,
        from: usize,
        dead: &mut HashSet<(usize, usize)>,
    ) -> bool {
        let rest = &path[from..];
        let Some(token) = tokens.get(at) else {
            return rest.is_empty();
        };
        match token {
            Token::Literal(text) => {
                rest.starts_with(text.as_str())
                    && self.fits(tokens, at + 1, path, from + text.len(), dead)
            }
            Token::Extension => is_extension(rest),
            Token::Field(field) => {
                let Some((value, length)) = field.read(rest) else {
                    return false;
                };
                self.values.push((*field, value));
                let fits = self.fits(tokens, at + 1, path, from + length, dead);
                if !fits {
                    self.values.pop();
                }
                fits
            }
            Token::Open(open) => {
                if dead.contains(&(at, from)) {
                    return false;
                }
                for (index, c) in rest.char_indices() {
                    if c == '/' && *open != Open::CameraSteps {
                        break;
                    }
                    let end = index + c.len_utf8();
                    if self.fits(tokens, at + 1, path, from + end, dead) {
                        if *open != Open::Any {
                            self.camera_name = Some(&rest[..end]);
                        }
                        return true;
                    }
                }
                dead.insert((at, from));
                false
            }
        }
    }

    fn into_match(self) -> Result<PathMatch, WhyNot> {
        for (index, (field, value)) in self.values.iter().enumerate() {
            if self.values[..index]
                .iter()
                .any(|(f, v)| f == field && v != value)
            {
                return Err(WhyNot::PartsDisagree {
                    field: field.spelling(),
                });
            }
        }
        let time = self.time().ok_or(WhyNot::NotATime)?;
        Ok(PathMatch {
            camera_name: self.camera_name.map(str::to_owned),
            time,
            duration_ms: self
                .value(Field::DurationMs)
                .and_then(|ms| ms.try_into().ok()),
        })
    }

    fn value(&self, field: Field) -> Option<i64> {
        self.values
            .iter()
            .find(|(f, _)| *f == field)
            .map(|(_, value)| *value)
    }

    /// The time that the values state. A count from the epoch goes before the parts of a date,
    /// because it needs no zone.
    fn time(&self) -> Option<NameTime> {
        let microsecond = self.value(Field::Microsecond);
        if let Some(us) = self.value(Field::UnixMicroseconds) {
            let time = DateTime::from_timestamp_micros(us)?;
            return Some(NameTime::Absolute {
                time,
                accuracy_us: 0,
            });
        }
        if let Some(seconds) = self.value(Field::UnixSeconds) {
            let fraction = TimeDelta::microseconds(microsecond.unwrap_or(0));
            let time = DateTime::from_timestamp(seconds, 0)?.checked_add_signed(fraction)?;
            let accuracy_us = if microsecond.is_some() { 0 } else { SECOND_US };
            return Some(NameTime::Absolute { time, accuracy_us });
        }
        let time = self.wall_clock(microsecond)?;
        let accuracy_us = match (self.value(Field::Second), microsecond) {
            (_, Some(_)) => 0,
            (Some(_), None) => SECOND_US,
            (None, None) => 60 * SECOND_US,
        };
        Some(match self.value(Field::Offset) {
            Some(seconds_east) => NameTime::Absolute {
                time: DateTime::<Utc>::from_naive_utc_and_offset(
                    time.checked_sub_signed(TimeDelta::seconds(seconds_east))?,
                    Utc,
                ),
                accuracy_us,
            },
            None => NameTime::Local { time, accuracy_us },
        })
    }

    fn wall_clock(&self, microsecond: Option<i64>) -> Option<NaiveDateTime> {
        let part = |field| {
            self.value(field)
                .and_then(|value| u32::try_from(value).ok())
        };
        let year = self
            .value(Field::Year)
            .and_then(|value| i32::try_from(value).ok())?;
        // No footage is older than the epoch; such a year is a name that only looks like a time.
        if year < 1970 {
            return None;
        }
        NaiveDate::from_ymd_opt(year, part(Field::Month)?, part(Field::Day)?)?.and_hms_micro_opt(
            part(Field::Hour)?,
            part(Field::Minute)?,
            part(Field::Second).unwrap_or(0),
            u32::try_from(microsecond.unwrap_or(0)).ok()?,
        )
    }
}

impl Field {
    /// The value at the start of `text` and its length in bytes.
    fn read(self, text: &str) -> Option<(i64, usize)> {
        let digits = match self {
            Self::Year => 4,
            Self::Month | Self::Day | Self::Hour | Self::Minute | Self::Second => 2,
            Self::Microsecond => 6,
            Self::UnixSeconds => 10,
            Self::UnixMicroseconds => 16,
            Self::DurationMs => text.bytes().take_while(u8::is_ascii_digit).count(),
            Self::Offset => {
                let (offset, rest) = leading_offset(text)?;
                return Some((i64::from(offset.local_minus_utc()), text.len() - rest.len()));
            }
        };
        let digits_text = text
            .get(..digits)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        Some((digits_text.parse().ok()?, digits))
    }
}

fn is_extension(text: &str) -> bool {
    text.strip_prefix('.').is_some_and(|extension| {
        VIDEO_EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
