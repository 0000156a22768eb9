//! Policies as the contract's messages.

use chrono::{DateTime, Utc, Weekday};

use super::convert::{int64, revision_etag, timestamp};
use super::convert_backup::check;
use super::convert_destination::std_duration;
use crate::domain::backup::policy::{Policy, Retention, Schedule, TransferHours};
use crate::domain::backup::schedule::{OVERDUE_GRACE, overdue_since};
use crate::domain::camera::CameraId;
use crate::proto;

/// A policy on the wire, as it fares at `now`.
pub(super) fn policy(policy: Policy, now: DateTime<Utc>) -> proto::Policy {
    let overdue_since_time = overdue_since(&policy, now, OVERDUE_GRACE);
    let status = policy.status;
    proto::Policy {
        id: policy.id,
        display_name: policy.display_name,
        destination_id: policy.destination_id,
        enabled: Some(policy.enabled),
        schedule: Some(match policy.schedule {
            Schedule::Interval(interval) => {
                proto::policy::Schedule::Interval(std_duration(interval))
            }
            Schedule::Cron { expression, zone } => {
                proto::policy::Schedule::Cron(proto::CronSchedule {
                    expression,
                    time_zone: zone.name().to_owned(),
                })
            }
        }),
        lookback: policy.lookback.map(std_duration),
        camera_ids: policy.camera_ids.into_iter().map(CameraId::into).collect(),
        evidence_only: policy.evidence_only,
        transfer_hours: policy.transfer_hours.map(proto::TransferHours::from),
        bandwidth_limit_bytes_per_second: int64(policy.bandwidth_limit_bytes_per_second),
        check: check(policy.check).into(),
        retention: policy.retention.map(proto::BackupRetention::from),
        run_timeout: policy.run_timeout.map(std_duration),
        labels: policy.labels,
        status: Some(proto::PolicyStatus {
            next_run_time: status.next_run_time.map(timestamp),
            last_run_time: status.last_run_time.map(timestamp),
            last_success_time: status.last_success_time.map(timestamp),
            last_job_id: status.last_job_id,
            overdue_since_time: overdue_since_time.map(timestamp),
            files_unsent: int64(status.files_unsent),
            bytes_unsent: int64(status.bytes_unsent),
            files_at_risk: int64(status.files_at_risk),
        }),
        create_time: Some(timestamp(policy.create_time)),
        update_time: Some(timestamp(policy.update_time)),
        etag: revision_etag(policy.revision),
    }
}

impl From<TransferHours> for proto::TransferHours {
    fn from(hours: TransferHours) -> Self {
        let clock_time = |minute: u16| proto::ClockTime {
            hour: (minute / 60).into(),
            minute: (minute % 60).into(),
        };
        Self {
            start: Some(clock_time(hours.start_minute)),
            end: Some(clock_time(hours.end_minute)),
            time_zone: hours.zone.name().to_owned(),
            days: hours
                .days
                .into_iter()
                .map(|day| weekday(day).into())
                .collect(),
        }
    }
}

impl From<Retention> for proto::BackupRetention {
    fn from(retention: Retention) -> Self {
        Self {
            max_age: retention.max_age.map(std_duration),
            max_bytes: int64(retention.max_bytes),
        }
    }
}

fn weekday(day: Weekday) -> proto::DayOfWeek {
    match day {
        Weekday::Mon => proto::DayOfWeek::Monday,
        Weekday::Tue => proto::DayOfWeek::Tuesday,
        Weekday::Wed => proto::DayOfWeek::Wednesday,
        Weekday::Thu => proto::DayOfWeek::Thursday,
        Weekday::Fri => proto::DayOfWeek::Friday,
        Weekday::Sat => proto::DayOfWeek::Saturday,
        Weekday::Sun => proto::DayOfWeek::Sunday,
    }
}
