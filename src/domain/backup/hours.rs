//! The hours of the day in which files may be sent.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::policy::TransferHours;
use super::schedule::first_moment;

/// Hours that began on an earlier day are over at the latest on the next one; the day more is for zones whose clock was
/// moved by a day.
const DAYS_BACK: u64 = 2;
/// Hours of one day of the week come again within this, even if a clock change swallows them once.
const DAYS_AHEAD: u64 = 15;

impl TransferHours {
    /// Whether files may be sent at `now`.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.around(now)
            .any(|(opens, closes)| opens <= now && now < closes)
    }

    /// The first moment from `now` on at which files may be sent; `now` itself within the hours. `None`: there is none
    /// within two weeks.
    pub fn next_opening(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.around(now)
            .find(|(_, closes)| now < *closes)
            .map(|(opens, _)| opens.max(now))
    }

    /// The first moment after `now` at which files may no longer be sent, when they may at `now`. `None`: they may not,
    /// or they may for at least two weeks more.
    pub fn closes_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut open_until = None;
        let mut last_known = now;
        for (opens, closes) in self.around(now) {
            last_known = closes;
            match open_until {
                None if opens <= now && now < closes => open_until = Some(closes),
                // Hours that begin when others end go on without a pause.
                Some(end) if opens <= end => open_until = Some(closes.max(end)),
                Some(_) => break,
                None => {}
            }
        }
        open_until.filter(|end| *end < last_known)
    }

    /// The hours of the days around `now`, in order, each as its first moment and the first one after it. Hours that a
    /// clock change swallows whole are left out.
    fn around(
        &self,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> + '_ {
        let today = now.with_timezone(&self.zone).date_naive();
        let first = today
            .checked_sub_days(Days::new(DAYS_BACK))
            .unwrap_or(NaiveDate::MIN);
        first
            .iter_days()
            .take((DAYS_BACK + DAYS_AHEAD) as usize)
            .filter(|day| self.days.is_empty() || self.days.contains(&day.weekday()))
            .filter_map(|day| self.on(day))
            .filter(|(opens, closes)| opens < closes)
    }

    /// The hours that begin on `day`.
    fn on(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let last_day = if self.end_minute > self.start_minute {
            day
        } else {
            day.checked_add_days(Days::new(1))?
        };
        let moment = |day: NaiveDate, minute: u16| {
            let local = day.and_time(NaiveTime::MIN) + TimeDelta::minutes(i64::from(minute));
            first_moment(self.zone, local)
        };
        Some((
            moment(day, self.start_minute)?,
            moment(last_day, self.end_minute)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Weekday;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn minute(clock: &str) -> u16 {
        let (hour, minute) = clock.split_once(':').unwrap();
        hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
    }

    fn hours(start: &str, end: &str, zone: &str, days: &[Weekday]) -> TransferHours {
        TransferHours {
            start_minute: minute(start),
            end_minute: minute(end),
            zone: zone.parse().unwrap(),
            days: days.to_vec(),
        }
    }

    /// Checks what the hours say at `now`: when they open, and when they close after that.
    fn check(hours: &TransferHours, now: &str, opens: &str, closes: &str) {
        let (now, opens, closes) = (at(now), at(opens), at(closes));
        assert_eq!(hours.next_opening(now), Some(opens), "{now}");
        assert_eq!(hours.is_open(now), opens == now, "{now}");
        assert_eq!(hours.closes_at(opens), Some(closes), "{now}");
        assert!(hours.is_open(closes - TimeDelta::microseconds(1)), "{now}");
        assert!(!hours.is_open(closes), "{now}");
        if opens != now {
            assert_eq!(hours.closes_at(now), None, "{now}");
            assert!(!hours.is_open(opens - TimeDelta::microseconds(1)), "{now}");
        }
    }

    #[test]
    fn hours_of_a_day_open_and_close_by_the_clock_of_their_zone() {
        let day = hours("09:00", "17:30", "Europe/Berlin", &[]);
        check(
            &day,
            "2026-11-22T00:00:00Z",
            "2026-11-22T08:00:00Z",
            "2026-11-22T16:30:00Z",
        );
        check(
            &day,
            "2026-11-22T12:00:00Z",
            "2026-11-22T12:00:00Z",
            "2026-11-22T16:30:00Z",
        );
        check(
            &day,
            "2026-11-22T16:30:00Z",
            "2026-11-23T08:00:00Z",
            "2026-11-23T16:30:00Z",
        );
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        let night = hours("22:00", "06:00", "UTC", &[Weekday::Fri]);
        // 27 November 2026 is a Friday.
        check(
            &night,
            "2026-11-22T23:00:00Z",
            "2026-11-27T22:00:00Z",
            "2026-11-28T06:00:00Z",
        );
        check(
            &night,
            "2026-11-28T05:59:00Z",
            "2026-11-28T05:59:00Z",
            "2026-11-28T06:00:00Z",
        );
        check(
            &night,
            "2026-11-27T05:00:00Z",
            "2026-11-27T22:00:00Z",
            "2026-11-28T06:00:00Z",
        );
    }

    #[test]
    fn hours_that_follow_each_other_without_a_pause_are_one() {
        let weekend = hours("00:00", "00:00", "UTC", &[Weekday::Sat, Weekday::Sun]);
        check(
            &weekend,
            "2026-11-25T00:00:00Z",
            "2026-11-28T00:00:00Z",
            "2026-11-30T00:00:00Z",
        );
        let always = hours("05:00", "05:00", "Europe/Berlin", &[]);
        let now = at("2026-11-22T12:00:00Z");
        assert!(always.is_open(now));
        assert_eq!(always.next_opening(now), Some(now));
        assert_eq!(always.closes_at(now), None);
    }

    #[test]
    fn a_clock_change_moves_the_ends_of_the_hours() {
        let early = hours("02:30", "04:00", "Europe/Berlin", &[]);
        // 02:00 to 03:00 is skipped: the hours begin right after the change.
        check(
            &early,
            "2026-03-29T00:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        );
        // 02:00 to 03:00 comes twice: they begin the first time.
        check(
            &early,
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T03:00:00Z",
        );
        // Hours that are skipped whole do not open on that day.
        let skipped = hours("02:00", "03:00", "Europe/Berlin", &[]);
        check(
            &skipped,
            "2026-03-29T00:00:00Z",
            "2026-03-30T00:00:00Z",
            "2026-03-30T01:00:00Z",
        );
        let weekly = hours("02:00", "03:00", "Europe/Berlin", &[Weekday::Sun]);
        check(
            &weekly,
            "2026-03-29T00:00:00Z",
            "2026-04-05T00:00:00Z",
            "2026-04-05T01:00:00Z",
        );
        // Half an hour, 02:00 to 02:30.
        check(
            &hours("02:10", "03:00", "Australia/Lord_Howe", &[]),
            "2026-10-03T15:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-03T16:00:00Z",
        );
    }

    proptest! {
        #[test]
        fn opening_and_closing_agree_with_being_open(
            start in 0_u16..1440,
            end in 0_u16..1440,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            days in prop::sample::subsequence(
                vec![Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun],
                0..=7,
            ),
            seconds in 1_400_000_000_i64..2_000_000_000,
        ) {
            let hours = TransferHours {
                start_minute: start,
                end_minute: end,
                zone: zone.parse().unwrap(),
                days,
            };
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            let opens = hours.next_opening(now).unwrap();
            prop_assert!(hours.is_open(opens));
            prop_assert_eq!(hours.is_open(now), opens == now);
            if opens > now {
                prop_assert!(!hours.is_open(opens - TimeDelta::seconds(1)));
                prop_assert!(!hours.is_open(now + (opens - now) / 2));
            }
            if let Some(closes) = hours.closes_at(opens) {
                prop_assert!(opens < closes && !hours.is_open(closes));
                prop_assert!(hours.is_open(closes - TimeDelta::seconds(1)));
                prop_assert!(hours.is_open(opens + (closes - opens) / 2));
            }
        }
    }
}
