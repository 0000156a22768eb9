//! Reading the fields of a request: collects everything that is wrong, so that a caller hears it all at once.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::status::{ApiError, Violation};
use crate::domain::camera::CameraId;
use crate::domain::id;
use crate::domain::time::to_microseconds;
use crate::proto::ErrorReason;

/// Longest text of names, incidents and callers.
const TEXT_MAX_CHARS: usize = 200;
const LABELS_MAX: usize = 64;
const LABEL_KEY_MAX_CHARS: usize = 63;
const LABEL_VALUE_MAX_CHARS: usize = 255;
/// Longest time for which an answer may be held.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Longest time that can be asked for, of whatever kind: a hundred years.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The fields of one request.
#[derive(Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
}

impl Fields {
    /// Notes that a field is wrong.
    pub(super) fn wrong(&mut self, field: &str, description: impl Into<String>) {
        self.violations.push((field.to_owned(), description.into()));
    }

    /// Whether nothing was wrong yet.
    pub(super) fn is_right(&self) -> bool {
        self.violations.is_empty()
    }

    /// What was read, or all that was wrong.
    pub(super) fn of<T>(self, read: Option<T>) -> Result<T, Vec<Violation>> {
        read.filter(|_| self.violations.is_empty())
            .ok_or(self.violations)
    }

