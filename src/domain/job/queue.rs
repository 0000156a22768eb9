//! The order of the queue: who comes first, how many may wait, how long to wait before another attempt.

use chrono::TimeDelta;

/// What a person waits for. Among jobs of one kind it comes before what a schedule asks for; kinds do not wait for each
/// other, because each has places of its own.
pub const PRIORITY_INTERACTIVE: i64 = 10;
/// What a schedule asks for.
pub const PRIORITY_BACKGROUND: i64 = 100;

/// The longest wait before the second attempt; doubled with each attempt after it.
const FIRST_BACKOFF: TimeDelta = TimeDelta::seconds(4);
/// The longest wait before any attempt.
const LONGEST_BACKOFF: TimeDelta = TimeDelta::seconds(300);
/// Beyond the limit of the queue, one place for each this many of it is kept for callers of whom nothing waits.
const PLACES_PER_RESERVED: u64 = 10;

/// What waits, of the jobs of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Jobs of all callers.
    pub of_all: u64,
    /// Jobs of the caller who asks.
    pub of_caller: u64,
}

impl Waiting {
    /// Whether one more job of the caller may wait. Beyond `limit` there is a tenth more for callers of whom nothing
    /// waits, so that a single one who fills the queue shuts nobody out.
    pub fn has_room(self, limit: u64) -> bool {
        self.of_all < limit
            || (self.of_caller == 0 && self.of_all < limit + limit / PLACES_PER_RESERVED)
    }
}

/// The turn of a new job. Jobs of one kind and priority are claimed by turn, those of the same turn by age; each job of
/// a caller has a turn after the one before, so that callers take turns however many jobs each of them has.
///
/// `last_claimed` is the greatest turn that was claimed so far: who comes anew is next, neither before those who are next
/// already nor behind all that wait. `last_of_caller` is the greatest of the caller's own, waiting or claimed: without
/// those claimed, two callers who ask anew each time would hold up a third for ever.
pub fn turn(last_claimed: Option<i64>, last_of_caller: Option<i64>) -> i64 {
    let now = last_claimed.unwrap_or(0);
    last_of_caller.map_or(now, |last| now.max(last.saturating_add(1)))
}

/// How long to wait after attempt number `attempt` failed. `draw`, from 0 to 1, spreads the attempts of jobs that failed
/// together: the wait is between half and all of a time that doubles with each attempt, up to a cap.
pub fn backoff(attempt: u32, draw: f64) -> TimeDelta {
    let doublings = attempt.saturating_sub(1).min(30);
    let longest_ms = FIRST_BACKOFF
        .num_milliseconds()
        .saturating_mul(1 << doublings)
        .min(LONGEST_BACKOFF.num_milliseconds());
    let half_ms = longest_ms / 2;
    TimeDelta::milliseconds(half_ms + (half_ms as f64 * draw.clamp(0.0, 1.0)) as i64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_wait_has_a_cap_grows_with_the_attempts_and_is_at_least_half_of_its_longest(
            attempt in 1_u32..1000, draw in 0.0_f64..=1.0
        ) {
            let wait = backoff(attempt, draw);
            prop_assert!(wait <= LONGEST_BACKOFF);
            prop_assert!(wait * 2 >= backoff(attempt, 1.0));
            prop_assert!(backoff(attempt + 1, draw) >= wait);
        }

        /// Callers with any numbers of jobs, written in any order while others are claimed: between two claims of one
        /// caller's jobs, no other is claimed three times while the first had a job waiting.
        #[test]
        fn callers_take_turns(steps in prop::collection::vec(prop::option::weighted(0.6, 0_usize..4), 1..300)) {
            let mut waiting: Vec<(i64, usize, usize)> = Vec::new();
            let mut last_claimed = None;
            let mut last_of: BTreeMap<usize, i64> = BTreeMap::new();
            let mut overtaken: BTreeMap<usize, BTreeMap<usize, u32>> = BTreeMap::new();
            for (age, step) in steps.into_iter().enumerate() {
                if let Some(caller) = step {
                    if waiting.iter().all(|job| job.2 != caller) {
                        overtaken.insert(caller, BTreeMap::new());
                    }
                    let turn = turn(last_claimed, last_of.get(&caller).copied());
                    last_of.insert(caller, turn);
                    waiting.push((turn, age, caller));
                    continue;
                }
                let Some(next) = waiting.iter().min().copied() else { continue };
                waiting.retain(|job| *job != next);
                last_claimed = last_claimed.max(Some(next.0));
                for (caller, by) in &mut overtaken {
                    if *caller != next.2 && waiting.iter().any(|job| job.2 == *caller) {
                        let times = by.entry(next.2).or_default();
                        *times += 1;
                        prop_assert!(*times <= 2, "{} overtook {caller} {times} times", next.2);
                    }
                }
                overtaken.insert(next.2, BTreeMap::new());
            }
        }
    }

    #[test]
    fn one_caller_alone_is_served_in_the_order_of_asking() {
        let mut last = None;
        for expected in 7..20 {
            let next = turn(Some(7), last);
            assert_eq!(next, expected);
            last = Some(next);
        }
    }

    #[test]
    fn who_fills_the_queue_shuts_out_nobody_else() {
        let waiting = |of_all, of_caller| Waiting { of_all, of_caller };
        assert!(waiting(999, 999).has_room(1000));
        assert!(!waiting(1000, 1000).has_room(1000));
        assert!(waiting(1000, 0).has_room(1000));
        assert!(!waiting(1001, 1).has_room(1000));
        assert!(!waiting(1100, 0).has_room(1000));
    }
}
