use super::*;
use crate::domain::backup::object::BackupCheck;
use crate::domain::backup::policy::PolicyStatus;
use proptest::prelude::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> Schedule {
    Schedule::check_cron(expression).unwrap();
    Schedule::Cron {
        expression: expression.to_owned(),
        zone: zone.parse().unwrap(),
    }
}

fn every(seconds: u64) -> Schedule {
    Schedule::Interval(Duration::from_secs(seconds))
}

/// The due moments after `after` until `until`.
fn all_due(schedule: &Schedule, after: &str, until: &str) -> Vec<String> {
    let until = at(until);
    std::iter::successors(schedule.next_due(at(after)), |last| {
        schedule.next_due(*last)
    })
    .take_while(|moment| *moment <= until)
    .map(|moment| moment.format("%d %H:%M:%S").to_string())
    .collect()
}

#[test]
fn expressions_of_five_fields_are_taken() {
    for good in [
        "* * * * *",
        "30 2 * * *",
        "*/15 8-18 * * MON-FRI",
        "0 0 1,15 * *",
        "0 4 L * *",
        "0 0 29 2 *",
        "0 0 ? * 7",
        "59 23 31 DEC *",
        "  0  0 * * SUN ",
    ] {
        assert_eq!(Schedule::check_cron(good), Ok(()), "{good}");
    }
}

#[test]
fn expressions_that_are_not_five_fields_or_never_come_are_refused() {
    for (bad, why) in [
        ("", "five fields"),
        ("@daily", "five fields"),
        ("30 2 * *", "five fields"),
        ("0 30 2 * * *", "five fields"),
        ("0 30 2 * * * 2027", "five fields"),
        ("60 * * * *", "not a cron expression"),
        ("* 24 * * *", "not a cron expression"),
        ("* * 0 * *", "not a cron expression"),
        ("* * * 13 *", "not a cron expression"),
        ("* * * * 8", "not a cron expression"),
        ("*/0 * * * *", "not a cron expression"),
        ("5-1 * * * *", "not a cron expression"),
        ("-5 * * * *", "not a cron expression"),
        ("a b c d e", "not a cron expression"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0\t0 * * *", "printable ASCII"),
        ("0 0 * *\n*", "printable ASCII"),
        ("٣ * * * *", "printable ASCII"),
    ] {
        let error = Schedule::check_cron(bad).unwrap_err();
        assert!(error.contains(why), "{bad:?}: {error}");
    }
    assert!(Schedule::check_cron(&format!("{} * * * *", "1,".repeat(200))).is_err());
}

#[test]
fn an_interval_counts_from_the_beginning_of_the_run() {
    let schedule = every(3600);
    let now = at("2026-11-22T10:00:07Z");
    assert_eq!(schedule.first_due(now), Some(now));
    assert_eq!(
        schedule.next_after_run(at("2026-11-22T10:00:00Z"), now),
        Some(at("2026-11-22T11:00:07Z"))
    );
}

#[test]
fn a_moment_by_the_calendar_is_that_of_the_zone() {
    for (zone, expected) in [
        ("UTC", "2026-11-22T02:30:00Z"),
        ("Europe/Berlin", "2026-11-22T01:30:00Z"),
        ("America/New_York", "2026-11-22T07:30:00Z"),
        ("Asia/Kolkata", "2026-11-21T21:00:00Z"),
    ] {
        let schedule = cron("30 2 * * *", zone);
        let after = at("2026-11-21T12:00:00.25Z");
        assert_eq!(schedule.next_due(after), Some(at(expected)), "{zone}");
        assert_eq!(schedule.first_due(after), Some(at(expected)), "{zone}");
        // The due moment itself is not after itself; a microsecond before it is.
        assert!(schedule.next_due(at(expected)) > Some(at(expected)));
        assert_eq!(
            schedule.next_due(at(expected) - TimeDelta::microseconds(1)),
            Some(at(expected))
        );
    }
}

#[test]
fn a_time_that_a_clock_change_skips_runs_right_after_the_change_and_once() {
    for (expression, zone, after, until, expected) in [
        // 02:00 to 03:00 is skipped on 29 March.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-27T12:00:00Z",
            "2026-03-30T12:00:00Z",
            vec!["28 01:30:00", "29 01:00:00", "30 00:30:00"],
        ),
        (
            "*/20 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            "2026-03-29T12:00:00Z",
            vec!["29 01:00:00", "29 01:20:00", "29 01:40:00"],
        ),
        // 02:00 to 03:00 is skipped on 8 March.
        (
            "15 2 * * *",
            "America/New_York",
            "2026-03-08T00:00:00Z",
            "2026-03-09T12:00:00Z",
            vec!["08 07:00:00", "09 06:15:00"],
        ),
        // 02:00 to 02:30 is skipped on 4 October.
        (
            "10,40 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            "2026-10-03T20:00:00Z",
            vec!["03 15:30:00", "03 15:40:00"],
        ),
    ] {
        let schedule = cron(expression, zone);
        assert_eq!(all_due(&schedule, after, until), expected, "{zone}");
    }
}