    /// Fails when anything was wrong.
    pub(super) fn check(self) -> Result<(), ApiError> {
        if self.violations.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid {
            reason: ErrorReason::InvalidField,
            violations: self.violations,
        })
    }

    /// A required camera id.
    pub(super) fn camera_id(&mut self, field: &str, text: &str) -> Option<CameraId> {
        match CameraId::parse(text) {
            Ok(id) => Some(id),
            Err(error) => {
                self.wrong(field, error.to_string());
                None
            }
        }
    }

    /// A camera id that may be empty.
    pub(super) fn optional_camera_id(&mut self, field: &str, text: &str) -> Option<CameraId> {
        if text.is_empty() {
            None
        } else {
            self.camera_id(field, text)
        }
    }

    /// A required time.
    pub(super) fn time(
        &mut self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Option<DateTime<Utc>> {
        if time.is_none() {
            self.wrong(field, "is required");
        }
        self.optional_time(field, time)
    }

    /// A time that may be absent.
    pub(super) fn optional_time(
        &mut self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Option<DateTime<Utc>> {
        let time = time?;
        // The range of google.protobuf.Timestamp: years 1 to 9999.
        let in_range = (-62_135_596_800..=253_402_300_799).contains(&time.seconds);
        let found = u32::try_from(time.nanos)
            .ok()
            .filter(|nanos| in_range && *nanos < 1_000_000_000)
            .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos));
        if found.is_none() {
            self.wrong(field, "is not a time between the years 1 and 9999");
        }
        found.map(to_microseconds)
    }

    /// A duration from `min` to `max`; absent is `None`.
    pub(super) fn duration_between(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        let found = Duration::try_from(duration?)
            .ok()
            .filter(|duration| (min..=max).contains(duration));
        if found.is_none() {
            self.wrong(
                field,
                format!(
                    "must be between {} s and {} s",
                    min.as_secs(),
                    max.as_secs()
                ),
            );
        }
        found
    }

    /// A duration from zero to `max`; absent is `None`.
    fn duration(
        &mut self,
        field: &str,
        duration: Option<prost_types::Duration>,
        max: Duration,
    ) -> Option<Duration> {
        self.duration_between(field, duration, Duration::ZERO, max)
    }

    /// How long the answer may be held; absent is not at all.
    pub(super) fn wait(&mut self, wait: Option<prost_types::Duration>) -> Duration {
        self.duration("wait", wait, WAIT_MAX).unwrap_or_default()
    }

    /// How long to keep what is made, whole seconds; absent is as the server is set.
    pub(super) fn keep_for_s(
        &mut self,
        keep_for: Option<prost_types::Duration>,
        default_s: u64,
    ) -> u64 {
        self.duration("keep_for", keep_for, DURATION_MAX)
            .map_or(default_s, |keep_for| {
                keep_for.as_secs() + u64::from(keep_for.subsec_nanos() > 0)
            })
    }

    /// The resolution of a timeline.
    pub(super) fn resolution(&mut self, resolution: Option<prost_types::Duration>) -> TimeDelta {
        let found = self.duration("resolution", resolution, DURATION_MAX);
        found
            .and_then(|found| TimeDelta::from_std(found).ok())
            .unwrap_or_default()
    }

    /// A UUID that makes the request repeatable; empty is none.
    pub(super) fn request_id(&mut self, text: &str) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        match Uuid::try_parse(text) {
            Ok(id) => Some(id.to_string()),
            Err(_) => {
                self.wrong(
                    "request_id",
                    "must be a UUID, for example 0198c0de-0000-7000-8000-000000000000",
                );
                None
            }
        }
    }

    /// A count or an offset.
    pub(super) fn not_negative(&mut self, field: &str, value: i64) -> u64 {
        u64::try_from(value).unwrap_or_else(|_| {
            self.wrong(field, "must not be negative");
            0
        })
    }

    /// An id that must not be empty.
    pub(super) fn required(&mut self, field: &str, id: &str) {
        if id.is_empty() {
            self.wrong(field, "is required");
        }
    }

    /// An id that the caller chose for something new; empty is none.
    pub(super) fn chosen_id(&mut self, field: &str, prefix: &str, chosen: &str) {
        if !chosen.is_empty() && !id::is_valid(prefix, chosen) {
            self.wrong(
                field,
                format!("must be `{prefix}` and then 1 to 58 of a-z, 0-9, `_` and `-`"),
            );
        }
    }

    /// Text for people: limited in length, without control characters.
    pub(super) fn text(&mut self, field: &str, text: String) -> String {
        self.line(field, text, TEXT_MAX_CHARS)
    }

    /// Text of one line.
    pub(super) fn line(&mut self, field: &str, text: String, max_chars: usize) -> String {
        self.no_longer(field, &text, max_chars);
        if text.chars().any(char::is_control) {
            self.wrong(field, "must not hold control characters");
        }
        text
    }

    /// Text that may have line breaks.
    pub(super) fn lines(&mut self, field: &str, text: String, max_chars: usize) -> String {
        self.no_longer(field, &text, max_chars);
        if text.chars().any(|c| c.is_control() && c != '\n') {
            self.wrong(
                field,
                "must not hold control characters other than line breaks",
            );
        }
        text
    }

    fn no_longer(&mut self, field: &str, text: &str, max_chars: usize) {
        if text.chars().count() > max_chars {
            self.wrong(field, format!("must have at most {max_chars} characters"));
        }
    }

    /// Camera ids in order, each once.
    pub(super) fn camera_ids(&mut self, field: &str, texts: &[String]) -> Vec<CameraId> {
        let mut ids: Vec<CameraId> = texts
            .iter()
            .enumerate()
            .filter_map(|(at, text)| self.camera_id(&format!("{field}[{at}]"), text))
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Free pairs of the caller.
    pub(super) fn labels(
        &mut self,
        field: &str,
        labels: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        if labels.len() > LABELS_MAX {
            self.wrong(field, format!("must have at most {LABELS_MAX} entries"));
        }
        for (key, value) in &labels {
            if key.is_empty()
                || key.chars().count() > LABEL_KEY_MAX_CHARS
                || key.chars().any(char::is_control)
            {
                self.wrong(field, format!("a key must have 1 to {LABEL_KEY_MAX_CHARS} characters, none of them a control character"));
            }
            if value.chars().count() > LABEL_VALUE_MAX_CHARS || value.chars().any(char::is_control)
            {
                self.wrong(field, format!("a value must have at most {LABEL_VALUE_MAX_CHARS} characters, none of them a control character"));
            }
        }
        labels
    }
}
