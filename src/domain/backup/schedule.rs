//! When a policy runs.
//!
//! The calendar of a zone is read in one way everywhere: a local time stands for the first moment at which the clock
//! of the zone shows it or a later one. So a time that a clock change skips is the moment of the change, a time that
//! comes twice is the first of the two, and later local times never stand for earlier moments.

use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::policy::{Policy, Schedule};

/// Longest cron expression, in bytes.
const CRON_MAX_BYTES: usize = 256;
const CRON_FIELDS: usize = 5;

/// By so much a due moment may lie too far ahead before the clock is taken to have been wrong when it was set. Ordinary
/// corrections of a clock stay below it, so that they never make a policy run twice.
const CLOCK_SLACK: TimeDelta = TimeDelta::hours(1);

/// A run that was due so long ago and is not claimed yet is overdue, whatever keeps it.
pub const OVERDUE_GRACE: Duration = Duration::from_secs(600);

impl Schedule {
    /// Whether `expression` is a cron expression of five fields that comes at least once.
    ///
    /// # Errors
    /// What is wrong with it, for the caller who wrote it.
    pub fn check_cron(expression: &str) -> Result<(), String> {
        let cron = parse_cron(expression)?;
        match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, true) {
            Ok(_) => Ok(()),
            Err(CronError::TimeSearchLimitExceeded) => {
                Err("names a day that never comes".to_owned())
            }
            Err(error) => Err(format!("is not a cron expression: {error}")),
        }
    }

    /// The moment at which the first run of a policy is due that is made at `now`. `None`: never.
    pub fn first_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Interval(_) => Some(now),
            Self::Cron { .. } => self.next_due(now),
        }
    }

    /// The due moment after the schedule became this one at `now`, for a policy whose last run began at `last_run`.
    pub fn due_after_change(
        &self,
        last_run: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        match (self, last_run) {
            (Self::Interval(_), Some(last_run)) => {
                // A last run in the future is the work of a clock that was ahead.
                self.next_due(last_run.min(now))
            }
            _ => self.first_due(now),
        }
    }

    /// The first due moment after `after`, when a run began there. `None`: there is none.
    pub fn next_due(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Interval(interval) => {
                after.checked_add_signed(TimeDelta::from_std(*interval).ok()?)
            }
            Self::Cron { expression, zone } => {
                next_by_calendar(&parse_cron(expression).ok()?, *zone, after)
            }
        }
    }

    /// The due moment to store when the run that was due at `due` is claimed at `now`. Whatever was missed between the
    /// two is made up for by this one run.
    ///
    /// A moment by the calendar never comes before `due` again, even if the clock was set back a little since.
    pub fn next_after_run(&self, due: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Interval(_) => self.next_due(now),
            Self::Cron { .. } => self.next_due(now.max(due.min(now + CLOCK_SLACK))),
        }
    }

    /// The due moment to go by: the `stored` one, unless only a clock that was far ahead can have set it. Then it is the
    /// next one by the present clock, so that no policy waits for years.
    pub fn believable_due(&self, stored: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        match self.next_due(now + CLOCK_SLACK) {
            Some(latest) if stored > latest => self.next_due(now).unwrap_or(stored),
            _ => stored,
        }
    }
}

/// Since when a run of the policy is overdue: since the oldest due moment whose run did not send everything, or since one
/// that passed more than `grace` ago and was not claimed.
pub fn overdue_since(
    policy: &Policy,
    now: DateTime<Utc>,
    grace: Duration,
) -> Option<DateTime<Utc>> {
    let late = policy.status.next_run_time.filter(|due| {
        policy.enabled
            && (now - *due)
                .to_std()
                .is_ok_and(|waited_for| waited_for > grace)
    });
    match (policy.status.overdue_since_time, late) {
        (Some(stored), Some(late)) => Some(stored.min(late)),
        (stored, late) => stored.or(late),
    }
}

/// The first moment at which the clock of `zone` shows `local` or a later time. `None`: outside of what is known of the
/// zone, or of what a time can be.
pub(super) fn first_moment(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(moment) => Some(moment.to_utc()),
        LocalResult::Ambiguous(one, other) => Some(one.min(other).to_utc()),
        LocalResult::None => GapInfo::new(&local, &zone)?.end.map(|end| end.to_utc()),
    }
}

fn parse_cron(expression: &str) -> Result<Cron, String> {
    if expression.len() > CRON_MAX_BYTES {
        return Err(format!("must have at most {CRON_MAX_BYTES} characters"));
    }
    if !expression.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("must hold only printable ASCII characters".to_owned());
    }
    if expression
        .split(' ')
        .filter(|field| !field.is_empty())
        .count()
        != CRON_FIELDS
    {
        return Err(
            "must have five fields: minute, hour, day of the month, month, day of the week"
                .to_owned(),
        );
    }
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(expression)
        .map_err(|error| format!("is not a cron expression: {error}"))
}

/// The search runs on the clock of the zone as if it never changed; only what it finds is turned into a moment. So what
/// a clock change does to a time is decided in [`first_moment`] alone.
fn next_by_calendar(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut local = after
        .with_timezone(&zone)
        .naive_local()
        .with_nanosecond(0)?
        .and_utc();
    loop {
        local = cron.find_next_occurrence(&local, false).ok()?;
        let moment = first_moment(zone, local.naive_utc())?;
        // The clock that was set back shows times again that came already.
        if moment > after {
            return Some(moment);
        }
    }
}

#[cfg(test)]
mod tests;