#[test]
fn a_time_that_comes_twice_runs_once() {
    for (expression, zone, after, until, expected) in [
        // 02:00 to 03:00 comes twice on 25 October.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "2026-10-26T12:00:00Z",
            vec!["25 00:30:00", "26 01:30:00"],
        ),
        (
            "*/30 1-3 * * *",
            "Europe/Berlin",
            "2026-10-24T22:59:00Z",
            "2026-10-25T03:00:00Z",
            vec![
                "24 23:00:00",
                "24 23:30:00",
                "25 00:00:00",
                "25 00:30:00",
                "25 02:00:00",
                "25 02:30:00",
            ],
        ),
        // 01:00 to 02:00 comes twice on 1 November.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00:00Z",
            "2026-11-02T12:00:00Z",
            vec!["01 05:30:00", "02 06:30:00"],
        ),
        // 01:30 to 02:00 comes twice on 5 April.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            "2026-04-05T20:00:00Z",
            vec!["04 14:45:00", "05 15:15:00"],
        ),
    ] {
        let schedule = cron(expression, zone);
        assert_eq!(all_due(&schedule, after, until), expected, "{zone}");
    }
}

#[test]
fn one_run_makes_up_for_all_that_were_missed() {
    let (due, now) = (at("2026-11-01T02:30:00Z"), at("2026-11-22T10:00:00Z"));
    assert_eq!(
        cron("30 2 * * *", "UTC").next_after_run(due, now),
        Some(at("2026-11-23T02:30:00Z"))
    );
    assert_eq!(
        every(3600).next_after_run(due, now),
        Some(at("2026-11-22T11:00:00Z"))
    );
}

#[test]
fn a_clock_that_is_set_back_a_little_does_not_make_a_run_come_again() {
    let due = at("2026-11-22T02:30:00Z");
    let schedule = cron("30 2 * * *", "UTC");
    let next = at("2026-11-23T02:30:00Z");
    let set_back = due - TimeDelta::seconds(20);
    assert_eq!(schedule.next_after_run(due, set_back), Some(next));
    assert_eq!(schedule.believable_due(next, set_back), next);
}

#[test]
fn a_clock_that_was_ten_years_ahead_delays_no_run() {
    let (ahead, now) = (at("2036-11-22T10:00:00Z"), at("2026-11-22T10:00:00Z"));
    for (schedule, expected) in [
        (every(3600), "2026-11-22T11:00:00Z"),
        (cron("30 2 * * *", "UTC"), "2026-11-23T02:30:00Z"),
        (cron("0 0 29 2 *", "UTC"), "2028-02-29T00:00:00Z"),
    ] {
        let stored = schedule.next_after_run(now, ahead).unwrap();
        assert!(stored > ahead);
        assert_eq!(schedule.believable_due(stored, now), at(expected));
        // A run that was due and could only be claimed with the clock set back does not hold the next one up either.
        let next = schedule.next_after_run(stored, now).unwrap();
        assert!(next <= schedule.next_due(now + CLOCK_SLACK).unwrap());
    }
    // What an honest clock stored is kept.
    for schedule in [every(3600), cron("0 0 29 2 *", "UTC")] {
        let stored = schedule.next_due(now).unwrap();
        assert_eq!(schedule.believable_due(stored, now), stored);
        assert_eq!(schedule.believable_due(stored, ahead), stored);
    }
}

#[test]
fn a_changed_interval_counts_from_the_last_run() {
    let (last_run, now) = (at("2026-11-22T09:00:00Z"), at("2026-11-22T10:00:00Z"));
    let due = |schedule: Schedule, last_run| schedule.due_after_change(last_run, now).unwrap();
    assert_eq!(due(every(7200), Some(last_run)), at("2026-11-22T11:00:00Z"));
    assert_eq!(due(every(60), Some(last_run)), at("2026-11-22T09:01:00Z"));
    assert_eq!(due(every(7200), None), now);
    assert_eq!(
        due(every(7200), Some(at("2036-01-01T00:00:00Z"))),
        at("2026-11-22T12:00:00Z")
    );
    assert_eq!(
        due(cron("30 2 * * *", "UTC"), Some(last_run)),
        at("2026-11-23T02:30:00Z")
    );
}

