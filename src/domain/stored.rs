//! How times, ranges and gaps are stored in rows: as microseconds since the epoch. For `#[serde(with = …)]`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::coverage::{Gap, GapReason};
use super::time::TimeRange;

/// Times as microseconds since the epoch.
pub(super) mod time_us {
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

/// Durations as microseconds.
pub(super) mod duration_us {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(duration.num_microseconds().unwrap_or(i64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
        Ok(TimeDelta::microseconds(i64::deserialize(from)?))
    }
}

/// Times that may be absent, as microseconds since the epoch.
pub(super) mod optional_time_us {
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
pub(super) mod range_us {
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

/// Ranges that may be absent, as pairs of microseconds.
pub(super) mod optional_range_us {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<TimeRange>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(range_us::pair).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeRange>, D::Error> {
        Option::<(i64, i64)>::deserialize(from)?
            .map(|pair| range_us::range(pair).ok_or_else(|| D::Error::custom("not a range")))
            .transpose()
    }
}

/// Gaps with their times as microseconds.
pub(super) mod gaps_us {
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
