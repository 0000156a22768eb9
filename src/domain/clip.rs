//! Clips: what is asked for, and what was made.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::camera::CameraId;
use super::catalog::{AudioFormat, VideoFormat};
use super::coverage::{Gap, GapReason};
use super::time::TimeRange;

/// Longest window of a clip; exactly this long passes.
pub const LONGEST_CLIP: TimeDelta = TimeDelta::seconds(3600);

/// Why a window cannot be cut. The words are part of what callers match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The end is not after the start.
    #[error("`to` must be after `from`")]
    Reversed,
    /// The window is longer than [`LONGEST_CLIP`].
    #[error("clip too long ({0}s); max {max}s", max = LONGEST_CLIP.num_seconds())]
    TooLong(i64),
}

/// The window of a clip, checked.
pub fn clip_window(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<TimeRange, WindowError> {
    let window = TimeRange::new(start, end).ok_or(WindowError::Reversed)?;
    if window.duration() > LONGEST_CLIP {
        // A part of a second counts as a whole one, so that the message never names a length that would have passed.
        let whole = window.duration().num_seconds();
        let part = i64::from(window.duration() > TimeDelta::seconds(whole));
        return Err(WindowError::TooLong(whole + part));
    }
    Ok(window)
}

/// The work of a clip job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipSpec {
    /// Id the clip will have.
    pub clip_id: String,
    /// The camera.
    pub camera_id: CameraId,
    /// Start of the window, microseconds since the epoch.
    pub start_us: i64,
    /// End of the window, microseconds since the epoch.
    pub end_us: i64,
    /// How long to keep the clip, seconds; 0 is until it is deleted.
    pub keep_for_s: u64,
    /// Who asks.
    pub created_by: String,
    /// Free pairs of the caller.
    pub labels: BTreeMap<String, String>,
}

impl ClipSpec {
    /// The window, or `None` when the row holds none that could have been accepted.
    pub fn window(&self) -> Option<TimeRange> {
        TimeRange::new(
            DateTime::from_timestamp_micros(self.start_us)?,
            DateTime::from_timestamp_micros(self.end_us)?,
        )
    }
}

/// A finished clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "clip_resources.proto documents every field, and the names are the same"
)]
pub struct Clip {
    pub id: String,
    pub camera_id: CameraId,
    #[serde(with = "range_us")]
    pub requested_window: TimeRange,
    #[serde(with = "range_us")]
    pub delivered_window: TimeRange,
    pub covered_us: i64,
    pub duration_us: i64,
    #[serde(with = "gaps_us")]
    pub gaps: Vec<Gap>,
    pub size_bytes: u64,
    pub sha256: String,
    pub media_type: String,
    pub file_name: String,
    pub segment_count: u32,
    pub video: VideoFormat,
    pub audio: Option<AudioFormat>,
    pub hidden_lead_us: i64,
    pub engine: String,
    pub job_id: String,
    pub created_by: String,
    pub labels: BTreeMap<String, String>,
    #[serde(with = "time_us")]
    pub create_time: DateTime<Utc>,
    #[serde(with = "optional_time_us")]
    pub expire_time: Option<DateTime<Utc>>,
}

/// Times as microseconds since the epoch.
mod time_us {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.timestamp_micros())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::from_timestamp_micros(i64::deserialize(from)?)
            .ok_or_else(|| D::Error::custom("time out of range"))
    }
}

/// Times that may be absent, as microseconds since the epoch.
mod optional_time_us {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(
        time: &Option<DateTime<Utc>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.timestamp_micros()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::<i64>::deserialize(from)?
            .map(|us| {
                DateTime::from_timestamp_micros(us)
                    .ok_or_else(|| D::Error::custom("time out of range"))
            })
            .transpose()
    }
}

/// Ranges as a pair of microseconds since the epoch.
mod range_us {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn pair(range: &TimeRange) -> (i64, i64) {
        (
            range.start().timestamp_micros(),
            range.end().timestamp_micros(),
        )
    }

    pub fn range((start_us, end_us): (i64, i64)) -> Option<TimeRange> {
        TimeRange::new(
            DateTime::from_timestamp_micros(start_us)?,
            DateTime::from_timestamp_micros(end_us)?,
        )
    }

    pub fn serialize<S: Serializer>(value: &TimeRange, to: S) -> Result<S::Ok, S::Error> {
        pair(value).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeRange, D::Error> {
        range(Deserialize::deserialize(from)?).ok_or_else(|| D::Error::custom("not a range"))
    }
}

/// Gaps with their times as microseconds.
mod gaps_us {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    struct Row {
        range_us: (i64, i64),
        reason: GapReason,
        clip_offset_us: Option<i64>,
        segment_ids: Vec<String>,
    }

    pub fn serialize<S: Serializer>(gaps: &[Gap], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(gaps.iter().map(|gap| Row {
            range_us: range_us::pair(&gap.range),
            reason: gap.reason,
            clip_offset_us: gap.clip_offset.and_then(|offset| offset.num_microseconds()),
            segment_ids: gap.segment_ids.clone(),
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Gap>, D::Error> {
        Vec::<Row>::deserialize(from)?
            .into_iter()
            .map(|row| {
                Ok(Gap {
                    range: range_us::range(row.range_us)
                        .ok_or_else(|| D::Error::custom("not a range"))?,
                    reason: row.reason,
                    clip_offset: row.clip_offset_us.map(TimeDelta::microseconds),
                    segment_ids: row.segment_ids,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).expect("in range")
    }

    #[test]
    fn exactly_the_longest_window_passes_and_a_microsecond_more_does_not() {
        assert!(clip_window(at(0), at(3_600_000)).is_ok());
        let longer = clip_window(at(0), at(3_600_000) + TimeDelta::microseconds(1));
        assert_eq!(
            longer.unwrap_err().to_string(),
            "clip too long (3601s); max 3600s"
        );
    }

    #[test]
    fn empty_and_reversed_windows_are_refused_with_the_known_words() {
        for end in [0, -5] {
            assert_eq!(
                clip_window(at(0), at(end)).unwrap_err().to_string(),
                "`to` must be after `from`"
            );
        }
    }
}