fn policy(next_run: Option<&str>, overdue_since: Option<&str>) -> Policy {
    Policy {
        id: "bkp_a".to_owned(),
        display_name: String::new(),
        destination_id: "bkd_a".to_owned(),
        enabled: true,
        schedule: every(3600),
        lookback: None,
        camera_ids: Vec::new(),
        evidence_only: false,
        transfer_hours: None,
        bandwidth_limit_bytes_per_second: 0,
        check: BackupCheck::Hash,
        retention: None,
        run_timeout: None,
        labels: std::collections::BTreeMap::new(),
        create_time: at("2026-11-01T00:00:00Z"),
        update_time: at("2026-11-01T00:00:00Z"),
        revision: 1,
        status: PolicyStatus {
            next_run_time: next_run.map(at),
            overdue_since_time: overdue_since.map(at),
            ..PolicyStatus::default()
        },
    }
}

#[test]
fn a_policy_is_overdue_since_what_it_missed_first() {
    let now = at("2026-11-22T10:00:00Z");
    let since = |next_run, overdue_since_time| {
        overdue_since(&policy(next_run, overdue_since_time), now, OVERDUE_GRACE)
    };
    let (long_ago, failed) = ("2026-11-22T09:00:00Z", "2026-11-22T08:00:00Z");
    assert_eq!(since(None, None), None);
    assert_eq!(since(Some("2026-11-22T11:00:00Z"), None), None);
    assert_eq!(since(Some("2026-11-22T09:50:00Z"), None), None);
    assert_eq!(
        since(Some("2026-11-22T09:49:59Z"), None),
        Some(at("2026-11-22T09:49:59Z"))
    );
    assert_eq!(
        since(Some("2026-11-22T11:00:00Z"), Some(failed)),
        Some(at(failed))
    );
    assert_eq!(since(Some(long_ago), Some(failed)), Some(at(failed)));
    assert_eq!(since(Some(failed), Some(long_ago)), Some(at(failed)));

    let mut disabled = policy(Some(long_ago), None);
    disabled.enabled = false;
    assert_eq!(overdue_since(&disabled, now, OVERDUE_GRACE), None);
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
];

fn expression() -> impl Strategy<Value = String> {
    let minute = prop::sample::select(vec!["*", "0", "17", "*/7", "59", "10-20"]);
    let hour = prop::sample::select(vec!["*", "0", "1", "2", "3", "*/2", "23"]);
    let day = prop::sample::select(vec!["*", "1", "31", "L", "*/2"]);
    let weekday = prop::sample::select(vec!["*", "0", "1-5", "SUN"]);
    (minute, hour, day, weekday)
        .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"))
}

proptest! {
    #[test]
    fn due_moments_only_grow_and_none_is_passed_over(
        expression in expression(),
        zone in prop::sample::select(ZONES.to_vec()),
        seconds in 1_200_000_000_i64..2_000_000_000,
        step_s in 1_i64..200_000,
    ) {
        let schedule = cron(&expression, zone);
        let after = DateTime::from_timestamp(seconds, 0).unwrap();
        let next = schedule.next_due(after).unwrap();
        prop_assert!(next > after);
        // From a later moment the next is the same one until it is reached, and a later one from then on.
        let later = after + TimeDelta::seconds(step_s);
        let next_of_later = schedule.next_due(later).unwrap();
        if later < next {
            prop_assert_eq!(next_of_later, next);
        } else {
            prop_assert!(next_of_later > next);
        }
    }

    #[test]
    fn with_every_minute_due_the_pause_is_never_longer_than_what_comes_twice(
        zone in prop::sample::select(ZONES.to_vec()),
        seconds in 1_400_000_000_i64..2_000_000_000,
    ) {
        let after = DateTime::from_timestamp(seconds, 0).unwrap();
        let next = cron("* * * * *", zone).next_due(after).unwrap();
        prop_assert!(next - after <= TimeDelta::minutes(61), "{}", next - after);
    }

    #[test]
    fn no_text_brings_the_reader_of_expressions_down(
        text in "[-*/,#LW?+0-9A-Z@ ]{0,30}",
        wild in "\\PC{0,40}",
    ) {
        for text in [text, wild] {
            if Schedule::check_cron(&text).is_ok() {
                prop_assert!(cron(&text, "Europe/Berlin").next_due(DateTime::UNIX_EPOCH).is_some());
            }
        }
    }

    #[test]
    fn whatever_the_clock_does_a_believable_moment_is_near(
        expression in expression(),
        stored in 0_i64..4_000_000_000,
        now in 1_000_000_000_i64..2_000_000_000,
        interval_s in 60_u64..10_000_000,
    ) {
        let (stored, now) = (
            DateTime::from_timestamp(stored, 0).unwrap(),
            DateTime::from_timestamp(now, 0).unwrap(),
        );
        for schedule in [cron(&expression, "Europe/Berlin"), every(interval_s)] {
            let due = schedule.believable_due(stored, now);
            prop_assert!(due <= stored);
            prop_assert!(due <= schedule.next_due(now + CLOCK_SLACK).unwrap());
        }
    }
}
