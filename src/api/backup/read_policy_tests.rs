use super::*;
use crate::api::convert_policy;
use crate::api::status::ApiError;
use crate::proto::policy::Schedule as Asked;
use crate::proto::{BackupRetention, ClockTime, CronSchedule, TransferHours as Hours};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn plain() -> proto::Policy {
    proto::Policy {
        destination_id: "bkd_a".to_owned(),
        ..proto::Policy::default()
    }
}

fn cron(expression: &str, time_zone: &str) -> proto::Policy {
    proto::Policy {
        schedule: Some(Asked::Cron(CronSchedule {
            expression: expression.to_owned(),
            time_zone: time_zone.to_owned(),
        })),
        ..plain()
    }
}

fn hours() -> Hours {
    Hours {
        start: Some(ClockTime {
            hour: 22,
            minute: 30,
        }),
        end: Some(ClockTime { hour: 6, minute: 0 }),
        time_zone: "Europe/Berlin".to_owned(),
        days: Vec::new(),
    }
}

fn at(hours: Hours) -> proto::Policy {
    proto::Policy {
        transfer_hours: Some(hours),
        ..plain()
    }
}

/// The policy, or the paths of what is wrong.
fn read(asked: proto::Policy, destination_id: Option<&str>) -> Result<Policy, Vec<String>> {
    let mut fields = Fields::default();
    let read = policy(
        &mut fields,
        "bkp_a".to_owned(),
        asked,
        destination_id,
        DateTime::UNIX_EPOCH,
    );
    match fields.check() {
        Ok(()) => Ok(read.unwrap()),
        Err(ApiError::Invalid { violations, .. }) => {
            Err(violations.into_iter().map(|(field, _)| field).collect())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let read = read(plain(), None).unwrap();
    assert!(read.enabled);
    assert_eq!(read.schedule, Schedule::Interval(DEFAULT_INTERVAL));
    assert_eq!(
        (read.lookback, read.retention, read.run_timeout),
        (None, None, None)
    );
    assert_eq!(read.transfer_hours, None);
}

#[test]
fn each_field_that_is_wrong_is_named() {
    let with_retention = |max_age, max_bytes| proto::Policy {
        retention: Some(BackupRetention { max_age, max_bytes }),
        ..plain()
    };
    let cases: Vec<(&str, proto::Policy)> = vec![
        ("destination_id", proto::Policy::default()),
        (
            "display_name",
            proto::Policy {
                display_name: "a\n".to_owned(),
                ..plain()
            },
        ),
        (
            "interval",
            proto::Policy {
                schedule: seconds(59).map(Asked::Interval),
                ..plain()
            },
        ),
        (
            "interval",
            proto::Policy {
                schedule: seconds(-60).map(Asked::Interval),
                ..plain()
            },
        ),
        (
            "interval",
            proto::Policy {
                schedule: seconds(i64::MAX).map(Asked::Interval),
                ..plain()
            },
        ),
        ("cron.expression", cron("", "UTC")),
        ("cron.expression", cron("0 0 30 2 *", "UTC")),
        ("cron.expression", cron("* * * * * *", "UTC")),
        ("cron.time_zone", cron("0 2 * * *", "")),
        ("cron.time_zone", cron("0 2 * * *", "Europe/Atlantis")),
        ("cron.time_zone", cron("0 2 * * *", "+01:00")),
        (
            "lookback",
            proto::Policy {
                lookback: seconds(-1),
                ..plain()
            },
        ),
        (
            "camera_ids[1]",
            proto::Policy {
                camera_ids: vec!["a".to_owned(), "A".to_owned()],
                ..plain()
            },
        ),
        (
            "transfer_hours.start",
            at(Hours {
                start: None,
                ..hours()
            }),
        ),
        (
            "transfer_hours.end",
            at(Hours {
                end: None,
                ..hours()
            }),
        ),
        (
            "transfer_hours.start.hour",
            at(Hours {
                start: Some(ClockTime {
                    hour: 24,
                    minute: 0,
                }),
                ..hours()
            }),
        ),
        (
            "transfer_hours.end.minute",
            at(Hours {
                end: Some(ClockTime {
                    hour: 0,
                    minute: -1,
                }),
                ..hours()
            }),
        ),
        (
            "transfer_hours.time_zone",
            at(Hours {
                time_zone: "Mars".to_owned(),
                ..hours()
            }),
        ),
        (
            "transfer_hours.days[1]",
            at(Hours {
                days: vec![1, 0],
                ..hours()
            }),
        ),
        (
            "transfer_hours.days[0]",
            at(Hours {
                days: vec![8],
                ..hours()
            }),
        ),
        (
            "bandwidth_limit_bytes_per_second",
            proto::Policy {
                bandwidth_limit_bytes_per_second: -1,
                ..plain()
            },
        ),
        (
            "check",
            proto::Policy {
                check: 4,
                ..plain()
            },
        ),
        ("retention", with_retention(None, 0)),
        ("retention.max_age", with_retention(seconds(86_399), 0)),
        ("retention.max_bytes", with_retention(None, -1)),
        (
            "run_timeout",
            proto::Policy {
                run_timeout: seconds(29),
                ..plain()
            },
        ),
        (
            "labels",
            proto::Policy {
                labels: [(String::new(), String::new())].into(),
                ..plain()
            },
        ),
    ];
    for (field, asked) in cases {
        assert_eq!(
            read(asked, None).unwrap_err(),
            [format!("policy.{field}")],
            "{field}"
        );
    }
}

#[test]
fn limits_are_taken_as_they_are_written() {
    let asked = proto::Policy {
        schedule: seconds(60).map(Asked::Interval),
        lookback: seconds(0),
        run_timeout: seconds(30),
        retention: Some(BackupRetention {
            max_age: seconds(86_400),
            max_bytes: 1,
        }),
        ..plain()
    };
    let read = read(asked, None).unwrap();
    assert_eq!(read.schedule, Schedule::Interval(Duration::from_secs(60)));
    assert_eq!(read.lookback, None);
    assert_eq!(read.run_timeout, Some(Duration::from_secs(30)));
}

#[test]
fn days_come_in_order_and_once() {
    let read = read(
        at(Hours {
            days: vec![7, 1, 7, 3],
            ..hours()
        }),
        None,
    )
    .unwrap();
    let hours = read.transfer_hours.unwrap();
    assert_eq!(hours.days, [Weekday::Mon, Weekday::Wed, Weekday::Sun]);
    assert_eq!(
        (hours.start_minute, hours.end_minute),
        (22 * 60 + 30, 6 * 60)
    );
}

#[test]
fn the_destination_of_a_policy_stays() {
    assert!(read(plain(), Some("bkd_a")).is_ok());
    assert_eq!(
        read(plain(), Some("bkd_b")).unwrap_err(),
        ["policy.destination_id"]
    );
}

#[test]
fn what_is_read_back_can_be_written_again() {
    let full = proto::Policy {
        display_name: "nightly".to_owned(),
        enabled: Some(false),
        lookback: seconds(3600),
        camera_ids: vec!["gate".to_owned()],
        evidence_only: true,
        transfer_hours: Some(Hours {
            days: vec![1, 2, 3, 4, 5, 6, 7],
            ..hours()
        }),
        bandwidth_limit_bytes_per_second: 5,
        check: proto::BackupCheck::ReadBack.into(),
        retention: Some(BackupRetention {
            max_age: seconds(90_000),
            max_bytes: 7,
        }),
        run_timeout: seconds(60),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..cron("30 2 * * *", "Europe/Berlin")
    };
    for asked in [full, plain()] {
        let written = read(asked, None).unwrap();
        let shown = convert_policy::policy(written.clone(), DateTime::UNIX_EPOCH);
        assert_eq!(read(shown, Some("bkd_a")).unwrap(), written);
    }
}
