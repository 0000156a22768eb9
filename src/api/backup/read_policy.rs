//! A policy as a caller wrote it, read by the rules in backup_policy.proto.

use std::time::Duration;

use chrono::{DateTime, Utc, Weekday};
use chrono_tz::Tz;

use super::read_selection;
use crate::api::fields::{DURATION_MAX, Fields};
use crate::domain::backup::policy::{
    DEFAULT_INTERVAL, Policy, PolicyStatus, Retention, Schedule, TransferHours,
};
use crate::proto;

const INTERVAL_MIN: Duration = Duration::from_secs(60);
const RUN_TIMEOUT_MIN: Duration = Duration::from_secs(30);
const MAX_AGE_MIN: Duration = Duration::from_secs(86_400);

/// Reads a policy; every fault is noted in `fields` below the path `policy`.
///
/// `destination_id` is the one that the policy has already. The result has `now` for its times and nothing of what only
/// the service sets.
pub(super) fn policy(
    fields: &mut Fields,
    id: String,
    asked: proto::Policy,
    destination_id: Option<&str>,
    now: DateTime<Utc>,
) -> Option<Policy> {
    let display_name = fields.text("policy.display_name", asked.display_name);
    fields.required("policy.destination_id", &asked.destination_id);
    if destination_id.is_some_and(|present| present != asked.destination_id) {
        fields.wrong(
            "policy.destination_id",
            "the destination of a policy cannot be changed",
        );
    }
    let schedule = schedule(fields, asked.schedule);
    let lookback = fields
        .duration_between(
            "policy.lookback",
            asked.lookback,
            Duration::ZERO,
            DURATION_MAX,
        )
        .filter(|lookback| !lookback.is_zero());
    let camera_ids = fields.camera_ids("policy.camera_ids", &asked.camera_ids);
    let transfer_hours = asked
        .transfer_hours
        .map(|hours| transfer_hours(fields, &hours));
    let bandwidth = fields.not_negative(
        "policy.bandwidth_limit_bytes_per_second",
        asked.bandwidth_limit_bytes_per_second,
    );
    let check = read_selection::check(fields, "policy.check", asked.check);
    let retention = asked.retention.map(|asked| retention(fields, asked));
    let run_timeout = fields.duration_between(
        "policy.run_timeout",
        asked.run_timeout,
        RUN_TIMEOUT_MIN,
        DURATION_MAX,
    );
    let labels = fields.labels("policy.labels", asked.labels);
    Some(Policy {
        id,
        display_name,
        destination_id: asked.destination_id,
        enabled: asked.enabled.unwrap_or(true),
        schedule: schedule?,
        lookback,
        camera_ids,
        evidence_only: asked.evidence_only,
        transfer_hours: match transfer_hours {
            Some(hours) => Some(hours?),
            None => None,
        },
        bandwidth_limit_bytes_per_second: bandwidth,
        check,
        retention,
        run_timeout,
        labels,
        create_time: now,
        update_time: now,
        revision: 1,
        status: PolicyStatus::default(),
    })
}

fn schedule(fields: &mut Fields, asked: Option<proto::policy::Schedule>) -> Option<Schedule> {
    match asked {
        None => Some(Schedule::Interval(DEFAULT_INTERVAL)),
        Some(proto::policy::Schedule::Interval(interval)) => fields
            .duration_between(
                "policy.interval",
                Some(interval),
                INTERVAL_MIN,
                DURATION_MAX,
            )
            .map(Schedule::Interval),
        Some(proto::policy::Schedule::Cron(asked)) => {
            let zone = zone(fields, "policy.cron.time_zone", &asked.time_zone);
            if let Err(fault) = Schedule::check_cron(&asked.expression) {
                fields.wrong("policy.cron.expression", fault);
            }
            Some(Schedule::Cron {
                expression: asked.expression,
                zone: zone?,
            })
        }
    }
}

fn transfer_hours(fields: &mut Fields, asked: &proto::TransferHours) -> Option<TransferHours> {
    let start_minute = clock_time(fields, "policy.transfer_hours.start", asked.start);
    let end_minute = clock_time(fields, "policy.transfer_hours.end", asked.end);
    let zone = zone(fields, "policy.transfer_hours.time_zone", &asked.time_zone);
    let mut days = Vec::new();
    for (at, day) in asked.days.iter().enumerate() {
        match weekday(*day) {
            Some(day) if !days.contains(&day) => days.push(day),
            Some(_) => {}
            None => fields.wrong(
                &format!("policy.transfer_hours.days[{at}]"),
                "is no day of the week",
            ),
        }
    }
    days.sort_by_key(Weekday::num_days_from_monday);
    Some(TransferHours {
        start_minute: start_minute?,
        end_minute: end_minute?,
        zone: zone?,
        days,
    })
}

/// Minutes from midnight.
fn clock_time(fields: &mut Fields, field: &str, asked: Option<proto::ClockTime>) -> Option<u16> {
    let Some(asked) = asked else {
        fields.wrong(field, "is required");
        return None;
    };
    let part = |fields: &mut Fields, name: &str, value: i32, max: i32| {
        let found = u16::try_from(value).ok().filter(|_| value <= max);
        if found.is_none() {
            fields.wrong(
                &format!("{field}.{name}"),
                format!("must be between 0 and {max}"),
            );
        }
        found
    };
    let hour = part(fields, "hour", asked.hour, 23);
    let minute = part(fields, "minute", asked.minute, 59);
    Some(hour? * 60 + minute?)
}

fn weekday(day: i32) -> Option<Weekday> {
    Some(match proto::DayOfWeek::try_from(day).ok()? {
        proto::DayOfWeek::Unspecified => return None,
        proto::DayOfWeek::Monday => Weekday::Mon,
        proto::DayOfWeek::Tuesday => Weekday::Tue,
        proto::DayOfWeek::Wednesday => Weekday::Wed,
        proto::DayOfWeek::Thursday => Weekday::Thu,
        proto::DayOfWeek::Friday => Weekday::Fri,
        proto::DayOfWeek::Saturday => Weekday::Sat,
        proto::DayOfWeek::Sunday => Weekday::Sun,
    })
}

fn zone(fields: &mut Fields, field: &str, name: &str) -> Option<Tz> {
    let found = name.parse().ok();
    if found.is_none() {
        let fault = if name.is_empty() {
            "is required"
        } else {
            "is no IANA time zone such as `Europe/Berlin`, nor `UTC`"
        };
        fields.wrong(field, fault);
    }
    found
}

fn retention(fields: &mut Fields, asked: proto::BackupRetention) -> Retention {
    if asked.max_age.is_none() && asked.max_bytes == 0 {
        fields.wrong(
            "policy.retention",
            "must have `max_age` or `max_bytes`; leave it out to remove nothing",
        );
    }
    Retention {
        max_age: fields.duration_between(
            "policy.retention.max_age",
            asked.max_age,
            MAX_AGE_MIN,
            DURATION_MAX,
        ),
        max_bytes: fields.not_negative("policy.retention.max_bytes", asked.max_bytes),
    }
}

#[cfg(test)]
#[path = "read_policy_tests.rs"]
mod tests;
