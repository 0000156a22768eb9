//! Policies as rows.

use std::time::Duration;

use chrono::Weekday;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::error::{count, inconsistent, json, time, to_json};
use crate::domain::backup::object::BackupCheck;
use crate::domain::backup::policy::{Policy, PolicyStatus, Retention, Schedule, TransferHours};
use crate::domain::camera::CameraId;

pub(super) const TABLE: &str = "policies";

pub(super) const SELECT: &str = "
    SELECT id, destination_id, display_name, enabled, details, labels, revision, next_run_us, last_run_us,
        last_success_us, last_job_id, overdue_since_us, files_unsent, bytes_unsent, files_at_risk, create_time_us,
        update_time_us, request_digest
    FROM policies ";

/// What callers set and only ever read whole.
#[derive(Serialize, Deserialize)]
struct Details {
    schedule: StoredSchedule,
    lookback: Option<Duration>,
    camera_ids: Vec<CameraId>,
    evidence_only: bool,
    transfer_hours: Option<StoredHours>,
    bandwidth_limit_bytes_per_second: u64,
    check: BackupCheck,
    retention: Option<StoredRetention>,
    run_timeout: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredSchedule {
    Interval(Duration),
    Cron { expression: String, zone: String },
}

#[derive(Serialize, Deserialize)]
struct StoredHours {
    start_minute: u16,
    end_minute: u16,
    zone: String,
    /// Days of the week, Monday is 0.
    days: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct StoredRetention {
    max_age: Option<Duration>,
    max_bytes: u64,
}

/// The `details` of a policy's row.
pub(super) fn details(policy: &Policy) -> String {
    to_json(&Details {
        schedule: match &policy.schedule {
            Schedule::Interval(interval) => StoredSchedule::Interval(*interval),
            Schedule::Cron { expression, zone } => StoredSchedule::Cron {
                expression: expression.clone(),
                zone: zone.name().to_owned(),
            },
        },
        lookback: policy.lookback,
        camera_ids: policy.camera_ids.clone(),
        evidence_only: policy.evidence_only,
        transfer_hours: policy.transfer_hours.as_ref().map(|hours| StoredHours {
            start_minute: hours.start_minute,
            end_minute: hours.end_minute,
            zone: hours.zone.name().to_owned(),
            days: hours
                .days
                .iter()
                .map(|day| day.num_days_from_monday() as u8)
                .collect(),
        }),
        bandwidth_limit_bytes_per_second: policy.bandwidth_limit_bytes_per_second,
        check: policy.check,
        retention: policy.retention.map(|retention| StoredRetention {
            max_age: retention.max_age,
            max_bytes: retention.max_bytes,
        }),
        run_timeout: policy.run_timeout,
    })
}

#[derive(sqlx::FromRow)]
pub(super) struct PolicyRow {
    pub(super) id: String,
    destination_id: String,
    display_name: String,
    enabled: bool,
    details: String,
    labels: String,
    revision: i64,
    next_run_us: Option<i64>,
    last_run_us: Option<i64>,
    last_success_us: Option<i64>,
    last_job_id: String,
    overdue_since_us: Option<i64>,
    files_unsent: i64,
    bytes_unsent: i64,
    files_at_risk: i64,
    pub(super) create_time_us: i64,
    update_time_us: i64,
    pub(super) request_digest: String,
}

impl TryFrom<PolicyRow> for Policy {
    type Error = StoreError;

    fn try_from(row: PolicyRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        let details: Details = json(TABLE, id, &row.details)?;
        let zone = |name: &str| {
            name.parse::<Tz>()
                .map_err(|_| inconsistent(TABLE, id, format!("unknown zone {name}")))
        };
        let maybe_time = |us: Option<i64>| us.map(|us| time(TABLE, id, us)).transpose();
        let transfer_hours = match details.transfer_hours {
            None => None,
            Some(hours) => Some(TransferHours {
                start_minute: hours.start_minute,
                end_minute: hours.end_minute,
                zone: zone(&hours.zone)?,
                days: hours
                    .days
                    .into_iter()
                    .map(|day| {
                        Weekday::try_from(day)
                            .map_err(|_| inconsistent(TABLE, id, "unknown day of the week"))
                    })
                    .collect::<Result<_, _>>()?,
            }),
        };
        Ok(Self {
            destination_id: row.destination_id,
            display_name: row.display_name,
            enabled: row.enabled,
            schedule: match details.schedule {
                StoredSchedule::Interval(interval) => Schedule::Interval(interval),
                StoredSchedule::Cron {
                    expression,
                    zone: name,
                } => Schedule::Cron {
                    expression,
                    zone: zone(&name)?,
                },
            },
            lookback: details.lookback,
            camera_ids: details.camera_ids,
            evidence_only: details.evidence_only,
            transfer_hours,
            bandwidth_limit_bytes_per_second: details.bandwidth_limit_bytes_per_second,
            check: details.check,
            retention: details.retention.map(|retention| Retention {
                max_age: retention.max_age,
                max_bytes: retention.max_bytes,
            }),
            run_timeout: details.run_timeout,
            labels: json(TABLE, id, &row.labels)?,
            create_time: time(TABLE, id, row.create_time_us)?,
            update_time: time(TABLE, id, row.update_time_us)?,
            revision: count(TABLE, id, row.revision)?,
            status: PolicyStatus {
                next_run_time: maybe_time(row.next_run_us)?,
                last_run_time: maybe_time(row.last_run_us)?,
                last_success_time: maybe_time(row.last_success_us)?,
                last_job_id: row.last_job_id,
                overdue_since_time: maybe_time(row.overdue_since_us)?,
                files_unsent: count(TABLE, id, row.files_unsent)?,
                bytes_unsent: count(TABLE, id, row.bytes_unsent)?,
                files_at_risk: count(TABLE, id, row.files_at_risk)?,
            },
            id: row.id,
        })
    }
}
